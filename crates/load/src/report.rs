//! Owns a run as people and programs read it: the facts here, the forms beside this file.
//! Leaves where it is written to `canter`.

mod cause;
mod chart;
mod files;
mod html;
mod prose;
mod text;
mod unmeasured;

use std::time::Duration;

use crate::goal::Judged;
use crate::plan::Plan;
use crate::run::{Outcome, Row};

pub use chart::{Chart, Line, Mark};
pub use html::{escape, page, sentence};
pub use unmeasured::Unmeasured;

/// Everything there is to say about a run.
pub struct Report<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What became of it.
    pub outcome: &'a Outcome,
    /// The conditions with their values.
    pub judged: &'a [Judged],
}

/// The forms in which a report is written into files.
pub trait Forms {
    /// For a program.
    fn json(&self) -> String;
    /// The rows, for a spreadsheet.
    fn csv(&self) -> String;
    /// The conditions, for a build server.
    fn junit(&self) -> String;
    /// The conditions that are true, for a code host.
    fn sarif(&self) -> String;
    /// One file for a browser.
    fn html(&self) -> String;

    /// The form of that name; JSON for a name that is none.
    fn form(&self, name: &str) -> String {
        match name {
            "csv" => self.csv(),
            "junit" => self.junit(),
            "sarif" => self.sarif(),
            "html" => self.html(),
            _ => self.json(),
        }
    }
}

impl Forms for Report<'_> {
    fn json(&self) -> String {
        format!("{:#}\n", files::json(self))
    }

    fn csv(&self) -> String {
        files::csv(self)
    }

    fn junit(&self) -> String {
        files::junit(self)
    }

    fn sarif(&self) -> String {
        files::sarif(self)
    }

    fn html(&self) -> String {
        html::report(self)
    }
}

impl Report<'_> {
    /// For a terminal.
    pub fn text(&self) -> String {
        text::text(self)
    }

    /// What happened, in sentences.
    pub fn prose(&self) -> Vec<String> {
        prose::prose(self)
    }

    fn model(&self) -> &'static str {
        if self.plan.is_open() {
            "open: arrivals do not wait for answers"
        } else {
            "closed: each user waits for its answer"
        }
    }

    /// Answers a second. A row in which the run ended counts what came until then.
    fn row_rate(&self, row: &Row) -> f64 {
        let late = if self.is_behind(row) { 0 } else { row.late };
        row.hits.saturating_sub(late) as f64 / self.row_seconds(row)
    }

    /// The last row may be shorter than the others.
    fn row_seconds(&self, row: &Row) -> f64 {
        let whole = self.outcome.row_time;
        let time = if self.is_behind(row) {
            whole
        } else {
            whole.min(self.outcome.time.saturating_sub(row.at))
        };
        time.as_secs_f64().max(1e-9)
    }

    /// Whether a row holds hardly anything but late answers.
    fn is_behind(&self, row: &Row) -> bool {
        self.outcome.time.saturating_sub(row.at) < self.outcome.row_time / 10
    }
}

/// `1.24 ms`, `830 ms`, `2.51 s`.
pub fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else if ms < 100.0 {
        format!("{ms:.1} ms")
    } else if ms < 1000.0 {
        format!("{ms:.0} ms")
    } else if ms < 100_000.0 {
        format!("{:.2} s", ms / 1000.0)
    } else {
        format!("{:.0} s", ms / 1000.0)
    }
}

/// With a comma after each three digits.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate with as many digits as mean something.
pub fn rate(number: f64) -> String {
    if number < 100.0 {
        format!("{number:.1}")
    } else {
        count(number.round() as u64)
    }
}

/// `512 KB`, `1.3 MB`: powers of ten.
pub fn bytes(number: u64) -> String {
    let number = number as f64;
    let (scaled, unit) = match number {
        _ if number < 1e3 => return format!("{number:.0} B"),
        _ if number < 1e6 => (number / 1e3, "KB"),
        _ if number < 1e9 => (number / 1e6, "MB"),
        _ => (number / 1e9, "GB"),
    };
    format!("{scaled:.1} {unit}")
}

#[cfg(test)]
mod tests;
