//! Owns what the system knows of a stream socket beyond what is read and written.
//! Leaves opening and using it to the callers.

use std::ffi::c_int;
use std::io;
use std::os::fd::AsFd;

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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_the_peer_took_is_acknowledged_and_what_it_did_not_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(unacknowledged(&server).unwrap(), 0);
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 8192]).is_ok() {}
        assert!(unacknowledged(&server).unwrap() > 0);
    }
}
