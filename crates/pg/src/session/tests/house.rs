//! A pooler between clients and a server that answers by rules.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixStream};
use tokio::task::{spawn_local, yield_now};

use crate::cancel::Registered;
use crate::pool::WaitInfo;
use crate::pooler::Pooler;
use crate::session::{self, Activity, Guest, Handle};
use crate::settings::Settings;
use crate::stream::Stream;
use crate::target::{Target, TargetId};
use crate::wire::frame::Frame;
use crate::wire::startup::{First, Startup, decode};
use crate::wire::{BackendKey, SqlError, TxStatus, build, message};

/// Runs a test in a runtime of its own; what hangs fails.
pub(super) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), test).await };
    runtime.block_on(bounded).expect("it hangs");
}

/// A server made up of rules: `hang` waits for a cancel, `die` and `hangup` end the connection.
#[derive(Default)]
pub(super) struct Made {
    pub(super) connects: Cell<u32>,
    pub(super) cancels: Cell<u32>,
    /// `hold` is answered when this is set.
    is_released: Cell<bool>,
    heard: RefCell<Vec<String>>,
}

impl Made {
    pub(super) fn query_bytes(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        build::query(&mut out, text.as_bytes());
        out
    }

    /// The clients' texts it heard, without those that only set settings.
    pub(super) fn texts(&self) -> Vec<String> {
        let heard = self.heard.borrow();
        heard
            .iter()
            .filter(|text| !text.contains("set_config"))
            .cloned()
            .collect()
    }

    pub(super) async fn until(&self, text: &str) {
        while !self.heard.borrow().iter().any(|heard| heard == text) {
            yield_now().await;
        }
    }

    /// Answers the `hold` that was heard, or will be.
    pub(super) fn release(&self) {
        self.is_released.set(true);
    }

    async fn serve(self: Rc<Self>, mut stream: Stream) -> Option<()> {
        let mut input = Vec::new();
        if let_in(&mut stream, &mut input).await? == Came::ToCancel {
            self.cancels.set(self.cancels.get() + 1);
            return None;
        }
        self.connects.set(self.connects.get() + 1);
        let mut out = Vec::new();
        let mut status = TxStatus::Idle;
        loop {
            stream.write_all(&out).await.ok()?;
            out.clear();
            let frame = loop {
                if let Some(frame) = Frame::decode(&input).unwrap()
                    && frame.body_of(&input).is_some()
                {
                    break frame;
                }
                more(&mut stream, &mut input).await?;
            };
            let body: Vec<u8> = input.drain(..frame.total()).skip(5).collect();
            if frame.tag != b'Q' {
                return None;
            }
            let text = String::from_utf8_lossy(message::query_text(&body)?).into_owned();
            self.heard.borrow_mut().push(text.clone());
            self.answer(&text, &mut status, &mut out).await?;
            if text == "die" || text == "bye" {
                stream.write_all(&out).await.ok()?;
                return None;
            }
        }
    }

    async fn answer(&self, text: &str, status: &mut TxStatus, out: &mut Vec<u8>) -> Option<()> {
        match text {
            "hang" => {
                let before = self.cancels.get();
                while self.cancels.get() == before {
                    yield_now().await;
                }
                *status = TxStatus::Failed;
                SqlError::error("57014", "canceled").encode(out);
            }
            "hold" => {
                while !self.is_released.take() {
                    yield_now().await;
                }
                build::command_complete(out, b"SELECT");
            }
            "die" => SqlError::fatal("57P01", "terminating").encode(out),
            "hangup" => return None,
            "begin" => {
                *status = TxStatus::Open;
                build::command_complete(out, b"BEGIN");
            }
            "commit" | "rollback" | "ROLLBACK" => {
                *status = TxStatus::Idle;
                build::command_complete(out, text.to_ascii_uppercase().as_bytes());
            }
            text => {
                if let Some(name) = text.split("'application_name','").nth(1) {
                    let name = name.split('\'').next().unwrap_or_default();
                    build::parameter_status(out, "application_name", name);
                }
                build::command_complete(out, b"SELECT");
            }
        }
        build::ready(out, *status);
        Some(())
    }
}

/// What somebody came to a server for.
#[derive(PartialEq, Eq)]
pub(super) enum Came {
    ToCancel,
    ToStay,
}

/// Receives somebody at a server, and greets him who stays.
pub(super) async fn let_in(stream: &mut Stream, input: &mut Vec<u8>) -> Option<Came> {
    let length = loop {
        if let Ok(Some((first, length))) = decode(input) {
            match first {
                First::Cancel(_) => return Some(Came::ToCancel),
                First::Startup(_) => break length,
                _ => {
                    stream.write_all(b"N").await.ok()?;
                    input.drain(..length);
                    continue;
                }
            }
        }
        more(stream, input).await?;
    };
    input.drain(..length);
    let mut out = build::AUTHENTICATION_OK.to_vec();
    build::parameter_status(&mut out, "server_version", "16.0");
    build::parameter_status(&mut out, "application_name", "");
    build::backend_key_data(&mut out, &BackendKey::new(999, &[1; 4]).unwrap());
    build::ready(&mut out, TxStatus::Idle);
    stream.write_all(&out).await.ok()?;
    Some(Came::ToStay)
}

pub(super) async fn more(stream: &mut Stream, input: &mut Vec<u8>) -> Option<()> {
    let mut part = [0; 4096];
    let count = stream
        .read(&mut part)
        .await
        .ok()
        .filter(|count| *count > 0)?;
    input.extend_from_slice(&part[..count]);
    Some(())
}

/// A pooler with one target: the made-up server.
pub(super) struct House {
    pub(super) pooler: Pooler,
    pub(super) target: TargetId,
    pub(super) made: Rc<Made>,
}

impl House {
    /// A pooler that may have one server connection.
    pub(super) async fn with_one_server() -> Self {
        Self::new(Settings {
            connections: Some(1),
            ..Settings::default()
        })
        .await
    }

    pub(super) async fn new(settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = Rc::new(Made::default());
        let server = Rc::clone(&made);
        spawn_local(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let server = Rc::clone(&server);
                spawn_local(async move { server.serve(tcp.into()).await });
            }
        });
        let settings = Settings {
            connections: settings.connections.or(Some(4)),
            ..settings
        };
        let url = format!("postgres://app@127.0.0.1:{port}/app?sslmode=disable");
        Self {
            made,
            ..Self::before(settings, Target::from_url(&url).unwrap())
        }
    }

    /// A pooler before a server of the test's own.
    pub(super) fn before(settings: Settings, target: Target) -> Self {
        let pooler = Pooler::new(settings);
        let target = pooler.register(target).unwrap();
        Self {
            pooler,
            target,
            made: Rc::default(),
        }
    }

    pub(super) fn guest(&self, settings: &[(&str, &str)]) -> (Guest, Stream, Registered) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (guest, registered) = self.seated(ours, settings);
        (guest, theirs.into(), registered)
    }

    /// A guest at this socket.
    pub(super) fn seated(
        &self,
        ours: UnixStream,
        settings: &[(&str, &str)],
    ) -> (Guest, Registered) {
        let params = [("user", "app"), ("database", "app")]
            .iter()
            .chain(settings);
        let params = params.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let startup = Startup {
            protocol: (3, 0),
            params: params.collect(),
            unknown_pq: vec![],
        };
        let shared = Rc::clone(&self.pooler.0);
        let pool = shared.pools.pool(self.target, "app", "app").unwrap();
        let handle = Handle::new(None, "a test".into());
        let registered = shared.sessions.enter(Rc::clone(&handle), false).unwrap();
        let seat = Rc::clone(&registered.seat);
        let guest = Guest {
            shared,
            stream: ours.into(),
            startup,
            greeting: build::AUTHENTICATION_OK.to_vec(),
            pool: pool.attach(),
            handle,
            key: seat.key().clone(),
            who: WaitInfo {
                client: "a test".into(),
                seat: Some(seat),
            },
        };
        (guest, registered)
    }

    /// A client that was greeted.
    pub(super) async fn client(&self, settings: &[(&str, &str)]) -> Client {
        let (guest, stream, registered) = self.guest(settings);
        let handle = Rc::clone(&guest.handle);
        spawn_local(async move {
            session::run(Box::new(guest)).await;
            drop(registered);
        });
        let mut client = Client {
            stream,
            handle,
            input: Vec::new(),
            greeting: Vec::new(),
        };
        while let Some((tag, body)) = client.next().await {
            build::message(&mut client.greeting, tag, |out| {
                out.extend_from_slice(&body);
            });
            if tag == b'Z' {
                break;
            }
        }
        client
    }
}

/// A client of the pooler.
pub(super) struct Client {
    stream: Stream,
    pub(super) handle: Rc<Handle>,
    input: Vec<u8>,
    pub(super) greeting: Vec<u8>,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = Frame::decode(&self.input).unwrap()
                && frame.body_of(&self.input).is_some()
            {
                let body = self.input.drain(..frame.total()).skip(5).collect();
                return Some((frame.tag, body));
            }
            more(&mut self.stream, &mut self.input).await?;
        }
    }

    /// What a query came to: tag or SQLSTATE, then the status.
    pub(super) async fn query(&mut self, text: &str) -> String {
        self.send(&Made::query_bytes(text)).await;
        self.answer().await
    }

    pub(super) async fn answer(&mut self) -> String {
        let mut came_to = String::new();
        while let Some((tag, body)) = self.next().await {
            match tag {
                b'E' => came_to = SqlError::decode(&body).code_str().to_owned(),
                b'C' => came_to = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned(),
                b'Z' => return format!("{came_to} {}", char::from(body[0])),
                _ => {}
            }
        }
        format!("{came_to} closed")
    }

    /// The next message, which is a notice.
    pub(super) async fn notice(&mut self) -> SqlError {
        let next = self.next().await;
        let (tag, body) = next.expect("the connection is open");
        assert_eq!(tag, b'N');
        SqlError::decode(&body)
    }

    /// The SQLSTATE the connection was ended with.
    pub(super) async fn end(&mut self) -> String {
        let mut came_to = String::new();
        while let Some((tag, body)) = self.next().await {
            assert_eq!(tag, b'E');
            came_to = SqlError::decode(&body).code_str().to_owned();
        }
        came_to
    }

    /// What a cancel request for it has.
    pub(super) fn key(&self) -> BackendKey {
        let mut rest = &self.greeting[..];
        while let Some(frame) = Frame::decode(rest).unwrap() {
            if frame.tag == b'K' {
                return BackendKey::decode(frame.body_of(rest).unwrap()).unwrap();
            }
            rest = &rest[frame.total()..];
        }
        panic!("the greeting has no key");
    }

    pub(super) async fn until(&self, activity: Activity) {
        while self.handle.activity() != activity {
            yield_now().await;
        }
    }
}
