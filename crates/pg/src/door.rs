//! Doors: listening sockets and what comes in there, up to the point where a session begins.
//! Leaves who may come in to `access` and the life of a client to `session`.

mod entry;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use canter_base::warn;
use canter_sys::sockets::{AcceptError, accept_error};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use crate::access::Access;
use crate::pooler::Shared;
use crate::stream::Stream;

/// The name libpq looks for in a folder, with its default port.
const SOCKET: &str = ".s.PGSQL.5432";
/// How long to wait when the system has no descriptor or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// A listening socket and who may come in there.
pub struct Door {
    listener: Listener,
    access: Rc<Access>,
    /// At the private door, who we are: our own processes may register targets and own requests.
    private: Option<u32>,
    /// A socket file that goes when the door closes.
    file: Option<SocketFile>,
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Door {
    /// The private door: a socket in `folder`, which is made, or must be ours and closed to others.
    /// libpq finds it with `host=FOLDER`.
    pub fn private(folder: &Path) -> io::Result<Self> {
        match std::fs::DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let meta = std::fs::symlink_metadata(folder)?;
        if !meta.is_dir() || meta.permissions().mode() & 0o077 != 0 {
            let words = format!(
                "{} must be a folder closed to others (0700)",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        let path = folder.join(SOCKET);
        let (listener, file) = bind_unix(&path)?;
        // Whoever runs as somebody else made this folder, and could look into it.
        if std::fs::symlink_metadata(&path)?.uid() != meta.uid() {
            let words = format!("{} belongs to somebody else", folder.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, words));
        }
        let access = Rc::new(Access::private());
        Ok(Self {
            listener: Listener::Unix(listener),
            access,
            private: Some(meta.uid()),
            file: Some(file),
        })
    }

    /// The private door at a socket that listens already and is kept by whoever made it, in a
    /// folder closed to others. The socket's owner is who may come in.
    pub fn private_at(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
        let private = Some(std::fs::symlink_metadata(path)?.uid());
        let access = Access::private();
        Ok(Self {
            private,
            ..Self::unix(listener, access)
        })
    }

    /// A TCP door at an address; port 0 lets the system choose.
    pub fn bind_tcp(address: SocketAddr, access: Access) -> io::Result<Self> {
        Ok(Self::tcp(std::net::TcpListener::bind(address)?, access))
    }

    /// A unix door. `path` is the socket itself; libpq looks for names like `.s.PGSQL.5432`.
    pub fn bind_unix(path: &Path, access: Access) -> io::Result<Self> {
        let (listener, file) = bind_unix(path)?;
        Ok(Self {
            file: Some(file),
            ..Self::unix(listener, access)
        })
    }

    /// A TCP door at a socket that listens already.
    pub fn tcp(listener: std::net::TcpListener, access: Access) -> Self {
        let access = Rc::new(access);
        Self {
            listener: Listener::Tcp(listener),
            access,
            private: None,
            file: None,
        }
    }

    /// A unix door at a socket that listens already.
    pub fn unix(listener: std::os::unix::net::UnixListener, access: Access) -> Self {
        let access = Rc::new(access);
        Self {
            listener: Listener::Unix(listener),
            access,
            private: None,
            file: None,
        }
    }

    /// Where a TCP door is, once the system has chosen.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Begins to accept.
    pub(crate) fn open(self, shared: &Rc<Shared>) -> io::Result<()> {
        let listener = match self.listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Tcp(TcpListener::from_std(listener)?)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Accepting::Unix(UnixListener::from_std(listener)?)
            }
        };
        let access = Rc::clone(&self.access);
        let inside = Inside {
            access: self.access,
            private: self.private,
        };
        let task = spawn_local(accept(listener, inside, self.file, Rc::clone(shared)));
        shared.doors.borrow_mut().push(task.abort_handle());
        shared.accesses.borrow_mut().push(access);
        Ok(())
    }
}

/// What a client must know of the door it came through.
#[derive(Clone)]
struct Inside {
    access: Rc<Access>,
    private: Option<u32>,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (tcp, _) = listener.accept().await?;
                // What we send is whole; waiting for more would only delay it.
                tcp.set_nodelay(true)?;
                Ok(tcp.into())
            }
            Self::Unix(listener) => Stream::unix(listener.accept().await?.0),
        }
    }
}

async fn accept(
    listener: Accepting,
    inside: Inside,
    _file: Option<SocketFile>,
    shared: Rc<Shared>,
) {
    let mut exhausted = false;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                exhausted = false;
                entry::come_in(stream, &inside, &shared);
            }
            Err(error) if accept_error(&error) == AcceptError::Retry => {}
            Err(error) => {
                // Said once, not twenty times a second.
                if !exhausted {
                    warn!(
                        "the database door cannot accept",
                        error = error.to_string().as_str()
                    );
                }
                exhausted = true;
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
}

/// Binds, in place of a socket that nobody listens at any more.
fn bind_unix(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, SocketFile)> {
    use std::os::unix::net::{UnixListener, UnixStream};
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let meta = std::fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        is: (meta.dev(), meta.ino()),
    };
    Ok((listener, file))
}

/// Removed when the door closes, unless it is another one by then.
struct SocketFile {
    path: PathBuf,
    is: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = std::fs::symlink_metadata(&self.path);
        if now.is_ok_and(|meta| (meta.dev(), meta.ino()) == self.is) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
