//! The house rules: each a function over text, in one list. Reading the tree is `tree.rs`'s.

use std::fmt;
use std::io;
use std::path::Path;

use crate::docs;
use crate::tree::{self, File};

mod exceptions;
mod functions;
mod graph;
mod length;
mod links;
mod marks;
mod masked;
mod opening;
mod unsafe_code;

use exceptions::Exceptions;

/// Something to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, from the root.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub text: String,
}

impl Problem {
    /// A problem at a line of a file.
    pub fn new(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// Where reasons for exceptions are listed.
const EXCEPTIONS: &str = "xtask/exceptions.txt";

/// Checks every rule over the whole tree.
pub fn run(root: &Path) -> io::Result<Vec<Problem>> {
    let files = tree::read(root)?;
    let listed = std::fs::read_to_string(root.join(EXCEPTIONS))?;
    let (exceptions, mut problems) = Exceptions::read(EXCEPTIONS, &listed);

    problems.extend(graph::check(&files));
    for file in &files {
        problems.extend(check_file(file, &exceptions));
    }
    problems.extend(links::check(&files, &|path| root.join(path).exists()));
    problems.extend(exceptions.unused(EXCEPTIONS));
    problems.extend(docs::stale(root)?);
    Ok(problems)
}

/// The rules that look at one file.
fn check_file(file: &File, exceptions: &Exceptions) -> Vec<Problem> {
    let source = match file.extension() {
        "rs" => masked::rust(&file.text),
        "py" => masked::python(&file.text),
        "sh" | "toml" | "yml" | "yaml" => return marks::check(&file.path, &file.text, "#"),
        _ => return Vec::new(),
    };
    let mut problems: Vec<Problem> = opening::check(file).into_iter().collect();
    problems.extend(length::check(file, &source, exceptions));
    problems.extend(marks::check_comments(&file.path, &source));
    if file.extension() == "rs" {
        problems.extend(unsafe_code::check(file, &source, exceptions));
    }
    problems
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn the_tree_keeps_the_house_rules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let problems = super::run(&root).unwrap();
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
    }
}
