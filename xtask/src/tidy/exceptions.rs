//! Listed exceptions: one on a line, each with its reason. One that nothing needs is a problem too.

use std::cell::Cell;

use super::Problem;

/// The list. `asked` remembers which lines were needed.
#[derive(Debug)]
pub struct Exceptions(Vec<Exception>);

#[derive(Debug)]
struct Exception {
    line: usize,
    rule: String,
    subject: String,
    asked: Cell<bool>,
}

/// Rules that allow exceptions.
const RULES: &[&str] = &["long-file", "long-function", "unsafe"];

/// Shorter is not a reason.
const SHORTEST_REASON: usize = 20;

impl Exceptions {
    /// Reads lines of `rule subject: reason`; a subject is a path, or a path and a function.
    pub fn read(path: &str, text: &str) -> (Self, Vec<Problem>) {
        let (mut exceptions, mut problems) = (Vec::new(), Vec::new());
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            if text.trim().is_empty() || text.starts_with('#') {
                continue;
            }
            let parts = text.split_once(": ").and_then(|(head, reason)| {
                let (rule, subject) = head.split_once(' ')?;
                Some((rule, subject, reason))
            });
            match parts {
                Some((rule, subject, reason))
                    if RULES.contains(&rule) && reason.trim().len() >= SHORTEST_REASON =>
                {
                    exceptions.push(Exception {
                        line,
                        rule: rule.to_owned(),
                        subject: subject.to_owned(),
                        asked: Cell::new(false),
                    });
                }
                _ => problems.push(Problem::new(
                    path,
                    line,
                    format!("expected `rule subject: reason`, with a rule of {RULES:?}"),
                )),
            }
        }
        (Self(exceptions), problems)
    }

    /// Whether the subject is listed for the rule.
    pub fn allow(&self, rule: &str, subject: &str) -> bool {
        let listed = self
            .0
            .iter()
            .find(|exception| exception.rule == rule && exception.subject == subject);
        listed
            .inspect(|exception| exception.asked.set(true))
            .is_some()
    }

    /// Lines that no file needed.
    pub fn unused(&self, path: &str) -> Vec<Problem> {
        let idle = self.0.iter().filter(|exception| !exception.asked.get());
        idle.map(|exception| {
            let text = format!("nothing needs this any more: `{}`", exception.subject);
            Problem::new(path, exception.line, text)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_subject_is_allowed_for_its_rule_only() {
        let text = "# why\n\nunsafe a.rs: calls into the system library\n";
        let (exceptions, problems) = Exceptions::read("x", text);
        assert!(problems.is_empty());
        assert!(!exceptions.allow("unsafe", "b.rs") && !exceptions.allow("long-file", "a.rs"));
        assert_eq!(exceptions.unused("x").len(), 1);
        assert!(exceptions.allow("unsafe", "a.rs"));
        assert!(exceptions.unused("x").is_empty());
    }

    #[test]
    fn a_line_without_rule_subject_or_reason_is_a_problem() {
        for text in [
            "unsafe a.rs",
            "unsafe a.rs: because",
            "other a.rs: a reason that is long enough",
        ] {
            assert_eq!(Exceptions::read("x", text).1.len(), 1, "{text}");
        }
    }
}
