//! Help for `canter serve` and `canter pool`, printed from the table: short for `--help`, long for
//! `canter help`.

use std::fmt::Write as _;

use super::declare::{Group, Row};
use super::table::ROWS;
use super::value::Shape;

/// Text lines are wrapped at this column.
const WIDTH: usize = 96;

/// Holds two words together on one line; printed as a blank.
const GLUE: char = '\u{a0}';

/// Where the description of an option begins.
const COLUMN: usize = 40;

/// One line or two for each option of a command: `Row::is_for_pool` or all of them.
pub fn short_help(of: fn(&Row) -> bool) -> String {
    let mut help = String::new();
    for (group, rows) in groups(of) {
        let _ = writeln!(help, "{}:", group.title());
        for row in rows {
            let left = usage(row);
            let text = match row.default {
                "" | "false" => row.summary().to_owned(),
                default => format!("{} [default:{GLUE}{default}]", row.summary()),
            };
            if left.chars().count() + 2 > COLUMN {
                let _ = writeln!(help, "{left}");
                wrap(&mut help, "", COLUMN, &text);
            } else {
                wrap(&mut help, &left, COLUMN, &text);
            }
        }
        help.push('\n');
    }
    help.truncate(help.trim_end().len());
    help.push('\n');
    help
}

/// The manual: every paragraph, variable and example.
pub fn long_help(of: fn(&Row) -> bool) -> String {
    let mut help = String::new();
    for (group, rows) in groups(of) {
        let _ = writeln!(help, "{}\n", group.title().to_uppercase());
        for row in rows {
            let _ = writeln!(help, "  {}", usage(row).trim_start());
            wrap(&mut help, "", 6, &format!("{}.", row.summary()));
            for paragraph in row.manual() {
                help.push('\n');
                wrap(&mut help, "", 6, &paragraph);
            }
            help.push('\n');
            for (word, meaning) in row.choices {
                wrap(&mut help, &format!("        {word}"), 20, meaning);
            }
            let without = if row.default.is_empty() {
                row.unset
            } else {
                row.default
            };
            wrap(&mut help, "", 6, &format!("Without it: {without}."));
            let example = match row.shape {
                Shape::Switch => format!("--{}", row.name()),
                Shape::One | Shape::Many => format!("--{}={}", row.name(), row.example),
            };
            wrap(
                &mut help,
                "",
                6,
                &format!("Variable: {}. Example: {example}", row.variable()),
            );
            help.push('\n');
        }
    }
    help.truncate(help.trim_end().len());
    help.push('\n');
    help
}

fn groups(of: fn(&Row) -> bool) -> impl Iterator<Item = (Group, Vec<&'static Row>)> {
    Group::ALL.iter().filter_map(move |group| {
        let rows = ROWS.iter().filter(|row| row.group == *group && of(row));
        let rows: Vec<_> = rows.collect();
        (!rows.is_empty()).then_some((*group, rows))
    })
}

/// `  -b, --bind ADDRESS`.
fn usage(row: &Row) -> String {
    let letter = row
        .short
        .map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    format!("  {letter}--{}{}", row.name(), row.value_usage())
}

/// Appends `left`, then the words of `text` from `column` on, on as many lines as needed.
fn wrap(out: &mut String, left: &str, column: usize, text: &str) {
    let mut line = format!("{left:<column$}");
    let mut empty = true;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(column);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(&word.replace(GLUE, " "));
        empty = false;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_option_is_in_both_helps_with_its_words() {
        let (short, long) = (
            squeezed(&short_help(|_| true)),
            squeezed(&long_help(|_| true)),
        );
        for row in ROWS {
            let flag = format!("--{}", row.name());
            assert!(short.contains(&flag) && long.contains(&flag), "{flag}");
            assert!(short.contains(&squeezed(row.summary())), "{flag}");
            assert!(long.contains(&row.variable()), "{flag}");
            for paragraph in row.manual() {
                assert!(long.contains(&squeezed(&paragraph)), "{flag}: {paragraph}");
            }
        }
    }

    #[test]
    fn no_help_line_is_wider_than_a_page() {
        for text in [short_help(|_| true), long_help(|_| true)] {
            for line in text.lines() {
                assert!(line.chars().count() <= WIDTH, "{line}");
                assert_eq!(line.trim_end(), line);
            }
        }
    }

    #[test]
    fn long_words_get_a_line_of_their_own_and_nothing_is_lost() {
        let mut out = String::new();
        wrap(&mut out, "  left", 8, &format!("a {} b", "x".repeat(200)));
        assert_eq!(out.lines().count(), 3);
        assert!(out.starts_with("  left  a\n"));
    }
}
