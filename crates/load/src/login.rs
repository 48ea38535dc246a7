//! Owns what a login takes: the hidden fields of a form, and a body made of them and of what the
//! user types. Understands Django's form, whose token is in the page and in a cookie.
//! Leaves sending to the engine.

use crate::scenario::Request;
use crate::target::Site;

/// Who logs in where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Path of the page with the form, which also takes it.
    pub path: String,
    /// What is typed: names, and values in the pieces between which the number of the user stands.
    fields: Vec<(String, Vec<String>)>,
    /// Fields of the head that every request has.
    pub headers: Vec<(String, String)>,
}

impl Login {
    /// Reads `username=user{n}&password=secret`: `{n}` stands for the number of the user, and `%26` for the
    /// `&` of a value, as in a URL (RFC 3986, section 2.1). A `+` is a plus: people type it in addresses.
    ///
    /// # Errors
    /// In words that do not repeat a password.
    pub fn parse(path: &str, fields: &str) -> Result<Self, String> {
        if !crate::target::is_path(path) {
            return Err(format!("`{path}` is no path such as `/login/`"));
        }
        let pair = |(at, pair): (usize, &str)| {
            let at = at + 1;
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                format!("field {at} has no `=`; a `&` that belongs to a value is written `%26`")
            })?;
            let decoded = |text: &str| {
                decode(text).ok_or_else(|| {
                    format!(
                        "field {at} has a `%` that begins no character; `%` itself is written `%25`"
                    )
                })
            };
            let name = decoded(name)?;
            if name.is_empty() {
                return Err(format!("field {at} has no name"));
            }
            let pieces: Result<Vec<String>, String> = value.split("{n}").map(decoded).collect();
            Ok((name, pieces?))
        };
        let fields: Result<Vec<_>, String> = fields.split('&').enumerate().map(pair).collect();
        Ok(Self {
            path: path.to_owned(),
            fields: fields?,
            headers: Vec::new(),
        })
    }

    /// Asks for the form.
    pub(crate) fn page(&self) -> Request {
        Request {
            fields: self.headers.clone(),
            ..Request::get(self.path.clone())
        }
    }

    /// Sends the form that is in a page.
    pub(crate) fn post(&self, site: &Site, page: &[u8], user: usize) -> Request {
        let origin = self.origin(site);
        let own = [
            (
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            ),
            ("Referer", format!("{origin}{}", self.path)),
            ("Origin", origin),
        ];
        let is_own = |name: &str| own.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        let given = self.headers.iter().filter(|(name, _)| !is_own(name));
        let mut fields: Vec<(String, String)> = given.cloned().collect();
        fields.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Request {
            method: "POST".to_owned(),
            path: self.path.clone(),
            fields,
            body: self.body(page, user).into_bytes(),
            weight: 1.0,
        }
    }

    /// The site as its app knows it, by the fields that say so; Django compares this with its host.
    fn origin(&self, site: &Site) -> String {
        let given = |wanted: &str| {
            let mut headers = self.headers.iter();
            let found = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.clone())
        };
        let scheme = if site.tls { "https" } else { "http" };
        format!(
            "{}://{}",
            given("x-forwarded-proto").unwrap_or_else(|| scheme.to_owned()),
            given("host").unwrap_or_else(|| site.authority())
        )
    }

    /// The body of the POST for a page that was got.
    fn body(&self, page: &[u8], user: usize) -> String {
        let user = user.to_string();
        let typed = self.fields.iter();
        let typed = typed.map(|(name, pieces)| (name.clone(), pieces.join(&user)));
        let hidden = hidden_fields(&String::from_utf8_lossy(page));
        let hidden = hidden
            .into_iter()
            .filter(|(name, _)| !self.fields.iter().any(|(typed, _)| typed == name));
        let pairs = hidden.chain(typed);
        let pairs = pairs.map(|(name, value)| format!("{}={}", encode(&name), encode(&value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Names and values of the hidden inputs of a page; the first of each name, of the first 50.
fn hidden_fields(page: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut rest = page;
    while let Some(at) = find_tag(rest) {
        let tag = rest.get(at + "<input".len()..).unwrap_or_default();
        let end = end_of_tag(tag);
        let attributes = attributes(tag.get(..end).unwrap_or_default());
        let get = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let hidden = get("type").is_some_and(|kind| kind.eq_ignore_ascii_case("hidden"));
        if let (true, Some(name)) = (hidden && found.len() < 50, get("name"))
            && !found.iter().any(|(known, _)| *known == name)
        {
            found.push((name, get("value").unwrap_or_default()));
        }
        rest = tag.get(end..).unwrap_or_default();
    }
    found
}

fn find_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text.get(from..)?.find('<') {
        let at = from + at;
        if text
            .get(at..at + 6)
            .is_some_and(|tag| tag.eq_ignore_ascii_case("<input"))
        {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// Where the `>` is that ends a tag, quoted ones passed over.
fn end_of_tag(tag: &str) -> usize {
    let mut quote = None;
    for (at, char) in tag.char_indices() {
        match (quote, char) {
            (None, '>') => return at,
            (None, '"' | '\'') => quote = Some(char),
            (Some(open), char) if open == char => quote = None,
            _ => {}
        }
    }
    tag.len()
}

fn attributes(tag: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = tag.trim_start();
    while !rest.is_empty() && found.len() < 50 {
        let end = rest.find(|char: char| char == '=' || char.is_whitespace());
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('=').map(str::trim_start) {
            None => ("", after),
            Some(after) => {
                if let Some(quote @ ('"' | '\'')) = after.chars().next() {
                    let inner = after.get(1..).unwrap_or_default();
                    inner.split_once(quote).unwrap_or((inner, ""))
                } else {
                    let end = after.find(char::is_whitespace).unwrap_or(after.len());
                    after.split_at(end)
                }
            }
        };
        let name = name.trim_matches('/').to_ascii_lowercase();
        if !name.is_empty() {
            found.push((name, unescape(value)));
        }
        // At least one character is gone each round, or a lone `=` would be looked at for ever.
        let next = after.trim_start();
        rest = if next.len() < rest.len() { next } else { "" };
    }
    found
}

/// The references that Django's escape makes, and their usual spellings.
fn unescape(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What percent signs stand for; None where one stands for nothing, or the bytes are no UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(digits[0])? * 16 + digit(digits[1])?;
        out.push(u8::try_from(value).ok()?);
        rest = after;
    }
    String::from_utf8(out).ok()
}

/// As a form is sent (`application/x-www-form-urlencoded`).
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'*' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_page_of_django_is_understood() {
        let page = br#"<form method="post"><input type="hidden" name="csrfmiddlewaretoken"
            value="abc&amp;&#x27;"> <input type="text" name="username"><INPUT type=hidden name=next value=/a/ />
            <input type='hidden' name='quoted' value='a>b'/></form>"#;
        let login = Login::parse("/accounts/login/", "username=u{n}&password=p w&next=/b").unwrap();
        assert_eq!(
            login.body(page, 7),
            "csrfmiddlewaretoken=abc%26%27&quoted=a%3Eb&username=u7&password=p+w&next=%2Fb"
        );
    }

    #[test]
    fn a8_a_login_has_the_fields_that_every_request_has() {
        let (site, _) = Site::parse("http://127.0.0.1:8000/").unwrap();
        let mut login = Login::parse("/l", "a=b").unwrap();
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert!(
            login
                .post(&site, b"", 0)
                .fields
                .contains(&field("Origin", "http://127.0.0.1:8000"))
        );
        login.headers = vec![
            field("host", "shop.example"),
            field("X-Forwarded-Proto", "https"),
            field("content-type", "application/json"),
        ];
        assert_eq!(login.page().fields, login.headers);
        let post = login.post(&site, b"", 0);
        assert_eq!(
            post.fields,
            [
                field("host", "shop.example"),
                field("X-Forwarded-Proto", "https"),
                field("Content-Type", "application/x-www-form-urlencoded"),
                field("Referer", "https://shop.example/l"),
                field("Origin", "https://shop.example"),
            ]
        );
    }

    #[test]
    fn nonsense_ends_and_gives_nothing() {
        for page in [
            "<input",
            "<input type=hidden",
            "<input =",
            "<input = = =",
            "<input type='hidden",
            "<<<",
            "<input type=\"hidden\" value=x>",
            "\u{e9}<inpu\u{e9}",
        ] {
            assert_eq!(hidden_fields(page), [], "{page}");
        }
    }

    #[test]
    fn a8_any_password_can_be_typed() {
        for (typed, sent) in [
            ("a%26b", "a%26b"),
            ("a=b", "a%3Db"),
            ("a+b c", "a%2Bb+c"),
            ("100%25", "100%25"),
            ("%c3%BC\u{fc}", "%C3%BC%C3%BC"),
            ("{n}-%7Bn%7D", "3-%7Bn%7D"),
            ("", ""),
        ] {
            let login = Login::parse("/l", &format!("pass%20word={typed}&last=x")).unwrap();
            let body = login.body(b"", 3);
            assert_eq!(body, format!("pass+word={sent}&last=x"), "{typed}");
        }
    }

    #[test]
    fn what_is_no_login_is_refused_without_its_password() {
        for (path, fields, why) in [
            ("login", "a=secret", "no path"),
            ("/login", "", "field 1 has no `=`"),
            ("/login", "=secret", "field 1 has no name"),
            ("/login", "u=x&p=secret&secret", "field 3 has no `=`"),
            ("/login", "u=x&p=secret%", "field 2 has a `%`"),
            ("/login", "u=x&p=secret%2", "field 2 has a `%`"),
            ("/login", "u=x&p=secret%+1", "field 2 has a `%`"),
            ("/login", "u=x&p=secret%ff", "field 2 has a `%`"),
        ] {
            let said = Login::parse(path, fields).unwrap_err();
            assert!(said.contains(why), "{fields}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
