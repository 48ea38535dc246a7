//! Owns the forecast of memory: when the limit is reached if it goes on growing as it did, and the
//! words for that and for what makes it grow.
//! Leaves the points to `history`, and who is told to the program.
//!
//! The slope is the middle one of all pairs of points (Theil and Sen): one large request, or a worker
//! that was replaced, does not bend it as it would bend a line of least squares.

pub mod threads;

use std::time::Duration;

use crate::routes::Route;

/// Seconds that are looked at, and that must have been seen before anything is said.
const WINDOW_S: u64 = 1800;
const LEAST_S: u64 = 600;
/// Points that are compared with each other.
const MOST_POINTS: usize = 60;
/// Of 100 pairs, so many must grow: else it goes up and down.
const GROWING: usize = 70;
/// Less growth of a route is not spoken of.
pub const LEAST_GROWN_KB: i64 = 1024;
/// Nothing is said beyond a day.
const FARTHEST_S: u64 = 86_400;

/// Seconds until `limit` is reached; None without a limit, without growth, or too early to say.
/// `points` are seconds since the start and kilobytes, oldest first.
pub fn seconds_left(points: &[(u64, u64)], limit: u64) -> Option<u64> {
    let (last_s, last) = *points.last()?;
    let recent = points
        .iter()
        .filter(|(at, _)| at + WINDOW_S >= last_s && *at > 0);
    let recent: Vec<(u64, u64)> = recent.copied().collect();
    let first_s = recent.first()?.0;
    if limit == 0 || last_s < first_s + LEAST_S {
        return None;
    }
    if last >= limit {
        return Some(0);
    }
    let step = recent.len().div_ceil(MOST_POINTS).max(1);
    let thin: Vec<(u64, u64)> = recent.into_iter().rev().step_by(step).collect();
    let mut slopes = Vec::with_capacity(thin.len() * thin.len() / 2);
    for (at, later) in thin.iter().enumerate() {
        for earlier in thin.iter().skip(at + 1).filter(|it| it.0 < later.0) {
            let grown = later.1 as f64 - earlier.1 as f64;
            slopes.push(grown / (later.0 - earlier.0) as f64);
        }
    }
    let growing = slopes.iter().filter(|slope| **slope > 0.0).count();
    if slopes.is_empty() || growing * 100 < slopes.len() * GROWING {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let slope = slopes.get(slopes.len() / 2).copied()?;
    // None also where it shrinks: there is no time before now.
    let left = Duration::try_from_secs_f64((limit - last) as f64 / slope).ok()?;
    Some(left.as_secs()).filter(|left| *left <= FARTHEST_S)
}

/// For people: `full in ~40 min`.
pub fn sentence(seconds: u64) -> String {
    match seconds {
        0..60 => "full within a minute".to_owned(),
        60..7200 => format!("full in ~{} min", seconds / 60),
        _ => format!("full in ~{} h", seconds / 3600),
    }
}

/// For people: `GET /export/ +120 MB, 48 kB a request`.
pub fn grown(route: &Route) -> String {
    let each = route.grown_kb / i64::try_from(route.requests.max(1)).unwrap_or(i64::MAX);
    let total = route.grown_kb / 1024;
    format!("{} {total:+} MB, {each} kB a request", route.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A point each 5 s for so many seconds.
    fn points(seconds: u64, kb: impl Fn(u64) -> u64) -> Vec<(u64, u64)> {
        (1..=seconds / 5)
            .map(|step| (step * 5, kb(step * 5)))
            .collect()
    }

    #[test]
    fn d6_steady_growth_is_told_with_the_time_that_is_left() {
        // 100 kB a second from 100 MB on: half of 400 MB is left after 1000 s.
        let grows = points(1000, |at| 100_000 + 100 * at);
        assert_eq!(seconds_left(&grows, 200_000 + 60_000), Some(600));
        assert_eq!(seconds_left(&grows, 150_000), Some(0));
        assert_eq!(sentence(600), "full in ~10 min");
        assert_eq!(sentence(9000), "full in ~2 h");
    }

    #[test]
    fn d6_what_goes_up_and_down_or_once_up_or_was_hardly_seen_is_no_growth() {
        let saw = points(1800, |at| 100_000 + 1000 * (at % 100));
        let step = points(1800, |at| if at < 900 { 100_000 } else { 150_000 });
        let down = points(1800, |at| 400_000 - 100 * at);
        let early = points(500, |at| 100_000 + 100 * at);
        for (name, points) in [
            ("saw", saw),
            ("step", step),
            ("down", down),
            ("early", early),
        ] {
            assert_eq!(seconds_left(&points, 500_000), None, "{name}");
        }
        let grows = points(1000, |at| 100_000 + 100 * at);
        assert_eq!(seconds_left(&grows, 0), None);
        assert_eq!(seconds_left(&[], 500_000), None);
        let slowly = points(1800, |at| 100_000 + at / 60);
        assert_eq!(seconds_left(&slowly, 500_000), None);
    }

    #[test]
    fn d6_a_replaced_worker_does_not_bend_the_forecast() {
        let grows = points(1800, |at| {
            100_000 + 100 * at - if (900..930).contains(&at) { 60_000 } else { 0 }
        });
        let left = seconds_left(&grows, 400_000).unwrap();
        assert!((1150..1250).contains(&left), "{left}");
    }
}
