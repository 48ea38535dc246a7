//! Django's list of hashed names, `staticfiles.json`: owns reading it, again when it has changed.
//! Leaves what follows from a hashed name to `load`.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::open::Identity;

/// A longer list is not read.
const LONGEST: u64 = 64 << 20;
/// How often it is looked for a newer one.
const VALID: Duration = Duration::from_secs(1);

/// The names that stand for one content for ever.
#[derive(Default)]
pub(crate) struct Manifest {
    path: Option<PathBuf>,
    read: Option<Identity>,
    looked: Option<Instant>,
    names: HashSet<Box<[u8]>>,
}

impl Manifest {
    /// The list in this file.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            ..Self::default()
        }
    }

    /// Whether the content of the file with this name never changes.
    pub fn has(&mut self, name: &[u8]) -> bool {
        self.look(Instant::now());
        self.names.contains(name)
    }

    fn look(&mut self, now: Instant) {
        let Some(path) = &self.path else { return };
        if self.looked.is_some_and(|looked| now - looked < VALID) {
            return;
        }
        self.looked = Some(now);
        let found = std::fs::File::open(path).and_then(|file| Ok((Identity::of(&file)?, file)));
        // One that is gone or being written: the old names are as good as before.
        let Ok((identity, file)) = found else { return };
        if self.read == Some(identity) || identity.length > LONGEST {
            return;
        }
        let mut text = Vec::new();
        if std::io::Read::read_to_end(&mut &file, &mut text).is_ok()
            && let Some(names) = hashed_names(&text)
        {
            self.names = names;
            self.read = Some(identity);
        }
    }
}

/// The values of `"paths"`; None when it is not the JSON that Django writes.
fn hashed_names(text: &[u8]) -> Option<HashSet<Box<[u8]>>> {
    let mut names = HashSet::new();
    let mut rest = text;
    let (mut depth, mut key, mut in_paths) = (0_u32, None, false);
    while let [byte, after @ ..] = rest {
        rest = after;
        match byte {
            b'"' => {
                let (string, after) = read_string(rest)?;
                rest = after;
                if skip_space(rest).first() == Some(&b':') {
                    key = Some(string);
                } else if in_paths && depth == 2 && key.take().is_some() {
                    names.insert(string.into_boxed_slice());
                }
            }
            b'{' | b'[' => {
                depth += 1;
                in_paths |= depth == 2 && *byte == b'{' && key.take().as_deref() == Some(b"paths");
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                in_paths &= depth >= 2;
            }
            _ => {}
        }
    }
    (depth == 0).then_some(names)
}

fn skip_space(text: &[u8]) -> &[u8] {
    text.trim_ascii_start()
}

/// A string whose opening quotation mark is read, and what follows it (RFC 8259, section 7).
fn read_string(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut string = Vec::new();
    loop {
        match rest {
            [b'"', after @ ..] => return Some((string, after)),
            [b'\\', b'u', after @ ..] => {
                let (first, after) = read_hex(after)?;
                rest = after;
                let code = match (first, rest) {
                    (0xd800..=0xdbff, [b'\\', b'u', after @ ..]) => {
                        let (second, after) = read_hex(after)?;
                        rest = after;
                        let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                        0x1_0000 + ((first - 0xd800) << 10) + low
                    }
                    _ => first,
                };
                let mut utf8 = [0; 4];
                string.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
            }
            [b'\\', escaped, after @ ..] => {
                string.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'b' => 8,
                    b'f' => 12,
                    other => *other,
                });
                rest = after;
            }
            [byte, after @ ..] => {
                string.push(*byte);
                rest = after;
            }
            [] => return None,
        }
    }
}

fn read_hex(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = text.split_at_checked(4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    Some((u32::from_str_radix(digits, 16).ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = hashed_names(text.as_bytes())?
            .into_iter()
            .map(|name| String::from_utf8(name.into_vec()).unwrap())
            .collect();
        names.sort();
        Some(names)
    }

    #[test]
    fn the_values_of_paths_are_the_names() {
        let text = r#"{"paths": {"a.css": "a.0123456789ab.css", "é\"b.js" : "\u00e9\"b.1f.js"},
            "version": "1.1", "hash": "{paths", "more": {"paths": {"x": "no"}, "y": "no"}}"#;
        assert_eq!(names(text).unwrap(), ["a.0123456789ab.css", "é\"b.1f.js"]);
        let pair = r#"{"paths": {"a": "\ud83d\ude00.css"}}"#;
        assert_eq!(names(pair).unwrap(), ["😀.css"]);
        assert_eq!(names("{}"), Some(vec![]));
    }

    #[test]
    fn what_is_cut_off_is_not_taken() {
        let text = r#"{"paths": {"a.css": "a.1.css"}}"#;
        for length in 1..text.len() {
            assert_eq!(names(&text[..length]), None, "{length}");
        }
        for bad in [r#"{"\ud800x": 1}"#, r#"{"\u12"#, "}", "\"\\"] {
            assert_eq!(names(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_newer_list_is_read_and_a_missing_one_changes_nothing() {
        let path = std::env::temp_dir().join(format!("canter-manifest-{}", std::process::id()));
        std::fs::write(&path, r#"{"paths": {"a": "a.1"}}"#).unwrap();
        let mut manifest = Manifest::new(Some(path.clone()));
        assert!(manifest.has(b"a.1") && !manifest.has(b"a"));
        std::fs::write(&path, r#"{"paths": {"a": "a.234"}}"#).unwrap();
        manifest.look(Instant::now() + VALID);
        assert!(manifest.has(b"a.234") && !manifest.has(b"a.1"));
        std::fs::remove_file(&path).unwrap();
        manifest.look(Instant::now() + VALID * 2);
        assert!(manifest.has(b"a.234"));
    }
}
