//! Owns the file with the number of the process, for those who send it signals: written whole, refused
//! while it is another's, removed at the end.
//! Leaves where it is to the options.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use canter_base::{Exit, Fault};
use rustix::process::{Pid, test_kill_process};

/// A file with the number of this process, removed at the end.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it; nobody ever reads half of it.
    pub fn write(path: &Path) -> Result<Self, Fault> {
        if let Some(other) = number_in(path).filter(|&number| is_another_canter(number)) {
            return Err(Fault::new(
                Exit::File,
                format!(
                    "the pid file `{}` is that of process {other}, a Canter that still runs",
                    path.display()
                ),
            )
            .from("`--pid`")
            .hint(format!(
                "stop it first (kill {other}), or name another file"
            )));
        }
        // Beside it first: a reader never sees half a number.
        let mut beside = OsString::from(path);
        beside.push(format!(".{}", std::process::id()));
        let beside = PathBuf::from(beside);
        let written = write_new(&beside).and_then(|()| fs::rename(&beside, path));
        written.map(|()| Self(path.to_path_buf())).map_err(|error| {
            let _ = fs::remove_file(&beside);
            Fault::new(
                Exit::File,
                format!("cannot write the pid file `{}`: {error}", path.display()),
            )
            .from("`--pid`")
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A successor may have written its own meanwhile.
        if number_in(&self.0) == i32::try_from(std::process::id()).ok() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

/// Never through a link that somebody has put there: the name can be guessed.
fn write_new(path: &Path) -> io::Result<()> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)?;
    writeln!(file, "{}", std::process::id())
}

fn number_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A file may be left from before the machine was started anew, when its number is somebody else's.
fn is_another_canter(number: i32) -> bool {
    // Numbers below name groups of processes.
    if number <= 0 || u32::try_from(number) == Ok(std::process::id()) {
        return false;
    }
    let Some(pid) = Pid::from_raw(number) else {
        return false;
    };
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    let program = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        Some(name.trim_end_matches(" (deleted)").to_owned())
    };
    let own = std::env::current_exe().ok().and_then(program);
    // One that cannot be looked at is another user's, and may be a Canter.
    fs::read_link(format!("/proc/{number}/exe")).map_or(true, |theirs| program(theirs) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("canter-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_pid_file_holds_the_number_and_goes_at_the_end() {
        let folder = folder("pid");
        let path = folder.join("pid");
        let file = PidFile::write(&path).unwrap();
        let own = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), own);
        drop(file);
        assert!(!path.exists());
        let fault = PidFile::write(Path::new("/nonexistent/pid")).err().unwrap();
        assert_eq!(fault.exit, Exit::File);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let folder = folder("pid-successor");
        let path = folder.join("pid");
        let file = PidFile::write(&path).unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_left_of_others_is_written_over_and_no_link_is_followed() {
        let folder = folder("pid-left");
        let (path, precious) = (folder.join("pid"), folder.join("precious"));
        fs::write(&precious, "kept").unwrap();
        let beside = folder.join(format!("pid.{}", std::process::id()));
        std::os::unix::fs::symlink(&precious, &beside).unwrap();
        // No number, none of a process, and one that nobody has.
        for left in ["x", "", "-4", "0", "2147483647\n"] {
            fs::write(&path, left).unwrap();
            drop(PidFile::write(&path).unwrap());
        }
        assert_eq!(fs::read_to_string(&precious).unwrap(), "kept");
        fs::remove_dir_all(folder).unwrap();
    }
}
