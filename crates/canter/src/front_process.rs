//! Owns the front's process: the runtime, the front, the dispatch, the pooler, and the words of the
//! supervisor. Leaves what each of them does to its crate; here they are only joined.

mod app;
mod bills;
mod breakers;
mod collector;
mod files;
pub(crate) mod observed;
mod pooled;
mod pools;
mod pressure;
mod staff;
mod visits;

use std::convert::Infallible;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use canter_base::options::{Ban, Cache, Compress as Compression, Config, Hsts, Http2, LogTarget};
use canter_base::sizing::Sizing;
use canter_base::{error, info, warn};
use canter_encode::{Level, Policy};
use canter_files::Files;
use canter_front::{
    AccessLog, Challenges, Compress, GuardSettings, HandshakeSettings, Listener, Pages, Profiler,
    Server, Settings,
};
use canter_shield::pace::Pace;
use canter_sys::process::exit_now;
use canter_sys::{allocator, temp};
use canter_workers::dispatch::{self, Adopted, Dispatch, Notice};
use canter_workers::link::{MOST_WORD, ToFront, ToSupervisor};
use canter_workers::socket::MessageSocket;
use canter_workers::supervisor::FrontStart;

use crate::command::serve::temp_dir;
use crate::pooling::Plan;
use crate::{admin, tiers, tls};
use app::Workers;
use breakers::Guarded;
use collector::Collector;
use observed::Processes;
use pooled::Pooled;

/// Freed memory the front keeps while it is busy.
const KEPT: i32 = 4 << 20;
/// How often it is seen whether the front is busy.
const IDLE_CHECK: Duration = Duration::from_secs(10);

/// The shortest slice that the scheduler knows.
const TURN: Duration = Duration::from_micros(100);

/// Requests that are named when they are lost with their worker; more of them are counted.
const MOST_NAMED: usize = 20;

/// Between asking the workers to end and leaving: they notice by themselves, too.
const FAREWELL: Duration = Duration::from_millis(20);

/// What purges have at least to reach the folder and the other machines.
const LAST_PURGES: Duration = Duration::from_millis(500);

/// Runs the front until it is told to stop; ends the process.
pub fn run(
    start: FrontStart,
    config: &Config,
    sizing: &Sizing,
    pooling: Option<&Plan>,
    tls: Option<&tls::Plan>,
    admin: Option<&admin::Plan>,
) -> Infallible {
    // Workers that compute can fill every CPU; what the front has to do for the next request and
    // the last answer takes microseconds and keeps them supplied.
    canter_sys::sched::prefer_short_turns(TURN);
    allocator::keep_freed(KEPT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(before_sleep)
        .build_local(tokio::runtime::LocalOptions::default());
    let result = runtime
        .and_then(|runtime| runtime.block_on(serve(start, config, sizing, pooling, tls, admin)));
    // `serve` ends the process itself; it comes back only with a reason.
    let reason = match result {
        Ok(never) => match never {},
        Err(error) => error.to_string(),
    };
    error!("the front cannot start", reason = &reason);
    exit_now(1)
}

thread_local! {
    static ACCESS: std::cell::OnceCell<Rc<AccessLog>> = const { std::cell::OnceCell::new() };
}

fn before_sleep() {
    dispatch::before_sleep();
    ACCESS.with(|access| {
        if let Some(access) = access.get() {
            access.flush();
        }
    });
}

async fn serve(
    start: FrontStart,
    config: &Config,
    sizing: &Sizing,
    pooling: Option<&Plan>,
    tls: Option<&tls::Plan>,
    admin: Option<&admin::Plan>,
) -> io::Result<Infallible> {
    let link = Rc::new(MessageSocket::new(start.link)?);
    let pooled = Pooled::new(pooling.map(Plan::open).transpose()?);
    let processes = Processes::default();
    let profiler = Profiler::new();
    let dispatch = {
        let (link, pooled) = (Rc::clone(&link), pooled.clone());
        let profiler = Rc::clone(&profiler);
        let processes = processes.clone();
        Dispatch::new(dispatch_settings(config, sizing), move |notice| {
            pooled.hear(&notice);
            processes.hear(&notice);
            tell(&link, &profiler, &notice);
        })
    };
    dispatch.start();
    let access = access_log(config)?;
    if let Some(access) = &access {
        let _ = ACCESS.with(|kept| kept.set(Rc::clone(access)));
    }
    let listeners: io::Result<Vec<_>> = start
        .listeners
        .into_iter()
        .map(|(fd, _)| Listener::new(fd))
        .collect();
    let challenges = Challenges::default();
    let mut listeners = match tls {
        Some(tls) => tls.open(listeners?, &challenges)?,
        None => listeners?,
    };
    let app = Guarded::new(Workers {
        dispatch: dispatch.clone(),
        visits: pooled.visits(pooling, &dispatch),
        pooled: pooled.clone(),
    });
    let opened = admin.map(admin::Plan::open).transpose()?;
    listeners.extend(opened.into_iter().flatten());
    if config.insight {
        pooled.bill(&dispatch);
    }
    let files = files::of(config);
    let pages = tiers::below(pages(config, sizing), config);
    let beside = (&pooled, &pages, &profiler);
    let insight = observed::start((config, sizing), &dispatch, &processes, beside);
    staff::connect(insight.as_deref(), &link, &dispatch, &pooled);
    let collector = Collector::start(config, insight.as_ref());
    let server = Server::start(
        Settings {
            insight,
            ..front_settings(config, sizing, challenges, files.clone(), pages.clone())
        },
        listeners,
        app,
        access.clone(),
    );
    tokio::task::spawn_local(give_memory_back(dispatch.clone()));
    pressure::start(&dispatch, &processes, server.pressing());
    say(&link, ToSupervisor::Listening);
    let joined = Joined {
        link,
        dispatch,
        access,
        pooled,
        processes,
        files,
        pages,
        collector,
    };
    obey(joined, server, config.graceful_timeout).await
}

/// Gives freed memory back when nothing was under way for a while.
async fn give_memory_back(dispatch: Dispatch) {
    loop {
        tokio::time::sleep(IDLE_CHECK).await;
        if dispatch.load() == (0, 0) {
            allocator::give_back();
        }
    }
}

/// The parts that the supervisor's words are about.
#[derive(Clone)]
struct Joined {
    link: Rc<MessageSocket>,
    dispatch: Dispatch,
    access: Option<Rc<AccessLog>>,
    pooled: Pooled,
    processes: Processes,
    files: Files,
    pages: Pages,
    collector: Collector,
}

/// Does what the supervisor says, to the end.
async fn obey(
    joined: Joined,
    server: Server<Guarded<Workers>>,
    graceful: Duration,
) -> io::Result<Infallible> {
    let Joined { link, dispatch, .. } = &joined;
    let mut server = Some(server);
    let mut buf = [0; MOST_WORD];
    loop {
        let (len, fds) = link.receive(&mut buf).await.unwrap_or_default();
        let word = match buf.get(..len).map(ToFront::read) {
            _ if len == 0 => {
                // The supervisor has died: nobody would replace what fails from here on.
                ToFront::Stop {
                    grace_ms: milliseconds(graceful),
                    linger_ms: 0,
                }
            }
            Some(Ok(word)) => word,
            _ => continue,
        };
        match word {
            ToFront::Adopt {
                worker,
                reloads,
                pid,
            } => {
                joined.pooled.adopt(worker, pid);
                joined.processes.adopt(worker, pid);
                if let Err(error) = adopt(dispatch, worker, reloads, fds) {
                    error!("cannot take a worker on", reason = &error.to_string());
                }
            }
            ToFront::Retire { worker } => dispatch.retire(worker),
            ToFront::Ended { worker } => dispatch.ended(worker),
            ToFront::Files => files::told(&joined.files, &joined.pages, fds),
            ToFront::Stop {
                grace_ms,
                linger_ms,
            } => {
                if let Some(server) = server.take() {
                    let stop = Stop {
                        joined: joined.clone(),
                        server,
                        grace: Duration::from_millis(grace_ms.into()),
                        linger: Duration::from_millis(linger_ms.into()),
                    };
                    tokio::task::spawn_local(stop.run());
                }
                if len == 0 {
                    std::future::pending::<()>().await;
                }
            }
            ToFront::Ping => say(link, ToSupervisor::Pong),
            ToFront::Reopen => {
                if let Some(access) = &joined.access {
                    access.reopen();
                }
            }
        }
    }
}

fn adopt(
    dispatch: &Dispatch,
    worker: dispatch::WorkerId,
    reloads: u32,
    fds: Vec<OwnedFd>,
) -> io::Result<()> {
    let fds: [OwnedFd; 4] = fds.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
    let [memory, eventfd, control, files] = fds;
    dispatch.adopt(
        worker,
        Adopted {
            // From 1 on: 0 is no release.
            release: reloads.saturating_add(1),
            memory,
            eventfd,
            control,
            files,
        },
    )
}

/// The way to the exit.
struct Stop {
    joined: Joined,
    server: Server<Guarded<Workers>>,
    grace: Duration,
    linger: Duration,
}

impl Stop {
    async fn run(mut self) {
        let over = tokio::time::Instant::now() + self.grace;
        let end = over - self.joined.collector.reserve(self.grace);
        self.server.drain();
        tokio::time::sleep(self.linger.min(self.grace)).await;
        if tokio::time::timeout_at(end, self.server.stop())
            .await
            .is_err()
        {
            warn!(
                "connections are cut: the time to finish is over",
                connections = self.server.connections()
            );
        }
        let joined = &self.joined;
        joined.dispatch.stop();
        joined.dispatch.retire_all();
        tokio::time::sleep(FAREWELL).await;
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        joined.pooled.drain(left).await;
        if let Some(access) = &joined.access {
            access.finish();
        }
        let left = over.saturating_duration_since(tokio::time::Instant::now());
        joined.collector.finish(left).await;
        // Also when connections took all the time there was.
        let left = over.saturating_duration_since(tokio::time::Instant::now());
        joined.pages.finish(left.max(LAST_PURGES)).await;
        say(&joined.link, ToSupervisor::Drained);
        exit_now(0);
    }
}

fn say(link: &MessageSocket, word: ToSupervisor) {
    if let Err(error) = link.send(&word.to_bytes())
        && error.kind() == io::ErrorKind::WouldBlock
    {
        warn!("the supervisor does not listen");
    }
}

/// Passes on what the dispatch has to tell.
fn tell(link: &MessageSocket, profiler: &Profiler, notice: &Notice) {
    match notice {
        Notice::Unwanted { .. } => {}
        Notice::Ready(worker) => say(link, ToSupervisor::Ready { worker: *worker }),
        Notice::Gone { worker, lost } => {
            for request in lost.iter().take(MOST_NAMED) {
                warn!(
                    "a request was lost with its worker",
                    request = request.as_str(),
                    worker = worker.0
                );
            }
            if lost.len() > MOST_NAMED {
                warn!(
                    "more requests were lost with their worker",
                    worker = worker.0,
                    requests = lost.len() - MOST_NAMED
                );
            }
            profiler.gone(worker.0);
            say(link, ToSupervisor::Gone { worker: *worker });
        }
        Notice::Replace(worker, reason) => {
            say(
                link,
                ToSupervisor::Replace {
                    worker: *worker,
                    reason: *reason,
                },
            );
        }
        Notice::TimedOut {
            worker,
            request,
            after,
        } => error!(
            "a request took too long and was given up",
            request = request.as_str(),
            after_ms = milliseconds(*after),
            worker = worker.0
        ),
        Notice::Slow {
            worker,
            request,
            after,
            sample,
        } => warn!(
            "a request is slow",
            request_id = request.id.as_str(),
            method = request.method.as_str(),
            path = request.path.as_str(),
            route = sample.route.as_str(),
            after_ms = milliseconds(*after),
            worker = worker.0,
            sql = sample.sql.as_str(),
            stack = canter_base::log::Value::Block(&sample.stack)
        ),
        Notice::Profile {
            worker,
            number,
            last,
            text,
        } => profiler.hear(worker.0, *number, text, *last),
        Notice::Stack {
            worker,
            request,
            text,
        } => info!(
            "where the request that took too long is stuck",
            request = request.as_str(),
            worker = worker.0,
            stack = canter_base::log::Value::Block(text)
        ),
        Notice::Refused { request } => error!(
            "workers died twice while this request ran: it is refused for a while",
            request = request.as_str()
        ),
    }
}

fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn dispatch_settings(config: &Config, sizing: &Sizing) -> dispatch::Settings {
    dispatch::Settings {
        queue_size: sizing.queue as usize,
        max_requests: config.max_requests.into(),
        max_requests_jitter: config.max_requests_jitter.into(),
        most_stuck: sizing.threads / 4,
        slow_after: slow_after(config),
        has_priorities: !config.priority.is_empty(),
    }
}

/// Those that lie before the deadline: at it the stack is told anyway.
fn slow_after(config: &Config) -> Vec<Duration> {
    let ends = |at: &&Duration| config.timeout.is_zero() || **at < config.timeout;
    let mut ages: Vec<_> = config.slow_request.iter().filter(ends).copied().collect();
    ages.retain(|age| !age.is_zero());
    ages.sort_unstable();
    ages.dedup();
    ages
}

fn front_settings(
    config: &Config,
    sizing: &Sizing,
    challenges: Challenges,
    files: Files,
    pages: Pages,
) -> Settings {
    let temp_dir = temp_dir(config);
    Settings {
        limits: canter_http::Limits {
            request_line: config.limit_request_line.bytes(),
            header_bytes: config.limit_request_header.bytes(),
            fields: config.limit_request_fields as usize,
            field_size: config.limit_request_field_size.bytes(),
            ..canter_http::Limits::DEFAULT
        },
        max_body: config.max_body.0,
        // What does not fit into one record must come by file.
        body_memory: config
            .body_memory
            .bytes()
            .min(canter_channel::MOST_RECORD / 2),
        response_memory: config.response_memory.bytes(),
        memory: sizing.body_memory,
        // What memory holds of bodies under another name, beside what it holds of them anyway.
        file_memory: temp::is_memory(&temp_dir).then_some(sizing.body_memory * 2),
        temp_dir,
        max_connections: sizing.connections as usize,
        keep_alive: config.keep_alive,
        guard: guard_settings(config, sizing),
        http2_plain: config.http2 == Http2::Plain,
        header_timeout: config.header_timeout,
        pace: pace(config),
        timeout: Some(config.timeout).filter(|timeout| !timeout.is_zero()),
        trusted: config.forwarded_allow_ips.clone(),
        forwarded_hops: config.forwarded_hops as usize,
        proxy_protocol: config.proxy_protocol,
        forwarded_header: config.forwarded_header,
        router_timeout: Some(config.router_timeout).filter(|timeout| !timeout.is_zero()),
        redirect_https: config.redirect_https,
        hsts: config.hsts.as_ref().map(Hsts::field_value),
        early_hints: config.early_hint.clone(),
        priorities: config.priority.clone(),
        challenges,
        files,
        pages,
        purge_token: config.cache_token.as_ref().map(|token| token.0.clone()),
        request_id_header: config.request_id_header.0.to_ascii_lowercase(),
        compress: compress(config),
        health: config.health,
        bench_token: config.bench_token.as_ref().map(|token| token.0.clone()),
        insight: None,
    }
}

fn compress(config: &Config) -> Option<Compress> {
    let hides = match config.compress {
        Compression::On => true,
        Compression::AfterApp => false,
        Compression::Off => return None,
    };
    let types = config.compress_type.iter();
    Some(Compress {
        policy: Policy {
            minimum: config.compress_min_size.0,
            types: types.map(|pattern| pattern.0.clone()).collect(),
        },
        level: Level::new(u8::try_from(config.compress_level).unwrap_or(u8::MAX)),
        hides,
    })
}

fn pages(config: &Config, sizing: &Sizing) -> Pages {
    let is_on = config.cache == Cache::On;
    let bytes = usize::try_from(sizing.cache_memory).unwrap_or(usize::MAX);
    Pages::new(is_on, bytes, &config.cache_rule)
}

fn pace(config: &Config) -> Pace {
    let grace_ms = config.rate_grace.as_millis() as u64;
    Pace {
        least: config.min_rate.0,
        grace_ms,
        // A short grace is meant for quick verdicts.
        window_ms: grace_ms.clamp(1000, 10_000),
    }
}

fn guard_settings(config: &Config, sizing: &Sizing) -> GuardSettings {
    let usual = (sizing.connections / 4).max(1);
    GuardSettings {
        per_client: config.max_connections_per_ip.unwrap_or(usual) as usize,
        per_private_client: config.max_connections_per_ip.is_some(),
        bans: match config.ban {
            Ban::Auto => Some(false),
            Ban::All => Some(true),
            Ban::Off => None,
        },
        rates: config.rate_limit.clone(),
        handshakes: HandshakeSettings {
            per_client: config.tls_handshakes_per_ip.unwrap_or(20),
            all: config.tls_handshakes.unwrap_or(1000),
            private: config.tls_handshakes_per_ip.is_some() || config.tls_handshakes.is_some(),
        },
    }
}

fn access_log(config: &Config) -> io::Result<Option<Rc<AccessLog>>> {
    let open: Box<dyn Fn() -> io::Result<Box<dyn Write + Send>> + Send> =
        match config.access_logfile.clone() {
            LogTarget::Nowhere => return Ok(None),
            LogTarget::Standard => Box::new(|| Ok(Box::new(io::stdout()))),
            LogTarget::File(path) => Box::new(move || {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(&path)?;
                Ok(Box::new(file))
            }),
        };
    AccessLog::start(config.access_log_format, open).map(|log| Some(Rc::new(log)))
}
