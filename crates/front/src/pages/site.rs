//! What a site says of itself that the page cache must know: owns reading it from the text that
//! Python sends, and the choice of a language. Leaves what follows to `shape`.
//!
//! One line for each thing, its parts separated by tabs, among those of `canter_files::Site`.

/// Lines that are read.
const MOST_LINES: usize = 200_000;
/// Languages and hosts that are kept.
const MOST_NAMES: usize = 512;

/// What is known of the site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Site {
    /// Cookies that make a page personal: of sessions and messages.
    pub private_cookies: Vec<Vec<u8>>,
    /// The cookie of Django's protection against forged requests.
    pub csrf_cookie: Option<Vec<u8>>,
    /// The cookie that chooses a language.
    pub language_cookie: Option<Vec<u8>>,
    /// The languages, in lower case; empty where the site has one.
    pub languages: Vec<String>,
    /// That of visitors who ask for none of these.
    pub default_language: String,
    /// Hosts that are served, as `ALLOWED_HOSTS` spells them; empty for any.
    pub hosts: Vec<String>,
    /// The app takes its host from `X-Forwarded-Host`.
    pub forwarded_host: bool,
    /// Pages must not be kept.
    pub debug: bool,
}

/// Cookies that mean a session in apps that are not Django's.
const USUAL_SESSIONS: [&str; 5] = [
    "sessionid",
    "session",
    "messages",
    "connect.sid",
    "beaker.session.id",
];

impl Site {
    /// Reads what Python has sent; an app that is no Django site says nothing.
    pub fn read(text: &str) -> Self {
        let mut site = Self::default();
        let mut is_django = false;
        for line in text.lines().take(MOST_LINES) {
            let Some(rest) = line.strip_prefix("cache-") else {
                continue;
            };
            let Some((word, value)) = rest.split_once('\t') else {
                continue;
            };
            is_django = true;
            site.take(word, value);
        }
        if !is_django {
            let usual = USUAL_SESSIONS.iter().map(|name| name.as_bytes().to_vec());
            site.private_cookies = usual.collect();
        }
        site
    }

    fn take(&mut self, word: &str, value: &str) {
        let bytes = || value.as_bytes().to_vec();
        match word {
            "private-cookie" => self.private_cookies.push(bytes()),
            "csrf-cookie" => self.csrf_cookie = Some(bytes()),
            "language-cookie" => self.language_cookie = Some(bytes()),
            "language" if self.languages.len() < MOST_NAMES => {
                self.languages.push(value.to_ascii_lowercase());
            }
            "language-default" => self.default_language = value.to_ascii_lowercase(),
            "host" if self.hosts.len() < MOST_NAMES => self.hosts.push(value.to_ascii_lowercase()),
            "forwarded-host" => self.forwarded_host = true,
            "debug" => self.debug = true,
            _ => {}
        }
    }

    /// Whether the app would serve this host, which is in lower case. One that it refuses need not
    /// be kept anything for.
    pub fn serves(&self, host: &[u8]) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let name = without_port(host);
        self.hosts.iter().any(|own| match own.strip_prefix('.') {
            _ if own == "*" => true,
            Some(domain) => {
                name == domain.as_bytes()
                    || name
                        .strip_suffix(domain.as_bytes())
                        .is_some_and(|rest| rest.ends_with(b"."))
            }
            None => name == own.as_bytes(),
        })
    }

    /// The language that the app will choose for this `Accept-Language`, as Django does: the first
    /// by weight that the site has, in full or in its general form.
    pub fn language(&self, accepted: &[u8]) -> &str {
        let text = String::from_utf8_lossy(accepted.get(..500).unwrap_or(accepted));
        let mut wanted: Vec<(u16, String)> = text
            .split(',')
            .filter_map(|range| {
                let mut parts = range.split(';');
                let tag = parts.next()?.trim().to_ascii_lowercase();
                let weight = parts.next().map_or(Some(1000), weight)?;
                (!tag.is_empty() && weight > 0).then_some((weight, tag))
            })
            .collect();
        wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        wanted
            .iter()
            .take_while(|(_, tag)| tag != "*")
            .find_map(|(_, tag)| self.variant(tag))
            .unwrap_or(&self.default_language)
    }

    /// The site's own form of a language.
    pub fn variant(&self, tag: &str) -> Option<&str> {
        let own = |tag: &str| self.languages.iter().find(|own| *own == tag);
        if let Some(exact) = own(tag) {
            return Some(exact);
        }
        let general = tag.split('-').next()?;
        let near = |own: &&String| own.split('-').next() == Some(general);
        own(general)
            .or_else(|| self.languages.iter().find(near))
            .map(String::as_str)
    }
}

/// Thousandths; None for what is no weight (RFC 9110, section 12.4.2).
fn weight(parameter: &str) -> Option<u16> {
    let digits = parameter.trim().strip_prefix("q=")?.trim();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", 0..=999) => Some(fraction),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|&byte| byte == b':') {
        Some(colon) if !host.ends_with(b"]") => host.get(..colon).unwrap_or_default(),
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_read_and_what_is_of_others_passed_over() {
        let site = Site::read(
            "static\t/s/\t/srv\ncache-django\t1\ncache-private-cookie\tsid\ncache-csrf-cookie\tct\n\
             cache-language\tpt-BR\ncache-host\t.Example.org\ncache-debug\t1\ncache-new\tx\ncache-x\n",
        );
        assert_eq!(site.private_cookies, [b"sid".to_vec()]);
        assert_eq!(site.csrf_cookie.as_deref(), Some(&b"ct"[..]));
        assert!(site.debug && site.languages == ["pt-br"]);
        let other = Site::read("static\t/s/\t/srv\n");
        assert!(other.private_cookies.contains(&b"session".to_vec()) && !other.debug);
    }

    #[test]
    fn b2_hosts_are_those_of_allowed_hosts() {
        let site =
            Site::read("cache-host\t.example.org\ncache-host\tother.net\ncache-host\t[::1]\n");
        for (host, is_served) in [
            ("example.org", true),
            ("a.b.example.org:8000", true),
            ("other.net", true),
            ("a.other.net", false),
            ("notexample.org", false),
            ("[::1]:80", true),
            ("", false),
        ] {
            assert_eq!(site.serves(host.as_bytes()), is_served, "{host}");
        }
        assert!(Site::default().serves(b"anything"));
        assert!(Site::read("cache-host\t*\n").serves(b"anything"));
    }

    #[test]
    fn b5_the_language_is_the_one_that_the_app_will_choose() {
        let site = Site::read(
            "cache-language\ten\ncache-language\tde\ncache-language\tpt-br\ncache-language\tzh-hans\n\
             cache-language-default\ten\n",
        );
        for (accepted, expected) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9", "de"),
            ("fr, de;q=0.3", "de"),
            ("en;q=0.2, DE;q=0.8", "de"),
            ("pt", "pt-br"),
            ("pt-PT", "pt-br"),
            ("fr", "en"),
            ("*, de;q=0.1", "en"),
            ("de;q=0", "en"),
            ("de;q=2", "en"),
            ("de;q=x", "en"),
            (";;;,,,", "en"),
        ] {
            assert_eq!(site.language(accepted.as_bytes()), expected, "{accepted}");
        }
    }
}
