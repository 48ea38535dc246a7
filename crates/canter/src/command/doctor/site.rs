//! `canter doctor`: asks for the app's settings and for what was measured, and prints what to do.
//! Leaves what follows from what to `checks`.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use canter_base::{Exit, Fault};
use serde_json::{Value as Json, json};

use super::advice::Advice;
use super::checks::advise;
use super::habits;
use super::known::Known;
use super::plans::{self, Plan};
use super::profiled::Profiled;
use crate::command::client::{ask, tell};
use crate::command::print;

/// Between two questions to the database: a little more than the server asks for.
const BETWEEN: Duration = Duration::from_millis(250);

/// Asks, and prints, as JSON if that is wanted. Exit code 8 says that there is something to do.
pub fn run(address: Option<&str>, as_json: bool) -> Result<Exit, Fault> {
    let settings = read(&ask(address, "GET", "/-/canter/settings.json")?)?;
    let measured = read(&ask(address, "GET", "/-/canter/data.json")?)?;
    if let Some(error) = settings["error"].as_str() {
        return Err(Fault::new(Exit::Unreachable, error.to_owned())
            .hint("the server's log says what is wrong with the app"));
    }
    let mut known = Known {
        settings,
        measured,
        ..Known::default()
    };
    if !known.settings["django"].is_null() {
        known.plans = explained(address, &known.measured)?;
        known.connects = connects(address, &known)?;
        known.profiled = profiled(address)?;
    }
    let (measured, plans) = (&known.measured, &known.plans);
    let found = advise(&known);
    let unread = plans::unread(plans);
    let text = if as_json {
        format!("{}\n", as_list(&found, &unread))
    } else {
        sentences(&found, measured, &unread)
    };
    print(&text)?;
    Ok(if found.is_empty() {
        Exit::Ok
    } else {
        Exit::Verdict
    })
}

/// Has the database explain the dearest statements.
fn explained(address: Option<&str>, measured: &Json) -> Result<Vec<Plan>, Fault> {
    let mut plans = plans::wanted(measured);
    for plan in &mut plans {
        // Before the first one, too: somebody may have asked a moment ago.
        thread::sleep(BETWEEN);
        let path = format!("/-/canter/explain?id={}", plan.name);
        plan.told = read(&tell(address, &path)?)?;
    }
    Ok(plans)
}

/// Has a worker try how long connections take to make, where one is made for each request.
fn connects(address: Option<&str>, known: &Known) -> Result<Json, Fault> {
    if habits::connections(known).is_empty() {
        return Ok(Json::Null);
    }
    thread::sleep(BETWEEN);
    read(&tell(address, "/-/canter/connect")?)
}

/// The profile that was made last.
fn profiled(address: Option<&str>) -> Result<Option<Profiled>, Fault> {
    let progress = read(&ask(address, "GET", "/-/canter/profile.json")?)?;
    if !Profiled::is_there(&progress) {
        return Ok(None);
    }
    let stacks = ask(address, "GET", "/-/canter/profile.txt")?;
    Ok(Some(Profiled::of(stacks)))
}

fn read(text: &str) -> Result<Json, Fault> {
    serde_json::from_str(text)
        .map_err(|error| Fault::internal(format!("the server's answer is no JSON: {error}")))
}

fn as_list(found: &[Advice], unread: &[&str]) -> Json {
    let rows = found.iter().map(|one| {
        json!({"id": one.id, "title": one.title, "evidence": one.evidence, "do": one.remedy,
               "gain": one.gain.text(), "gain_ms_per_hour": one.gain.ms(), "weight": one.weight.word()})
    });
    json!({"advice": rows.collect::<Vec<_>>(), "plans_not_read": unread})
}

fn sentences(found: &[Advice], measured: &Json, unread: &[&str]) -> String {
    let requests = measured["total"]["requests"].as_u64().unwrap_or(0);
    let mut text = String::new();
    if found.is_empty() {
        text = format!("Nothing to do: looked at the settings and {requests} requests.\n");
    }
    for (number, one) in found.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}. {}", number + 1, one.title);
        let _ = writeln!(text, "   seen    {}", one.evidence);
        let _ = writeln!(text, "   to do   {}", one.remedy);
        let _ = writeln!(text, "   gain    {}", one.gain.text());
        text.push('\n');
    }
    for reason in unread {
        let _ = writeln!(text, "Not every plan was read: {reason}.");
    }
    if requests < 100 {
        let _ = writeln!(
            text,
            "Only {requests} requests were seen: ask again when the site was used for a while."
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::advice::{Gain, Weight};

    #[test]
    fn advice_is_printed_with_its_evidence_and_what_to_do() {
        let found = [Advice {
            id: "debug",
            title: "DEBUG is on".to_owned(),
            evidence: "it is".to_owned(),
            remedy: "DEBUG = False".to_owned(),
            gain: Gain::about(2000.0),
            weight: Weight::Harm,
        }];
        let text = sentences(&found, &json!({"total": {"requests": 5}}), &["too old"]);
        assert!(text.starts_with("1. DEBUG is on\n   seen    it is\n   to do   DEBUG = False\n"));
        assert!(
            text.contains("about 2.0 s in an hour, all requests together")
                && text.contains("Only 5 requests")
        );
        assert!(
            text.contains("Not every plan was read: too old.\n"),
            "{text}"
        );
        let list = as_list(&found, &["too old"]);
        assert_eq!(list["advice"][0]["id"], "debug");
        assert_eq!(list["advice"][0]["gain_ms_per_hour"], 2000.0);
        assert_eq!(list["advice"][0]["weight"], "harm");
        assert_eq!(list["plans_not_read"][0], "too old");
        assert!(sentences(&[], &json!({}), &[]).starts_with("Nothing to do"));
    }
}
