//! Owns what routes usually ask as lines of text, so that a start knows what was usual before it: method,
//! requests, the most queries in one of them, microseconds of the middle one, and the route, parted by tabs.
//! Leaves the file to whoever has one, and what is made of it to `releases`.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::releases::Before;
use crate::routes::MOST;

/// What was usual, by method and route.
pub type Usual = HashMap<(String, String), Before>;

/// The most bytes of a route's name.
const MOST_NAME: usize = 200;

/// Reads lines; what is no such line is passed over, and what is too much is left.
pub fn read(text: &str) -> Usual {
    let rows = text.lines().filter_map(line);
    rows.take(MOST).collect()
}

fn line(line: &str) -> Option<((String, String), Before)> {
    let mut parts = line.splitn(5, '\t');
    let method = parts.next().filter(|word| word.len() <= 20)?;
    let before = Before {
        requests: parts.next()?.parse().ok()?,
        most_queries: parts.next()?.parse().ok()?,
        p50_us: parts.next()?.parse().ok()?,
    };
    let name = parts.next().filter(|name| name.len() <= MOST_NAME)?;
    Some(((method.to_owned(), name.to_owned()), before))
}

/// Writes them, in an order that does not change.
pub fn text(usual: &Usual) -> String {
    let mut rows: Vec<_> = usual.iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    let mut out =
        "# What routes usually ask for, written by Canter: method, requests, most queries, \
                   microseconds, route.\n"
            .to_owned();
    for ((method, name), before) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{method}\t{}\t{}\t{}\t{name}",
            before.requests, before.most_queries, before.p50_us
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_what_is_written_is_read_and_nothing_else() {
        let before = Before {
            requests: 20,
            most_queries: 4,
            p50_us: 80_000,
        };
        let usual: Usual = [("GET", "/b/<pk>/ c"), ("GET", "/a/"), ("POST", "")]
            .into_iter()
            .map(|(method, name)| ((method.to_owned(), name.to_owned()), before))
            .collect();
        let text = text(&usual);
        assert!(text.contains("GET\t20\t4\t80000\t/a/\nGET\t"), "{text}");
        assert_eq!(read(&text), usual);
        let nonsense = "x\n\0\t1\n\nGET\t-1\t2\t3\t/\nGET\t1\t2\t3\nGET\t1\t99999999999\t3\t/";
        assert_eq!(read(nonsense), Usual::new());
        let long = format!("GET\t1\t2\t3\t/{}", "x".repeat(MOST_NAME));
        assert_eq!(read(&long), Usual::new());
        let many: Vec<_> = (0..MOST * 2)
            .map(|n| format!("GET\t1\t2\t3\t/{n}"))
            .collect();
        let many = many.join("\n");
        assert_eq!(read(&many).len(), MOST);
    }
}
