//! Settings from `CANTER_*` variables. Every variable with that start is an option,
//! so a mistyped one cannot pass unseen.

use std::ffi::OsString;

use super::super::declare::Row;
use super::super::gunicorn;
use super::super::table::ROWS;
use super::{Origin, Setting};
use crate::fault::Fault;
use crate::nearest::nearest;

/// Reads every variable that starts with `CANTER_`.
pub fn read(env: &[(OsString, OsString)]) -> Result<Vec<Setting>, Fault> {
    let mut settings = Vec::new();
    for (name, text) in env {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CANTER_")) else {
            continue;
        };
        if let Some(row) = ROWS.iter().find(|row| row.variable() == name) {
            let origin = Origin::Variable(name.to_owned());
            let Some(text) = text.to_str() else {
                let what = format!("the value for `{}` is not UTF-8", row.name());
                return Err(Fault::usage(what).from(origin.to_string()));
            };
            settings.push(Setting::new(row, vec![text.to_owned()], origin)?);
        } else {
            return Err(unknown(name));
        }
    }
    Ok(settings)
}

fn unknown(name: &str) -> Fault {
    let origin = format!("environment variable `{name}`");
    let flag = name
        .trim_start_matches("CANTER_")
        .to_ascii_lowercase()
        .replace('_', "-");
    if let Some(other) = gunicorn::find(&format!("--{flag}")) {
        return other.fault(name).from(origin);
    }
    // Gunicorn's name for an option is known as a flag; here it gives the best hint.
    let variables: Vec<String> = ROWS.iter().map(Row::variable).collect();
    let same = ROWS
        .iter()
        .find(|row| row.answers_to(&flag))
        .map(Row::variable);
    let near = same.or_else(|| nearest(name, variables.iter().map(String::as_str)).map(Into::into));
    let fault = Fault::usage(format!("no option is called `{name}`")).from(origin);
    match near {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None => fault.hint("unset it; `canter options` lists every variable"),
    }
}
