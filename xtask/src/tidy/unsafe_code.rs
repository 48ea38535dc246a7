//! Rule: `unsafe` stands in listed files only, and each use says why it holds.

use super::Problem;
use super::exceptions::Exceptions;
use super::masked::Source;
use crate::tree::File;

/// Checks each `unsafe` in the code of a file.
pub fn check(file: &File, source: &Source, exceptions: &Exceptions) -> Vec<Problem> {
    let uses = uses(&source.code);
    let Some(first) = uses.first() else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    if !exceptions.allow("unsafe", &file.path) {
        problems.push(Problem::new(
            &file.path,
            *first,
            "`unsafe` in a file that is not listed",
        ));
    }
    let text: Vec<&str> = file.text.lines().collect();
    let code: Vec<&str> = source.code.lines().collect();
    for line in uses {
        if !explained(&text, &code, line) {
            let text = "`unsafe` without a `// SAFETY:` note right above";
            problems.push(Problem::new(&file.path, line, text));
        }
    }
    problems
}

/// Lines with the word `unsafe`, from 1. Naming a lint (`unsafe_code`) is no use of it.
fn uses(code: &str) -> Vec<usize> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let has = |line: &str| {
        line.split(|c: char| !is_word(c))
            .any(|word| word == "unsafe")
    };
    code.lines()
        .enumerate()
        .filter(|(_, line)| has(line))
        .map(|(index, _)| index + 1)
        .collect()
}

/// Whether a note stands on the line, or above it and behind the end of the statement before.
fn explained(text: &[&str], code: &[&str], line: usize) -> bool {
    // A block may carry its note as its first line, a function as the chapter rustdoc asks for.
    let notes = |line: &str| line.contains("SAFETY:") || line.contains("# Safety");
    let at =
        |lines: &[&str], index: usize| lines.get(index).copied().unwrap_or_default().to_owned();
    if notes(&at(text, line - 1)) || notes(&at(text, line)) {
        return true;
    }
    for index in (0..line - 1).rev() {
        if notes(&at(text, index)) {
            return true;
        }
        let code = at(code, index);
        let code = code.trim_end();
        if at(text, index).trim().is_empty() || code.ends_with([';', '{', '}']) {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::masked;

    fn problems(text: &str, listed: &str) -> Vec<usize> {
        let file = File {
            path: "a.rs".into(),
            text: text.into(),
        };
        let (exceptions, _) = Exceptions::read("x", listed);
        let found = check(&file, &masked::rust(text), &exceptions);
        found.iter().map(|problem| problem.line).collect()
    }

    const LISTED: &str = "unsafe a.rs: calls into the system library\n";

    #[test]
    fn each_use_needs_a_note_above_it() {
        for (text, lines) in [
            ("// SAFETY: x\nunsafe { a() }\n", vec![]),
            ("// SAFETY: x\nlet y =\n    unsafe { a() };\n", vec![]),
            ("unsafe { // SAFETY: x\n a() }\n", vec![]),
            ("unsafe {\n    // SAFETY: x\n a() }\n", vec![]),
            (
                "/// # Safety\n/// The caller knows.\n#[inline]\nunsafe fn a() {}\n",
                vec![],
            ),
            ("// SAFETY: x\nunsafe { a() };\nunsafe { b() };\n", vec![3]),
            ("// SAFETY: x\n\nunsafe { a() }\n", vec![3]),
            ("unsafe { a() }\n", vec![1]),
            (
                "let s = \"unsafe\"; // unsafe\n#![forbid(unsafe_code)]\n",
                vec![],
            ),
        ] {
            assert_eq!(problems(text, LISTED), lines, "{text}");
        }
    }

    #[test]
    fn a_file_that_is_not_listed_has_no_unsafe() {
        assert_eq!(problems("// SAFETY: x\nunsafe { a() }\n", ""), [2]);
        assert!(problems("fn safe() {}\n", "").is_empty());
    }
}
