//! Rule: a long file or function needs a listed reason.

use super::exceptions::Exceptions;
use super::masked::Source;
use super::{Problem, functions};
use crate::tree::File;

/// Lines of a file.
const LONGEST_FILE: usize = 600;

/// Lines of a function, from its name to its end.
const LONGEST_FUNCTION: usize = 80;

/// Checks the file and each function in it.
pub fn check(file: &File, source: &Source, exceptions: &Exceptions) -> Vec<Problem> {
    let mut problems = Vec::new();
    let lines = file.text.lines().count();
    if lines > LONGEST_FILE && !exceptions.allow("long-file", &file.path) {
        let text = format!("{lines} lines, more than {LONGEST_FILE}: split it by idea");
        problems.push(Problem::new(&file.path, 1, text));
    }
    let found = match file.extension() {
        "rs" => functions::rust(&source.code),
        _ => functions::python(&source.code),
    };
    for function in found {
        let lines = function.last + 1 - function.first;
        let subject = format!("{} {}", file.path, function.name);
        if lines > LONGEST_FUNCTION && !exceptions.allow("long-function", &subject) {
            let text = format!(
                "`{}` has {lines} lines, more than {LONGEST_FUNCTION}: name its parts",
                function.name
            );
            problems.push(Problem::new(&file.path, function.first, text));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::masked;

    fn problems(path: &str, text: String, listed: &str) -> Vec<Problem> {
        let source = if path.ends_with("rs") {
            masked::rust(&text)
        } else {
            masked::python(&text)
        };
        let (exceptions, _) = Exceptions::read("x", listed);
        check(
            &File {
                path: path.into(),
                text,
            },
            &source,
            &exceptions,
        )
    }

    #[test]
    fn a_file_of_600_lines_is_fine_and_one_more_is_not() {
        assert!(problems("a.rs", "\n".repeat(600), "").is_empty());
        assert_eq!(problems("a.py", "\n".repeat(601), "").len(), 1);
        let listed = "long-file a.py: a table, one row on a line\n";
        assert!(problems("a.py", "\n".repeat(601), listed).is_empty());
    }

    #[test]
    fn a_function_of_80_lines_is_fine_and_one_more_is_not() {
        let rust = |lines: usize| format!("fn f() {{{}}}\n", "\n".repeat(lines - 1));
        let python = |lines: usize| format!("def f():\n{}", "    x\n".repeat(lines - 1));
        assert!(problems("a.rs", rust(80), "").is_empty());
        assert_eq!(problems("a.rs", rust(81), "").len(), 1);
        assert!(problems("a.py", python(80), "").is_empty());
        assert_eq!(problems("a.py", python(81), "").len(), 1);
        let listed = "long-function a.py f: a table, one row on a line\n";
        assert!(problems("a.py", python(81), listed).is_empty());
    }
}
