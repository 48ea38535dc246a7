//! Servers that do as a test says, byte by byte: also what no server should.

use std::cell::Cell;
use std::future::{Future, pending};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use tokio::net::UnixListener;
use tokio::task::{spawn_local, yield_now};

use super::house::{Came, let_in, more};
use crate::stream::Stream;
use crate::stream::testing::Folder;
use crate::target::Target;
use crate::wire::frame::Frame;
use crate::wire::{SqlError, TxStatus, build, message};

/// Something that happens once, for others to wait for.
#[derive(Default)]
pub(super) struct Event(Cell<bool>);

impl Event {
    pub(super) fn happens(&self) {
        self.0.set(true);
    }

    pub(super) fn has_happened(&self) -> bool {
        self.0.get()
    }

    pub(super) async fn wait(&self) {
        while !self.0.get() {
            yield_now().await;
        }
    }
}

/// One connection of a server, past its greeting.
pub(super) struct Wire {
    stream: Stream,
    socket: UnixStream,
    input: Vec<u8>,
}

impl Wire {
    /// The next message; `None` when the other side says goodbye or goes.
    pub(super) async fn hear(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some(frame) = Frame::decode(&self.input).unwrap()
                && frame.body_of(&self.input).is_some()
            {
                let message = self.input.drain(..frame.total());
                let body = message.skip(Frame::HEADER).collect();
                return (frame.tag != b'X').then_some((frame.tag, body));
            }
            more(&mut self.stream, &mut self.input).await?;
        }
    }

    /// The text of the next `Query`, whatever comes before it.
    pub(super) async fn hear_query(&mut self) -> Option<String> {
        loop {
            if let (b'Q', body) = self.hear().await? {
                let text = message::query_text(&body).unwrap();
                return Some(String::from_utf8_lossy(text).into_owned());
            }
        }
    }

    /// Passes by all messages up to and with one of this type.
    pub(super) async fn hear_up_to(&mut self, tag: u8) -> Option<()> {
        while self.hear().await?.0 != tag {}
        Some(())
    }

    /// How long the next message is going to be, as soon as its beginning is here.
    pub(super) async fn announced(&mut self) -> Option<usize> {
        loop {
            if let Some(frame) = Frame::decode(&self.input).unwrap() {
                return Some(frame.total());
            }
            more(&mut self.stream, &mut self.input).await?;
        }
    }

    /// What was read and is no whole message.
    pub(super) fn unread(&self) -> &[u8] {
        &self.input
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// Answers each query with this tag.
    pub(super) async fn serve(&mut self, tag: &str) -> Option<()> {
        loop {
            self.hear_query().await?;
            self.say(&done(tag, TxStatus::Idle)).await?;
        }
    }

    /// From now on, whoever sends it anything is told that it is gone; nothing is to be read of that.
    pub(super) fn stops_listening(&self) {
        self.socket.shutdown(Shutdown::Read).unwrap();
    }

    /// Answers a `Sync` only when the next one has come, then what that one ends, and serves on.
    pub(super) async fn answers_late(mut self) -> Option<()> {
        self.hear_up_to(b'S').await?;
        self.say(&ready(TxStatus::Idle)).await?;
        self.say(build::CLOSE_COMPLETE).await?;
        self.say(&ready(TxStatus::Idle)).await?;
        self.serve("SELECT").await
    }

    /// Stays open for as long as the test runs.
    pub(super) async fn stays(self) -> Option<()> {
        pending().await
    }
}

/// A server at a socket of its own.
pub(super) struct Scripted {
    pub(super) connects: Rc<Cell<u32>>,
    folder: Folder,
}

impl Scripted {
    /// The script is run for each connection, with its number from 1 on.
    pub(super) fn new<F>(script: impl Fn(Wire, u32) -> F + 'static) -> Self
    where
        F: Future<Output = Option<()>> + 'static,
    {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let connects = Rc::<Cell<u32>>::default();
        let (count, script) = (Rc::clone(&connects), Rc::new(script));
        spawn_local(async move {
            while let Ok((unix, _)) = listener.accept().await {
                let unix = unix.into_std().unwrap();
                let socket = unix.try_clone().unwrap();
                let unix = tokio::net::UnixStream::from_std(unix).unwrap();
                let (count, script) = (Rc::clone(&count), Rc::clone(&script));
                spawn_local(async move {
                    let (mut stream, mut input) = (Stream::from(unix), Vec::new());
                    if let_in(&mut stream, &mut input).await? == Came::ToCancel {
                        return None;
                    }
                    count.set(count.get() + 1);
                    let wire = Wire {
                        stream,
                        socket,
                        input,
                    };
                    script(wire, count.get()).await
                });
            }
        });
        Self { connects, folder }
    }

    pub(super) fn target(&self) -> Target {
        let folder = self.folder.path().display();
        Target::from_url(&format!("postgres://app@/app?host={folder}")).unwrap()
    }
}

/// The rest of the answer to a statement that was done.
pub(super) fn done(tag: &str, status: TxStatus) -> Vec<u8> {
    let mut out = Vec::new();
    build::command_complete(&mut out, tag.as_bytes());
    build::ready(&mut out, status);
    out
}

/// The answer to one that failed, up to its `ReadyForQuery`.
pub(super) fn failed(code: &str) -> Vec<u8> {
    let mut out = Vec::new();
    SqlError::error(code, "as the test wants it").encode(&mut out);
    out
}

pub(super) fn ready(status: TxStatus) -> Vec<u8> {
    let mut out = Vec::new();
    build::ready(&mut out, status);
    out
}

pub(super) fn any(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::message(&mut out, tag, |out| out.extend_from_slice(body));
    out
}
