//! One client of the console: messages in, messages out, waiting and leaving. Simple queries are
//! here, the extended protocol in `extended`. Leaves commands to `act`.

use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::timeout;

use super::act::Failed;
use super::command::{Command, PARAMETERS, Rights};
use super::extended::{Portal, Prepared};
use super::orders::Order;
use super::table::{Formats, describe};
use super::words::statements;
use crate::pooler::Shared;
use crate::session::{Handle, Orders};
use crate::stream::Stream;
use crate::wire::frame::Frame;
use crate::wire::startup::Startup;
use crate::wire::{BackendKey, SqlError, TxStatus, build, message};

/// No command is nearly as long.
const LONGEST: usize = 64 << 10;
/// How long a client may take to read an answer.
const SLOWEST: Duration = Duration::from_secs(30);

/// How a session of the console ends.
#[derive(Debug)]
pub(super) enum Stop {
    /// The client has gone, or says goodbye.
    Left,
    /// It took its command back; the session goes on.
    Cancelled,
    /// With these words.
    Words(SqlError),
}

/// A client as the door hands it over.
pub(crate) struct Visitor {
    pub(crate) shared: Rc<Shared>,
    pub(crate) stream: Stream,
    pub(crate) startup: Startup,
    /// What authentication left to be sent, `AuthenticationOk` at its end.
    pub(crate) greeting: Vec<u8>,
    pub(crate) handle: Rc<Handle>,
    pub(crate) key: BackendKey,
    pub(crate) rights: Rights,
}

/// A client of the console.
pub(super) struct Console {
    pub(super) shared: Rc<Shared>,
    pub(super) handle: Rc<Handle>,
    pub(super) rights: Rights,
    pub(super) user: Box<str>,
    /// The console has no transactions; drivers open them all the same.
    pub(super) status: TxStatus,
    pub(super) out: Vec<u8>,
    /// To be given when the answer was sent.
    pub(super) last: Option<Order>,
    pub(super) prepared: HashMap<Vec<u8>, Rc<Prepared>>,
    pub(super) portals: HashMap<Vec<u8>, Portal>,
    /// An error was reported: messages up to `Sync` are dropped.
    pub(super) skips: bool,
    stream: Stream,
    input: Vec<u8>,
}

/// Serves a client of the console until it leaves.
pub(crate) async fn run(visitor: Visitor) {
    let mut out = Vec::new();
    if let Some(minor) = visitor.startup.negotiation() {
        build::negotiate_protocol_version(&mut out, minor, &visitor.startup.unknown_pq);
    }
    out.extend_from_slice(&visitor.greeting);
    for (name, value) in PARAMETERS.iter().take(7) {
        build::parameter_status(&mut out, name, value);
    }
    let name = visitor.startup.get("application_name").unwrap_or_default();
    build::parameter_status(&mut out, "application_name", name);
    build::parameter_status(&mut out, "session_authorization", visitor.startup.user());
    let is_admin = if visitor.rights == Rights::All {
        "on"
    } else {
        "off"
    };
    build::parameter_status(&mut out, "is_superuser", is_admin);
    build::backend_key_data(&mut out, &visitor.key);
    build::ready(&mut out, TxStatus::Idle);
    let mut console = Console {
        user: visitor.startup.user().into(),
        shared: visitor.shared,
        handle: visitor.handle,
        rights: visitor.rights,
        status: TxStatus::Idle,
        out,
        last: None,
        prepared: HashMap::new(),
        portals: HashMap::new(),
        skips: false,
        stream: visitor.stream,
        input: Vec::new(),
    };
    console.serve().await;
}

impl Console {
    async fn serve(&mut self) {
        let stop = loop {
            if let Err(stop) = self.flush().await {
                break stop;
            }
            if let Some(order) = self.last.take() {
                self.shared.console.orders.push(order);
            }
            let ended = match self.next().await {
                Ok((tag, body)) => self.take(tag, &body).await,
                Err(stop) => Err(stop),
            };
            if let Err(stop) = ended {
                break stop;
            }
        };
        if let Stop::Words(error) = stop {
            error.encode(&mut self.out);
            let _ = self.flush().await;
        }
        let goodbye = poll_fn(|cx| self.stream.poll_shutdown(cx));
        // A client that does not listen misses it.
        let _ = timeout(Duration::from_secs(2), goodbye).await;
    }

    async fn take(&mut self, tag: u8, body: &[u8]) -> Result<(), Stop> {
        match tag {
            b'X' => Err(Stop::Left),
            b'Q' => {
                self.skips = false;
                self.simple(body).await
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'S' | b'H' => self.extended(tag, body).await,
            // COPY data nobody asked for is dropped, as PostgreSQL does.
            b'd' | b'c' | b'f' => Ok(()),
            b'F' => {
                self.fail(&SqlError::error("0A000", "the console has no functions"));
                build::ready(&mut self.out, self.status);
                Ok(())
            }
            _ => Err(Stop::Words(SqlError::fatal(
                "08P01",
                format!("invalid frontend message type {tag}"),
            ))),
        }
    }

    async fn simple(&mut self, body: &[u8]) -> Result<(), Stop> {
        let text = message::query_text(body).and_then(|text| std::str::from_utf8(text).ok());
        let Some(text) = text else {
            let words = "invalid query string";
            return Err(Stop::Words(SqlError::fatal("08P01", words)));
        };
        let all = statements(text);
        if all.is_empty() {
            self.out.extend_from_slice(build::EMPTY_QUERY);
        }
        for words in all {
            let done = match Command::read(&words) {
                Ok(command) => self.answer(&command).await,
                Err(error) => Err(Failed::Error(error)),
            };
            if !self.survives(done)? {
                break;
            }
        }
        build::ready(&mut self.out, self.status);
        Ok(())
    }

    async fn answer(&mut self, command: &Command) -> Result<(), Failed> {
        let table = self.carry_out(command).await?;
        let tag = command.tag();
        if let Some(table) = table {
            describe(&table.columns, Formats(&[]), &mut self.out);
            table.data_rows(Formats(&[]), &mut self.out);
        }
        build::command_complete(&mut self.out, tag.as_bytes());
        Ok(())
    }

    /// Reports what failed; whether it went well. `Err` when the session is over.
    pub(super) fn survives(&mut self, done: Result<(), Failed>) -> Result<bool, Stop> {
        match done {
            Ok(()) => return Ok(true),
            Err(Failed::Error(error)) => self.fail(&error),
            Err(Failed::Stop(Stop::Cancelled)) => {
                let words = "canceling statement due to user request";
                self.fail(&SqlError::error("57014", words));
            }
            Err(Failed::Stop(stop)) => return Err(stop),
        }
        Ok(false)
    }

    fn fail(&mut self, error: &SqlError) {
        error.encode(&mut self.out);
        if self.status == TxStatus::Open {
            self.status = TxStatus::Failed;
        }
    }

    /// `SHOW HELP` is a notice, as PgBouncer's.
    pub(super) fn help(&mut self) {
        build::message(&mut self.out, b'N', |out| {
            let fields: [(u8, &str); 5] = [
                (b'S', "NOTICE"),
                (b'V', "NOTICE"),
                (b'C', "00000"),
                (b'M', "Console usage"),
                (b'D', HELP),
            ];
            for (field, text) in fields {
                out.push(field);
                build::cstr(out, text.as_bytes());
            }
            out.push(0);
        });
    }

    /// The next message of the client.
    async fn next(&mut self) -> Result<(u8, Vec<u8>), Stop> {
        poll_fn(|cx| {
            if let Poll::Ready(stop) = self.poll_orders(cx) {
                return Poll::Ready(Err(stop));
            }
            loop {
                match self.whole() {
                    Ok(Some(message)) => return Poll::Ready(Ok(message)),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(Stop::Words(error))),
                }
                if self.poll_more(cx)?.is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// The message at the start of the input.
    fn whole(&mut self) -> Result<Option<(u8, Vec<u8>)>, SqlError> {
        let frame = Frame::decode(&self.input)
            .map_err(|_| SqlError::fatal("08P01", "invalid message length"))?;
        let Some(frame) = frame else {
            return Ok(None);
        };
        if frame.total() > LONGEST {
            let words = "a message to the console is too long";
            return Err(SqlError::fatal("54000", words));
        }
        if self.input.len() < frame.total() {
            return Ok(None);
        }
        let body = self.input.drain(..frame.total()).skip(Frame::HEADER);
        Ok(Some((frame.tag, body.collect())))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let mut room = [0; 4096];
        let mut room = ReadBuf::new(&mut room);
        match self.stream.poll_read(cx, &mut room) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !room.filled().is_empty() => {
                self.input.extend_from_slice(room.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => Poll::Ready(Err(Stop::Left)),
        }
    }

    /// Ready when somebody wants this session to end.
    fn poll_orders(&mut self, cx: &mut Context<'_>) -> Poll<Stop> {
        self.handle.watch(cx);
        if let Some(error) = self.handle.take_end() {
            return Poll::Ready(Stop::Words(error));
        }
        if self.handle.orders().drain {
            let words = "terminating connection: the pooler shuts down";
            return Poll::Ready(Stop::Words(SqlError::fatal("57P01", words)));
        }
        // Between commands there is nothing to cancel.
        self.handle.clear(|orders| {
            *orders = Orders {
                drain: orders.drain,
                ..Orders::default()
            }
        });
        Poll::Pending
    }

    /// While a command runs: ready when the client takes it back or leaves, or the session ends.
    pub(super) async fn interrupted(&mut self) -> Stop {
        poll_fn(|cx| {
            if self.handle.orders().cancel {
                self.handle.clear(|orders| orders.cancel = false);
                return Poll::Ready(Stop::Cancelled);
            }
            if let Poll::Ready(stop) = self.poll_orders(cx) {
                return Poll::Ready(stop);
            }
            while self.input.len() < LONGEST {
                match self.poll_more(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(stop)) => return Poll::Ready(stop),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Pending
        })
        .await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        match timeout(SLOWEST, self.stream.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Stop::Left),
        }
    }
}

const HELP: &str = "
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION
\tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE|PINS
\tSHOW DNS_HOSTS|DNS_ZONES|PEERS|PEER_POOLS
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
\tSET key = arg
\tRELOAD
\tPAUSE [<db>]
\tRESUME [<db>]
\tDISABLE <db>
\tENABLE <db>
\tRECONNECT [<db>]
\tKILL [<db>]
\tKILL_CLIENT <client_id>
\tSUSPEND
\tSHUTDOWN
\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
\tWAIT_CLOSE [<db>]";
