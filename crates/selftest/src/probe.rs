//! Owns ordinary requests: what a visitor would notice of an attack.
//! Leaves when they are sent to `attack`.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::target::Target;

/// How the ordinary requests during an attack went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Probes {
    pub sent: usize,
    /// Answered below 500.
    pub answered: usize,
    pub worst: Duration,
    times: Vec<Duration>,
}

impl Probes {
    /// How many waited longer than this, those without an answer included.
    pub fn later_than(&self, limit: Duration) -> usize {
        let late = self.times.iter().filter(|took| **took > limit).count();
        late + self.sent.saturating_sub(self.answered)
    }
}

/// One request on a connection of its own; the time it took.
pub(crate) async fn once(target: &Target, limit: Duration) -> Result<Duration, String> {
    let began = Instant::now();
    let ask = async {
        let mut stream = target.connect().await.map_err(|error| error.to_string())?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            target.path(),
            target.host()
        );
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| error.to_string())?;
        let mut start = [0; 12];
        stream
            .read_exact(&mut start)
            .await
            .map_err(|error| error.to_string())?;
        let status = start
            .strip_prefix(b"HTTP/1.")
            .and_then(|rest| rest.get(2..5));
        match status.and_then(|status| std::str::from_utf8(status).ok()?.parse::<u16>().ok()) {
            Some(status) if status < 500 => Ok(()),
            Some(status) => Err(format!("status {status}")),
            None => Err("an answer that is not HTTP/1".to_owned()),
        }
    };
    match timeout(limit, ask).await {
        Ok(Ok(())) => Ok(began.elapsed()),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs_f32())),
    }
}

/// So many requests, one after the other, spread over the time.
pub(crate) async fn many(target: &Target, count: usize, over: Duration) -> Probes {
    let pause = over / u32::try_from(count.max(1)).unwrap_or(u32::MAX);
    let mut probes = Probes::default();
    for _ in 0..count {
        probes.sent += 1;
        // Longer than anybody waits, so that the worst says something.
        match once(target, Duration::from_secs(5)).await {
            Ok(took) => {
                probes.answered += 1;
                probes.times.push(took);
                probes.worst = probes.worst.max(took);
            }
            Err(_) => probes.worst = probes.worst.max(Duration::from_secs(5)),
        }
        tokio::time::sleep(pause).await;
    }
    probes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_got_no_answer_was_late() {
        let probes = Probes {
            sent: 4,
            answered: 3,
            worst: Duration::from_millis(90),
            times: [10, 60, 90].map(Duration::from_millis).to_vec(),
        };
        let late = |limit| probes.later_than(Duration::from_millis(limit));
        assert_eq!([late(5), late(50), late(70), late(100)], [4, 3, 2, 1]);
    }
}
