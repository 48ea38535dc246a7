//! Splits `postgresql://` URLs as libpq does (PostgreSQL documentation, "Connection URIs").
//! Leaves what the parts mean to `keywords`. Errors never quote what may hold a password.

use super::TargetError;

const SCHEMES: [&str; 5] = ["postgresql", "postgres", "postgis", "pgsql", "psql"];

/// The pairs that the URL stands for. Lists of hosts become comma-separated lists, as in the
/// `keyword=value` form; a parameter after `?` wins over the part before it.
pub(super) fn split(url: &str) -> Result<Vec<(String, String)>, TargetError> {
    let (scheme, rest) = url.trim().split_once("://").unwrap_or(("", ""));
    if !SCHEMES
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return Err(TargetError::new(
            "the URL of the database must begin with postgresql:// (postgres://, postgis://, \
             pgsql:// and psql:// will do)",
        ));
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut pairs = Vec::new();
    // libpq ends the user's part at the first "@", Python's urllib at the last: with the last,
    // a password that holds one unencoded works as it does in Django.
    let hosts = match authority.rsplit_once('@') {
        Some((user, hosts)) => {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            push(&mut pairs, "user", user)?;
            push(&mut pairs, "password", password)?;
            hosts
        }
        None => authority,
    };
    push_hosts(&mut pairs, hosts)?;
    push(&mut pairs, "dbname", path.strip_prefix('/').unwrap_or(path))?;
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (keyword, value) = part.split_once('=').ok_or_else(|| {
            TargetError::new("a parameter after \"?\" in the URL has no \"=\": write keyword=value")
        })?;
        let (keyword, value) = (
            decode(keyword, "a parameter's name")?,
            decode(value, "a value")?,
        );
        match (keyword.as_str(), value.as_str()) {
            // Both as in JDBC; libpq knows the first, dj-database-url the second.
            ("ssl", "true") => pairs.push(("sslmode".into(), "require".into())),
            ("currentSchema", schema) => {
                pairs.push((
                    "options".into(),
                    format!("-c search_path={}", escape(schema)),
                ));
            }
            _ => pairs.push((keyword, value)),
        }
    }
    Ok(pairs)
}

fn push(
    pairs: &mut Vec<(String, String)>,
    keyword: &str,
    encoded: &str,
) -> Result<(), TargetError> {
    if !encoded.is_empty() {
        pairs.push((keyword.to_owned(), decode(encoded, keyword)?));
    }
    Ok(())
}

fn push_hosts(pairs: &mut Vec<(String, String)>, hosts: &str) -> Result<(), TargetError> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = match host.strip_prefix('[') {
            Some(v6) => {
                let (name, after) = v6.split_once(']').ok_or_else(|| {
                    TargetError::new("an IPv6 address in the URL has no closing \"]\"")
                })?;
                let port = match after.strip_prefix(':') {
                    Some(port) => port,
                    None if after.is_empty() => "",
                    None => {
                        return Err(TargetError::new(
                            "after \"]\" in the URL only :port, \",\" or \"/\" may follow",
                        ));
                    }
                };
                (name, port)
            }
            None => host.split_once(':').unwrap_or((host, "")),
        };
        names.push(decode(name, "host")?);
        ports.push(decode(port, "port")?);
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".to_owned(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".to_owned(), ports.join(",")));
    }
    Ok(())
}

/// Undoes percent-encoding; a plus sign stays one.
fn decode(text: &str, part: &str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let decoded = after
            .split_first_chunk::<2>()
            .and_then(|(&[high, low], after)| Some((hex(high)? << 4 | hex(low)?, after)));
        match decoded {
            Some((0, _)) => {
                return Err(TargetError::new(format!("the URL has %00 in {part}")));
            }
            Some((byte, after)) => {
                bytes.push(byte);
                rest = after;
            }
            None => {
                return Err(TargetError::new(format!(
                    "the URL has a \"%\" in {part} without two hexadecimal digits after it: write \
                     %25 for a percent sign"
                )));
            }
        }
    }
    String::from_utf8(bytes)
        .map_err(|_| TargetError::new(format!("the URL has bytes in {part} that are no UTF-8")))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// As a word of `options`.
fn escape(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for c in word.chars() {
        if c == '\\' || c.is_ascii_whitespace() {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
