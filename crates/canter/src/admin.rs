//! Owns the places where the dashboard is reached beside the site itself: the addresses of
//! `--admin-bind`, and a private socket by which commands on this machine find what runs.
//! Leaves what is shown there to the front.

use std::cell::RefCell;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use canter_base::options::{Address, Config};
use canter_base::{Fault, info, warn};
use canter_front::Listener;

use crate::command::sockets::{self, SocketFiles};

/// The addresses, opened, and what must live as long as they do.
pub struct Plan {
    listeners: RefCell<Vec<OwnedFd>>,
    /// That of the commands.
    commands: RefCell<Option<OwnedFd>>,
    /// Socket files, which go with the plan.
    files: Vec<SocketFiles>,
    /// Where commands and the app itself find the server.
    private: Option<PathBuf>,
}

impl Plan {
    /// Opens them. The private socket is there also where nothing is gathered: by it pages are purged.
    pub fn new(config: &Config) -> Result<Self, Fault> {
        let opened = sockets::bind_admin(&config.admin_bind, config)?;
        for address in opened.addresses() {
            info!("the dashboard is open", address = address.as_str());
        }
        let (listeners, files) = opened.into_parts();
        let mut plan = Self {
            listeners: RefCell::new(listeners.into_iter().map(|(fd, _)| fd).collect()),
            commands: RefCell::default(),
            files: vec![files],
            private: None,
        };
        match private(config) {
            Ok((path, listener, files)) => {
                plan.commands = RefCell::new(listener);
                plan.files.push(files);
                plan.private = Some(path);
            }
            Err(error) => warn!(
                "`canter top` and `canter purge` will not find this server: no socket for it",
                reason = error.as_str()
            ),
        }
        Ok(plan)
    }

    /// The private socket, where there is one.
    pub fn private(&self) -> Option<String> {
        let path = self.private.as_deref()?;
        path.to_str().map(str::to_owned)
    }

    /// For a front, which calls this once and whose process keeps no other copy.
    pub fn open(&self) -> io::Result<Vec<Listener>> {
        let fds = self.listeners.take().into_iter();
        let shown = fds.map(|fd| Ok(Listener::new(fd)?.for_admin()));
        let fds = self.commands.take().into_iter();
        let asked = fds.map(|fd| Ok(Listener::new(fd)?.for_commands()));
        shown.chain(asked).collect()
    }

    /// Closes this process's copies of the sockets.
    pub fn close(&self) {
        self.listeners.take();
        self.commands.take();
    }
}

fn private(config: &Config) -> Result<(PathBuf, Option<OwnedFd>, SocketFiles), String> {
    let folder = folder();
    make(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    sweep(&folder);
    let path = folder.join(format!("{}.sock", std::process::id()));
    let address = [Address::Unix(path.clone())];
    let opened = sockets::bind_admin(&address, config).map_err(|fault| fault.what)?;
    let (listeners, files) = opened.into_parts();
    Ok((path, listeners.into_iter().next().map(|(fd, _)| fd), files))
}

/// Where the sockets of this user's servers are: closed to other users.
pub fn folder() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    match runtime.filter(|path| path.is_absolute() && path.is_dir()) {
        Some(path) => path.join("canter"),
        None => Path::new("/tmp").join(format!("canter-{uid}")),
    }
}

/// Makes the folder, or sees that the one there is ours and closed.
fn make(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_private(folder) {
                Ok(())
            } else {
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "others could put their own there",
                ))
            }
        }
        other => other,
    }
}

/// Whether only this user can put something there.
pub fn is_private(folder: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    fs::symlink_metadata(folder)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == uid && meta.mode().trailing_zeros() >= 6)
}

/// Sockets of the folder that somebody listens at.
pub fn servers() -> Vec<PathBuf> {
    let folder = folder();
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| is_private(&folder) && UnixStream::connect(path).is_ok())
        .collect();
    found.sort();
    found
}

/// Where the server of this socket of the folder was started; None where it has gone.
pub fn home_of(socket: &Path) -> Option<PathBuf> {
    let pid: u32 = socket.file_stem()?.to_str()?.parse().ok()?;
    fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// Removes what servers that were killed have left.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if sockets::is_left_over(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
