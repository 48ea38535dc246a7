//! Keys, owners and the wait for the end of a cancel: F1, F2, F4.

use std::path::PathBuf;
use std::rc::Rc;

use tokio::net::UnixListener;

use super::{Aim, Registry};
use crate::login::Place;
use crate::session::Handle;
use crate::settings::Owner;
use crate::stream::Stream;
use crate::target::{Addr, Host, Target};
use crate::wire::BackendKey;

fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(test)
}

/// A server that takes cancel requests and closes them when told.
struct Server {
    listener: UnixListener,
    folder: PathBuf,
}

impl Server {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("canter-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).unwrap();
        Self { listener, folder }
    }

    fn aim(&self, pid: i32) -> Rc<Aim> {
        let target = Target::from_url("postgres://u@/shop?host=/tmp").unwrap();
        let host = Host {
            addr: Addr::Unix(self.folder.clone()),
            port: 5432,
        };
        let place = Place {
            host,
            addr: None,
            resolved: Vec::new(),
            tls: false,
        };
        Aim::new(Rc::new(target), place, BackendKey::new(pid, b"abcd"))
    }

    /// The process a request is for, and the connection it came by.
    async fn request(&self) -> (i32, Stream) {
        let mut stream = Stream::from(self.listener.accept().await.unwrap().0);
        let mut packet = [0; 16];
        stream.read_exact(&mut packet).await.unwrap();
        let (head, secret) = packet.split_last_chunk::<4>().unwrap();
        let (head, pid) = head.split_last_chunk::<4>().unwrap();
        assert_eq!(
            (head, secret),
            (&b"\0\0\0\x10\x04\xd2\x16\x2e"[..], b"abcd")
        );
        (i32::from_be_bytes(*pid), stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn handle(owner: Option<Owner>) -> Rc<Handle> {
    Handle::new(owner, "pid 1 (test)".into())
}

#[test]
fn f1_a_right_key_cancels_what_runs_and_f2_the_server_is_held_until_that_is_through() {
    run(async {
        let (server, registry) = (Server::new("f1"), Rc::new(Registry::new()));
        let aim = server.aim(7);
        let registered = registry.enter(handle(None), false).unwrap();
        registered.seat.set_aim(Some(Rc::clone(&aim)));
        assert!(registry.cancel(registered.seat.key()).is_some());
        let (pid, stream) = server.request().await;
        assert_eq!(
            (pid, aim.is_firing(), registry.stats().cancels),
            (7, true, 1)
        );
        // A second one adds nothing.
        assert!(registry.cancel(registered.seat.key()).is_some());
        drop(stream);
        aim.quiet().await;
        assert!(!aim.is_firing());
    });
}

#[test]
fn f2_a_wrong_or_old_key_does_nothing() {
    run(async {
        let (server, registry) = (Server::new("f2"), Rc::new(Registry::new()));
        let aim = server.aim(7);
        let registered = registry.enter(handle(None), true).unwrap();
        registered.seat.set_aim(Some(Rc::clone(&aim)));
        let right = registered.seat.key().clone();
        assert_eq!(right.secret.len(), 32);
        for at in 0..32 {
            let mut wrong = right.clone();
            wrong.secret[at] ^= 1;
            assert!(registry.cancel(&wrong).is_none());
        }
        let short = BackendKey {
            secret: right.secret[..4].into(),
            ..right.clone()
        };
        assert!(registry.cancel(&short).is_none());
        assert!(
            registry
                .cancel(&BackendKey {
                    pid: right.pid + 1,
                    ..right.clone()
                })
                .is_none()
        );
        drop(registered);
        assert!(registry.cancel(&right).is_none());
        assert!(!aim.is_firing());
    });
}

#[test]
fn f3_without_a_server_the_session_itself_is_told() {
    run(async {
        let registry = Rc::new(Registry::new());
        let registered = registry.enter(handle(None), false).unwrap();
        assert!(registry.cancel(registered.seat.key()).is_none());
        assert!(registered.seat.handle.orders().cancel);
        assert_eq!(registry.stats().cancels, 0);
    });
}

#[test]
fn f4_no_more_than_a_few_cancel_connections_are_open_and_none_is_forgotten() {
    run(async {
        let server = Server::new("f4");
        let aims: Vec<_> = (1..=20).map(|pid| server.aim(pid)).collect();
        assert!(aims.iter().all(Aim::fire));
        let (mut open, mut seen) = (Vec::new(), Vec::new());
        while seen.len() < 20 {
            let (pid, stream) = server.request().await;
            seen.push(pid);
            open.push(stream);
            if open.len() == 8 {
                // All that may be are open: the next comes when one is closed.
                let more = tokio::time::timeout(std::time::Duration::ZERO, server.request()).await;
                assert!(more.is_err());
                open.clear();
            }
        }
        open.clear();
        for aim in aims {
            aim.quiet().await;
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    });
}

#[test]
fn the_sessions_of_an_owner_are_told_when_its_request_is_over_or_gone() {
    run(async {
        let (server, registry) = (Server::new("owner"), Rc::new(Registry::new()));
        let (mine, other) = (Owner { pid: 1, tid: 5 }, Owner { pid: 1, tid: 6 });
        let a = registry.enter(handle(Some(mine)), false).unwrap();
        let b = registry.enter(handle(Some(other)), false).unwrap();
        let aim = server.aim(9);
        a.seat.set_aim(Some(Rc::clone(&aim)));
        registry.request_ended(mine);
        assert!(a.seat.handle.orders().request_ended);
        assert!(!b.seat.handle.orders().request_ended);
        registry.request_gone(mine);
        assert_eq!(server.request().await.0, 9);
        drop(a);
        registry.request_gone(mine);
        assert!(!b.seat.handle.orders().cancel);
    });
}
