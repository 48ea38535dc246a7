//! Tests of who is still answered when the front stops. Nobody is waited for: what has come is in the
//! system's hands before the front is told.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use canter_base::options::Network;

use super::*;
use crate::listener::Listener;
use crate::server::Server;

const ASK: &[u8] = b"GET /-/live HTTP/1.1\r\nHost: a\r\n\r\n";

fn client(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(sent).unwrap();
    client
}

/// Whether a client that has sent its request got an answer, and then the end.
fn is_answered(mut client: TcpStream) -> bool {
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    answer.starts_with(b"HTTP/1.1 200 ")
}

/// What becomes of clients that come while `settings` let so many stay for one request, and the front
/// stops before it has accepted any of those that come `last`.
fn stopped(settings: Settings, staying: usize, last: &[&[u8]]) -> Vec<bool> {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let clients: Vec<_> = runtime.block_on(async {
        let listener = Listener::new(socket.into()).unwrap();
        let mut server = Server::start(settings, vec![listener], Silent, None);
        let mut stay = Vec::new();
        for _ in 0..staying {
            let idle = client(address, ASK);
            idle.set_nonblocking(true).unwrap();
            let idle = tokio::net::TcpStream::from_std(idle).unwrap();
            idle.readable().await.unwrap();
            stay.push(idle);
        }
        let clients = last.iter().map(|sent| client(address, sent)).collect();
        server.stop().await;
        assert_eq!(server.connections(), 0);
        clients
    });
    assert!(TcpStream::connect(address).is_err());
    clients.into_iter().map(is_answered).collect()
}

fn few(max_connections: usize) -> Settings {
    Settings {
        health: true,
        max_connections,
        ..settings()
    }
}

#[test]
fn who_has_connected_before_the_front_stops_listening_is_answered() {
    assert_eq!(stopped(few(100), 0, &[ASK]), [true]);
}

#[test]
fn who_waits_for_room_has_that_of_the_idle_when_the_front_stops() {
    assert_eq!(stopped(few(2), 2, &[ASK, ASK]), [true, true]);
}

#[test]
fn whom_a_proxy_speaks_for_counts_from_the_moment_it_is_accepted() {
    let settings = Settings {
        proxy_protocol: true,
        trusted: vec![Network::Any],
        ..few(1)
    };
    let ask = [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", ASK].concat();
    // There is room for one.
    assert_eq!(stopped(settings, 0, &[&ask, &ask]), [true, false]);
}
