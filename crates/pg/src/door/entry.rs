//! One client from its first byte to the beginning of its session: cancel, registration, or
//! admission, key and pool. A panic anywhere in its life costs this client and its server.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use canter_base::error;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::Inside;
use crate::access::Admitted;
use crate::cancel::Registered;
use crate::console::{self, Proved, Rights, Visitor};
use crate::pool::{Attached, WaitInfo, add};
use crate::pooler::Shared;
use crate::session::{self, About, Guest, Handle};
use crate::settings::Owner;
use crate::stream::{Peer, Stream};
use crate::target::Target;
use crate::wire::startup::{First, Startup, decode, is_foreign};
use crate::wire::{SqlError, TxStatus, build};

/// How long a client may take to read our last words.
const FAREWELL: Duration = Duration::from_secs(2);
/// Clients that are told at once that there are too many; above, they are only closed.
const MOST_REFUSALS: usize = 100;

/// Serves a client that was just accepted, in a task of its own.
pub(super) fn come_in(mut stream: Stream, inside: &Inside, shared: &Rc<Shared>) {
    let most = shared.settings.max_clients();
    let clients = shared.clients.get();
    if clients >= most {
        shared.sessions.refused_one();
        if clients < most.saturating_add(MOST_REFUSALS) {
            let here = Here::new(shared);
            spawn_local(async move {
                let words = "sorry, too many clients already";
                farewell(&mut stream, &SqlError::fatal("53300", words)).await;
                drop(here);
            });
        }
        return;
    }
    let here = Here::new(shared);
    spawn_local(serve(stream, inside.clone(), Rc::clone(shared), here));
}

/// A client counts until its task has ended, in whatever way; a panic is told in one line.
struct Here(Rc<Shared>);

impl Here {
    fn new(shared: &Rc<Shared>) -> Self {
        shared.clients.set(shared.clients.get() + 1);
        Self(Rc::clone(shared))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get().saturating_sub(1));
        if std::thread::panicking() {
            error!("a database session ended by a fault of ours; its client was disconnected");
        }
    }
}

async fn serve(stream: Stream, inside: Inside, shared: Rc<Shared>, _here: Here) {
    // In a box that is gone when the session begins: an idle client shall cost little.
    let login_timeout = shared.settings.login_timeout();
    let entering = Box::pin(timeout(login_timeout, enter(stream, inside, shared)));
    if let Ok(Some((entered, registered))) = entering.await {
        match entered {
            Entered::Session(guest) => session::run(guest).await,
            // In a box: of tasks, most are sessions.
            Entered::Console(visitor) => Box::pin(console::run(*visitor)).await,
        }
        drop(registered);
    }
}

/// What a client came for. In boxes: whatever a session does not keep goes with them.
enum Entered {
    Session(Box<Guest>),
    Console(Box<Visitor>),
}

/// `None` when it was no session, or did not become one.
async fn enter(
    stream: Stream,
    inside: Inside,
    shared: Rc<Shared>,
) -> Option<(Entered, Registered)> {
    let (mut stream, packet) = inside.access.first_packet(stream).await.ok()??;
    let end = match decode(&packet) {
        Ok(Some((First::Cancel(key), _))) => {
            // The client waits for the end of this connection to know that it was done (F2).
            if let Some(aim) = shared.sessions.cancel(&key) {
                aim.quiet().await;
            }
            return None;
        }
        Ok(Some((First::Register(pairs), _))) => {
            register(&mut stream, &inside, &shared, pairs).await
        }
        Ok(Some((First::Startup(startup), _))) => {
            match admit(&mut stream, &inside, &shared, startup).await {
                Ok(parts) => return Some(parts.seat(stream, shared)),
                Err(error) => Err(error),
            }
        }
        Ok(Some((First::Ssl | First::Gss, _)) | None) => {
            Err(SqlError::fatal("08P01", "a start-up packet was expected"))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = end {
        if is_foreign(&packet) {
            // PostgreSQL tells its log and not the other side.
            part(&mut stream, &[]).await;
        } else {
            farewell(&mut stream, &error).await;
        }
    }
    None
}

/// A session about to begin.
struct Parts {
    startup: Startup,
    greeting: Vec<u8>,
    way: Way,
    registered: Registered,
}

/// Where it leads.
enum Way {
    Pool(Attached),
    Console(Rights),
}

impl Parts {
    fn seat(self, stream: Stream, shared: Rc<Shared>) -> (Entered, Registered) {
        let seat = Rc::clone(&self.registered.seat);
        let (handle, key) = (Rc::clone(&seat.handle), seat.key().clone());
        let entered = match self.way {
            Way::Pool(pool) => Entered::Session(Box::new(Guest {
                shared,
                stream,
                startup: self.startup,
                greeting: self.greeting,
                pool,
                who: WaitInfo {
                    client: Rc::clone(handle.client()),
                    seat: Some(seat),
                },
                handle,
                key,
            })),
            Way::Console(rights) => Entered::Console(Box::new(Visitor {
                shared,
                stream,
                startup: self.startup,
                greeting: self.greeting,
                handle,
                key,
                rights,
            })),
        };
        (entered, self.registered)
    }
}

async fn admit(
    stream: &mut Stream,
    inside: &Inside,
    shared: &Rc<Shared>,
    mut startup: Startup,
) -> Result<Parts, SqlError> {
    let asked = if inside.private.is_some() {
        startup.take("canter.target")
    } else {
        None
    };
    let tid = if inside.private.is_some() {
        startup.take("canter.thread")
    } else {
        None
    };
    let watched = inside.private.is_some() && startup.take("canter.watched").is_some();
    if let Some(minor) = startup.negotiation() {
        // PostgreSQL sends it before it asks for anything, also to those that it then refuses.
        let mut negotiate = Vec::new();
        build::negotiate_protocol_version(&mut negotiate, minor, &startup.unknown_pq);
        let sent = stream.write_all(&negotiate).await;
        sent.map_err(|error| SqlError::fatal("08006", error.to_string()))?;
    }
    refuse_replication(&mut startup)?;
    let admitted = inside.access.admit(stream, &startup).await?;
    if shared.draining.get() {
        return Err(SqlError::fatal("57P01", "the pooler shuts down").hint("Connect again."));
    }
    let way = if asked.is_none() && leads_to_console(&admitted, shared) {
        Way::Console(console_rights(&admitted, shared)?)
    } else {
        Way::Pool(pool_of(asked, &admitted, shared)?)
    };
    let owner = admitted
        .peer
        .filter(|_| inside.private.is_some())
        .and_then(|peer| owner(&peer, tid));
    let application = startup.get("application_name").unwrap_or_default();
    let client = describe(stream, admitted.peer.as_ref(), application);
    let long_key = startup.protocol >= (3, 2);
    let handle = Handle::new(owner, client.into());
    if watched {
        handle.set_tells_statements();
    }
    handle.describe(About {
        user: (*admitted.user).into(),
        database: (*admitted.database).into(),
        application: printable(application, 64).into(),
        address: stream.peer_addr(),
        local: stream.local_addr(),
        process: admitted.peer.and_then(|peer| peer.pid),
        tls: stream.tls_summary(),
        connected: SystemTime::now(),
        is_console: matches!(way, Way::Console(_)),
    });
    let registered = shared
        .sessions
        .enter(handle, long_key)
        .ok_or_else(|| SqlError::fatal("58000", "the system gives no random numbers"))?;
    Ok(Parts {
        startup,
        greeting: admitted.greeting,
        way,
        registered,
    })
}

/// A database of that name that people were told of is the database itself.
fn leads_to_console(admitted: &Admitted, shared: &Rc<Shared>) -> bool {
    let is_database = |target: Rc<Target>| target.dbname == admitted.database;
    console::is_console(&admitted.database) && !shared.default_target().is_some_and(is_database)
}

fn console_rights(admitted: &Admitted, shared: &Rc<Shared>) -> Result<Rights, SqlError> {
    let target = shared.default_target();
    let own = target.as_ref().map(|target| &*target.user);
    let user = &admitted.user;
    console::rights(&shared.settings, own, user, admitted.proved).ok_or_else(|| {
        let shown = printable(user, 63);
        let words = format!("user \"{shown}\" may not use the console");
        SqlError::fatal("42501", words).hint(if admitted.proved == Proved::Nothing {
            "This door lets everybody in without a proof: use another one for the console."
        } else {
            "It is for the user of the database's URL, --db-admin-users and --db-stats-users."
        })
    })
}

fn pool_of(
    asked: Option<String>,
    admitted: &Admitted,
    shared: &Rc<Shared>,
) -> Result<Attached, SqlError> {
    let id = match asked {
        Some(id) => id
            .parse()
            .map_err(|_| SqlError::fatal("CNT01", "not the id of a target"))?,
        None => shared.default_target.borrow().ok_or_else(no_default)?,
    };
    let pool = shared.pools.pool(id, &admitted.database, &admitted.user)?;
    if let Some(credential) = &admitted.credential {
        pool.log_in_with(credential);
    }
    if pool.is_disabled() {
        return Err(pool.disabled_error());
    }
    add(&pool.counters.logins, 1);
    Ok(pool.attach())
}

/// A10: a replication connection is for one client alone, and nothing a pool could give.
fn refuse_replication(startup: &mut Startup) -> Result<(), SqlError> {
    let Some(value) = startup.take("replication") else {
        return Ok(());
    };
    if ["false", "off", "no", "0"]
        .iter()
        .any(|no| no.eq_ignore_ascii_case(&value))
    {
        return Ok(());
    }
    Err(SqlError::fatal(
        "0A000",
        "replication connections do not go through the pooler",
    )
    .hint("Connect to the server itself."))
}

fn no_default() -> SqlError {
    SqlError::fatal("08001", "no database is known to this pooler")
        .hint("Set DATABASE_URL, or register a target first.")
}

fn owner(peer: &Peer, tid: Option<String>) -> Option<Owner> {
    let tid = tid.and_then(|tid| tid.parse().ok()).unwrap_or(0);
    Some(Owner {
        pid: u32::try_from(peer.pid?).ok()?,
        tid,
    })
}

/// `pid 4711 (shop)`, `127.0.0.1:5555 (psql)`; bounded, since it is the client's to choose.
fn describe(stream: &Stream, peer: Option<&Peer>, application: &str) -> String {
    let mut words = match (peer.and_then(|peer| peer.pid), stream.peer_addr()) {
        (Some(pid), _) => format!("pid {pid}"),
        (None, Some(address)) => address.to_string(),
        (None, None) => "a client".to_owned(),
    };
    let shown = printable(application, 40);
    if !shown.is_empty() {
        words = format!("{words} ({shown})");
    }
    words
}

/// The client's own words, short and in one line.
fn printable(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

async fn register(
    stream: &mut Stream,
    inside: &Inside,
    shared: &Rc<Shared>,
    pairs: Vec<(String, String)>,
) -> Result<(), SqlError> {
    // The kernel's word for who is at the other end; root may do everything anyway.
    let peer = stream.peer().map(|peer| peer.uid);
    if inside.private.is_none() || (peer != inside.private && peer != Some(0)) {
        let words = "targets are registered by our own processes at the private door";
        return Err(SqlError::fatal("42501", words));
    }
    let target =
        Target::from_pairs(pairs).map_err(|error| SqlError::fatal("22023", error.to_string()))?;
    let id = shared
        .pools
        .register(target)
        .ok_or_else(|| SqlError::fatal("53400", "too many targets are registered"))?;
    let mut answer = Vec::new();
    build::parameter_status(&mut answer, "canter.target", &id.to_string());
    build::ready(&mut answer, TxStatus::Idle);
    // A client that has gone needs no answer.
    let _ = stream.write_all(&answer).await;
    Ok(())
}

/// Tells a client why, and lets it read that: what it sent meanwhile is read and thrown away,
/// since closing before would make the kernel throw our words away.
async fn farewell(stream: &mut Stream, error: &SqlError) {
    let mut words = Vec::new();
    error.encode(&mut words);
    part(stream, &words).await;
}

/// Sends the last that this client gets.
async fn part(stream: &mut Stream, words: &[u8]) {
    let part = async {
        stream.write_all(words).await?;
        std::future::poll_fn(|cx| stream.poll_shutdown(cx)).await?;
        let (mut rest, left) = ([0; 1024], Cell::new(64_u32));
        while left.get() > 0 && stream.read(&mut rest).await? > 0 {
            left.set(left.get() - 1);
        }
        io::Result::Ok(())
    };
    let _ = timeout(FAREWELL, part).await;
}
