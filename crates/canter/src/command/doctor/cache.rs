//! `canter doctor --cache`: owns how the server's facts about one page become sentences.
//! Leaves the facts to the front, and what Python did to `canter.asked`.

use std::fmt::Write as _;

use canter_base::{Exit, Fault};

use crate::command::client::ask;
use crate::command::print;

/// Asks, and prints what came.
pub fn run(address: Option<&str>, url: &str) -> Result<Exit, Fault> {
    let mut path = "/-/canter/cache?url=".to_owned();
    for byte in url.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte) {
            path.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    let facts = ask(address, "GET", &path)?;
    if let Some(problem) = value(&facts, "problem") {
        return Err(Fault::new(Exit::Unreachable, problem.to_owned()));
    }
    print(&sentences(&facts))?;
    Ok(if value(&facts, "kept").is_some() {
        Exit::Ok
    } else {
        Exit::Verdict
    })
}

fn values<'a>(facts: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    facts
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(move |(own, _)| *own == word)
        .map(|(_, text)| text)
}

fn value<'a>(facts: &'a str, word: &'a str) -> Option<&'a str> {
    values(facts, word).next()
}

/// The facts for a person.
fn sentences(facts: &str) -> String {
    let one = |word| value(facts, word).unwrap_or_default();
    let mut text = format!("{}\n\n", one("url"));
    let mut add = |name: &str, text_of: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<10}{text_of}");
    };
    if let Some(kept) = value(facts, "kept") {
        add("kept", kept);
    } else {
        add("not kept", one("means"));
        let word = format!("In `Cache-Status` that is `detail={}`.", one("reason"));
        add("", &word);
    }
    for cause in values(facts, "cause") {
        add("because", cause);
    }
    let mut advised = false;
    for advice in values(facts, "remedy") {
        add("to do", advice);
        advised = true;
    }
    if let Some(advice) = value(facts, "advice").filter(|_| !advised) {
        add("to do", advice);
    }
    add("rule", one("rule"));
    add("status", one("status"));
    for field in values(facts, "field") {
        add("field", field);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_become_sentences_with_what_to_do() {
        let facts = "url\thttp://a/x\nrule\tnone\nstatus\t200\nfield\tvary: Cookie\n\
                     reason\tset-cookie\nmeans\tIt sets.\nadvice\tDo not.\n";
        let text = sentences(facts);
        assert!(
            text.starts_with("http://a/x\n\n  not kept  It sets.\n"),
            "{text}"
        );
        assert!(text.contains("detail=set-cookie") && text.contains("to do     Do not."));
        let with_cause = format!("{facts}cause\tv.py line 3\nremedy\tTake it out.\n");
        let text = sentences(&with_cause);
        assert!(
            text.contains("because   v.py line 3\n  to do     Take it out."),
            "{text}"
        );
        assert!(!text.contains("Do not."));
    }
}
