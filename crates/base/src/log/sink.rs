//! Owns writing lines to a descriptor that somebody may not read, without waiting: what is not taken
//! at once is dropped, and its number said later. The event loops of the program log; one that waits
//! for a full pipe or a stopped terminal (Ctrl-S) serves nobody and hears no signal.
//! Leaves what the lines say to `log`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};
use rustix::pipe::PIPE_BUF;

/// How a write to it is kept from waiting.
enum Way {
    /// A file: the system takes what is written.
    Plain,
    /// A pipe or a terminal under a description of its own, which does not wait. The one that is
    /// there is shared with other programs, for which it must not change.
    Reopened(File),
    /// The same, where it cannot be opened anew: asked before each piece.
    Asked,
    /// A socket, as a service manager gives: each message says that it shall not wait.
    Socket,
}

/// Where lines go.
pub(super) struct Sink<T> {
    out: T,
    /// What `out` was when the way was chosen: an app may lead its standard error elsewhere.
    file: Option<(u64, u64)>,
    way: Way,
    /// Lines that were not taken since this was last said.
    dropped: u64,
    /// The last line was taken in part: the next begins on a line of its own.
    torn: bool,
    /// How long the rest of a line that was taken in part may be waited for.
    patience: Duration,
}

impl<T: AsFd> Sink<T> {
    pub fn new(out: T, patience: Duration) -> Self {
        Self {
            file: identity(&out),
            way: way(&out),
            out,
            dropped: 0,
            torn: false,
            patience,
        }
    }

    /// Writes a line, or counts it. `notice` makes the line that says how many were dropped.
    pub fn put(&mut self, line: &[u8], notice: impl FnOnce(u64) -> String) {
        let file = identity(&self.out);
        if file != self.file {
            self.file = file;
            self.way = way(&self.out);
            self.torn = false;
        }
        if self.dropped > 0 && self.line(notice(self.dropped).as_bytes()) {
            self.dropped = 0;
        }
        if self.dropped > 0 || !self.line(line) {
            self.dropped += 1;
        }
    }

    /// One write where the line is short, so that lines of several processes do not mix. False when
    /// not all of it was taken.
    fn line(&mut self, line: &[u8]) -> bool {
        if self.torn {
            self.torn = self.piece(b"\n") == 0;
        }
        if self.torn {
            return false;
        }
        let most = match self.way {
            // A pipe that takes anything takes this much (pipe(7)).
            Way::Reopened(_) | Way::Asked => PIPE_BUF,
            Way::Plain | Way::Socket => usize::MAX,
        };
        let mut rest = line;
        let mut until = None;
        while !rest.is_empty() {
            let taken = self.piece(rest.get(..most).unwrap_or(rest));
            if taken == 0 {
                let until = *until.get_or_insert_with(|| Instant::now() + self.patience);
                let left = until.saturating_duration_since(Instant::now());
                if rest.len() < line.len() && !left.is_zero() {
                    self.wait_writable(left);
                    continue;
                }
                self.torn = rest.len() < line.len();
                return false;
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
        true
    }

    /// How much was taken, now.
    fn piece(&self, bytes: &[u8]) -> usize {
        loop {
            let taken = match &self.way {
                Way::Plain => write(&self.out, bytes),
                Way::Reopened(file) => write(file, bytes),
                Way::Socket => send(&self.out, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Way::Asked if self.is_writable() => write(&self.out, bytes),
                Way::Asked => return 0,
            };
            match taken {
                Err(Errno::INTR) => {}
                other => return other.unwrap_or(0),
            }
        }
    }

    fn is_writable(&self) -> bool {
        self.wait_writable(Duration::ZERO)
    }

    /// Whether it takes something, now or within `limit`.
    fn wait_writable(&self, limit: Duration) -> bool {
        let mut fds = [PollFd::new(&self.out, PollFlags::OUT)];
        let limit = Timespec::try_from(limit).unwrap_or_default();
        poll(&mut fds, Some(&limit)).is_ok_and(|ready| ready > 0)
    }
}

/// The device and the number of the file behind a descriptor.
fn identity(out: &impl AsFd) -> Option<(u64, u64)> {
    let stat = fstat(out).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

fn way(out: &impl AsFd) -> Way {
    let kind = fstat(out).map_or(FileType::Unknown, |stat| {
        FileType::from_raw_mode(stat.st_mode)
    });
    match kind {
        FileType::Fifo | FileType::CharacterDevice => reopened(out),
        FileType::Socket => Way::Socket,
        _ => Way::Plain,
    }
}

fn reopened(out: &impl AsFd) -> Way {
    let path = format!("/proc/self/fd/{}", out.as_fd().as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file: io::Result<File> = open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(Into::into);
    file.map_or(Way::Asked, Way::Reopened)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn notice(dropped: u64) -> String {
        format!("dropped {dropped}\n")
    }

    /// Puts lines until some were dropped; answers how many were taken and dropped.
    fn fill<T: AsFd>(sink: &mut Sink<T>, line: &[u8]) -> (usize, u64) {
        let mut taken = 0;
        while sink.dropped == 0 {
            sink.put(line, notice);
            taken += 1;
            assert!(taken < 100_000, "never full");
        }
        for _ in 0..9 {
            sink.put(line, notice);
        }
        (taken - 1, sink.dropped)
    }

    fn read(from: &mut File, most: usize) -> String {
        let mut bytes = vec![0; most];
        let length = from.read(&mut bytes).unwrap();
        bytes.truncate(length);
        String::from_utf8(bytes).unwrap()
    }

    fn checked<T: AsFd>(mut sink: Sink<T>, mut reader: File, line: &str) {
        let (taken, dropped) = fill(&mut sink, line.as_bytes());
        assert!(taken > 0 && dropped >= 10);
        // Read until it says so: that there is room again is the system's to say.
        let mut text = String::new();
        while !text.contains("dropped ") {
            text.push_str(&read(&mut reader, 1 << 20));
            sink.put(b"again\n", notice);
        }
        while !text.ends_with("again\n") {
            text.push_str(&read(&mut reader, 1 << 20));
        }
        let whole = text.lines().filter(|found| *found == line.trim_end());
        assert_eq!(whole.count(), taken);
        let said = text.lines().filter(|found| found.starts_with("dropped "));
        assert_eq!(said.count(), 1, "{text}");
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_said_later() {
        let long = format!("{}\n", "y".repeat(2 * PIPE_BUF + 100));
        for line in ["a line\n", &long] {
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            checked(Sink::new(writer, Duration::ZERO), File::from(reader), line);
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            let mut sink = Sink::new(writer, Duration::ZERO);
            sink.way = Way::Asked;
            checked(sink, File::from(reader), line);
        }
    }

    #[test]
    fn a_line_longer_than_a_pipe_is_waited_for_where_somebody_reads() {
        let line = format!("{}\n", "y".repeat(300_000));
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut reader = File::from(reader);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let mut sink = Sink::new(writer, Duration::from_secs(60));
        sink.put(line.as_bytes(), notice);
        drop(sink);
        assert_eq!(reading.join().unwrap().unwrap(), line);
    }

    #[test]
    fn a_socket_that_nobody_reads_holds_nobody_up() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let reader = File::from(OwnedFd::from(reader));
        checked(Sink::new(writer, Duration::ZERO), reader, "a line\n");
    }

    #[test]
    fn a_descriptor_that_is_led_elsewhere_is_followed() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let mut sink = Sink::new(writer, Duration::ZERO);
        sink.put(b"one\n", notice);
        let mut reader = File::from(reader);
        assert_eq!(read(&mut reader, 100), "one\n");
        let (second, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::dup2(&writer, &mut sink.out).unwrap();
        sink.put(b"two\n", notice);
        assert_eq!(read(&mut File::from(second), 100), "two\n");
    }

    #[test]
    fn a_file_takes_every_line_and_one_that_is_closed_costs_nothing() {
        let path = std::env::temp_dir().join(format!("canter-sink-{}", std::process::id()));
        let mut sink = Sink::new(File::create(&path).unwrap(), Duration::ZERO);
        sink.put(b"one\n", notice);
        sink.put(b"two\n", notice);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        std::fs::remove_file(&path).unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let mut sink = Sink::new(writer, Duration::ZERO);
        sink.put(b"one\n", notice);
        assert_eq!(sink.dropped, 1);
    }
}
