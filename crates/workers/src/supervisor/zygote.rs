//! Owns starting Python processes and the words they exchange with the supervisor: a zygote that
//! imports the app once and forks, or a single worker that imports the app for itself.
//! Leaves when to start which to the supervisor; `canter.zygote` in Python is the other side.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;

use canter_sys::fds;
use canter_sys::process::{Pid, pid_from, spawn_with};

use super::spawn::Half;
use crate::link::WorkerId;

/// The most bytes of one word from Python.
const MOST_WORD: usize = 64 * 1024;

/// The most bytes about static files; a site with more has the rest served without its own rules.
const MOST_FILES: usize = 16 << 20;

/// Variables by which a service manager speaks to the process it has started, and to no other.
const FOR_THE_SUPERVISOR: &[&str] = &[
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// How to start Python.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter.
    pub program: PathBuf,
    /// Variables for the app, on top of the inherited ones.
    pub env: Vec<(String, String)>,
    /// What `canter.zygote` gets as its argument: a JSON object.
    pub settings: String,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// As the user names it: `mysite.wsgi:application`.
    pub app: String,
    /// For people: `Python 3.13.0, Django 5.2`.
    pub versions: String,
    /// Why the process must not be forked.
    pub danger: Option<String>,
    /// Why requests will fail although the app is imported: what it imports for them is broken.
    pub broken: Option<String>,
    /// The names of the databases that the app reaches through the pool.
    pub pooled: Option<String>,
    /// What its settings say of static files; `canter_files::Site` reads it.
    pub files: String,
    /// What a person should know of them: a line each.
    pub notes: Vec<String>,
    /// How long the import took.
    pub took_ms: u64,
}

/// What a Python process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The app is imported.
    Loaded(Loaded),
    /// The app cannot be imported; the traceback was printed.
    Failed {
        /// The error in one line.
        what: String,
        /// What to do, if it is known.
        hint: Option<String>,
    },
    /// The worker asked for exists.
    Forked {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: Pid,
    },
    /// The system refused to fork.
    NotForked {
        /// Which worker.
        worker: WorkerId,
        /// The error in one line.
        what: String,
    },
    /// Directories the app's code came from, for `--reload`.
    Watch(Vec<PathBuf>),
    /// Part of [`Loaded::files`], which comes before the rest.
    Files(String),
}

impl Report {
    /// Reads a word: its kind on the first line, then `key=value` lines.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (kind, rest) = text.split_once('\n').unwrap_or((text, ""));
        let field = |key: &str| {
            let prefix =
                |line: &'_ str| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned);
            rest.lines().find_map(prefix)
        };
        let worker = || Some(WorkerId(field("worker")?.parse().ok()?));
        Some(match kind {
            "loaded" => Self::Loaded(Loaded {
                app: field("app")?,
                versions: field("versions")?,
                danger: field("danger"),
                broken: field("broken"),
                pooled: field("pooled"),
                files: String::new(),
                notes: field("notes").map_or_else(Vec::new, |notes| {
                    notes.split('\t').map(str::to_owned).collect()
                }),
                took_ms: field("took_ms")?.parse().ok()?,
            }),
            "failed" => Self::Failed {
                what: field("what")?,
                hint: field("hint"),
            },
            "forked" => Self::Forked {
                worker: worker()?,
                pid: pid_from(field("pid")?.parse().ok()?).ok()?,
            },
            "not forked" => Self::NotForked {
                worker: worker()?,
                what: field("what")?,
            },
            "watch" => Self::Watch(rest.lines().map(PathBuf::from).collect()),
            "files" => Self::Files(rest.to_owned()),
            _ => return None,
        })
    }
}

/// What came over the socket of a Python process.
#[derive(Debug)]
pub enum Heard {
    /// A word.
    Report(Report),
    /// Nothing more for now.
    Nothing,
    /// The process has closed its end.
    End,
}

/// A Python process and the socket to it.
#[derive(Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    socket: OwnedFd,
    /// Parts of [`Loaded::files`] that have come.
    files: RefCell<String>,
}

impl Process {
    /// Starts a zygote.
    ///
    /// # Errors
    /// The system's own: `NotFound` for a missing interpreter, and so on.
    pub fn zygote(python: &Python) -> io::Result<Self> {
        Self::start(python, "zygote", None)
    }

    /// Starts one worker that imports the app for itself.
    ///
    /// # Errors
    /// As for [`Process::zygote`].
    pub fn single(python: &Python, worker: WorkerId, half: &Half) -> io::Result<Self> {
        Self::start(python, &worker.to_string(), Some(half))
    }

    fn start(python: &Python, role: &str, half: Option<&Half>) -> io::Result<Self> {
        let (ours, theirs) = fds::pair()?;
        let flags = rustix::fs::fcntl_getfl(&ours)?;
        rustix::fs::fcntl_setfl(&ours, flags | rustix::fs::OFlags::NONBLOCK)?;
        let mut given = vec![theirs.as_fd()];
        let half = half.map(Half::as_fds);
        given.extend(half.iter().flatten());
        let mut command = Command::new(&python.program);
        command
            .args(["-m", "canter.zygote", &python.settings, role])
            .envs(python.env.iter().map(|(key, value)| (key, value)));
        for name in FOR_THE_SUPERVISOR {
            command.env_remove(name);
        }
        let child = spawn_with(&mut command, &given)?;
        let pid = i32::try_from(child.id()).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self {
            pid: pid_from(pid)?,
            socket: ours,
            files: RefCell::default(),
        })
    }

    /// Asks for a worker.
    ///
    /// # Errors
    /// When the zygote has gone or does not listen.
    pub fn fork(&self, worker: WorkerId, half: &Half) -> io::Result<()> {
        fds::send(
            &self.socket,
            format!("fork {worker}").as_bytes(),
            &half.as_fds(),
        )
    }

    /// The next word, without waiting. A word that makes no sense is the end of the process.
    pub fn hear(&self) -> Heard {
        let mut buf = vec![0; MOST_WORD];
        loop {
            let report = match fds::receive(&self.socket, &mut buf) {
                Ok((0, _)) => return Heard::End,
                Ok((length, _)) => buf.get(..length).and_then(Report::read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::End,
            };
            match report {
                Some(Report::Files(part)) => self.keep(&part),
                Some(Report::Loaded(mut loaded)) => {
                    loaded.files = self.files.take();
                    return Heard::Report(Report::Loaded(loaded));
                }
                other => return other.map_or(Heard::End, Heard::Report),
            }
        }
    }

    fn keep(&self, part: &str) {
        let mut files = self.files.borrow_mut();
        if files.len() + part.len() < MOST_FILES {
            files.push_str(part);
            files.push('\n');
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_python_writes_them() {
        let loaded = Loaded {
            app: "mysite.wsgi:application".to_owned(),
            versions: "Python 3.13.0, Django 5.2".to_owned(),
            danger: Some("the thread `reporter` is running".to_owned()),
            broken: Some("urls: SyntaxError: a=b".to_owned()),
            pooled: Some("default, reports".to_owned()),
            files: String::new(),
            notes: vec!["one".to_owned(), "two".to_owned()],
            took_ms: 412,
        };
        let text = "loaded\napp=mysite.wsgi:application\nversions=Python 3.13.0, Django 5.2\n\
                    danger=the thread `reporter` is running\n\
                    broken=urls: SyntaxError: a=b\n\
                    pooled=default, reports\nnotes=one\ttwo\ntook_ms=412";
        assert_eq!(Report::read(text.as_bytes()), Some(Report::Loaded(loaded)));
        assert_eq!(
            Report::read(b"failed\nwhat=ModuleNotFoundError: a=b"),
            Some(Report::Failed {
                what: "ModuleNotFoundError: a=b".to_owned(),
                hint: None
            })
        );
        assert_eq!(
            Report::read(b"forked\nworker=3\npid=12"),
            Some(Report::Forked {
                worker: WorkerId(3),
                pid: pid_from(12).unwrap()
            })
        );
        let files = Report::Files("static\t/s/\t/srv\nmax-age\t60".to_owned());
        assert_eq!(
            Report::read(b"files\nstatic\t/s/\t/srv\nmax-age\t60"),
            Some(files)
        );
        let paths = vec![PathBuf::from("/a"), PathBuf::from("/b=c")];
        assert_eq!(Report::read(b"watch\n/a\n/b=c"), Some(Report::Watch(paths)));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        for bytes in [
            &b""[..],
            b"forked",
            b"forked\nworker=3\npid=0",
            b"forked\nworker=x\npid=1",
            b"loaded\napp=a",
            b"hello\n",
            b"\xff",
        ] {
            assert_eq!(Report::read(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_missing_interpreter_is_said_at_once() {
        let python = Python {
            program: PathBuf::from("/nonexistent/python"),
            env: Vec::new(),
            settings: String::new(),
        };
        let error = Process::zygote(&python).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
