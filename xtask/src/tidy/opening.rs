//! Rule: a source file opens with what it owns and what it leaves to others.

use super::Problem;
use crate::tree::File;

/// Fewer words than this say nothing.
const FEWEST_WORDS: usize = 4;

/// `//!` in Rust, a docstring in Python.
pub fn check(file: &File) -> Option<Problem> {
    let opening = match file.extension() {
        "rs" => rust(&file.text),
        _ => python(&file.text),
    };
    let words = opening.map_or(0, |text| text.split_whitespace().count());
    (words < FEWEST_WORDS).then(|| {
        Problem::new(
            &file.path,
            1,
            "open the file with a sentence on what it owns",
        )
    })
}

fn rust(text: &str) -> Option<&str> {
    text.lines().next()?.strip_prefix("//!")
}

/// The first line of the docstring, behind comments and blank lines.
fn python(text: &str) -> Option<&str> {
    let mut lines = text
        .lines()
        .skip_while(|line| line.is_empty() || line.starts_with('#'));
    let quoted = lines.next()?.trim_start_matches(['r', 'R']);
    let first = quoted
        .strip_prefix("\"\"\"")
        .or_else(|| quoted.strip_prefix('"'))?;
    if first.trim().is_empty() {
        lines.next()
    } else {
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_words_say_what_the_file_owns() {
        for (path, text, fine) in [
            ("a.rs", "//! Owns the queue of requests.\n", true),
            ("a.rs", "\n//! Owns the queue of requests.\n", false),
            ("a.rs", "//! placeholder\n", false),
            ("a.rs", "// Owns the queue of requests.\n", false),
            ("a.rs", "", false),
            ("a.py", "\"\"\"Owns the queue of requests.\"\"\"\n", true),
            (
                "a.py",
                "#!/usr/bin/env python3\n# x\n\n\"\"\"\nOwns the queue of requests.\n",
                true,
            ),
            (
                "a.py",
                "import os\n\"\"\"Owns the queue of requests.\"\"\"\n",
                false,
            ),
            ("a.py", "", false),
        ] {
            let file = File {
                path: path.into(),
                text: text.into(),
            };
            assert_eq!(check(&file).is_none(), fine, "{text:?}");
        }
    }
}
