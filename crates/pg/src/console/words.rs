//! The console's text cut into words: statements, quotes, comments, parameters (`$1`).
//! Leaves what they mean to `command`.

/// One word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// As it was written: a keyword, a name, a number.
    Plain(String),
    /// Between quotes of either kind, or the value of a parameter: never a keyword.
    Quoted(String),
    /// A parameter, counted from 1.
    Parameter(usize),
    /// `=`, `(` and the like.
    Sign(char),
}

impl Word {
    /// Whether it is this keyword.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Plain(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// The statements in a text, each as its words. Empty ones are left out.
pub(super) fn statements(text: &str) -> Vec<Vec<Word>> {
    let mut all = Vec::new();
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = match first {
            ';' => {
                all.push(std::mem::take(&mut words));
                after(rest, 1)
            }
            '\'' | '"' => {
                let (word, left) = quoted(rest, first);
                words.push(Word::Quoted(word));
                left
            }
            '-' if rest.starts_with("--") => rest.split_once('\n').map_or("", |(_, left)| left),
            '/' if rest.starts_with("/*") => rest.split_once("*/").map_or("", |(_, left)| left),
            c if c.is_whitespace() || c.is_control() => after(rest, c.len_utf8()),
            c if is_plain(c) => {
                let end = rest.find(|c| !is_plain(c)).unwrap_or(rest.len());
                let (word, left) = rest.split_at(end);
                let number = word
                    .strip_prefix('$')
                    .and_then(|number| number.parse().ok());
                words.push(match number {
                    Some(number) if number > 0 => Word::Parameter(number),
                    _ => Word::Plain(word.to_owned()),
                });
                left
            }
            c => {
                words.push(Word::Sign(c));
                after(rest, c.len_utf8())
            }
        };
    }
    all.push(words);
    all.retain(|words| !words.is_empty());
    all
}

/// Names may be written bare although PostgreSQL would want quotes: PgBouncer takes them too.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '.' | '$' | '-' | '@' | ':' | '/')
}

fn after(text: &str, bytes: usize) -> &str {
    text.get(bytes..).unwrap_or_default()
}

/// A quoted word and what follows it; a doubled quote stands for one.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut word = String::new();
    let mut rest = after(text, 1);
    while let Some((part, left)) = rest.split_once(quote) {
        word.push_str(part);
        match left.strip_prefix(quote) {
            Some(left) => {
                word.push(quote);
                rest = left;
            }
            None => return (word, left),
        }
    }
    word.push_str(rest);
    (word, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_comments_and_parameters() {
        let plain = |word: &str| Word::Plain(word.into());
        let quoted = |word: &str| Word::Quoted(word.into());
        let rows: [(&str, Vec<Vec<Word>>); 9] = [
            ("", vec![]),
            (" ;; -- nothing\n /* more; */ ;", vec![]),
            ("SHOW pools;", vec![vec![plain("SHOW"), plain("pools")]]),
            ("a;b", vec![vec![plain("a")], vec![plain("b")]]),
            (
                "PAUSE \"Shop;\"\"1\"",
                vec![vec![plain("PAUSE"), quoted("Shop;\"1")]],
            ),
            (
                "set a='it''s'",
                vec![vec![
                    plain("set"),
                    plain("a"),
                    Word::Sign('='),
                    quoted("it's"),
                ]],
            ),
            (
                "KILL_CLIENT $1",
                vec![vec![plain("KILL_CLIENT"), Word::Parameter(1)]],
            ),
            ("'open", vec![vec![quoted("open")]]),
            ("/* open", vec![]),
        ];
        for (text, expected) in rows {
            assert_eq!(statements(text), expected, "{text}");
        }
        assert_eq!(
            statements("é€'é\0\u{1}"),
            [[plain("é"), Word::Sign('€'), quoted("é\0\u{1}")]]
        );
    }
}
