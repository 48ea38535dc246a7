//! Settings from the command line. Owns the spelling of flags; the command word is already gone.

use std::ffi::OsString;

use lexopt::Arg;

use super::super::app::App;
use super::super::declare::{Row, Shape};
use super::super::gunicorn;
use super::super::table::ROWS;
use super::{Origin, Setting, known_names, row_named};
use crate::fault::Fault;
use crate::nearest::nearest;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Flags {
    /// One for each option given, with all its values.
    pub settings: Vec<Setting>,
    /// The app, when one is named.
    pub app: Option<App>,
    /// What to tell about flags that are accepted and need nothing.
    pub notices: Vec<String>,
}

/// Reads flags and the name of the app.
pub fn read(args: &[OsString]) -> Result<Flags, Fault> {
    let mut flags = Flags::default();
    let mut parser = lexopt::Parser::from_args(args.iter().cloned());
    while let Some(arg) = parser
        .next()
        .map_err(|error| misread(&error, "command line"))?
    {
        match arg {
            Arg::Value(text) => {
                let text = utf8(text, "command line")?;
                if let Some(first) = &flags.app {
                    let what = format!("two apps are named: `{first}` and `{text}`");
                    return Err(Fault::usage(what)
                        .from("command line")
                        .hint("serve one app"));
                }
                flags.app = Some(App::parse(&text)?);
            }
            Arg::Short(letter) => {
                let spelled = format!("-{letter}");
                match ROWS.iter().find(|row| row.short == Some(letter)) {
                    Some(row) => take(&mut flags, &mut parser, row, spelled, "")?,
                    None => accept_gunicorn(&mut flags, &mut parser, &spelled)?,
                }
            }
            Arg::Long(name) => {
                let (spelled, name) = (format!("--{name}"), name.replace('_', "-"));
                match find(&name) {
                    Some(row) => take(&mut flags, &mut parser, row, spelled, &name)?,
                    None => accept_gunicorn(&mut flags, &mut parser, &spelled)?,
                }
            }
        }
    }
    Ok(flags)
}

/// The option a long flag is about: by its name, Gunicorn's name, a shorthand or `no-` and a name.
fn find(name: &str) -> Option<&'static Row> {
    let shorthand = |row: &&Row| row.shorthand.iter().any(|(flag, _)| *flag == name);
    row_named(name)
        .or_else(|| ROWS.iter().find(shorthand))
        .or_else(|| {
            let row = row_named(name.strip_prefix("no-")?)?;
            (row.shape == Shape::Switch).then_some(row)
        })
}

/// Takes the value of a flag and keeps it; lists collect, for all others the last one counts.
fn take(
    flags: &mut Flags,
    parser: &mut lexopt::Parser,
    row: &'static Row,
    spelled: String,
    name: &str,
) -> Result<(), Fault> {
    let shorthand = row
        .shorthand
        .iter()
        .find(|(flag, _)| *flag == name)
        .map(|(_, value)| *value);
    let negated = row.shape == Shape::Switch && name.starts_with("no-");
    let text = if negated {
        "false".to_owned()
    } else if row.shape == Shape::Switch || shorthand.is_some() {
        // A value only with `=`: in `--preload mysite.wsgi` the second word is the app.
        match parser.optional_value() {
            Some(text) => utf8(text, &spelled)?,
            None => shorthand.unwrap_or("true").to_owned(),
        }
    } else {
        utf8(
            parser.value().map_err(|error| misread(&error, &spelled))?,
            &spelled,
        )?
    };
    let origin = Origin::Flag(spelled);
    let setting = Setting::new(row, vec![text], origin)?;
    match flags
        .settings
        .iter_mut()
        .find(|earlier| earlier.row.field == row.field)
    {
        Some(earlier) if row.shape == Shape::Many => earlier.texts.extend(setting.texts),
        Some(earlier) => *earlier = setting,
        None => flags.settings.push(setting),
    }
    Ok(())
}

/// A flag that is none of ours: one of Gunicorn's, or a slip.
fn accept_gunicorn(
    flags: &mut Flags,
    parser: &mut lexopt::Parser,
    spelled: &str,
) -> Result<(), Fault> {
    let origin = format!("flag `{spelled}`");
    if let Some(other) = gunicorn::find(spelled) {
        let given = match other.needless_with {
            None => None,
            Some(_) => Some(utf8(
                parser.value().map_err(|error| misread(&error, spelled))?,
                spelled,
            )?),
        };
        if other.needless_with.is_some() && given.as_deref() == other.needless_with {
            flags
                .notices
                .push(format!("`{spelled}` needs nothing: {}", other.instead));
            return Ok(());
        }
        return Err(other.fault(spelled).from(origin));
    }
    let name = spelled.trim_start_matches('-').replace('_', "-");
    let fault = Fault::usage(format!("unknown option `{spelled}`")).from("command line");
    let names = known_names();
    let flag_names = ROWS
        .iter()
        .flat_map(|row| row.shorthand)
        .map(|(flag, _)| *flag);
    let candidates = names.iter().map(String::as_str).chain(flag_names);
    Err(
        match nearest(&name, candidates).filter(|_| spelled.starts_with("--")) {
            Some(near) => fault.hint(format!("did you mean `--{near}`?")),
            None => fault.hint("`canter help serve` lists every option"),
        },
    )
}

fn utf8(text: OsString, origin: &str) -> Result<String, Fault> {
    text.into_string().map_err(|text| {
        Fault::usage(format!("`{}` is not UTF-8", text.display())).from(origin.to_owned())
    })
}

/// lexopt's own findings in our words.
fn misread(error: &lexopt::Error, spelled: &str) -> Fault {
    match error {
        lexopt::Error::MissingValue { .. } => {
            Fault::usage(format!("`{spelled}` needs a value")).from("command line")
        }
        lexopt::Error::UnexpectedValue { option, .. } => {
            Fault::usage(format!("`{option}` takes no value")).from("command line")
        }
        other => Fault::usage(other.to_string()).from("command line"),
    }
    .hint("`canter help serve` shows how it is used")
}
