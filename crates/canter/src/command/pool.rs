//! `canter pool`: the pooler alone, for programs that are not served by `canter serve`.
//!
//! Owns the process around it: start, signals, end. Leaves the pooler's parts to `pooling`.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use canter_base::log::Format;
use canter_base::options::{Address, Config, Host, Origin, Resolved};
use canter_base::{Exit, Fault, error, info, warn};
use canter_pg::target::{Addr, Target};
use canter_pg::{Order, Pooler, Refresh, Shutdown};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::serve::{PidFile, enter};
use crate::pooling::{self, Plan};

/// Where PgBouncer listens, too.
const PORT: u16 = 6432;

/// How long the first look at the database may take.
const FIRST_LOOK: Duration = Duration::from_secs(5);

/// Reads the options again, for a reload.
pub type Reread = Rc<dyn Fn() -> Result<Resolved, Fault>>;

/// Pools until told to stop.
pub fn run(resolved: &Resolved, reread: Reread) -> Result<Exit, Fault> {
    check_options(resolved)?;
    let config = &resolved.config;
    enter(config)?;
    let addresses = if config.bind_postgres.is_empty() {
        vec![Address::Tcp {
            host: Host::Ip(Ipv4Addr::LOCALHOST.into()),
            port: PORT,
        }]
    } else {
        config.bind_postgres.clone()
    };
    if config.check_config {
        // Without an address nothing is opened.
        return Plan::alone(config, &[]).map(|_| Exit::Ok);
    }
    let mut plan = Plan::alone(config, &addresses)?;
    plan.set_refresh(refresh(Rc::clone(&reread)));
    let _ = canter_sys::machine::raise_open_files();
    let _pid_file = config.pid.as_deref().map(PidFile::write).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(|error| Fault::internal(format!("cannot start the event loop: {error}")))?;
    runtime.block_on(async {
        let signals = Signals::hear()
            .map_err(|error| Fault::internal(format!("cannot hear signals: {error}")))?;
        let pooler = plan
            .open()
            .map_err(|error| Fault::internal(format!("cannot open the doors: {error}")))?;
        show(&plan, config);
        if let Some(target) = plan.target() {
            tokio::task::spawn_local(look_at(target.clone()));
        }
        let reload = Reload { resolved, reread };
        obey(&signals, &pooler, &reload).await;
        Ok(Exit::Ok)
    })
}

/// Options that mean nothing here are refused on the command line; a file may be for `serve`, too.
fn check_options(resolved: &Resolved) -> Result<(), Fault> {
    if let Some(app) = &resolved.config.app {
        return Err(
            Fault::usage(format!("`canter pool` serves no app, and `{app}` is named"))
                .from("command line")
                .hint(format!(
                    "to serve it with a pool of its own: `canter serve {app}`"
                )),
        );
    }
    let stray = resolved
        .chosen
        .iter()
        .find(|chosen| matches!(chosen.origin, Origin::Flag(_)) && !chosen.row.is_for_pool());
    match stray {
        None => Ok(()),
        Some(chosen) => {
            let what = format!("`--{}` means nothing to `canter pool`", chosen.row.name());
            let fault = Fault::usage(what).from(chosen.origin.to_string());
            Err(match chosen.row.field {
                "bind" => fault.hint("where to listen is `--bind-postgres`"),
                _ => fault.hint("`canter pool --help` lists its options"),
            })
        }
    }
}

/// Does what signals and the console's administrators say, to the end.
async fn obey(signals: &Signals, pooler: &Pooler, reload: &Reload<'_>) {
    let config = &reload.resolved.config;
    let grace = loop {
        match next(signals, pooler).await {
            Said::Signal(SIGHUP) => {
                if let Err(why) = reload.run(pooler) {
                    error!("cannot reload: the old options stay", reason = why.as_str());
                }
            }
            Said::Signal(SIGQUIT) => return,
            Said::Signal(_) => break config.graceful_timeout,
            Said::Order(Order::Reload(answer)) => answer.give(reload.run(pooler)),
            Said::Order(Order::Shutdown(Shutdown::Now)) => {
                info!("stopping at once, as told on the console");
                return;
            }
            Said::Order(Order::Shutdown(Shutdown::WhenServersAreFree)) => break NO_HURRY,
            Said::Order(Order::Shutdown(Shutdown::WhenClientsHaveLeft)) => {
                info!("stopping when the last client has left");
                let asked_to_hurry = async { while signals.next().await == SIGHUP {} };
                either(pooler.all_left(), asked_to_hurry).await;
                break config.graceful_timeout;
            }
        }
    };
    info!("stopping: transactions may finish");
    // Whoever asks twice does not want to wait.
    let asked_twice = async { while signals.next().await == SIGHUP {} };
    either(pooler.drain(grace), asked_twice).await;
    info!("stopped");
}

/// `SHUTDOWN WAIT_FOR_SERVERS` sets no bound.
const NO_HURRY: Duration = Duration::from_secs(366 * 24 * 3600);

enum Said {
    Signal(i32),
    Order(Order),
}

/// What is said next, by a signal or on the console.
async fn next(signals: &Signals, pooler: &Pooler) -> Said {
    let (mut signal, mut order) = (pin!(signals.next()), pin!(pooler.order()));
    poll_fn(|cx| {
        if let Poll::Ready(signal) = signal.as_mut().poll(cx) {
            return Poll::Ready(Said::Signal(signal));
        }
        order.as_mut().poll(cx).map(Said::Order)
    })
    .await
}

/// The database's present contents, for when its password was changed (E8).
fn refresh(reread: Reread) -> Refresh {
    Rc::new(move |_| {
        let reread = Rc::clone(&reread);
        Box::pin(async move {
            let found = reread().and_then(|resolved| pooling::target(&resolved.config));
            found.ok().flatten()
        })
    })
}

/// Options that a reload takes over; the others are of the doors and of the process.
const TAKEN_OVER: [&str; 16] = [
    "database_url",
    "db_client_idle_timeout",
    "db_connections",
    "db_idle_in_transaction_timeout",
    "db_idle_timeout",
    "db_lifetime",
    "db_max_clients",
    "db_min_connections",
    "db_pin_limit",
    "db_prepared_statements",
    "db_query_timeout",
    "db_replica",
    "db_replica_max_lag",
    "db_transaction_timeout",
    "db_wait_notify",
    "db_wait_timeout",
];

/// SIGHUP and `RELOAD`: the options are read again.
struct Reload<'a> {
    /// Those of the start.
    resolved: &'a Resolved,
    reread: Reread,
}

impl Reload<'_> {
    fn run(&self, pooler: &Pooler) -> Result<(), String> {
        let read = || {
            let resolved = (self.reread)()?;
            let target = pooling::target(&resolved.config)?;
            let replicas = target.as_ref().map_or(Ok(None), |target| {
                pooling::replicas(&resolved.config, target)
            })?;
            Ok((resolved, target, replicas))
        };
        let (resolved, target, replicas) = read().map_err(|fault: Fault| fault.what)?;
        let target = target.ok_or("no database is named any more")?;
        let before = pooler.default_id();
        pooler.retune(&pooling::settings(&resolved.config));
        pooling::set_default(pooler, &target, replicas.as_ref());
        let database = target.describe();
        if pooler.default_id() == before {
            pooler.retry();
            info!("reloaded", database = database.as_str());
        } else {
            pooler.reconnect(None);
            info!(
                "reloaded: new connections to the database replace the old ones",
                database = database.as_str()
            );
        }
        for option in self.not_taken_over(&resolved) {
            warn!(
                "this option was changed and counts from the next start",
                option = format!("--{option}").as_str()
            );
        }
        Ok(())
    }

    fn not_taken_over(&self, now: &Resolved) -> impl Iterator<Item = String> {
        let pairs = self.resolved.chosen.iter().zip(&now.chosen);
        pairs
            .filter(|(old, new)| {
                let row = new.row;
                row.is_for_pool() && !TAKEN_OVER.contains(&row.field) && old.shown != new.shown
            })
            .map(|(_, new)| new.row.name())
    }
}

/// Says early that the database cannot be reached. Clients that come meanwhile hear it, too.
async fn look_at(target: Target) {
    let mut failed = None;
    for host in &target.hosts {
        let reached = timeout(FIRST_LOOK, async {
            match (&host.addr, host.socket_path()) {
                (Addr::Name(name), _) => TcpStream::connect((name.as_str(), host.port))
                    .await
                    .map(drop),
                (Addr::Ip(ip, _), _) => TcpStream::connect((*ip, host.port)).await.map(drop),
                (Addr::Unix(_), Some(path)) => UnixStream::connect(path).await.map(drop),
                (Addr::Unix(_), None) => Ok(()),
            }
        });
        match reached.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => failed = Some(error.to_string()),
            Err(_) => failed = Some("no answer".to_owned()),
        }
    }
    if let Some(reason) = failed {
        warn!(
            "the database cannot be reached now; it is tried again for each client",
            database = target.describe().as_str(),
            reason = reason.as_str()
        );
    }
}

fn show(plan: &Plan, config: &Config) {
    if config.log_format == Format::Human {
        let _ = io::stderr().lock().write_all(banner(plan).as_bytes());
        return;
    }
    for door in plan.doors() {
        info!(
            "pooling",
            address = door,
            connections = plan.connections().as_str()
        );
    }
}

fn banner(plan: &Plan) -> String {
    let mut text = format!(
        "\nCanter {} pools PostgreSQL connections\n\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut part = |label: &str, sentence: &str| {
        let _ = writeln!(text, "  {label:<8} {sentence}");
    };
    for (index, door) in plan.doors().enumerate() {
        part(if index == 0 { "at" } else { "and" }, door);
    }
    if let Some(target) = plan.target() {
        part("to", &format!("{} as {}", target.describe(), target.user));
    }
    for replica in plan.replicas() {
        part("reads", &format!("{replica}, while it is near enough"));
    }
    part("with", &plan.connections());
    part("asks", plan.admission());
    if let Some(example) = plan.example() {
        part("try", &example);
    }
    if let Some(console) = plan.console() {
        part("console", &console);
    }
    part("stop", "Ctrl-C; twice to stop at once");
    text.push('\n');
    text
}

/// Signals as bytes on a socket, so that the event loop waits for them with everything else.
struct Signals {
    pipe: UnixStream,
    came: Vec<(i32, Arc<AtomicBool>)>,
}

/// What is heard. USR1 and USR2 mean nothing here and must not end the process.
const HEARD: [i32; 6] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2];

impl Signals {
    fn hear() -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut came = Vec::new();
        for signal in HEARD {
            let flag = Arc::new(AtomicBool::new(false));
            // The flag first: the byte that follows says that one is set.
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
            signal_hook::low_level::pipe::register(signal, theirs.try_clone()?)?;
            came.push((signal, flag));
        }
        Ok(Self {
            pipe: UnixStream::from_std(ours)?,
            came,
        })
    }

    /// The next signal that means something.
    async fn next(&self) -> i32 {
        loop {
            let mut came = self.came.iter();
            let came = came.find(|(_, flag)| flag.swap(false, Ordering::AcqRel));
            match came {
                Some((SIGUSR1 | SIGUSR2, _)) => {}
                Some((signal, _)) => return *signal,
                None => {
                    let _ = self.pipe.readable().await;
                    while self
                        .pipe
                        .try_read(&mut [0; 64])
                        .is_ok_and(|count| count > 0)
                    {}
                }
            }
        }
    }
}

/// Waits until one of the two is done.
async fn either(one: impl Future<Output = ()>, other: impl Future<Output = ()>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| {
        let is_done = one.as_mut().poll(cx).is_ready() || other.as_mut().poll(cx).is_ready();
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}
