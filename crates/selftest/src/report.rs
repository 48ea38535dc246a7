//! Owns how results are shown: a table for people, JSON for programs.
//! Leaves where it goes to the caller.

use std::fmt::Write as _;

use crate::attack::{Outcome, Verdict};

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Text,
    /// One object.
    Json,
}

/// All results.
#[derive(Clone, Debug)]
pub struct Report {
    /// The server.
    pub url: String,
    /// In the order they were tried.
    pub outcomes: Vec<Outcome>,
}

impl Verdict {
    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Tolerated => "tolerated",
            Self::Fell => "FELL",
            Self::Down => "DOWN",
            Self::NotSpoken => "not spoken",
        }
    }
}

impl Report {
    /// Whether visitors were well throughout.
    pub fn is_sound(&self) -> bool {
        let bad = |outcome: &Outcome| matches!(outcome.verdict, Verdict::Fell | Verdict::Down);
        !self.outcomes.iter().any(bad)
    }

    /// The report as text.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Text => self.text(),
            Format::Json => self.json(),
        }
    }

    fn text(&self) -> String {
        let mut text = format!("\nAttacks on {}\n\n", self.url);
        let _ = writeln!(
            text,
            "  {:<4} {:<24} {:<11} {:>13} {:>10} {:>9} {:>10}",
            "id", "attack", "verdict", "ended/used", "visitors", "worst", "memory"
        );
        for outcome in &self.outcomes {
            let memory = outcome.grew.map_or_else(String::new, |kilobytes| {
                format!("{:+.1} MB", kilobytes as f64 / 1024.0)
            });
            let _ = writeln!(
                text,
                "  {:<4} {:<24} {:<11} {:>13} {:>10} {:>9} {:>10}",
                outcome.attack.id(),
                outcome.attack.name(),
                outcome.verdict.word(),
                format!("{}/{}", outcome.ended, outcome.used),
                format!("{}/{}", outcome.answered, outcome.probes),
                format!("{:.0} ms", outcome.worst.as_secs_f64() * 1000.0),
                memory
            );
            for note in &outcome.notes {
                let _ = writeln!(text, "       {note}");
            }
        }
        text.push_str(
            "\n  held       visitors noticed nothing and every attacker was sent away\n  \
             tolerated  visitors noticed nothing; attackers could stay\n  \
             FELL       visitors waited or were turned away, a broken request was taken, or memory ran off\n  \
             visitors   ordinary requests answered meanwhile, and the slowest of them\n",
        );
        text
    }

    fn json(&self) -> String {
        let mut json = format!("{{\"url\":\"{}\",\"attacks\":[", escaped(&self.url));
        for (index, outcome) in self.outcomes.iter().enumerate() {
            if index > 0 {
                json.push(',');
            }
            let grew = outcome
                .grew
                .map_or_else(|| "null".to_owned(), |kilobytes| kilobytes.to_string());
            let notes: Vec<String> = outcome
                .notes
                .iter()
                .map(|note| format!("\"{}\"", escaped(note)))
                .collect();
            let _ = write!(
                json,
                "{{\"id\":\"{}\",\"attack\":\"{}\",\"verdict\":\"{}\",\"used\":{},\"ended\":{},\
                 \"visitors\":{},\"answered\":{},\"worst_ms\":{:.1},\"memory_kb\":{grew},\
                 \"notes\":[{}]}}",
                outcome.attack.id(),
                outcome.attack.name(),
                outcome.verdict.word().to_ascii_lowercase(),
                outcome.used,
                outcome.ended,
                outcome.probes,
                outcome.answered,
                outcome.worst.as_secs_f64() * 1000.0,
                notes.join(",")
            );
        }
        json.push_str("]}\n");
        json
    }
}

/// For a JSON string; what comes here is URLs and our own sentences.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            char if char < ' ' => out.push(' '),
            char => out.push(char),
        }
    }
    out
}
