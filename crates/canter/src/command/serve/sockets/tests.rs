//! Tests of the listening sockets: ports are the system's choice, files are in a folder of their
//! own.

use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;

fn tcp(host: &Host, port: u16) -> Result<Sockets, Fault> {
    let mut sockets = Sockets::default();
    bind_tcp(&mut sockets, host, port, 16)?;
    Ok(sockets)
}

fn port_of(sockets: &Sockets) -> u16 {
    let bound = getsockname(&sockets.listeners[0]).unwrap();
    SocketAddr::try_from(bound).unwrap().port()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("canter-bind-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn bind(&self, mode: Option<u32>) -> Result<Sockets, Fault> {
        let mut sockets = Sockets::default();
        bind_unix(&mut sockets, &self.0.join("s"), mode, 16)?;
        Ok(sockets)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_address_is_reached_by_both_kinds_of_ip() {
    let sockets = tcp(&Host::Any, 0).unwrap();
    let port = port_of(&sockets);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    if TcpListener::bind("[::1]:0").is_ok() {
        assert!(TcpStream::connect(("::1", port)).is_ok());
    }
    assert_eq!(
        sockets.addresses(),
        [format!(
            "http://localhost:{port} and every address of this machine"
        )]
    );
}

#[test]
fn a_name_is_bound_on_what_it_stands_for() {
    let sockets = tcp(&Host::Name("localhost".to_owned()), 0).unwrap();
    assert!(!sockets.addresses().is_empty());
    // A label of more than 63 bytes is no name (RFC 1035, 2.3.4): nobody is asked.
    let fault = tcp(&Host::Name("a".repeat(64)), 0).unwrap_err();
    assert_eq!(fault.exit, Exit::Bind);
}

#[test]
fn a_port_that_this_start_has_opened_is_no_other_program_s() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let fault = tcp(&Host::Ip(Ipv4Addr::LOCALHOST.into()), port).unwrap_err();
    assert_eq!(fault.exit, Exit::Bind);
    assert!(fault.what.ends_with("listens there already"), "{fault}");
    assert!(!fault.what.contains("(pid "), "{fault}");
    assert!(fault.hint.unwrap().starts_with("name each port once"));
}

#[test]
fn an_address_of_another_machine_is_said_to_be_one() {
    // TEST-NET-1 (RFC 5737).
    let fault = tcp(&Host::Ip(Ipv4Addr::new(192, 0, 2, 1).into()), 0).unwrap_err();
    assert!(fault.what.contains("does not have that address"), "{fault}");
}

#[test]
fn a_privileged_port_says_what_to_do() {
    let fault = tcp_fault(
        &Sockets::default(),
        "127.0.0.1:80".parse().unwrap(),
        Errno::ACCESS,
    );
    assert!(fault.hint.unwrap().contains("8000"));
}

#[test]
fn a_socket_file_has_its_mode_and_goes_at_the_end() {
    let folder = Folder::new("mode");
    let sockets = folder.bind(Some(0o620)).unwrap();
    let path = folder.0.join("s");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o620);
    assert!(UnixStream::connect(&path).is_ok());
    let (listeners, files) = sockets.into_parts();
    drop(listeners);
    assert!(path.exists());
    drop(files);
    assert!(!path.exists());
}

/// A socket file that nobody listens at, nor ever did: a listener that is closed lives on in a program
/// which another test is starting.
fn left_behind(path: &Path) {
    let kind = rustix::net::SocketType::STREAM;
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, kind, None).unwrap();
    let address = rustix::net::SocketAddrUnix::new(path).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
}

#[test]
fn a_socket_file_left_behind_is_replaced() {
    let folder = Folder::new("stale");
    left_behind(&folder.0.join("s"));
    assert!(folder.bind(None).is_ok());
}

#[test]
fn a_socket_that_answers_is_left_alone() {
    let folder = Folder::new("alive");
    let _other = UnixListener::bind(folder.0.join("s")).unwrap();
    let fault = folder.bind(None).unwrap_err();
    assert!(
        fault.what.contains("another server answers there"),
        "{fault}"
    );
    assert!(folder.0.join("s").exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let folder = Folder::new("file");
    fs::write(folder.0.join("s"), "precious").unwrap();
    assert!(folder.bind(None).is_err());
    assert_eq!(fs::read(folder.0.join("s")).unwrap(), b"precious");
}

#[test]
fn a_successor_s_socket_file_is_not_removed() {
    let folder = Folder::new("successor");
    let (listeners, files) = folder.bind(None).unwrap().into_parts();
    // A server that stops listens no more, and many file systems give the next file the number of the one
    // that has just gone.
    drop(listeners);
    fs::remove_file(folder.0.join("s")).unwrap();
    let _successor = UnixListener::bind(folder.0.join("s")).unwrap();
    drop(files);
    assert!(folder.0.join("s").exists());
}

#[test]
fn a_missing_folder_and_a_long_path_are_explained() {
    let mut sockets = Sockets::default();
    let path = Path::new("/nonexistent/folder/s");
    let fault = bind_unix(&mut sockets, path, None, 16).unwrap_err();
    assert!(fault.what.contains("folder does not exist"), "{fault}");
    let path = PathBuf::from(format!("/tmp/{}", "x".repeat(200)));
    let fault = bind_unix(&mut sockets, &path, None, 16).unwrap_err();
    assert!(fault.what.contains("too long"), "{fault}");
}

#[test]
fn urls_can_be_opened() {
    for (address, shown) in [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("127.0.0.1:80", "http://127.0.0.1"),
        (
            "0.0.0.0:80",
            "http://localhost and every address of this machine",
        ),
    ] {
        assert_eq!(url("http", 80, address.parse().unwrap()), shown);
    }
}
