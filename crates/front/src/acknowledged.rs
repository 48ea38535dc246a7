//! Owns the file of findings that somebody has looked at and accepts: one name on each line, with a
//! word on what it is, so that it can be read, edited and kept with the project.
//! Leaves what a finding is to `canter_insight`.

use std::collections::BTreeMap;
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
    names: BTreeMap<String, String>,
    read: Option<SystemTime>,
}

impl Acknowledged {
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            names: BTreeMap::new(),
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
        self.names = parse(&text);
        self.read = changed;
        Some(self.names.keys().cloned().collect())
    }

    /// Adds a name or takes it away, and writes the file; it is replaced as a whole.
    pub fn set(&mut self, name: &str, note: Option<&str>) -> io::Result<()> {
        self.look();
        let mut names = self.names.clone();
        match note {
            Some(note) => names.insert(name.to_owned(), note.to_owned()),
            None => names.remove(name),
        };
        let mut text = HEAD.to_owned();
        for (name, note) in &names {
            text += name;
            text += "  ";
            text.extend(note.chars().filter(|c| !c.is_control()).take(200));
            text.truncate(text.trim_end().len());
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

fn parse(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| {
        let (name, note) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        (name.to_owned(), note.trim().to_owned())
    });
    pairs.take(MOST).collect()
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
        known.set("aa", None).unwrap();
        assert_eq!(known.look(), Some(vec!["bb".to_owned()]));
        fs::remove_dir_all(&folder).unwrap();
        assert!(known.set("aa", Some("")).is_err());
    }
}
