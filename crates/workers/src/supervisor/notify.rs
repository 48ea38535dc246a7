//! Owns telling the service manager how the service is: `sd_notify(3)`, a datagram of text.
//! Leaves when to say what to the supervisor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};

/// What there is to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Requests are served.
    Ready,
    /// A reload has begun.
    Reloading,
    /// The end has begun.
    Stopping,
    /// Still alive.
    Watchdog,
}

/// The way to the service manager.
#[derive(Debug)]
pub struct Notify {
    socket: OwnedFd,
    address: SocketAddrUnix,
    /// Silence after which the manager ends the service; None when nobody watches.
    pub watchdog: Option<Duration>,
}

impl Notify {
    /// From `NOTIFY_SOCKET`, a path or (with `@` in front) an abstract name, and `WATCHDOG_USEC`.
    ///
    /// # Errors
    /// When the name cannot be an address, or the system gives no socket.
    pub fn new(socket: &OsStr, watchdog_usec: Option<u64>) -> io::Result<Self> {
        let name = socket.as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddrUnix::new_abstract_name(name)?,
            None => SocketAddrUnix::new(name)?,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(Self {
            socket: socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?,
            address,
            watchdog: watchdog_usec
                .filter(|usec| *usec > 0)
                .map(Duration::from_micros),
        })
    }

    /// Says it. A manager that does not listen is no reason to stop serving.
    pub fn say(&self, word: Word) {
        let text = match word {
            Word::Ready => "READY=1".to_owned(),
            // Type=notify-reload wants the time the reload began.
            Word::Reloading => format!(
                "RELOADING=1\nMONOTONIC_USEC={}",
                canter_sys::cpu::monotonic().as_micros()
            ),
            Word::Stopping => "STOPPING=1".to_owned(),
            Word::Watchdog => "WATCHDOG=1".to_owned(),
        };
        let _ = sendto(
            &self.socket,
            text.as_bytes(),
            SendFlags::NOSIGNAL,
            &self.address,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn the_manager_hears_each_word() {
        let path = std::env::temp_dir().join(format!("canter-notify-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(path.as_os_str(), Some(2_000_000)).unwrap();
        assert_eq!(notify.watchdog, Some(Duration::from_secs(2)));
        let mut buf = [0; 100];
        for (word, begin) in [
            (Word::Ready, "READY=1"),
            (Word::Reloading, "RELOADING=1\nMONOTONIC_USEC="),
            (Word::Stopping, "STOPPING=1"),
            (Word::Watchdog, "WATCHDOG=1"),
        ] {
            notify.say(word);
            let length = manager.recv(&mut buf).unwrap();
            assert!(buf[..length].starts_with(begin.as_bytes()));
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_manager_that_has_gone_is_no_fault() {
        let notify = Notify::new(OsStr::new("@canter-nobody-listens"), Some(0)).unwrap();
        assert_eq!(notify.watchdog, None);
        notify.say(Word::Ready);
    }
}
