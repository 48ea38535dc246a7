//! Owns messages with file descriptors over a unix socket (`SCM_RIGHTS`) and socket pairs.
//! Leaves the meaning of the bytes and the descriptors to the callers.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// The most descriptors one message carries.
pub const MOST_FDS: usize = 16;

/// A pair of connected `SOCK_SEQPACKET` sockets: messages keep their boundaries, and the end of
/// the peer reads as an empty message.
///
/// # Errors
/// The system's own, such as `EMFILE`.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends one message with up to [`MOST_FDS`] descriptors; waits when the socket is full unless it
/// is non-blocking.
///
/// # Errors
/// `EPIPE` when the peer has gone; `WouldBlock` on a full non-blocking socket.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        match sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(|_| ()).map_err(Into::into),
        }
    }
}

/// Receives one message into `buf`; answers its length and the descriptors that came with it.
/// Length 0 means that the peer has gone.
///
/// # Errors
/// `WouldBlock` on an empty non-blocking socket; the system's own otherwise.
pub fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = loop {
        let mut slices = [IoSliceMut::new(buf)];
        match recvmsg(&socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    Ok((got.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (ours, theirs) = pair().unwrap();
        let (file, _mapping) = crate::memory::Mapping::create("test", 4096).unwrap();
        send(&ours, b"hello", &[file.as_fd()]).unwrap();
        let mut buf = [0; 16];
        let (len, fds) = receive(&theirs, &mut buf).unwrap();
        assert_eq!((&buf[..len], fds.len()), (&b"hello"[..], 1));
        assert!(crate::memory::Mapping::open(&fds[0], 4096).is_ok());
    }

    #[test]
    fn the_end_of_the_peer_reads_as_an_empty_message() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert_eq!(receive(&theirs, &mut [0; 8]).unwrap().0, 0);
    }
}
