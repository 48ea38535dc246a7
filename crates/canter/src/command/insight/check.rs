//! Owns the judgement of `canter check`: what is over the budget or was not accepted.
//! Leaves asking the server to `client`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use canter_base::{Exit, Fault};
use serde_json::Value as Json;

use super::Asked;
use crate::command::{client, print};

/// Looks at what was found, or accepts it.
pub(super) fn run(asked: &Asked) -> Result<Exit, Fault> {
    let text = client::ask(asked.address.as_deref(), "GET", "/-/canter/findings.json")?;
    let known: Json = serde_json::from_str(&text)
        .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))?;
    if let Some(path) = &asked.write_baseline {
        let ids: BTreeSet<&str> = known["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|finding| finding["id"].as_str())
            .collect();
        let mut text =
            "# Findings that `canter check` accepts, one name on each line.\n".to_owned();
        for id in &ids {
            text += id;
            text.push('\n');
        }
        std::fs::write(path, text).map_err(|error| by_file(path, &error))?;
        print(&format!(
            "{} findings written to {}\n",
            ids.len(),
            path.display()
        ))?;
        return Ok(Exit::Ok);
    }
    let accepted = match &asked.baseline {
        Some(path) => std::fs::read_to_string(path).map_err(|error| by_file(path, &error))?,
        None => String::new(),
    };
    let lines = accepted.lines().map(str::trim);
    let accepted = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            line.split_whitespace()
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let found = complaints(&known, asked, &accepted);
    if found.is_empty() {
        print("nothing new to mend\n")?;
        return Ok(Exit::Ok);
    }
    print(&(found.join("\n") + "\n"))?;
    Ok(Exit::Verdict)
}

/// What `check` finds wrong, one line each; empty when all is well.
fn complaints(known: &Json, asked: &Asked, accepted: &BTreeSet<String>) -> Vec<String> {
    let list = |key: &str| known[key].as_array().cloned().unwrap_or_default();
    let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let is_meant = |route: &str| {
        let path = route.split_once(' ').map_or(route, |(_, path)| path);
        asked.routes.is_empty() || asked.routes.iter().any(|it| it == route || it == path)
    };
    let mut found = Vec::new();
    for wanted in &asked.routes {
        let was_asked = list("routes").iter().any(|route| {
            let label = word(&route["route"]);
            label == *wanted || label.ends_with(&format!(" {wanted}"))
        });
        if !was_asked {
            found.push(format!("{wanted}: no request has come to this route"));
        }
    }
    for route in list("routes") {
        let (label, most) = (word(&route["route"]), route["queries_max"].as_u64());
        if let (Some(limit), Some(most)) = (asked.max_queries, most)
            && most > limit
            && is_meant(&label)
        {
            found.push(format!(
                "{label}: {most} queries in a request, more than {limit}"
            ));
        }
    }
    for finding in list("findings") {
        let (id, label) = (word(&finding["id"]), word(&finding["route"]));
        let is_acknowledged = finding["acknowledged"] == true;
        if is_acknowledged || accepted.contains(&id) || !is_meant(&label) {
            continue;
        }
        let mut line = format!(
            "{label}: {}, {} times",
            word(&finding["title"]),
            finding["count"]
        );
        let file = word(&finding["file"]);
        if !file.is_empty() {
            let _ = write!(line, " at {file}:{}", finding["line"]);
        }
        let _ = write!(line, " [{id}]");
        let advice = word(&finding["advice"]);
        if !advice.is_empty() {
            let _ = write!(line, "\n    {advice}");
        }
        found.push(line);
    }
    found
}

fn by_file(path: &Path, error: &io::Error) -> Fault {
    Fault::new(
        Exit::File,
        format!("cannot use `{}`: {error}", path.display()),
    )
    .from("`--baseline` or `--write-baseline`")
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Which, read};
    use super::*;

    fn known() -> Json {
        serde_json::from_str(
            r#"{"routes": [{"route": "GET /api/orders/", "queries_max": 61},
                           {"route": "GET /", "queries_max": 2}],
                "findings": [{"id": "aa", "route": "GET /api/orders/", "title": "one query for each row",
                              "count": 20, "file": "v.py", "line": 4, "advice": "do it"}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn c6_what_is_over_the_budget_or_new_is_complained_of() {
        let asked = |line: &str| {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            read(Which::Check, &words).unwrap()
        };
        let none = BTreeSet::new();
        let lines = complaints(&known(), &asked("--max-queries 10"), &none);
        assert_eq!(
            lines,
            [
                "GET /api/orders/: 61 queries in a request, more than 10",
                "GET /api/orders/: one query for each row, 20 times at v.py:4 [aa]\n    do it"
            ]
        );
        let mut accepted = known();
        accepted["findings"][0]["acknowledged"] = Json::Bool(true);
        assert!(complaints(&accepted, &asked(""), &none).is_empty());
        let baseline = BTreeSet::from(["aa".to_owned()]);
        let lines = |line: &str| complaints(&known(), &asked(line), &baseline);
        assert_eq!(lines("--max-queries 61"), [""; 0]);
        assert_eq!(lines("--max-queries 10 --route /"), [""; 0]);
        assert_eq!(lines("--max-queries 10 --route /api/orders/").len(), 1);
        let mut nowhere = known();
        nowhere["findings"][0]["file"] = Json::String(String::new());
        let lines_of = complaints(&nowhere, &asked("--route /api/orders/"), &none);
        assert_eq!(
            lines_of,
            ["GET /api/orders/: one query for each row, 20 times [aa]\n    do it"]
        );
        assert_eq!(
            lines("--route /nowhere/"),
            ["/nowhere/: no request has come to this route"]
        );
    }
}
