//! Doors: listening sockets and what comes in there, up to the point where a session begins.
//! Leaves who may come in to `access`, the life of a client to `session`, and the files of unix sockets
//! to whoever opens them.

mod entry;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::time::Duration;

use canter_base::warn;
use canter_sys::sockets::{AcceptError, accept_error};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::spawn_local;

use crate::access::Access;
use crate::pooler::Shared;
use crate::stream::Stream;

/// How long to wait when the system has no descriptor or memory for another connection.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// A listening socket and who may come in there.
pub struct Door {
    listener: Listener,
    access: Rc<Access>,
    /// At the private door, who we are: our own processes may register targets and own requests.
    private: Option<u32>,
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Door {
    /// The private door at a socket that listens already and is kept by whoever made it, in a
    /// folder closed to others. The socket's owner is who may come in.
    pub fn private(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::InvalidInput)?;
        let private = Some(std::fs::symlink_metadata(path)?.uid());
        let access = Access::private();
        Ok(Self {
            private,
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
        }
    }

    /// A unix door at a socket that listens already.
    pub fn unix(listener: std::os::unix::net::UnixListener, access: Access) -> Self {
        let access = Rc::new(access);
        Self {
            listener: Listener::Unix(listener),
            access,
            private: None,
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
        let task = spawn_local(accept(listener, inside, Rc::clone(shared)));
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

async fn accept(listener: Accepting, inside: Inside, shared: Rc<Shared>) {
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
