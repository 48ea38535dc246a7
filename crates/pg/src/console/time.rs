//! Times of day in words, in UTC. Leaves clocks to the standard library.

use std::time::{SystemTime, UNIX_EPOCH};

use canter_base::clock::civil;
use tokio::time::Instant;

/// `2026-11-21 08:04:55 UTC`, as PgBouncer writes it.
pub(super) fn stamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The time of day of an instant of the past.
pub(super) fn stamp_of(instant: Instant) -> String {
    let now = SystemTime::now();
    stamp(now.checked_sub(instant.elapsed()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_around_leap_years() {
        let rows = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_200, "2024-03-01 00:00:00 UTC"),
            (1_795_248_295, "2026-11-21 08:04:55 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(stamp(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }
}
