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
    /// Those of them that Django has no catalogue for: it chooses them only in place of a relative.
    languages_without_words: Vec<String>,
    /// Languages and what Django takes in their place, before it takes a shorter tag.
    fallbacks: Vec<(String, String)>,
    /// Django tries a tag with each of its parts left out from the end; before 5.2 only the first part.
    shorter_tags: bool,
    /// That of visitors who ask for none of these.
    pub default_language: String,
    /// Hosts that are served, as `ALLOWED_HOSTS` spells them; empty for any.
    pub hosts: Vec<String>,
    /// The app takes its host from `X-Forwarded-Host`.
    pub forwarded_host: bool,
    /// Pages must not be kept.
    pub debug: bool,
}

/// Where Django keeps the messages for a visitor's next page.
const MESSAGES: &[u8] = b"messages";

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
            "language-without-words" if self.languages_without_words.len() < MOST_NAMES => {
                self.languages_without_words
                    .push(value.to_ascii_lowercase());
            }
            "language-fallback" if self.fallbacks.len() < MOST_NAMES => {
                if let Some((tag, other)) = value.split_once('\t') {
                    self.fallbacks.push((tag.to_owned(), other.to_owned()));
                }
            }
            "language-shorter-tags" => self.shorter_tags = true,
            "language-default" => self.default_language = value.to_ascii_lowercase(),
            "host" if self.hosts.len() < MOST_NAMES => self.hosts.push(value.to_ascii_lowercase()),
            "forwarded-host" => self.forwarded_host = true,
            "debug" => self.debug = true,
            _ => {}
        }
    }

    /// Whether a cookie says who a visitor is, or which language they read. One with messages does not:
    /// a form that was taken sets it as well.
    pub fn is_of_the_visitor(&self, cookie: &[u8]) -> bool {
        let is_session = self.private_cookies.iter().any(|own| own == cookie);
        (is_session && cookie != MESSAGES) || self.language_cookie.as_deref() == Some(cookie)
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

    /// The language that the app will choose for this `Accept-Language`, as Django does: the first by
    /// weight that the site has, or has a relative of. A list that Django cannot read says nothing.
    pub fn language(&self, accepted: &[u8]) -> &str {
        let wanted = accepted_languages(accepted).unwrap_or_default();
        let mut wanted = wanted.iter().take_while(|tag| *tag != "*");
        wanted
            .find_map(|tag| self.variant(tag))
            .or_else(|| self.variant(&self.default_language))
            .unwrap_or(&self.default_language)
    }

    /// The language that the app will choose for this cookie.
    pub fn chosen_language(&self, cookie: &str) -> Option<&str> {
        let own = self.languages.iter().find(|own| *own == cookie);
        let own = own.filter(|own| self.has_words(own));
        own.map(String::as_str).or_else(|| self.variant(cookie))
    }

    fn has_words(&self, language: &str) -> bool {
        let without = &self.languages_without_words;
        without.iter().all(|own| own != language)
    }

    /// The site's own form of a language: itself, what Django takes in its place, a shorter tag, or
    /// the first that begins with the same (`get_supported_language_variant`).
    fn variant(&self, tag: &str) -> Option<&str> {
        let mut tag = tag;
        if tag.len() > LONGEST_LANGUAGES {
            let end = tag
                .get(..LONGEST_LANGUAGES)?
                .rfind('-')
                .filter(|&at| at > 0)?;
            tag = tag.get(..end)?;
        }
        if tag.is_empty() {
            return None;
        }
        let fallbacks = self.fallbacks.iter().filter(|(own, _)| own == tag);
        let mut tries: Vec<&str> = vec![tag];
        tries.extend(fallbacks.map(|(_, other)| other.as_str()));
        let mut shorter = tag;
        while let Some((rest, _)) = shorter.rsplit_once('-') {
            shorter = rest;
            if self.shorter_tags || !rest.contains('-') {
                tries.push(rest);
            }
        }
        let general = tries.last()?;
        let exact = tries.iter().find_map(|tag| {
            let lower = tag.to_ascii_lowercase();
            let own = self.languages.iter().find(|own| **own == lower)?;
            self.has_words(own).then_some(own)
        });
        let is_near = |own: &&String| {
            let rest = own.strip_prefix(*general);
            rest.is_some_and(|rest| rest.starts_with('-'))
        };
        let near = || self.languages.iter().find(is_near);
        exact.or_else(near).map(String::as_str)
    }
}

/// What Django reads of a language or a list of them.
const LONGEST_LANGUAGES: usize = 500;

/// The tags of `Accept-Language` by weight, in lower case, as Django reads them; None for what it does
/// not take for such a list.
fn accepted_languages(text: &[u8]) -> Option<Vec<String>> {
    let text = if text.len() > LONGEST_LANGUAGES {
        let start = text.get(..LONGEST_LANGUAGES)?;
        let comma = start.iter().rposition(|&byte| byte == b',');
        text.get(..comma.filter(|&at| at > 0)?)?
    } else {
        text
    };
    let mut ranges = Vec::new();
    let mut elements = text.split(|&byte| byte == b',').peekable();
    while let Some(element) = elements.next() {
        let (is_first, is_last) = (ranges.is_empty(), elements.peek().is_none());
        if is_last && !is_first && trim_start(element).is_empty() {
            break;
        }
        let element = if is_first {
            element
        } else {
            trim_start(element)
        };
        let element = if is_last { element } else { trim_end(element) };
        let mut parts = element.splitn(2, |&byte| byte == b';');
        let tag = parts.next()?;
        let (tag, weight) = match parts.next() {
            Some(parameter) => (trim_end(tag), weight(trim_start(parameter))?),
            None => (tag, 1000),
        };
        let tag = std::str::from_utf8(tag).ok()?.to_ascii_lowercase();
        if tag != "*" && !is_language_tag(&tag) {
            return None;
        }
        ranges.push((weight, tag));
    }
    ranges.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    Some(ranges.into_iter().map(|(_, tag)| tag).collect())
}

fn is_language_tag(tag: &str) -> bool {
    let is_subtag = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let first = tag.split('-').next().unwrap_or_default();
    tag.split('-').all(is_subtag) && first.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// White space to Python in the characters that a field can have.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=b' ' | 0x85 | 0xa0)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|&byte| !is_space(byte));
    bytes
        .get(start.unwrap_or(bytes.len())..)
        .unwrap_or_default()
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let last = bytes.iter().rposition(|&byte| !is_space(byte));
    bytes
        .get(..last.map_or(0, |last| last + 1))
        .unwrap_or_default()
}

/// Thousandths; None for what Django takes for no weight.
fn weight(parameter: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(parameter).ok()?.to_ascii_lowercase();
    let digits = text.strip_prefix("q=")?;
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, fraction) {
        ("0", _) => Some(fraction),
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

    fn with_languages(more: &str) -> Site {
        let languages = [
            "en", "zh-hans", "zh-hant", "de", "pt-br", "es-ar", "es", "xx-yy",
        ];
        let lines = languages.map(|language| format!("cache-language\t{language}\n"));
        Site::read(&format!(
            "{}cache-language-default\ten\ncache-language-without-words\txx-yy\n\
             cache-language-fallback\tzh-tw\tzh-hant\ncache-language-fallback\tzh-hk\tzh-hant\n\
             cache-language-fallback\tzh-cn\tzh-hans\n{more}",
            lines.concat()
        ))
    }

    /// Each as `get_language_from_request` of Django 6.1 has it.
    #[test]
    fn b5_the_language_is_the_one_that_the_app_will_choose() {
        let site = with_languages("cache-language-shorter-tags\t1\n");
        let long = format!("de,{}", "fr,".repeat(170));
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
            ("de;q=0", "de"),
            ("de;q=2", "en"),
            ("de;q=2, pt", "en"),
            ("de;q=x", "en"),
            (";;;,,,", "en"),
            ("zh-TW", "zh-hant"),
            ("zh-HK,zh;q=0.9", "zh-hant"),
            ("zh-Hant-TW", "zh-hant"),
            ("zh-hant-hk-x", "zh-hant"),
            ("zh-CN", "zh-hans"),
            ("zh", "zh-hans"),
            ("es-MX", "es"),
            ("es-ar-x", "es-ar"),
            ("xx", "xx-yy"),
            ("xx-yy", "xx-yy"),
            ("de,", "de"),
            ("de,,pt", "en"),
            (",de", "en"),
            ("de , pt", "de"),
            ("de;q=0.5,pt;q=0.5", "de"),
            ("de;q=0.5000", "en"),
            ("de;q=.5", "en"),
            ("de;q=1.", "de"),
            ("de;q=0.,pt;q=0.1", "pt-br"),
            ("toolonglang,de", "en"),
            ("de_DE", "en"),
            ("de;q=0.5;x", "en"),
            ("de;x=1", "en"),
            (&long, "de"),
            (&"fr,".repeat(171), "en"),
            (&"a".repeat(501), "en"),
            (&"de-".repeat(200), "en"),
        ] {
            assert_eq!(site.language(accepted.as_bytes()), expected, "{accepted}");
        }
        assert_eq!(site.language(b"de\xa0,pt"), "de");
        for (cookie, expected) in [
            ("de", Some("de")),
            ("zh-TW", Some("zh-hans")),
            ("zh-tw", Some("zh-hant")),
            ("zh-Hant-TW", Some("zh-hant")),
            ("PT", None),
            ("pt-PT", Some("pt-br")),
            ("xx-yy", Some("xx-yy")),
            ("XX", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(site.chosen_language(cookie), expected, "{cookie}");
        }
        // Before 5.2.
        let site = with_languages("");
        assert_eq!(site.language(b"zh-hant-tw"), "zh-hans");
        assert_eq!(site.language(b"es-ar-x"), "es");
        assert_eq!(site.language(b"zh-tw"), "zh-hant");
    }
}
