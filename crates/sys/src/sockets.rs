//! Owns what the system knows of a stream socket, and is told of it, beyond what is read and written.
//! Leaves opening and using it to the callers.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` (tcp(7), unix(7)); the same number as `TIOCOUTQ` on every architecture of Linux that
/// is served.
const OUTPUT_QUEUE: Opcode = 0x5411;

/// Bytes that were written and that the peer's system has not acknowledged.
///
/// # Errors
/// The system's own; a descriptor that is no stream socket.
pub fn unacknowledged(socket: impl AsFd) -> io::Result<u64> {
    // SAFETY: SIOCOUTQ stores one int (tcp(7)), which is the type the getter makes room for. Safe
    // code has no way to ask.
    let queued = unsafe { ioctl(socket, Getter::<OUTPUT_QUEUE, c_int>::new()) }?;
    Ok(u64::try_from(queued).unwrap_or(0))
}

/// Sets how many bytes the system takes of a TCP socket that it has not sent yet (`TCP_NOTSENT_LOWAT`,
/// tcp(7)); those accepted from a listening socket inherit it.
///
/// # Errors
/// The system's own; a descriptor that is no TCP socket, or a system that does not know it.
pub fn set_most_unsent(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let most: c_int = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    // SAFETY: the descriptor is open while it is borrowed, and the option is an int, whose address and
    // size are given. rustix has no name for this option.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const most).cast(),
            size_of_val(&most) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Why no connection was accepted, by what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// That one connection failed, before it was accepted: the next one is asked for at once.
    Retry,
    /// No descriptor or memory is left for another connection.
    Exhausted,
    /// Anything else, such as that there is none now: asking again at once would fail again.
    Other,
}

/// Sorts the errors of accept(2), which on Linux are also those that the network had for the new
/// connection ("Error handling" there). `EPERM` and `EOPNOTSUPP` may be of the socket, too, which a filter of
/// system calls or its kind forbids to accept: each call would fail, at once.
pub fn accept_error(error: &io::Error) -> AcceptError {
    match Errno::from_io_error(error) {
        Some(
            Errno::CONNABORTED
            | Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::INTR
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::NOTCONN
            | Errno::PROTO
            | Errno::TIMEDOUT,
        ) => AcceptError::Retry,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => AcceptError::Exhausted,
        _ => AcceptError::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn what_one_connection_met_is_not_a_want_of_descriptors() {
        let rows = [
            (libc::ENETDOWN, AcceptError::Retry),
            (libc::EPROTO, AcceptError::Retry),
            (libc::ENOPROTOOPT, AcceptError::Retry),
            (libc::EHOSTDOWN, AcceptError::Retry),
            (libc::ENONET, AcceptError::Retry),
            (libc::EHOSTUNREACH, AcceptError::Retry),
            (libc::ENETUNREACH, AcceptError::Retry),
            (libc::ECONNABORTED, AcceptError::Retry),
            (libc::EINTR, AcceptError::Retry),
            (libc::EMFILE, AcceptError::Exhausted),
            (libc::ENFILE, AcceptError::Exhausted),
            (libc::ENOBUFS, AcceptError::Exhausted),
            (libc::ENOMEM, AcceptError::Exhausted),
            (libc::EAGAIN, AcceptError::Other),
            (libc::EBADF, AcceptError::Other),
            (libc::EINVAL, AcceptError::Other),
            (libc::EOPNOTSUPP, AcceptError::Other),
            (libc::EPERM, AcceptError::Other),
        ];
        for (number, expected) in rows {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(accept_error(&error), expected, "{error}");
        }
        let made = io::Error::other("made here");
        assert_eq!(accept_error(&made), AcceptError::Other);
    }

    #[test]
    fn the_system_takes_little_that_it_cannot_send() {
        let most = |limit: Option<u32>| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Some(limit) = limit {
                set_most_unsent(&listener, limit).unwrap();
            }
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size(&client, 4096).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            server.set_nonblocking(true).unwrap();
            while server.write(&[0; 8192]).is_ok() {}
            unacknowledged(&server).unwrap()
        };
        let (without, with) = (most(None), most(Some(64 << 10)));
        assert!(with < 256 << 10 && with < without, "{with} of {without}");
    }

    #[test]
    fn what_the_peer_took_is_acknowledged_and_what_it_did_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        // What the client has read may wait a moment for its acknowledgement.
        let limit = Instant::now() + Duration::from_secs(10);
        while unacknowledged(&server).unwrap() > 0 {
            assert!(Instant::now() < limit);
            std::thread::yield_now();
        }
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 8192]).is_ok() {}
        assert!(unacknowledged(&server).unwrap() > 0);
    }
}
