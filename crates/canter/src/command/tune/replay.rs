//! Owns which part of a recorded log one measurement replays: as much as it is long, with a warm-up before it,
//! from the begin again where the log is shorter. Leaves sending to `canter_load`.

use std::time::Duration;

/// What one entry is: which request, and when it came, in milliseconds from the first.
pub(super) type Entry = (u32, u32);

/// Most entries of one measurement, so that memory has a bound. No generator sends more in so short a time.
const MOST: usize = 2_000_000;

/// The entries that are due in `time` at `speed` times the log's own.
pub(super) fn replay(log: &[Entry], speed: f64, time: Duration) -> Vec<Entry> {
    let end = time.as_secs_f64() * 1000.0 * speed;
    let round = round_ms(log);
    let mut found = Vec::new();
    for number in 0.. {
        let begin = round * number;
        for (which, at) in log {
            let at = begin + u64::from(*at);
            let Ok(at) = u32::try_from(at) else {
                return found;
            };
            if f64::from(at) >= end || found.len() >= MOST {
                return found;
            }
            found.push((*which, at));
        }
        if log.is_empty() {
            break;
        }
    }
    found
}

/// How long a log is until it begins again: the last is followed by the first as the others follow each other.
fn round_ms(log: &[Entry]) -> u64 {
    let last = log.last().map_or(0, |(_, at)| u64::from(*at));
    let gaps = (log.len() as u64).saturating_sub(1);
    // All at one moment are taken for a second's, as finely as most logs tell.
    last.checked_div(gaps)
        .filter(|_| last > 0)
        .map_or(1000, |gap| last + gap.max(1))
}

/// Requests a second at `speed` times the log's own.
pub(super) fn rate(log: &[Entry], speed: f64) -> f64 {
    log.len() as f64 / round_ms(log) as f64 * 1000.0 * speed
}

/// Requests a second that are due in the counted time, which `warmup` comes before.
pub(super) fn offered(entries: &[Entry], speed: f64, warmup: Duration, time: Duration) -> f64 {
    let begin = warmup.as_secs_f64() * 1000.0 * speed;
    let counted = entries.iter().filter(|(_, at)| f64::from(*at) >= begin);
    counted.count() as f64 / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_long_log_is_cut_and_a_short_one_begins_again() {
        let log = [(0, 0), (1, 100), (0, 200), (2, 300)];
        assert_eq!(replay(&log, 1.0, SECOND / 5), log[..2]);
        // Four in 400 ms: the first comes again 100 ms behind the last.
        let twice = replay(&log, 2.0, SECOND / 4);
        assert_eq!(twice[..4], log);
        assert_eq!(twice[4..], [(0, 400)]);
        assert!((rate(&log, 2.0) - 20.0).abs() < 1e-9);
        let second = replay(&log, 1.0, SECOND);
        assert_eq!((second.len(), second[9]), (10, (1, 900)));
    }

    #[test]
    fn what_is_due_is_counted_without_the_warm_up() {
        let log: Vec<Entry> = (0..100).map(|at| (0, at * 10)).collect();
        let entries = replay(&log, 2.0, SECOND * 3 / 2);
        assert_eq!(entries.len(), 300);
        let offered = offered(&entries, 2.0, SECOND / 2, SECOND);
        assert!((offered - 200.0).abs() < 1e-9, "{offered}");
    }

    #[test]
    fn logs_without_a_length_end_too() {
        assert_eq!(replay(&[], 1.0, SECOND), []);
        assert_eq!(replay(&[(0, 0), (1, 0)], 1.0, SECOND), [(0, 0), (1, 0)]);
        assert!((rate(&[(0, 0)], 5.0) - 5.0).abs() < 1e-9);
        // More than fits: the time that a log can tell, and the bound.
        assert!(replay(&[(0, u32::MAX)], 10_000.0, SECOND * 1_000_000).len() <= 2);
        assert_eq!(
            replay(&[(0, 0), (0, 1)], 10_000.0, SECOND * 1000).len(),
            MOST
        );
    }
}
