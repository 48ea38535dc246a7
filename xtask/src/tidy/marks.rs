//! Rule: a mark for later work names the issue in which the work is described.

use super::Problem;
use super::masked::Source;

const MARKS: &[&str] = &["TODO", "FIXME", "XXX"];

/// Looks at comments only, so that code and strings may hold the words.
pub fn check_comments(path: &str, source: &Source) -> Vec<Problem> {
    let lines = source.comments.iter().flat_map(|(first, comment)| {
        comment
            .lines()
            .enumerate()
            .map(move |(index, text)| (first + index, text))
    });
    lines
        .filter_map(|(line, text)| check_line(path, line, text))
        .collect()
}

/// Looks at what follows the comment sign on each line.
pub fn check(path: &str, text: &str, sign: &str) -> Vec<Problem> {
    let comment = |line: &'_ str| line.find(sign).map(|at| line.split_at(at).1.to_owned());
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| check_line(path, index + 1, &comment(line)?))
        .collect()
}

fn check_line(path: &str, line: usize, comment: &str) -> Option<Problem> {
    let words = comment.split(|c: char| !c.is_ascii_alphanumeric() && c != '#');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let at = words.iter().position(|word| MARKS.contains(word))?;
    let numbered = words.get(at + 1).is_some_and(|next| {
        next.strip_prefix('#')
            .is_some_and(|number| number.parse::<u32>().is_ok())
    });
    (!numbered).then(|| {
        let text = format!("`{}` without the number of an issue", words[at]);
        Problem::new(path, line, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::masked;

    #[test]
    fn a_mark_needs_a_number() {
        for (text, lines) in [
            ("// TODO: later\n", vec![1]),
            ("// TODO(#12): later\n// TODO #12 later", vec![]),
            ("/* a\n FIXME b */\n", vec![2]),
            ("let s = \"TODO\"; todo();\n", vec![]),
            ("// XXX 12\n", vec![1]),
            ("// TODOS are XXXL\n", vec![]),
        ] {
            let problems = check_comments("a.rs", &masked::rust(text));
            let found: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
            assert_eq!(found, lines, "{text}");
        }
    }

    #[test]
    fn comments_of_scripts_are_looked_at_too() {
        assert_eq!(check("a.sh", "x\necho TODO # FIXME\n", "#").len(), 1);
        assert!(check("a.sh", "echo TODO\n", "#").is_empty());
    }
}
