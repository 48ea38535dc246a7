//! Rule: relative links in Markdown lead to a file that exists and to a heading in it.

use super::Problem;
use crate::tree::File;

/// Checks each link of each Markdown file. `exists` answers for files that are not text.
pub fn check(files: &[File], exists: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in files.iter().filter(|file| file.extension() == "md") {
        for (line, target) in targets(&file.text) {
            if let Some(why) = broken(file, &target, files, exists) {
                problems.push(Problem::new(&file.path, line, format!("`{target}`: {why}")));
            }
        }
    }
    problems
}

fn broken(
    file: &File,
    target: &str,
    files: &[File],
    exists: &dyn Fn(&str) -> bool,
) -> Option<&'static str> {
    let scheme = target
        .split(['/', '#', '?'])
        .next()
        .is_some_and(|start| start.contains(':'));
    if scheme {
        return None;
    }
    let (path, heading) = match target.split_once('#') {
        Some((path, heading)) => (path, Some(heading)),
        None => (target, None),
    };
    let path = if path.is_empty() {
        file.path.clone()
    } else {
        match join(&file.path, path) {
            Some(path) => path,
            None => return Some("leads out of the repository"),
        }
    };
    if !exists(&path) {
        return Some("no such file");
    }
    let page = files
        .iter()
        .find(|page| page.path == path && page.extension() == "md")?;
    let heading = heading?;
    (!headings(&page.text).iter().any(|known| known == heading)).then_some("no such heading")
}

/// A path beside `file`, with `.` and `..` resolved; `/` begins at the root.
fn join(file: &str, target: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = match target.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => folder.split('/').filter(|part| !part.is_empty()).collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Link targets with their lines: `[text](target)`, `[text]: target`, `src="target"`.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut targets = Vec::new();
    for (line, prose) in prose(text) {
        for (opening, closing) in [("](", ')'), ("src=\"", '"'), ("href=\"", '"')] {
            for (at, _) in prose.match_indices(opening) {
                let rest = prose.split_at(at + opening.len()).1;
                if let Some((target, _)) = rest.split_once(closing) {
                    // A title may follow the target.
                    let target = target.split_whitespace().next().unwrap_or_default();
                    targets.push((line, target.trim_matches(['<', '>']).to_owned()));
                }
            }
        }
        let defined = prose
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "));
        if let Some((_, target)) = defined {
            targets.push((
                line,
                target
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
            ));
        }
    }
    targets
}

/// Lines outside code, with inline code blanked out.
fn prose(text: &str) -> Vec<(usize, String)> {
    let (mut lines, mut fence) = (Vec::new(), None);
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => {
                let parts = line.split('`').enumerate();
                let kept: String = parts
                    .map(|(part, text)| if part % 2 == 0 { text } else { "" })
                    .collect();
                lines.push((index + 1, kept));
            }
        }
    }
    lines
}

/// The anchors GitHub gives to headings: lower case, blanks as hyphens, no punctuation; a second
/// heading with the same words gets a number.
fn headings(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || !line.starts_with('#') || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let free = (0..).map(|number: u32| match number {
            0 => anchor.clone(),
            number => format!("{anchor}-{number}"),
        });
        let taken = anchors.clone();
        anchors.extend(
            free.into_iter()
                .find(|candidate| !taken.contains(candidate)),
        );
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(usize, String)> {
        let files = [
            File {
                path: "docs/a.md".into(),
                text: text.into(),
            },
            File {
                path: "docs/b.md".into(),
                text: "# One `x`, two\n\n# Same\n# Same\n".into(),
            },
        ];
        let exists = |path: &str| ["docs/a.md", "docs/b.md", "README.md", "docs"].contains(&path);
        check(&files, &exists)
            .into_iter()
            .map(|problem| (problem.line, problem.text))
            .collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_fine() {
        for text in [
            "[b](b.md) ![i](./b.md \"title\") [r](../README.md) [f](../docs)",
            "[root](/README.md) [out](https://x.y/z) [mail](mailto:a@b)",
            "[h](b.md#one-x-two) [s](b.md#same-1)",
            "# Here\n[h](#here)",
            "`[x](gone.md)`\n```\n[x](gone.md)\n```\n",
            "[x]\n\n[x]: b.md\n<img src=\"b.md\">",
        ] {
            assert_eq!(problems(text), [], "{text}");
        }
    }

    #[test]
    fn links_that_lead_nowhere_are_named_with_their_line() {
        for (text, line) in [
            ("\n[x](gone.md)", 2),
            ("[x](../../up.md)", 1),
            ("[x](b.md#three)", 1),
            ("[x](#nowhere)", 1),
            ("[x]: gone.md", 1),
            ("```\n```\n[x](gone.md)", 3),
            ("<img src=\"gone.png\">", 1),
        ] {
            let found = problems(text);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!(found[0].0, line, "{text}");
        }
    }
}
