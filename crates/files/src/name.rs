//! What may be asked for below a folder: owns telling a plain relative name from everything that
//! only looks like one. Leaves links to `open`.

/// No system takes longer ones.
const LONGEST: usize = 1024;
const LONGEST_PART: usize = 255;

/// The one name with a dot in front that is meant for the public (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// A relative name without tricks. A directory ends in `/`; the root itself is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// Without a slash at either end.
    pub name: &'a [u8],
    /// It was asked for with a slash at the end.
    pub is_directory: bool,
}

/// It is no name of a file that may be given away.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hostile;

/// Reads what follows the address of a folder, escapes already undone.
pub(crate) fn wanted(rest: &[u8]) -> Result<Wanted<'_>, Hostile> {
    if rest.len() > LONGEST {
        return Err(Hostile);
    }
    let (name, is_directory) = match rest.strip_suffix(b"/") {
        Some(name) => (name, true),
        None => (rest, rest.is_empty()),
    };
    if !name.is_empty() && !name.split(|&byte| byte == b'/').all(is_plain) {
        return Err(Hostile);
    }
    if name.is_empty() && !rest.is_empty() {
        return Err(Hostile);
    }
    Ok(Wanted { name, is_directory })
}

fn is_plain(part: &[u8]) -> bool {
    let hidden = part.first() == Some(&b'.') && part != WELL_KNOWN;
    let odd = |&byte: &u8| byte < b' ' || byte == 0x7f || byte == b'\\';
    !part.is_empty() && part.len() <= LONGEST_PART && !hidden && !part.iter().any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in [
            "a.css",
            "css/a.css",
            "a b",
            "é",
            "a..b",
            "a.",
            ".well-known/x",
            "a:b",
            "~",
        ] {
            assert!(wanted(good.as_bytes()).is_ok(), "{good}");
        }
        let long_part = "a".repeat(LONGEST_PART + 1);
        let long = "a/".repeat(LONGEST);
        for bad in [
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "/a",
            "/",
            "//",
            ".git/config",
            "a/.env",
            ".htaccess",
            "...",
            "a\\b",
            "..\\a",
            "a\0b",
            "a\nb",
            "a\x7f",
            ".well-known-not",
            &long_part,
            &long,
        ] {
            assert_eq!(wanted(bad.as_bytes()), Err(Hostile), "{bad:?}");
        }
    }

    #[test]
    fn a_slash_at_the_end_asks_for_a_directory() {
        let of = |name: &'static str| {
            let wanted = wanted(name.as_bytes()).unwrap();
            (
                std::str::from_utf8(wanted.name).unwrap(),
                wanted.is_directory,
            )
        };
        assert_eq!(of("a/b/"), ("a/b", true));
        assert_eq!(of("a/b"), ("a/b", false));
        assert_eq!(of(""), ("", true));
    }
}
