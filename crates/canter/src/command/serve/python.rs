//! Owns finding the Python that runs the app. Leaves starting it to the supervisor.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use canter_base::{Exit, Fault};

/// What the interpreter is asked: is it new enough, and does it have Canter's package?
const QUESTION: &str = "\
import sys
if sys.version_info < (3, 10): sys.exit(10)
try: import canter
except ImportError: sys.exit(11)
";

const TOO_OLD: i32 = 10;
const WITHOUT_CANTER: i32 = 11;

/// Where a Python may be.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The program `canter` itself.
    pub program: Option<PathBuf>,
    /// `VIRTUAL_ENV`.
    pub virtual_env: Option<PathBuf>,
    /// The directories in `PATH`.
    pub path: Vec<PathBuf>,
}

impl Places {
    /// As they are for this process.
    pub fn of_this_process() -> Self {
        let path = std::env::var_os("PATH");
        Self {
            program: std::env::current_exe().ok(),
            virtual_env: std::env::var_os("VIRTUAL_ENV").map(PathBuf::from),
            path: path.map_or_else(Vec::new, |path| std::env::split_paths(&path).collect()),
        }
    }

    /// Candidates, best first: installers put the program beside the interpreter it is for.
    fn candidates(&self) -> Vec<PathBuf> {
        let beside = self.program.as_deref().and_then(Path::parent);
        let virtual_env = self.virtual_env.as_ref().map(|root| root.join("bin"));
        let mut found: Vec<PathBuf> = Vec::new();
        let directories = beside
            .map(Path::to_path_buf)
            .into_iter()
            .chain(virtual_env)
            .chain(self.path.iter().cloned());
        for directory in directories {
            for name in ["python3", "python"] {
                let candidate = directory.join(name);
                if candidate.is_file() && !found.contains(&candidate) {
                    found.push(candidate);
                    break;
                }
            }
        }
        found
    }
}

/// Why a Python will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unfit {
    TooOld,
    WithoutCanter,
    Broken,
}

/// The interpreter: the one named, or the first that has Canter's package.
pub fn find(named: Option<&Path>, places: &Places) -> Result<PathBuf, Fault> {
    if let Some(named) = named {
        return match examine(named) {
            None => Ok(named.to_path_buf()),
            Some(unfit) => Err(fault(named, unfit).from("`--python`")),
        };
    }
    let mut best: Option<Fault> = None;
    for candidate in places.candidates() {
        match examine(&candidate) {
            None => return Ok(candidate),
            Some(unfit) => {
                best.get_or_insert_with(|| fault(&candidate, unfit));
            }
        }
    }
    Err(best.unwrap_or_else(|| {
        Fault::new(Exit::Python, "no Python was found")
            .hint("install Canter into the project's environment, or name one with `--python`")
    }))
}

fn examine(python: &Path) -> Option<Unfit> {
    let asked = Command::new(python)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match asked.map(|status| status.code()) {
        Ok(Some(0)) => None,
        Ok(Some(TOO_OLD)) => Some(Unfit::TooOld),
        Ok(Some(WITHOUT_CANTER)) => Some(Unfit::WithoutCanter),
        _ => Some(Unfit::Broken),
    }
}

fn fault(python: &Path, unfit: Unfit) -> Fault {
    let python = python.display();
    match unfit {
        Unfit::TooOld => Fault::new(
            Exit::Python,
            format!("`{python}` is older than Python 3.10"),
        )
        .hint("name a newer one with `--python`"),
        Unfit::WithoutCanter => Fault::new(
            Exit::Python,
            format!("`{python}` does not have the package `canter`"),
        )
        .hint(format!(
            "`{python} -m pip install canter`, or name another one with `--python`"
        )),
        Unfit::Broken => Fault::new(Exit::Python, format!("`{python}` does not run"))
            .hint("name a working interpreter with `--python`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A program that another thread starts has, until it runs, what is being written here open as
    /// well, and a file that is open for writing cannot be run (ETXTBSY, execve(2)).
    static ALONE: Mutex<()> = Mutex::new(());

    /// A directory with programs that end with a given code.
    struct Bin(
        PathBuf,
        #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>,
    );

    impl Bin {
        fn new(name: &str, pythons: &[(&str, i32)]) -> Self {
            let name = format!("canter-python-{name}-{}", std::process::id());
            let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
            let bin = Self(std::env::temp_dir().join(name), alone);
            for (python, code) in pythons {
                let file = bin.0.join(python);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, format!("#!/bin/sh\nexit {code}\n")).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
            bin
        }
    }

    impl Drop for Bin {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_interpreter_beside_the_program_comes_first() {
        let bin = Bin::new(
            "beside",
            &[("a/python3", 0), ("env/bin/python", 0), ("b/python3", 0)],
        );
        let mut places = Places {
            program: Some(bin.0.join("a/canter")),
            virtual_env: Some(bin.0.join("env")),
            path: vec![bin.0.join("nothing"), bin.0.join("b")],
        };
        assert_eq!(find(None, &places).unwrap(), bin.0.join("a/python3"));
        places.program = Some(bin.0.join("nothing/canter"));
        assert_eq!(find(None, &places).unwrap(), bin.0.join("env/bin/python"));
        places.virtual_env = None;
        assert_eq!(find(None, &places).unwrap(), bin.0.join("b/python3"));
    }

    #[test]
    fn an_interpreter_without_canter_is_passed_over() {
        let bin = Bin::new("over", &[("a/python3", WITHOUT_CANTER), ("b/python3", 0)]);
        let places = Places {
            path: vec![bin.0.join("a"), bin.0.join("b")],
            ..Places::default()
        };
        assert_eq!(find(None, &places).unwrap(), bin.0.join("b/python3"));
    }

    #[test]
    fn what_is_wrong_with_the_first_one_is_said() {
        let bin = Bin::new("wrong", &[("a/python3", TOO_OLD), ("b/python3", 1)]);
        let places = Places {
            path: vec![bin.0.join("a"), bin.0.join("b")],
            ..Places::default()
        };
        let fault = find(None, &places).unwrap_err();
        assert!(fault.what.contains("older than Python 3.10"), "{fault}");
        assert_eq!(fault.exit, Exit::Python);
        let fault = find(Some(Path::new("/nonexistent")), &places).unwrap_err();
        assert!(fault.what.contains("does not run"), "{fault}");
        let fault = find(None, &Places::default()).unwrap_err();
        assert_eq!(fault.what, "no Python was found");
    }
}
