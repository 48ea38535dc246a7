//! `canter queries --acknowledge`, `--unacknowledge` and `--explain`: what is done about one finding.
//!
//! Owns their words. Reaching the server is `client`'s, what happens there is the front's.

use std::fmt::Write as _;

use canter_base::{Exit, Fault};
use serde_json::Value as Json;

use super::client::tell;
use super::print;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Accept it.
    Acknowledge(String),
    /// Take that back.
    Unacknowledge(String),
    /// Ask the database how it runs the statement; with `true`, by running it.
    Explain(String, bool),
}

/// Does it.
pub fn run(address: Option<&str>, act: &Act) -> Result<Exit, Fault> {
    let path = match act {
        Act::Acknowledge(id) => format!("/-/canter/acknowledge?id={}", plain(id)?),
        Act::Unacknowledge(id) => format!("/-/canter/unacknowledge?id={}", plain(id)?),
        Act::Explain(id, analyze) => {
            let more = if *analyze { "&analyze=1" } else { "" };
            format!("/-/canter/explain?id={}{more}", plain(id)?)
        }
    };
    let answer = tell(address, &path)?;
    let told: Json = serde_json::from_str(&answer)
        .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))?;
    if let Some(error) = told["error"].as_str() {
        return Err(Fault::new(Exit::Unreachable, error.to_owned())
            .hint("`canter queries` prints the names of all findings; what a database says is in its own words"));
    }
    print(&words(act, &told))?;
    Ok(Exit::Ok)
}

/// A name as findings have it, so that nothing else gets into a request.
fn plain(id: &str) -> Result<&str, Fault> {
    let is_plain = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric());
    is_plain.then_some(id).ok_or_else(|| {
        Fault::usage(format!("`{id}` is not the name of a finding"))
            .from("command line")
            .hint("it is the word in brackets that `canter queries` prints, such as `3f09c2a1b4d5`")
    })
}

fn words(act: &Act, told: &Json) -> String {
    let lines = |key: &str| {
        let list = told[key].as_array().into_iter().flatten();
        list.filter_map(Json::as_str).collect::<Vec<_>>()
    };
    let file = told["file"].as_str().unwrap_or_default();
    match act {
        Act::Acknowledge(id) => format!("{id} is acknowledged; kept in {file}\n"),
        Act::Unacknowledge(id) => format!("{id} is a finding again\n"),
        Act::Explain(..) => {
            let mut text = format!("{}\n", told["how"].as_str().unwrap_or_default());
            for line in lines("plan") {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  {line}");
            }
            for hint in lines("hints") {
                let _ = writeln!(text, "hint: {hint}");
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c9_a_plan_is_printed_with_what_helps() {
        let told = serde_json::json!({"how": "EXPLAIN (GENERIC_PLAN)", "plan": ["Seq Scan on t"],
                                      "hints": ["an index"]});
        let text = words(&Act::Explain("aa".to_owned(), false), &told);
        assert_eq!(
            text,
            "EXPLAIN (GENERIC_PLAN)\n  Seq Scan on t\nhint: an index\n"
        );
    }

    #[test]
    fn c4_what_is_no_name_is_refused_with_what_would_be() {
        for id in ["", "a b", "aa&analyze=1", "../x"] {
            assert!(plain(id).unwrap_err().hint.is_some(), "{id}");
        }
        assert_eq!(plain("3f09c2a1b4d5").unwrap(), "3f09c2a1b4d5");
    }
}
