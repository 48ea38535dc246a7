//! Owns what is counted while a run lasts: answers, failures by kind, latencies.
//! Leaves when to count to the engine and what to make of it to the report.

use std::time::Duration;

use crate::histogram::Histogram;
use crate::plan::Plan;
use crate::response::Bad;
use crate::sketch::Sketch;

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody listens there.
    Refused,
    /// No connection for another reason.
    Unreachable,
    /// TLS could not be agreed on, or the certificate is not trusted.
    Tls,
    /// The connection was reset.
    Reset,
    /// The connection ended before the response was whole.
    Truncated,
    /// What came is no HTTP.
    Invalid,
    /// A head longer than 64 KiB.
    HeadTooLong,
    /// A body longer than `--max-body`.
    BodyTooLong,
    /// No whole response within `--timeout`.
    TimedOut,
    /// The login was not accepted.
    Login,
    /// This machine has no ports or file descriptors left: the generator's own limit.
    Exhausted,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Refused,
        Self::Unreachable,
        Self::Tls,
        Self::Reset,
        Self::Truncated,
        Self::Invalid,
        Self::HeadTooLong,
        Self::BodyTooLong,
        Self::TimedOut,
        Self::Login,
        Self::Exhausted,
    ];

    /// For reports and as a key.
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::Unreachable => "no connection",
            Self::Tls => "TLS failed",
            Self::Reset => "connection reset",
            Self::Truncated => "ended in the middle",
            Self::Invalid => "invalid HTTP",
            Self::HeadTooLong => "head too long",
            Self::BodyTooLong => "body too long",
            Self::TimedOut => "time-out",
            Self::Login => "login failed",
            Self::Exhausted => "generator out of ports or files",
        }
    }
}

impl From<Bad> for Kind {
    fn from(bad: Bad) -> Self {
        match bad {
            Bad::HeadTooLong => Self::HeadTooLong,
            Bad::BodyTooLong => Self::BodyTooLong,
            Bad::Truncated => Self::Truncated,
            Bad::StatusLine
            | Bad::Field
            | Bad::Length
            | Bad::Coding
            | Bad::Chunk
            | Bad::Surplus => Self::Invalid,
        }
    }
}

/// When something happened first.
#[derive(Clone, Debug, PartialEq)]
pub struct First {
    /// Since the begin of the counted time.
    pub at: Duration,
    /// Users that were active, or requests under way.
    pub users: usize,
    /// What it was.
    pub what: String,
}

/// The counts of a stretch of time.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole responses, whatever their status.
    pub hits: u64,
    /// Those of them that came after the end of the planned time: in no rate, but in every latency.
    pub late: u64,
    /// Those of the late ones that were 4xx and 5xx.
    pub late_bad: u64,
    /// Whole responses by the first digit of the status; those of 4xx and 5xx are errors.
    pub classes: [u64; 6],
    /// Whole responses of status 204.
    pub no_content: u64,
    /// Failures by kind, as in `Kind::ALL`.
    pub failures: [u64; Kind::ALL.len()],
    /// From the intended start to the end of the response; a time-out counts with what it waited.
    pub corrected: Histogram,
    /// From the first byte written to the end of the response, as most tools measure.
    pub naive: Histogram,
    /// Bytes of responses.
    pub bytes_in: u64,
    /// Bytes of requests.
    pub bytes_out: u64,
    /// Connections opened.
    pub connections: u64,
    /// Requests sent again because the server had closed an idle connection.
    pub resent: u64,
    /// Requests of the slow clients: whole, failed.
    pub slow: [u64; 2],
    /// Answers to logins and redirects on the way: no hits.
    pub steps: u64,
    /// Arrivals that were due when the run ended and had not been sent.
    pub unsent: u64,
    /// Arrivals that had to wait because all connections were in use.
    pub held: u64,
    /// Requests under way when the run was ended by hand.
    pub unfinished: u64,
    /// Users active, or requests under way, at most.
    pub active: usize,
    /// How late the generator itself was.
    pub lateness: Histogram,
    /// CPU time of the thread that counted.
    pub busy: Duration,
    /// The first request that failed or was answered with an error.
    pub first_error: Option<First>,
    /// The first time-out.
    pub first_timeout: Option<First>,
    /// Statuses of errors with their counts, of which there are few.
    pub error_statuses: Vec<(u16, u64)>,
}

impl Tally {
    /// Failures of a kind.
    pub fn failed(&self, kind: Kind) -> u64 {
        self.failures.get(kind as usize).copied().unwrap_or(0)
    }

    /// Whole responses that came in the time they are counted in.
    pub fn in_time(&self) -> u64 {
        self.hits.saturating_sub(self.late)
    }

    /// Those of them that are neither 4xx nor 5xx.
    pub fn good_in_time(&self) -> u64 {
        self.in_time()
            .saturating_sub(self.bad().saturating_sub(self.late_bad))
    }

    /// Everything that is no good answer: failures, 4xx and 5xx, time-outs among them.
    pub fn errors(&self) -> u64 {
        let failures: u64 = self.failures.iter().sum();
        failures + self.bad()
    }

    /// Whole responses that were 4xx and 5xx.
    pub fn bad(&self) -> u64 {
        self.classes[4] + self.classes[5]
    }

    /// Time-outs.
    pub fn timeouts(&self) -> u64 {
        self.failed(Kind::TimedOut)
    }

    /// Requests that ended, well or not.
    pub fn ended(&self) -> u64 {
        self.hits + self.failures.iter().sum::<u64>()
    }

    /// The share of all that ended that is no good answer.
    pub fn error_share(&self) -> f64 {
        match self.ended() {
            0 => 0.0,
            ended => self.errors() as f64 / ended as f64,
        }
    }

    pub(crate) fn fail(&mut self, kind: Kind, at: Duration, users: usize) {
        if let Some(count) = self.failures.get_mut(kind as usize) {
            *count += 1;
        }
        let first = || First {
            at,
            users,
            what: kind.word().to_owned(),
        };
        if kind == Kind::TimedOut {
            self.first_timeout.get_or_insert_with(first);
        }
        self.first_error.get_or_insert_with(first);
    }

    /// Says more of the first failure, if it was this one.
    pub(crate) fn explain(&mut self, kind: Kind, at: Duration, why: &str) {
        let is_it = |first: &&mut First| first.at == at && first.what == kind.word();
        if let Some(first) = self.first_error.as_mut().filter(is_it) {
            first.what = format!("{}: {why}", first.what);
        }
    }

    #[inline]
    pub(crate) fn hit(&mut self, status: u16, at: Duration, users: usize) {
        self.hits += 1;
        self.no_content += u64::from(status == 204);
        if let Some(count) = self.classes.get_mut(usize::from(status / 100)) {
            *count += 1;
        }
        if status >= 400 {
            self.first_error.get_or_insert_with(|| First {
                at,
                users,
                what: format!("status {status}"),
            });
            match self
                .error_statuses
                .iter_mut()
                .find(|(known, _)| *known == status)
            {
                Some((_, count)) => *count += 1,
                None => self.error_statuses.push((status, 1)),
            }
        }
    }

    /// The response that was counted last came after the end.
    pub(crate) fn was_late(&mut self, status: u16) {
        self.late += 1;
        self.late_bad += u64::from(status >= 400);
    }

    /// Adds what another stretch or thread has counted.
    pub fn merge(&mut self, other: &Self) {
        self.hits += other.hits;
        self.late += other.late;
        self.late_bad += other.late_bad;
        self.no_content += other.no_content;
        let add = |to: &mut [u64], from: &[u64]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to += from;
            }
        };
        add(&mut self.classes, &other.classes);
        add(&mut self.failures, &other.failures);
        add(&mut self.slow, &other.slow);
        self.corrected.merge(&other.corrected);
        self.naive.merge(&other.naive);
        self.lateness.merge(&other.lateness);
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.connections += other.connections;
        self.resent += other.resent;
        self.steps += other.steps;
        self.unsent += other.unsent;
        self.held += other.held;
        self.unfinished += other.unfinished;
        self.active = self.active.max(other.active);
        self.busy += other.busy;
        earlier(&mut self.first_error, other.first_error.as_ref());
        earlier(&mut self.first_timeout, other.first_timeout.as_ref());
        for (status, more) in &other.error_statuses {
            match self
                .error_statuses
                .iter_mut()
                .find(|(known, _)| known == status)
            {
                Some((_, count)) => *count += more,
                None => self.error_statuses.push((*status, *more)),
            }
        }
    }
}

fn earlier(first: &mut Option<First>, other: Option<&First>) {
    if let Some(other) = other
        && first.as_ref().is_none_or(|first| other.at < first.at)
    {
        *first = Some(other.clone());
    }
}

/// Bytes for the latencies of all requests of a scenario, in all threads together.
const EACH: usize = 2 << 20;

/// What one request of the scenario came to.
#[derive(Clone, Debug)]
pub struct PerRequest {
    /// Whole responses.
    pub hits: u64,
    /// Failures, 4xx and 5xx.
    pub errors: u64,
    /// Latencies from the intended start.
    pub latency: Sketch,
}

impl PerRequest {
    /// One for each request of the plan, for one of its threads.
    pub fn all(plan: &Plan) -> Vec<Self> {
        let requests = plan.scenario.requests.len();
        let one = Self {
            hits: 0,
            errors: 0,
            latency: Sketch::of_many(requests * plan.threads.max(1), EACH),
        };
        vec![one; requests]
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        self.hits += other.hits;
        self.errors += other.errors;
        self.latency.merge(&other.latency);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canter_sys::counting::{Counting, allocations};

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    #[test]
    fn kinds_stand_in_the_order_of_their_numbers() {
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!(*kind as usize, index);
        }
    }

    #[test]
    fn a3_nothing_is_kept_of_a_request() {
        let (mut tally, mut each) = (Tally::default(), Sketch::of_many(1, EACH));
        let mut request = |at: u64| {
            let time = Duration::from_micros(at * 7919 % 40_000_000);
            tally.hit(if at.is_multiple_of(3) { 503 } else { 200 }, time, 9);
            tally.fail(Kind::TimedOut, time, 9);
            tally.corrected.record(time);
            tally.naive.record(time);
            tally.lateness.record(time);
            each.record(time);
        };
        // The first error has its words, each status its count, and a sketch its buckets.
        (0..5000).for_each(&mut request);
        let before = allocations();
        (0..100_000).for_each(&mut request);
        assert_eq!(allocations(), before);
    }

    #[test]
    fn the_first_of_two_threads_is_the_earlier() {
        let (mut one, mut two) = (Tally::default(), Tally::default());
        one.hit(200, Duration::ZERO, 1);
        one.fail(Kind::TimedOut, Duration::from_secs(5), 50);
        two.hit(503, Duration::from_secs(3), 30);
        two.fail(Kind::Reset, Duration::from_secs(4), 40);
        one.merge(&two);
        assert_eq!(one.first_error.as_ref().map(|first| first.users), Some(30));
        assert_eq!(
            one.first_timeout.as_ref().map(|first| first.users),
            Some(50)
        );
        assert_eq!(
            (one.hits, one.ended(), one.errors(), one.timeouts()),
            (2, 4, 3, 1)
        );
        assert_eq!(one.error_statuses, [(503, 1)]);
    }
}
