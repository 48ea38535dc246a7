//! Owns the file of findings that somebody has looked at and accepts: one name on each line, with a
//! word on what it is, so that it can be read, edited and kept with the project.
//! Leaves what a finding is to `canter_insight`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// In the folder in which the server was started.
pub(crate) const FILE: &str = "canter-acknowledged.txt";

/// The most names that are read: more than there are findings.
const MOST: usize = 2000;

const HEAD: &str = "# Findings that are accepted: `canter queries --acknowledge NAME` adds one, \
                    `--unacknowledge NAME` takes it back.\n";

/// What the file says.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    path: PathBuf,
    read: Option<SystemTime>,
}

impl Acknowledged {
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: None,
        }
    }

    /// Reads the file if it has changed; the names, if they may have.
    pub fn look(&mut self) -> Option<Vec<String>> {
        let changed = fs::metadata(&self.path).and_then(|meta| meta.modified());
        let changed = changed.ok();
        if changed == self.read {
            return None;
        }
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        self.read = changed;
        Some(parse(&text))
    }

    /// Adds a name or takes it away; all other lines stay as they are. The file is replaced as a whole.
    pub fn set(&mut self, name: &str, note: Option<&str>) -> io::Result<()> {
        let before = match fs::read_to_string(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => HEAD.to_owned(),
            read => read?,
        };
        let mut text = String::new();
        for line in before.lines().filter(|line| first(line) != Some(name)) {
            text += line;
            text.push('\n');
        }
        if let Some(note) = note {
            let note: String = note.chars().filter(|c| !c.is_control()).take(200).collect();
            text += format!("{name}  {note}").trim_end();
            text.push('\n');
        }
        let beside = self.path.with_extension("txt.new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.path)?;
        // To be read anew.
        self.read = None;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The name on a line, or the mark of a comment.
fn first(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

fn parse(text: &str) -> Vec<String> {
    let names = text.lines().filter_map(first);
    let names: BTreeSet<_> = names.filter(|name| !name.starts_with('#')).collect();
    names.into_iter().take(MOST).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_names_are_added_taken_back_and_what_people_write_stays() {
        let folder = std::env::temp_dir().join(format!("acknowledged-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(FILE);
        let mut known = Acknowledged::at(&path);
        assert_eq!(known.look(), None);
        fs::write(&path, "# a word\n\nbb  the report may be slow\n").unwrap();
        assert_eq!(known.look(), Some(vec!["bb".to_owned()]));
        known.set("aa", Some("GET /\u{1b}[31m")).unwrap();
        assert_eq!(known.look(), Some(vec!["aa".to_owned(), "bb".to_owned()]));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("bb  the report may be slow\n"), "{text}");
        assert!(text.contains("aa  GET /[31m\n"), "{text}");
        assert!(text.starts_with("# a word\n\n"), "{text}");
        known.set("aa", None).unwrap();
        assert_eq!(known.look(), Some(vec!["bb".to_owned()]));
        fs::remove_dir_all(&folder).unwrap();
        assert!(known.set("aa", Some("")).is_err());
    }
}
