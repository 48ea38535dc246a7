//! Splits libpq's `keyword=value keyword='quoted value'` strings (PostgreSQL documentation,
//! "Keyword/Value Connection Strings"). Leaves what the keywords mean to `keywords`.

use super::TargetError;

/// The pairs in their order. White space may stand around `=`; a backslash takes the next
/// character as it is, inside and outside of quotes.
pub(super) fn split(text: &str) -> Result<Vec<(String, String)>, TargetError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| c == '=' || c.is_whitespace())
            .unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            // Never quoted back: a forgotten quote makes half a password look like a keyword.
            return Err(TargetError::new(format!(
                "part {} of the connection string has no \"=\": write keyword=value, and values \
                 with spaces as keyword='a b'",
                pairs.len() + 1
            )));
        };
        let (value, after) = value(after.trim_start())?;
        pairs.push((keyword.to_owned(), value));
        rest = after.trim_start();
    }
    Ok(pairs)
}

fn value(text: &str) -> Result<(String, &str), TargetError> {
    let mut value = String::new();
    let quoted = text.starts_with('\'');
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, text.get(at + 1..).unwrap_or_default())),
            c if c.is_whitespace() && !quoted => {
                return Ok((value, text.get(at..).unwrap_or_default()));
            }
            c => value.push(c),
        }
    }
    if quoted {
        return Err(TargetError::new(
            "a quoted value of the connection string has no closing '",
        ));
    }
    Ok((value, ""))
}
