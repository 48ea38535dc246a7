//! The files of the repository, without what tools have put beside them.

use std::fs;
use std::io;
use std::path::Path;

/// A text file with its path from the root, written with `/`.
#[derive(Debug)]
pub struct File {
    /// `crates/base/src/lib.rs`
    pub path: String,
    /// What it holds.
    pub text: String,
}

impl File {
    /// The part of the name behind the last dot.
    pub fn extension(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
    }
}

/// Folders that are made by builds and tests and never committed.
const MADE: &[&str] = &[
    "target",
    "__pycache__",
    "node_modules",
    "dist",
    "build",
    "examples/reader/var",
    "bench/.work",
];

/// Kinds of files that a rule reads.
const READ: &[&str] = &["rs", "py", "pyi", "md", "toml", "sh", "yml", "yaml"];

/// Every file a rule may read, sorted by path.
pub fn read(root: &Path) -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    walk(root, "", &mut files)?;
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}

fn walk(root: &Path, folder: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        if entry.file_type()?.is_dir() {
            let made = MADE.contains(&name.as_str())
                || MADE.contains(&path.as_str())
                || name.ends_with(".egg-info")
                || (name.starts_with('.')
                    && !matches!(name.as_str(), ".ci" | ".cargo" | ".github"));
            if !made {
                walk(root, &path, files)?;
            }
        } else if READ.iter().any(|kind| path.ends_with(&format!(".{kind}"))) {
            // A file may be not UTF-8 on purpose (a fixture); rules about text pass it by.
            let bytes = match fs::read(entry.path()) {
                // Somebody's scratch file.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(File { path, text });
            }
        }
    }
    Ok(())
}
