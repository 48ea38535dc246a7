//! Owns the cookies of one user: name and value, the newest wins.
//! Leaves domains and paths aside: a user talks to one site, and a session is what is wanted.

/// Most cookies kept, and the longest; a server that sets more is not one to follow.
const MOST: usize = 32;
const LONGEST: usize = 4096;

/// What a user's browser would have kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jar(Vec<(String, String)>);

impl Jar {
    /// Takes a `Set-Cookie` (RFC 6265, section 5.2).
    pub(crate) fn set(&mut self, field: &[u8]) {
        let Ok(text) = std::str::from_utf8(field) else {
            return;
        };
        let mut parts = text.split(';');
        let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else {
            return;
        };
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || text.len() > LONGEST || !crate::scenario::is_field("Cookie", value) {
            return;
        }
        self.0.retain(|(known, _)| known != name);
        if !parts.any(is_end) && self.0.len() < MOST {
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// For `Cookie`; None when there are none.
    pub(crate) fn field(&self) -> Option<String> {
        let pairs: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Whether an attribute says that the cookie is to be forgotten. Django deletes with `Max-Age=0`
/// and a date in 1970.
fn is_end(attribute: &str) -> bool {
    let Some((name, value)) = attribute.split_once('=') else {
        return false;
    };
    let value = value.trim();
    match name.trim().to_ascii_lowercase().as_str() {
        "max-age" => value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
        "expires" => value.contains("1970"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_forgotten() {
        let mut jar = Jar::default();
        assert_eq!(jar.field(), None);
        jar.set(b"csrftoken=abc; Path=/; SameSite=Lax");
        jar.set(b"sessionid=1; HttpOnly");
        jar.set(b"sessionid=2; Max-Age=1209600");
        assert_eq!(jar.field().as_deref(), Some("csrftoken=abc; sessionid=2"));
        jar.set(b"csrftoken=\"\"; expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0");
        assert_eq!(jar.field().as_deref(), Some("sessionid=2"));
        for nonsense in [&b"\xff=1"[..], b"=x", b"novalue", b"", b"a=b\r\nX: y"] {
            jar.set(nonsense);
        }
        for number in 0..100 {
            jar.set(format!("c{number}=x").as_bytes());
        }
        assert_eq!(jar.0.len(), MOST);
    }
}
