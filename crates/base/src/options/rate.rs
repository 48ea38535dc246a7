//! A rate limit as one value: `60/min path=/login/ key=ip burst=10`. Owns its grammar; counting is
//! the front's.

use std::time::Duration;

use super::value::{Value, Wrong};

/// So many requests in a time, for each client or whatever else is told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in each period.
    pub requests: u32,
    /// The period.
    pub period: Duration,
    /// Most at once.
    pub burst: u32,
    /// What is told apart.
    pub key: RateKey,
    /// Which paths it is for: those that begin with this.
    pub path: String,
    /// Only say in the log what would be refused.
    pub dry_run: bool,
}

/// What requests are told apart by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address; of IPv6 the /64.
    Ip,
    /// A header field, its name in lower case.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// Nothing: all requests together.
    All,
}

const EXPECTED: &str = "expected a rate such as `60/min`, then, if need be, `path=/login/`, `key=ip`, `burst=10`, `dry-run`";

impl Value for RateLimit {
    const KIND: &'static str = "RATE";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        let mut words = text.split_whitespace();
        let rate = words.next().and_then(|word| word.split_once('/'));
        let (count, period) = rate.ok_or_else(|| Wrong::expected(EXPECTED))?;
        let requests = count.parse().ok().filter(|count| *count > 0);
        let requests: u32 = requests
            .ok_or_else(|| Wrong::expected(EXPECTED).hint("the number before `/` is at least 1"))?;
        let period = period_of(period).ok_or_else(|| {
            Wrong::expected(EXPECTED)
                .hint("after `/` comes `s`, `min`, `h`, `day`, or a time such as `10s`")
        })?;
        let mut limit = Self {
            requests,
            period,
            burst: requests,
            key: RateKey::Ip,
            path: "/".to_owned(),
            dry_run: false,
        };
        for word in words {
            limit.refine(word)?;
        }
        Ok(limit)
    }

    fn show(&self) -> String {
        let key = match &self.key {
            RateKey::Ip => "ip".to_owned(),
            RateKey::Header(name) => format!("header:{name}"),
            RateKey::Cookie(name) => format!("cookie:{name}"),
            RateKey::All => "all".to_owned(),
        };
        let mut text = format!("{}/{}ms", self.requests, self.period.as_millis());
        if self.period.subsec_millis() == 0 {
            text = format!("{}/{}s", self.requests, self.period.as_secs());
        }
        if self.path != "/" {
            text = format!("{text} path={}", self.path);
        }
        if self.burst != self.requests {
            text = format!("{text} burst={}", self.burst);
        }
        text = format!("{text} key={key}");
        if self.dry_run {
            text.push_str(" dry-run");
        }
        text
    }
}

impl RateLimit {
    fn refine(&mut self, word: &str) -> Result<(), Wrong> {
        let unknown = || Wrong::expected(EXPECTED).hint(format!("`{word}` is none of these"));
        match word.split_once('=') {
            None if word == "dry-run" => self.dry_run = true,
            Some(("burst", count)) => {
                let count = count.parse().ok().filter(|count| *count > 0);
                self.burst = count.ok_or_else(unknown)?;
            }
            Some(("path", path)) if path.starts_with('/') => path.clone_into(&mut self.path),
            Some(("path", _)) => return Err(unknown().hint("a path begins with `/`")),
            Some(("key", key)) => {
                self.key = match key.split_once(':') {
                    None if key == "ip" => RateKey::Ip,
                    None if key == "all" => RateKey::All,
                    Some(("header", name)) if !name.is_empty() => {
                        RateKey::Header(name.to_ascii_lowercase())
                    }
                    Some(("cookie", name)) if !name.is_empty() => RateKey::Cookie(name.to_owned()),
                    _ => {
                        return Err(
                            unknown().hint("a key is `ip`, `header:NAME`, `cookie:NAME` or `all`")
                        );
                    }
                };
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn period_of(text: &str) -> Option<Duration> {
    let seconds = match text {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3600,
        "d" | "day" => 86_400,
        other => {
            return <Duration as Value>::parse(other)
                .ok()
                .filter(|period| !period.is_zero());
        }
    };
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_and_shown_alike() {
        let rows = [
            ("60/min", "60/60s key=ip"),
            ("5/s burst=20", "5/1s burst=20 key=ip"),
            ("10/10s path=/login/ key=ip", "10/10s path=/login/ key=ip"),
            (
                "100/h key=header:X-Api-Key",
                "100/3600s key=header:x-api-key",
            ),
            (
                "1/250ms key=cookie:sessionid dry-run",
                "1/250ms key=cookie:sessionid dry-run",
            ),
            ("1000/s key=all", "1000/1s key=all"),
        ];
        for (text, shown) in rows {
            let limit = RateLimit::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!(limit.show(), shown);
            assert_eq!(RateLimit::parse(shown), Ok(limit));
        }
        for bad in [
            "",
            "60",
            "0/min",
            "60/",
            "60/fortnight",
            "60/0s",
            "60/min path=login",
            "60/min key=x",
            "60/min key=header:",
            "60/min burst=0",
            "60/min burst",
            "60/min sometimes",
        ] {
            assert!(RateLimit::parse(bad).is_err(), "{bad}");
        }
    }
}
