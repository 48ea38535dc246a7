//! Owns what is shown while a run lasts: a line that renews itself on a terminal, a line now and then
//! elsewhere. Leaves the numbers to `canter_load`.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use canter_load::report::{count, rate, time};
use canter_load::run::Progress;

/// How often a line is written where it cannot renew itself.
const EVERY: Duration = Duration::from_secs(5);
const BAR: usize = 24;

/// Progress on standard error.
pub(super) struct Live {
    quiet: bool,
    terminal: bool,
    next: Instant,
}

impl Live {
    pub(super) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: std::io::stderr().is_terminal(),
            next: Instant::now() + EVERY,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        if self.quiet || (!self.terminal && Instant::now() < self.next) {
            return;
        }
        self.next = Instant::now() + EVERY;
        let line = line(progress);
        let mut stderr = std::io::stderr().lock();
        let _ = if self.terminal {
            // Back to the begin, the new line, and away with what is left of the old one.
            write!(stderr, "\r{} {line}\x1b[K", bar(progress))
        } else {
            writeln!(stderr, "{line}")
        };
        let _ = stderr.flush();
    }

    pub(super) fn end(&self) {
        if self.terminal && !self.quiet {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }
}

fn bar(progress: &Progress<'_>) -> String {
    let planned = progress.planned.as_millis().max(1);
    let full = progress.passed.as_millis() * BAR as u128 / planned;
    let full = usize::try_from(full).unwrap_or(BAR).min(BAR);
    format!("[{}{}]", "=".repeat(full), " ".repeat(BAR - full))
}

fn line(progress: &Progress<'_>) -> String {
    if progress.waiting {
        return "waiting for the last answers (Ctrl-C: do not wait)".to_owned();
    }
    let Some(row) = progress.row else {
        return "warming up".to_owned();
    };
    let each_second = row.hits as f64 / progress.row_time.as_secs_f64().max(1e-9);
    format!(
        "{:.0} of {:.0} s  {} users  {}/s  p95 {}  errors {}  time-outs {}",
        progress.passed.as_secs_f64(),
        progress.planned.as_secs_f64(),
        row.active,
        rate(each_second),
        time(row.latency.quantile(0.95)),
        count(progress.total.errors()),
        count(progress.total.timeouts())
    )
}
