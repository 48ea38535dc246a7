//! Owns one `canter serve` that is measured: its private sockets, its start, other workers while it runs,
//! what it says, its end.
//! Leaves loading it to `drive`.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use canter_base::{Exit, Fault};
use canter_tune::search::Trouble;
use canter_tune::setting::Setting;
use rustix::process::{Pid, Signal, kill_process};

use super::kernel;
use crate::admin;
use crate::command::client;

/// The longest start.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks at a starting server.
const LOOK: Duration = Duration::from_millis(20);
/// The longest end.
const END: Duration = Duration::from_secs(10);

/// A folder that only this user can enter; it goes with its owner.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn make() -> Result<Self, Fault> {
        let path = std::env::temp_dir().join(format!("canter-tune-{}", std::process::id()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                Fault::new(
                    Exit::File,
                    format!("cannot make `{}`: {error}", path.display()),
                )
                .hint("`TMPDIR` names another place for temporary files")
            })?;
        Ok(Self(path))
    }

    pub(super) fn site(&self) -> PathBuf {
        self.0.join("site.sock")
    }

    pub(super) fn admin(&self) -> PathBuf {
        self.0.join("admin.sock")
    }

    /// How many workers have ever been ready.
    fn ready(&self) -> usize {
        let text = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .matches("worker is ready")
            .count()
    }

    fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// The last lines that the server wrote.
    pub(super) fn last_words(&self, lines: usize) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let all: Vec<&str> = text.lines().collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A server that runs.
pub(super) struct Server {
    child: Child,
    /// What it was started with.
    begun: Setting,
    /// Its process, the root of a tree.
    pub(super) pid: u32,
}

impl Server {
    /// Starts one and waits until its workers are ready.
    pub(super) fn start(
        folder: &Folder,
        words: &[String],
        setting: Setting,
        stop: &AtomicBool,
    ) -> Result<Self, Trouble> {
        let fault = |what: String| Trouble::Fault(Fault::internal(what));
        let program =
            std::env::current_exe().map_err(|error| fault(format!("who am I? {error}")))?;
        let log = File::create(folder.log())
            .map_err(|error| fault(format!("cannot make a log: {error}")))?;
        let also = log
            .try_clone()
            .map_err(|error| fault(format!("cannot share a log: {error}")))?;
        let child = Command::new(program)
            .arg("serve")
            .args(words)
            .args(setting.flags())
            .args(["--bind", &format!("unix:{}", folder.site().display())])
            .args([
                "--admin-bind",
                &format!("unix:{}", folder.admin().display()),
            ])
            .args([
                "--access-logfile",
                "none",
                "--log-level",
                "info",
                "--log-format",
                "human",
            ])
            .args(["--graceful-timeout", "1s"])
            .stdin(Stdio::null())
            .stdout(also)
            .stderr(log)
            // Ctrl-C in the terminal is for this program, which then stops the server itself.
            .process_group(0)
            .spawn()
            .map_err(|error| fault(format!("cannot start a server: {error}")))?;
        let mut server = Self {
            pid: child.id(),
            begun: setting,
            child,
        };
        let ready = || {
            folder.ready() >= setting.workers as usize && UnixStream::connect(folder.site()).is_ok()
        };
        server.wait(folder, stop, &ready)?;
        Ok(server)
    }

    /// Whether it can take another configuration on without a new start. How the app is imported is
    /// decided at the start, and so is `wsgi.multithread`.
    pub(super) fn can_become(&self, setting: Setting) -> bool {
        let alone = |setting: Setting| setting.threads == 1;
        self.begun.preload == setting.preload && alone(self.begun) == alone(setting)
    }

    /// Other workers take the place of the `old` ones, which have ended when this returns.
    pub(super) fn change(
        &mut self,
        folder: &Folder,
        setting: Setting,
        old: &[u32],
        stop: &AtomicBool,
    ) -> Result<(), Trouble> {
        let had = folder.ready();
        let Setting {
            workers, threads, ..
        } = setting;
        let order = format!("/-/canter/scale?workers={workers}&threads={threads}&fresh=1");
        // What is shown at `--admin-bind` is not to be changed there.
        let socket = admin::folder().join(format!("{}.sock", self.pid));
        client::ask(socket.to_str(), "POST", &order).map_err(Trouble::Fault)?;
        let root = self.pid;
        let ready = || {
            folder.ready() >= had + workers as usize && {
                let now = kernel::tree(root);
                old.iter().all(|pid| !now.contains(pid))
            }
        };
        self.wait(folder, stop, &ready)
    }

    fn wait(
        &mut self,
        folder: &Folder,
        stop: &AtomicBool,
        ready: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let begin = Instant::now();
        while !ready() {
            if stop.load(Ordering::Relaxed) {
                return Err(Trouble::Stopped);
            }
            if !self.lives() {
                return Err(Trouble::Server(folder.last_words(30)));
            }
            if begin.elapsed() > PATIENCE {
                let words = folder.last_words(30);
                return Err(Trouble::Server(format!(
                    "{words}\nnot ready after {} s",
                    PATIENCE.as_secs()
                )));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Whether it has not ended by itself.
    pub(super) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let signal = |signal| {
            let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
            pid.map(|pid| kill_process(pid, signal))
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = signal(Signal::TERM);
        }
        let begin = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begin.elapsed() > END {
                let _ = signal(Signal::KILL);
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}
