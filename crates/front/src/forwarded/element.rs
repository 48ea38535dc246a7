//! Owns the grammar of `Forwarded` (RFC 7239, section 4).
//! Leaves which element counts to `forwarded`.

/// What one proxy said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// `for`: an address, perhaps with a port, or a word.
    pub node: Option<String>,
    pub proto: Option<String>,
    pub host: Option<String>,
}

/// The elements of a line with their text; None when it breaks the grammar anywhere: the left part of
/// a line may be a client's, made to swallow what a proxy has added on the right. Empty elements say
/// nothing (RFC 9110, section 5.6.1.2).
pub(super) fn parse(line: &[u8]) -> Option<Vec<(&[u8], Element)>> {
    let texts = split_at(line, b',')?;
    let texts = texts.into_iter().filter(|text| !text.is_empty());
    texts.map(|text| Some((text, element(text)?))).collect()
}

/// An element without `for` and `by`.
pub(super) fn without_nodes(text: &[u8]) -> Vec<u8> {
    let mut pairs = split_at(text, b';').unwrap_or_default();
    pairs.retain(|pair| {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        !name.eq_ignore_ascii_case(b"for") && !name.eq_ignore_ascii_case(b"by")
    });
    pairs.join(&b';')
}

fn element(text: &[u8]) -> Option<Element> {
    let mut element = Element::default();
    let pairs = split_at(text, b';')?;
    // A pair may be empty (section 4).
    for pair in pairs.into_iter().filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|&byte| byte == b'=')?;
        let (name, value) = (pair.get(..at)?, unquoted(pair.get(at + 1..)?)?);
        if name.is_empty() {
            return None;
        }
        let place = match name.to_ascii_lowercase().as_slice() {
            b"for" => &mut element.node,
            b"proto" => &mut element.proto,
            b"host" => &mut element.host,
            _ => continue,
        };
        // Each at most once (section 4).
        if place.replace(value).is_some() {
            return None;
        }
    }
    Some(element)
}

/// Splits outside quoted strings; None when one does not end.
fn split_at(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            byte if byte == separator && !is_quoted => {
                parts.push(text.get(start..at)?.trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?.trim_ascii());
    (!is_quoted).then_some(parts)
}

/// A token, or what a quoted string means (RFC 9110, section 5.6.4).
fn unquoted(value: &[u8]) -> Option<String> {
    let Some(inside) = value.strip_prefix(b"\"") else {
        let plain = !value.is_empty() && !value.contains(&b'"');
        return plain.then(|| String::from_utf8(value.to_vec()).ok())?;
    };
    let inside = inside.strip_suffix(b"\"")?;
    let mut text = Vec::with_capacity(inside.len());
    let mut bytes = inside.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => text.push(*bytes.next()?),
            byte => text.push(byte),
        }
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(line: &str) -> Option<Vec<String>> {
        let elements = parse(line.as_bytes())?;
        Some(
            elements
                .into_iter()
                .map(|(_, element)| element.node.unwrap_or_default())
                .collect(),
        )
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        for (line, expected) in [
            ("for=\"_gazonk\"", &["_gazonk"][..]),
            (
                "For=\"[2001:db8:cafe::17]:4711\"",
                &["[2001:db8:cafe::17]:4711"],
            ),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", &["192.0.2.60"]),
            (
                "for=192.0.2.43, for=198.51.100.17",
                &["192.0.2.43", "198.51.100.17"],
            ),
            ("for=\"a\\\"b\"", &["a\"b"]),
            ("proto=https", &[""]),
            ("for=1.2.3.4;proto=https;", &["1.2.3.4"]),
            (";for=a;;proto=http", &["a"]),
            ("for=a,", &["a"]),
            (", for=a ,, for=b ,", &["a", "b"]),
            ("", &[]),
        ] {
            let expected: Vec<String> = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(nodes(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn a_line_that_breaks_the_grammar_says_nothing() {
        for line in [
            "for=\"a, for=b",
            "for=a\"b",
            "for",
            "for=",
            "for=a; =b",
            "for=a;for=b",
            "for=\"a\\\"",
            "for=\"a\"b\"",
        ] {
            assert_eq!(nodes(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_about_the_page_stands_without_those_who_speak() {
        let text = b"For=\"a;b\";proto=https;BY=c;host=\"d\"; x=1";
        assert_eq!(without_nodes(text), b"proto=https;host=\"d\";x=1");
        assert_eq!(without_nodes(b"for=a"), b"");
    }

    #[test]
    fn mutations_never_panic_and_a_split_loses_nothing() {
        let line = b"for=\"[2001:db8::7]:4711\";proto=https;host=a, for=\"a\\\"b\" ; by=c";
        let mut state = 1_u64;
        let mut random = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as usize
        };
        for _ in 0..5000 {
            let mut line = line.to_vec();
            for _ in 0..=random() % 4 {
                let at = random() % line.len();
                line[at] = b"\",;=\\ a"[random() % 7];
            }
            if let Some(elements) = parse(&line) {
                let kept: usize = elements.iter().map(|(text, _)| text.len()).sum();
                assert!(kept <= line.len());
            }
        }
    }
}
