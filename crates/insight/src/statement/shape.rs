//! Owns what is left of a statement when a table gets a column more: all but the plain columns it asks for.
//! Leaves the text without values, which this reads, to `emit`.

use super::emit::{FNV_START, fnv};

/// Equal for statements that differ in nothing but plain columns (`table.column`) of their outermost list. Of a
/// text as [`strip`](super::strip) makes it; None where that was cut, so that its end is not known.
pub fn shape(text: &str) -> Option<u64> {
    if text.ends_with('…') {
        return None;
    }
    // Words in other letters are the same statement.
    let text = text.to_ascii_lowercase();
    let Some(list) = text.strip_prefix("select ") else {
        return Some(hashed([text.as_str()]));
    };
    let (list, rest) = list.split_at(end_of(list, " from ").unwrap_or(list.len()));
    let kept = items(list).filter(|item| !is_plain(item) && *item != "…");
    Some(hashed(["select"].into_iter().chain(kept).chain([rest])))
}

fn hashed<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    parts
        .into_iter()
        // A zero between them: no text has one.
        .fold(FNV_START, |hash, part| fnv(hash, part.bytes().chain([0])))
}

/// Where `mark` stands first outside of brackets and quotes.
fn end_of(text: &str, mark: &str) -> Option<usize> {
    let (mut depth, mut is_quoted) = (0_u32, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            // A mark begins with no byte of a longer character.
            _ if depth == 0 && text.get(at..).is_some_and(|it| it.starts_with(mark)) => {
                return Some(at);
            }
            _ => {}
        }
    }
    None
}

/// What a list asks for, one after the other.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(list);
    std::iter::from_fn(move || {
        let list = rest?;
        let end = end_of(list, ", ");
        rest = end.and_then(|end| list.get(end + 2..));
        list.get(..end.unwrap_or(list.len()))
    })
}

/// Whether this is a column of a table and nothing else.
fn is_plain(item: &str) -> bool {
    let is_name = |name: &str| {
        let quoted = name.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        let is_word =
            |byte: u8| byte.is_ascii_alphanumeric() || b"_$".contains(&byte) || byte >= 0x80;
        match quoted {
            Some(inside) => !inside.contains('"'),
            None => !name.is_empty() && name.bytes().all(is_word),
        }
    };
    end_of(item, ".").is_some_and(|dot| {
        let (table, column) = item.split_at(dot);
        is_name(table) && is_name(column.trim_start_matches('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, strip};
    use super::*;

    fn of(sql: &str) -> Option<u64> {
        shape(&strip(sql.as_bytes(), Dialect::Postgres).text)
    }

    #[test]
    fn c4_a_column_more_is_the_same_shape_and_all_else_is_another() {
        let one = of(r#"SELECT "c"."id", "c"."n" FROM "c" WHERE "c"."id" = 5 LIMIT 21"#);
        for same in [
            r#"SELECT "c"."id", "c"."n", "c"."vat id" FROM "c" WHERE "c"."id" = 7 LIMIT 21"#,
            r#"select c.id from "c" where "c"."id" = 7 LIMIT 21"#,
        ] {
            assert_eq!(of(same), one, "{same}");
        }
        for other in [
            r#"SELECT "c"."id", "c"."n" FROM "c" WHERE "c"."n" = 5 LIMIT 21"#,
            r#"SELECT "c"."id", "c"."n" FROM "d" WHERE "c"."id" = 5 LIMIT 21"#,
            r#"SELECT "c"."id", COUNT("c"."n") AS "c" FROM "c" WHERE "c"."id" = 5 LIMIT 21"#,
            r#"SELECT "c"."id", "c"."n" AS "m" FROM "c" WHERE "c"."id" = 5 LIMIT 21"#,
            "SELECT id, n FROM c WHERE c.id = 5 LIMIT 21",
            "UPDATE c SET n = 5",
        ] {
            assert_ne!(of(other), one, "{other}");
        }
        assert_ne!(
            of("SELECT (SELECT a.b FROM a), c.d FROM e"),
            of("SELECT (SELECT a.c FROM a), c.d FROM e")
        );
    }

    #[test]
    fn c4_a_table_of_a_hundred_columns_keeps_its_shape_too() {
        let wide = |columns: u32| {
            let columns: Vec<_> = (0..columns)
                .map(|n| format!("\"c\".\"field_{n}\""))
                .collect();
            format!(
                "SELECT {}, COUNT(*) AS n FROM c WHERE c.id = 5",
                columns.join(", ")
            )
        };
        let text = |columns: u32| strip(wide(columns).as_bytes(), Dialect::Postgres).text;
        assert!(text(100).len() < 400, "{}", text(100));
        assert!(
            text(100).ends_with(", COUNT(*) AS n, … FROM c WHERE c.id = ?"),
            "{}",
            text(100)
        );
        assert_eq!(of(&wide(100)), of(&wide(101)));
        assert_eq!(of(&wide(3)), of(&wide(100)));
        assert!(of(&wide(100)).is_some());
        // Where the end is not known, nothing is said of it.
        assert_eq!(
            of(&format!("{} {}", wide(3), "AND c.id = 5 ".repeat(90))),
            None
        );
    }

    #[test]
    fn any_text_has_a_shape() {
        for text in [
            "",
            "select ",
            "select (",
            "select \"",
            "SELECT , from ",
            "select ä.ö, … from é",
        ] {
            assert!(shape(text).is_some(), "{text}");
        }
    }
}
