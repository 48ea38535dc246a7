//! Values of the web that options hold: HSTS, early hints, names of sites, addresses of certificate
//! authorities. Owns their grammar; what they cause is the front's.

use std::time::Duration;

use super::value::{Value, Wrong};

/// How long browsers are to use HTTPS alone (RFC 6797).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hsts {
    /// For how long.
    pub max_age: Duration,
    /// For every name below this one, too.
    pub include_subdomains: bool,
    /// May be built into browsers.
    pub preload: bool,
}

const DAY: u64 = 24 * 3600;

impl Hsts {
    /// The value of the field.
    pub fn field_value(&self) -> String {
        let mut value = format!("max-age={}", self.max_age.as_secs());
        for (is_set, word) in self.words() {
            if is_set {
                value.push_str("; ");
                value.push_str(word);
            }
        }
        value
    }

    fn words(&self) -> [(bool, &'static str); 2] {
        [
            (self.include_subdomains, "includeSubDomains"),
            (self.preload, "preload"),
        ]
    }
}

impl Value for Hsts {
    const KIND: &'static str = "HSTS";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let expected =
            "expected a time such as `365d`, then, if need be, `includeSubDomains` and `preload`";
        let wrong = || Wrong::expected(expected);
        let mut words = text.split([' ', ';']).filter(|word| !word.is_empty());
        let max_age = words.next().and_then(age).ok_or_else(wrong)?;
        let mut hsts = Self {
            max_age,
            include_subdomains: false,
            preload: false,
        };
        for word in words {
            match word.to_ascii_lowercase().as_str() {
                "includesubdomains" => hsts.include_subdomains = true,
                "preload" => hsts.preload = true,
                _ => return Err(wrong()),
            }
        }
        if hsts.preload && !(hsts.include_subdomains && max_age.as_secs() >= 365 * DAY) {
            return Err(wrong().hint("`preload` needs `365d` or more and `includeSubDomains`"));
        }
        Ok(hsts)
    }

    fn show(&self) -> String {
        let seconds = self.max_age.as_secs();
        let mut text = if seconds > 0 && seconds.is_multiple_of(DAY) {
            format!("{}d", seconds / DAY)
        } else {
            Value::show(&self.max_age)
        };
        for (is_set, word) in self.words() {
            if is_set {
                text.push(' ');
                text.push_str(word);
            }
        }
        text
    }
}

/// Two years are what browsers cap it at.
fn age(text: &str) -> Option<Duration> {
    let age = match text.strip_suffix('d') {
        Some(days) => {
            let digits = !days.is_empty() && days.bytes().all(|byte| byte.is_ascii_digit());
            let days = days.parse::<u64>().ok().filter(|_| digits)?;
            Duration::from_secs(days.checked_mul(DAY)?)
        }
        None => <Duration as Value>::parse(text).ok()?,
    };
    (age.as_secs() <= 730 * DAY).then_some(age)
}

/// A link told before the answer is known (RFC 8297).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlyHint {
    /// Which paths it is for.
    pub path: String,
    /// Whether paths that only begin so are meant, too.
    pub is_prefix: bool,
    /// The value of a `Link` field, or [`EarlyHint::LEARNED`].
    link: String,
}

impl EarlyHint {
    /// In place of a link: those of the last answer.
    const LEARNED: &'static str = "link";

    /// The value of a `Link` field; None where it is that of the app's last answer.
    pub fn link(&self) -> Option<&str> {
        Some(self.link.as_str()).filter(|link| *link != Self::LEARNED)
    }

    /// Whether it is for this path.
    pub fn is_for(&self, path: &[u8]) -> bool {
        if self.is_prefix {
            path.starts_with(self.path.as_bytes())
        } else {
            path == self.path.as_bytes()
        }
    }
}

impl Value for EarlyHint {
    const KIND: &'static str = "PATH=LINK";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || {
            Wrong::expected(
                "expected a path and a link such as `/=</site.css>; rel=preload; as=style`, or `/=link` \
                 for those of the app's own `Link` field",
            )
        };
        let (path, link) = text.split_once('=').ok_or_else(wrong)?;
        let printable = |text: &str| text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
        let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let fits = target.is_some_and(|(target, more)| {
            !target.is_empty() && !target.contains(' ') && more.trim_start().starts_with(';')
        });
        let is_learned = link == Self::LEARNED;
        let fits = fits || is_learned;
        if !path.starts_with('/') || path.contains(' ') || !fits || !printable(text) {
            return Err(wrong());
        }
        if !is_learned && !link.contains("rel=") {
            return Err(
                wrong().hint("a link says what it is for: `rel=preload` or `rel=preconnect`")
            );
        }
        let (path, is_prefix) = match path.strip_suffix('*') {
            Some(path) => (path, true),
            None => (path, false),
        };
        Ok(Self {
            path: path.to_owned(),
            is_prefix,
            link: link.to_owned(),
        })
    }

    fn show(&self) -> String {
        let star = if self.is_prefix { "*" } else { "" };
        format!("{}{star}={}", self.path, self.link)
    }
}

/// The name of a site, as in DNS and in certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainName(pub String);

impl Value for DomainName {
    const KIND: &'static str = "NAME";
    const SEPARATOR: Option<char> = Some(',');

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::expected("expected a name such as `example.org`");
        if text.starts_with("*.") {
            return Err(wrong().hint(
                "a certificate for every name below takes a change in DNS; name each site instead",
            ));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let name = text.to_ascii_lowercase();
        let top = name.rsplit('.').next().unwrap_or_default();
        let numeric = top.bytes().all(|byte| byte.is_ascii_digit());
        if name.len() > 253 || numeric || !name.split('.').all(label) {
            return Err(wrong());
        }
        Ok(Self(name))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Where a certificate authority speaks ACME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeDirectory(pub String);

impl Value for AcmeDirectory {
    const KIND: &'static str = "URL";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let rest = text.strip_prefix("https://").unwrap_or_default();
        let plain = text.bytes().all(|byte| matches!(byte, 0x21..=0x7e));
        if rest.is_empty() || rest.starts_with('/') || !plain {
            return Err(Wrong::expected(
                "expected an address such as `https://acme-v02.api.letsencrypt.org/directory`",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsts_is_a_time_and_two_words() {
        for (text, field) in [
            ("365d", Some("max-age=31536000")),
            ("5m", Some("max-age=300")),
            (
                "30d includeSubDomains",
                Some("max-age=2592000; includeSubDomains"),
            ),
            (
                "730d; includesubdomains; preload",
                Some("max-age=63072000; includeSubDomains; preload"),
            ),
            ("365d preload", None),
            ("30d includeSubDomains preload", None),
            ("", None),
            ("d", None),
            ("+1d", None),
            ("731d", None),
            ("365d forever", None),
        ] {
            let hsts = Hsts::parse(text).ok();
            assert_eq!(
                hsts.as_ref().map(Hsts::field_value).as_deref(),
                field,
                "{text}"
            );
            if let Some(hsts) = hsts {
                assert_eq!(Hsts::parse(&Value::show(&hsts)), Ok(hsts));
            }
        }
    }

    #[test]
    fn a_hint_is_a_path_and_a_link() {
        let hint = EarlyHint::parse("/a/*=</site.css>; rel=preload; as=style").unwrap();
        assert_eq!(hint.link(), Some("</site.css>; rel=preload; as=style"));
        assert!(hint.is_for(b"/a/b") && !hint.is_for(b"/b"));
        assert_eq!(EarlyHint::parse(&Value::show(&hint)), Ok(hint));
        let exact = EarlyHint::parse("/=<https://cdn.example>; rel=preconnect").unwrap();
        assert!(exact.is_for(b"/") && !exact.is_for(b"/b"));
        let learned = EarlyHint::parse("/shop/*=link").unwrap();
        assert!(learned.is_for(b"/shop/1") && learned.link().is_none());
        for bad in [
            "",
            "/",
            "/=site.css",
            "a=<b>; rel=preload",
            "/=<>; rel=preload",
            "/=<b> rel=preload",
            "/=<b>; as=style",
            "/=<b>; rel=preload\r\nSet-Cookie: a",
        ] {
            assert!(EarlyHint::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_addresses_of_authorities_are_checked() {
        assert_eq!(DomainName::parse("Example.ORG").unwrap().0, "example.org");
        for bad in [
            "",
            ".",
            "a..b",
            "-a.org",
            "a_b.org",
            "192.0.2.1",
            "*.example.org",
            "a b",
        ] {
            assert!(DomainName::parse(bad).is_err(), "{bad}");
        }
        assert!(AcmeDirectory::parse("https://localhost:14000/dir").is_ok());
        for bad in [
            "",
            "https://",
            "http://example.org",
            "https:///dir",
            "https://a b",
        ] {
            assert!(AcmeDirectory::parse(bad).is_err(), "{bad}");
        }
    }
}
