//! Owns the file of what routes usually ask for, from one start to the next.
//! Leaves what stands in it to `canter_insight`.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two times that it is written.
const BETWEEN: Duration = Duration::from_secs(60);

/// Bytes of what Canter writes, with room to spare: 200 routes of 200 bytes, and their numbers.
const LONGEST: usize = 128 << 10;

/// The file.
#[derive(Debug)]
pub(crate) struct UsualFile {
    path: PathBuf,
    /// What it holds, as far as is known.
    text: String,
    looked: Instant,
}

impl UsualFile {
    /// The file and what it says; where there is none yet it says nothing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            file => {
                file?.take(LONGEST as u64 + 1).read_to_string(&mut text)?;
            }
        }
        if text.len() > LONGEST {
            let what = format!("it is longer than {LONGEST} bytes, so it is another file");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self {
            path: path.to_owned(),
            text,
            looked: Instant::now(),
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is time to write it.
    pub fn is_due(&mut self) -> bool {
        let is_due = self.looked.elapsed() >= BETWEEN;
        if is_due {
            self.looked = Instant::now();
        }
        is_due
    }

    /// Replaces it as a whole, if that says something new.
    pub fn write(&mut self, text: String) -> io::Result<()> {
        if text == self.text {
            return Ok(());
        }
        let mut beside = self.path.clone().into_os_string();
        beside.push(".new");
        fs::write(&beside, &text)?;
        fs::rename(&beside, &self.path)?;
        self.text = text;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_the_file_is_replaced_as_a_whole_and_only_by_something_new() {
        let folder = std::env::temp_dir().join(format!("usual-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("usual.txt");
        let mut file = UsualFile::open(&path).unwrap();
        assert!(file.text().is_empty() && !file.is_due());
        file.write("a".to_owned()).unwrap();
        assert_eq!(UsualFile::open(&path).unwrap().text(), "a");
        fs::remove_file(&path).unwrap();
        file.write("a".to_owned()).unwrap();
        assert!(!path.exists());
        file.write("b".to_owned()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
        assert!(UsualFile::open(&folder).is_err());
        // What Canter cannot have written is neither read nor replaced.
        fs::write(&path, "x".repeat(LONGEST + 1)).unwrap();
        let error = UsualFile::open(&path).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        fs::write(&path, "x".repeat(LONGEST)).unwrap();
        assert!(UsualFile::open(&path).is_ok());
        fs::remove_dir_all(&folder).unwrap();
        assert!(file.write("c".to_owned()).is_err());
    }
}
