//! Owns making what joins a new worker to the front: the channel's memory and the sockets.
//! Leaves handing the two halves on to the supervisor, which keeps neither.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use canter_sys::fds;
use rustix::event::{EventfdFlags, eventfd};

/// The four descriptors one side gets, in the order of the messages that carry them.
#[derive(Debug)]
pub struct Half([OwnedFd; 4]);

impl Half {
    /// For a message or a child program.
    pub fn as_fds(&self) -> [BorrowedFd<'_>; 4] {
        let [memory, counter, control, files] = &self.0;
        [
            memory.as_fd(),
            counter.as_fd(),
            control.as_fd(),
            files.as_fd(),
        ]
    }
}

/// Both sides of one worker: the front's and its own.
///
/// # Errors
/// The system's own, such as `EMFILE`.
pub fn halves() -> io::Result<(Half, Half)> {
    let (memory, _mapping) = canter_channel::create()?;
    let counter: OwnedFd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let (front_control, worker_control) = fds::pair()?;
    let (front_files, worker_files) = fds::pair()?;
    let front = Half([
        memory.try_clone()?,
        counter.try_clone()?,
        front_control,
        front_files,
    ]);
    let worker = Half([memory, counter, worker_control, worker_files]);
    Ok((front, worker))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_joined() {
        let (front, worker) = halves().unwrap();
        for socket in [2, 3] {
            fds::send(front.as_fds()[socket], b"hello", &[]).unwrap();
            let mut buf = [0; 8];
            let (length, _) = fds::receive(worker.as_fds()[socket], &mut buf).unwrap();
            assert_eq!(&buf[..length], b"hello");
        }
        assert!(canter_channel::FrontEnd::open(front.as_fds()[0]).is_ok());
        assert!(canter_channel::FrontEnd::open(worker.as_fds()[0]).is_ok());
    }
}
