//! Owns one request on a connection of its own, for what is no load: a command that asks a server, a look
//! at a snapshot. All of it is over within a time, and no answer is longer than was asked for.
//! Leaves what is asked, and what an answer means, to the callers.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::response::{Bad, Decoder};
use crate::target::Door;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// Path and query, as they stand in the request line.
    pub path: &'a str,
    /// The value of `Host`.
    pub host: &'a str,
    /// Other fields.
    pub fields: &'a [(&'a str, &'a str)],
    /// How long all of it may take, from connecting to the last byte.
    pub patience: Duration,
    /// The longest body that is taken, in bytes.
    pub longest: u64,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, unframed (RFC 9112, section 7.1).
    pub body: Vec<u8>,
}

/// Asks at the first of these doors that lets it in.
///
/// # Errors
/// Why the last door did not; `TimedOut` when it was not over in time; `InvalidData` when what came is no
/// response, or is too long.
pub fn request(doors: &[Door], request: &Request<'_>) -> io::Result<Answer> {
    exchange(doors, request).map_err(|error| match error.kind() {
        // What a socket says whose time is up (socket(7), SO_RCVTIMEO).
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            let seconds = request.patience.as_secs_f32();
            io::Error::new(
                ErrorKind::TimedOut,
                format!("it has not answered within {seconds} s"),
            )
        }
        _ => error,
    })
}

fn exchange(doors: &[Door], request: &Request<'_>) -> io::Result<Answer> {
    let end = Instant::now() + request.patience;
    let mut socket = connect(doors, end)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left(end)?))?;
    socket.write_all(head(request).as_bytes())?;
    let bad = |bad: Bad| io::Error::new(ErrorKind::InvalidData, bad.words());
    let mut decoder = Decoder::new(request.longest);
    decoder.expect(request.method == "HEAD", false);
    let mut body = Vec::new();
    let mut room = [0; 8192];
    loop {
        set_socket_timeout(&socket, Timeout::Recv, Some(left(end)?))?;
        let count = match socket.read(&mut room) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let came = room.get(..count).unwrap_or_default();
        let is_whole = decoder.feed(came, |part| body.extend_from_slice(part));
        if !is_whole.map_err(bad)? {
            if count > 0 {
                continue;
            }
            decoder.end().map_err(bad)?;
        }
        let status = decoder.head().status;
        return Ok(Answer { status, body });
    }
}

/// The time until then, of which there must be some: a socket takes none for no limit.
fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn head(request: &Request<'_>) -> String {
    let Request { method, path, .. } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", request.host);
    for (name, value) in request.fields {
        // Writing to a String cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("Connection: close\r\n\r\n");
    head
}

trait Socket: Read + Write + AsFd {}

impl Socket for TcpStream {}

impl Socket for UnixStream {}

fn connect(doors: &[Door], end: Instant) -> io::Result<Box<dyn Socket>> {
    let mut why = io::Error::new(ErrorKind::NotFound, "there is no address to ask at");
    for (at, door) in doors.iter().enumerate() {
        // One that lets nobody in leaves some time to the others.
        let share = left(end)? / u32::try_from(doors.len() - at).unwrap_or(u32::MAX);
        match reach(door, share) {
            Ok(socket) => return Ok(socket),
            Err(error) => why = error,
        }
    }
    Err(why)
}

fn reach(door: &Door, patience: Duration) -> io::Result<Box<dyn Socket>> {
    Ok(match door {
        Door::Address(address) => Box::new(TcpStream::connect_timeout(address, patience)?),
        Door::Socket(path) => {
            let kind = (
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
            );
            let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None)?;
            // It holds for connecting, too: where nobody accepts, that waits (unix(7)).
            set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            Box::new(UnixStream::from(socket))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use super::*;

    fn asked(doors: &[Door], patience: Duration) -> io::Result<Answer> {
        let asked = Request {
            method: "GET",
            path: "/a?b",
            host: "localhost",
            fields: &[("X-One", "1")],
            patience,
            longest: 1000,
        };
        request(doors, &asked)
    }

    const SOON: Duration = Duration::from_millis(100);

    /// What is made of an answer that is these bytes, over and over if it `goes_on`.
    fn told(answer: &'static [u8], goes_on: bool) -> io::Result<Answer> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door::Address(listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut came = Vec::new();
            while !came.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                came.push(byte[0]);
            }
            while stream.write_all(answer).is_ok() && goes_on {}
            came
        });
        let answer = asked(&[door], Duration::from_secs(60));
        assert_eq!(
            server.join().unwrap(),
            b"GET /a?b HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nConnection: close\r\n\r\n"
        );
        answer
    }

    #[test]
    fn a_body_is_read_however_it_is_framed() {
        let rows: [(&[u8], u16, &[u8]); 3] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
            (
                b"HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
                503,
                b"ok",
            ),
            (b"HTTP/1.0 200 OK\r\n\r\nok", 200, b"ok"),
        ];
        for (bytes, status, body) in rows {
            let answer = told(bytes, false).unwrap();
            assert_eq!((answer.status, &answer.body[..]), (status, body));
        }
    }

    #[test]
    fn what_is_no_answer_or_has_no_end_is_an_error() {
        for (bytes, goes_on, words) in [
            (&b"SSH-2.0-x\r\n"[..], false, "no status line"),
            (
                b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
                false,
                "ended in the middle",
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", true, "body too long"),
        ] {
            let error = told(bytes, goes_on).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert_eq!(error.to_string(), words);
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
        // Nobody accepts, nobody reads: the system lets a connection in.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = Door::Address(listener.local_addr().unwrap());
        let error = asked(&[silent], SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "it has not answered within 0.1 s");
    }

    #[test]
    fn a_unix_socket_whose_queue_is_full_is_not_waited_for_for_ever() {
        let folder = std::env::temp_dir().join(format!("canter-once-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("full.sock");
        let kind = (
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
        );
        let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, None).unwrap();
        rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let _first = UnixStream::connect(&path).unwrap();
        let error = asked(&[Door::Socket(path)], SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_next_address_is_asked_where_nobody_listens() {
        // It has its port for as long as it is there, and does not listen.
        let kind = (SocketType::STREAM, SocketFlags::CLOEXEC);
        let nobody = rustix::net::socket_with(AddressFamily::INET, kind.0, kind.1, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        rustix::net::bind(&nobody, &any).unwrap();
        let address = rustix::net::getsockname(&nobody).unwrap();
        let closed = Door::Address(address.try_into().unwrap());
        let patience = Duration::from_secs(60);
        let error = asked(std::slice::from_ref(&closed), patience).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = Door::Address(listener.local_addr().unwrap());
        let error = asked(&[closed, open], SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(asked(&[], SOON).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
