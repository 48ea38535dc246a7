//! What a run counted, by target, and how it is written down.

use std::fmt::Write as _;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::response::Fault;

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect,
    /// No complete response in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// The connection was closed where the response should have begun.
    Closed,
    /// A response, but not the right one.
    Response(Fault),
}

/// One row per kind: its name in the report.
const NAMES: [&str; 9] = [
    "connect",
    "timeout",
    "reset",
    "closed",
    "malformed",
    "status",
    "body",
    "extra",
    "cut",
];

impl Failure {
    fn row(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Timeout => 1,
            Self::Reset => 2,
            Self::Closed => 3,
            Self::Response(Fault::Malformed) => 4,
            Self::Response(Fault::Status) => 5,
            Self::Response(Fault::Body) => 6,
            Self::Response(Fault::Extra) => 7,
            Self::Response(Fault::Cut) => 8,
        }
    }
}

/// Counts for one target.
pub struct Tally {
    latencies: Histogram,
    failures: [u64; NAMES.len()],
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        Self {
            latencies: Histogram::new(),
            failures: [0; NAMES.len()],
        }
    }

    /// One right response.
    pub fn succeed(&mut self, nanos: u64) {
        self.latencies.record(nanos);
    }

    /// One failure.
    pub fn fail(&mut self, failure: Failure) {
        if let Some(count) = self.failures.get_mut(failure.row()) {
            *count += 1;
        }
    }

    /// Right responses.
    pub fn succeeded(&self) -> u64 {
        self.latencies.count()
    }

    /// Failures of all kinds.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        for (mine, theirs) in self.failures.iter_mut().zip(other.failures) {
            *mine += theirs;
        }
    }

    /// Forgets the warm-up.
    pub fn clear(&mut self) {
        self.latencies.clear();
        self.failures = [0; NAMES.len()];
    }

    fn json(&self, seconds: f64) -> String {
        let micros = |permille| {
            self.latencies
                .quantile(permille)
                .map_or("null".into(), |nanos| format!("{:.1}", nanos as f64 / 1e3))
        };
        let kinds: Vec<String> = NAMES
            .iter()
            .zip(self.failures)
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("\"{name}\": {count}"))
            .collect();
        format!(
            "\"requests\": {}, \"rps\": {:.2}, \"failed\": {}, \"failures\": {{{}}}, \
             \"p50_us\": {}, \"p90_us\": {}, \"p99_us\": {}, \"max_us\": {:.1}",
            self.succeeded(),
            self.succeeded() as f64 / seconds,
            self.failed(),
            kinds.join(", "),
            micros(500),
            micros(900),
            micros(990),
            self.latencies.max() as f64 / 1e3,
        )
    }
}

/// What the run cost and moved besides the tallies.
pub struct Totals {
    /// The time that counted.
    pub elapsed: Duration,
    /// CPU time of this program in that time, where the system tells.
    pub cpu: Option<Duration>,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Connections opened after the warm-up.
    pub connects: u64,
}

/// The report of a run, as JSON.
pub fn report(names: &[&str], tallies: &[Tally], totals: &Totals) -> String {
    let seconds = totals.elapsed.as_secs_f64();
    let mut all = Tally::new();
    for tally in tallies {
        all.add(tally);
    }
    let cpu = totals
        .cpu
        .map_or("null".into(), |cpu| format!("{:.4}", cpu.as_secs_f64()));
    let mut text = format!(
        "{{{}, \"seconds\": {seconds:.4}, \"cpu_seconds\": {cpu}, \"received_bytes\": {}, \
         \"sent_bytes\": {}, \"connects\": {}, \"targets\": {{",
        all.json(seconds),
        totals.received,
        totals.sent,
        totals.connects,
    );
    for (position, (name, tally)) in names.iter().zip(tallies).enumerate() {
        let comma = if position == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(text, "{comma}\"{name}\": {{{}}}", tally.json(seconds));
    }
    text.push_str("}}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_counts_by_target_and_over_all() {
        let mut first = Tally::new();
        first.succeed(1_000);
        first.fail(Failure::Timeout);
        let mut second = Tally::new();
        second.succeed(3_000);
        let totals = Totals {
            elapsed: Duration::from_secs(2),
            cpu: None,
            received: 10,
            sent: 20,
            connects: 1,
        };
        let text = report(&["a", "b"], &[first, second], &totals);
        assert!(
            text.starts_with("{\"requests\": 2, \"rps\": 1.00, \"failed\": 1, "),
            "{text}"
        );
        assert!(text.contains("\"failures\": {\"timeout\": 1}"), "{text}");
        assert!(
            text.contains("\"b\": {\"requests\": 1, \"rps\": 0.50, \"failed\": 0"),
            "{text}"
        );
    }
}
