//! Source text with comments and strings blanked out, so that rules see code only.
//!
//! Not a parser: it knows just enough of Rust's and Python's lexical rules to tell code from text.

/// A source file in two views that share line numbers.
#[derive(Debug)]
pub struct Source {
    /// The text with every character of a comment or string replaced by a blank.
    pub code: String,
    /// Comments with the line they begin on, from 1.
    pub comments: Vec<(usize, String)>,
}

/// What a stretch of text is.
enum Kind {
    Comment,
    Literal,
}

/// Masks Rust.
pub fn rust(text: &str) -> Source {
    mask(text, |rest, before| {
        if rest.starts_with("//") {
            Some((Kind::Comment, line_end(rest)))
        } else if rest.starts_with("/*") {
            Some((Kind::Comment, block_comment(rest)))
        } else if rest.starts_with('"') {
            Some((Kind::Literal, quoted(rest, 1, "\"", true)))
        } else if rest.starts_with('\'') {
            char_literal(rest).map(|length| (Kind::Literal, length))
        } else if rest.starts_with('r') && !before.is_some_and(is_word) {
            raw_string(rest).map(|length| (Kind::Literal, length))
        } else if (rest.starts_with("br") || rest.starts_with("cr")) && !before.is_some_and(is_word)
        {
            raw_string(rest.get(1..)?).map(|length| (Kind::Literal, length + 1))
        } else {
            None
        }
    })
}

/// Masks Python.
pub fn python(text: &str) -> Source {
    mask(text, |rest, _| {
        if rest.starts_with('#') {
            return Some((Kind::Comment, line_end(rest)));
        }
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote))?;
        Some((Kind::Literal, quoted(rest, quote.len(), quote, true)))
    })
}

/// Walks the text; `find` says whether a comment or literal begins here and how long it is.
fn mask(text: &str, find: impl Fn(&str, Option<char>) -> Option<(Kind, usize)>) -> Source {
    let mut source = Source {
        code: String::with_capacity(text.len()),
        comments: Vec::new(),
    };
    let (mut rest, mut before, mut line) = (text, None, 1);
    while let Some(first) = rest.chars().next() {
        let length = if let Some((kind, length)) = find(rest, before) {
            let length = length.min(rest.len());
            let part = rest.get(..length).unwrap_or(rest);
            source
                .code
                .extend(part.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            if matches!(kind, Kind::Comment) {
                source.comments.push((line, part.to_owned()));
            }
            part.len()
        } else {
            source.code.push(first);
            first.len_utf8()
        };
        let (done, next) = rest.split_at(length);
        line += done.matches('\n').count();
        before = done.chars().next_back();
        rest = next;
    }
    source
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn line_end(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// Rust's block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        let step = if here.starts_with("/*") {
            depth += 1;
            2
        } else if here.starts_with("*/") {
            depth -= 1;
            2
        } else {
            here.chars().next().map_or(1, char::len_utf8)
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a literal that begins with `start` bytes of opening and ends with `end`.
fn quoted(rest: &str, start: usize, end: &str, escapes: bool) -> usize {
    let mut at = start;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with(end) {
            return at + end.len();
        }
        let mut characters = here.chars();
        let first = characters.next();
        at += first.map_or(1, char::len_utf8);
        if escapes && first == Some('\\') {
            at += characters.next().map_or(0, char::len_utf8);
        }
    }
    rest.len()
}

/// `r"..."` or `r#"..."#`; not a raw identifier such as `r#type`.
fn raw_string(rest: &str) -> Option<usize> {
    let inside = rest.get(1..)?;
    let hashes = inside.len() - inside.trim_start_matches('#').len();
    inside.get(hashes..)?.starts_with('"').then(|| {
        quoted(
            rest,
            2 + hashes,
            &format!("\"{}", "#".repeat(hashes)),
            false,
        )
    })
}

/// `'a'` or `'\n'`; not a lifetime such as `'a`.
fn char_literal(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        return Some(quoted(rest, 1, "'", true));
    }
    let (at, second) = characters.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of the code that are left.
    fn words(source: &Source) -> Vec<&str> {
        source.code.split_whitespace().collect()
    }

    #[test]
    fn rust_text_is_told_from_code() {
        for (text, code) in [
            ("a // b\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"a "b \" c" d"#, "a d"),
            (r##"a r#"b " c"# d"##, "a d"),
            (r#"a br"b\" c"#, "a c"),
            ("a '\"' b", "a b"),
            (r"a '\'' b", "a b"),
            ("a 'b 'c d", "a 'b 'c d"),
            ("for_r\"x\" y", "for_r y"),
            ("r#type x", "r#type x"),
            ("\"open", ""),
            ("é 'é' \"é\" é", "é é"),
        ] {
            assert_eq!(words(&rust(text)).join(" "), code, "{text}");
        }
    }

    #[test]
    fn python_text_is_told_from_code() {
        for (text, code) in [
            ("a # b\nc", "a c"),
            ("a '#' b", "a b"),
            ("a \"\"\"b \" c\n# d\"\"\" e", "a e"),
            ("a '''b''' c", "a c"),
            (r"a '\'' b", "a b"),
            ("a '' b", "a b"),
        ] {
            assert_eq!(words(&python(text)).join(" "), code, "{text}");
        }
    }

    #[test]
    fn lines_keep_their_numbers() {
        let source = rust("a\n/* b\nc */\n// d\ne");
        assert_eq!(source.code.lines().count(), 5);
        assert_eq!(
            source.comments,
            [(2, "/* b\nc */".into()), (4, "// d".into())]
        );
    }
}
