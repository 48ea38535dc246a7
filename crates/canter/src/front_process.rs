//! Owns the front's process: the runtime in which the front, the dispatch and the pooler are joined.
//! Leaves what each of them does to its crate, what they are set to to `settings`, what the supervisor
//! says to `link`, and what the dispatch tells to `notices`.

mod app;
mod bills;
mod breakers;
mod collector;
mod files;
mod link;
mod notices;
pub(crate) mod observed;
mod pooled;
mod pools;
mod pressure;
mod scale;
mod settings;
mod visits;

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use canter_base::error;
use canter_base::options::Config;
use canter_base::sizing::Sizing;
use canter_front::{AccessLog, Challenges, Listener, Profiler, Server, Settings};
use canter_sys::allocator;
use canter_sys::process::exit_now;
use canter_workers::dispatch::{self, Dispatch};
use canter_workers::link::ToSupervisor;
use canter_workers::socket::MessageSocket;
use canter_workers::supervisor::FrontStart;

use crate::{admin, pooling, tiers, tls};
use app::Workers;
use breakers::Guarded;
use collector::Collector;
use link::Joined;
use observed::Processes;
use pooled::Pooled;
pub use settings::temp_dir;

/// Freed memory the front keeps while it is busy.
const KEPT: i32 = 4 << 20;
/// How often it is seen whether the front is busy.
const IDLE_CHECK: Duration = Duration::from_secs(10);

/// The shortest slice that the scheduler knows.
const TURN: Duration = Duration::from_micros(100);

/// What the front is to do, made before it was started.
pub struct Plans<'a> {
    pub config: &'a Config,
    pub sizing: &'a Sizing,
    pub pooling: Option<&'a pooling::Plan>,
    pub tls: Option<&'a tls::Plan>,
    pub admin: &'a admin::Plan,
}

/// Runs the front until it is told to stop; ends the process.
pub fn run(start: FrontStart, plans: &Plans<'_>) -> Infallible {
    // Workers that compute can fill every CPU; what the front has to do for the next request and
    // the last answer takes microseconds and keeps them supplied.
    canter_sys::sched::prefer_short_turns(TURN);
    allocator::keep_freed(KEPT);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .on_thread_park(before_sleep)
        .build_local(tokio::runtime::LocalOptions::default());
    let result = runtime.and_then(|runtime| runtime.block_on(serve(start, plans)));
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

async fn serve(start: FrontStart, plans: &Plans<'_>) -> io::Result<Infallible> {
    let Plans {
        config,
        sizing,
        pooling,
        ..
    } = *plans;
    let link = Rc::new(MessageSocket::new(start.link)?);
    let pooled = Pooled::new(pooling.map(pooling::Plan::open).transpose()?);
    let processes = Processes::default();
    let profiler = Profiler::new();
    let dispatch = {
        let (link, pooled) = (Rc::clone(&link), pooled.clone());
        let profiler = Rc::clone(&profiler);
        let processes = processes.clone();
        Dispatch::new(settings::dispatch(config, sizing), move |notice| {
            pooled.hear(&notice);
            processes.hear(&notice);
            notices::tell(&link, &profiler, &notice);
        })
    };
    dispatch.start();
    let access = settings::access_log(config)?;
    if let Some(access) = &access {
        let _ = ACCESS.with(|kept| kept.set(Rc::clone(access)));
    }
    let listeners: io::Result<Vec<_>> = start
        .listeners
        .into_iter()
        .map(|(fd, _)| Listener::new(fd))
        .collect();
    let challenges = Challenges::default();
    let mut listeners = match plans.tls {
        Some(tls) => tls.open(listeners?, &challenges)?,
        None => listeners?,
    };
    let app = Guarded::new(Workers {
        dispatch: dispatch.clone(),
        visits: pooled.visits(pooling, &dispatch),
        pooled: pooled.clone(),
    });
    listeners.extend(plans.admin.open()?);
    if config.insight {
        pooled.bill(&dispatch);
    }
    let files = files::of(config);
    let pages = tiers::below(settings::pages(config, sizing), config);
    let beside = (&pooled, &pages, &profiler);
    let insight = observed::start((config, sizing), &dispatch, &processes, beside);
    scale::connect(insight.as_deref(), &link, &dispatch, &pooled);
    let collector = Collector::start(config, insight.as_ref());
    let server = Server::start(
        Settings {
            insight: insight.clone(),
            ..settings::front(config, sizing, challenges, files.clone(), pages.clone())
        },
        listeners,
        app,
        access.clone(),
    );
    tokio::task::spawn_local(give_memory_back(dispatch.clone()));
    pressure::start(&dispatch, &processes, server.pressing());
    link::say(&link, ToSupervisor::Listening);
    let joined = Joined {
        link,
        dispatch,
        access,
        pooled,
        processes,
        files,
        pages,
        collector,
        insight,
    };
    link::obey(joined, server, config.graceful_timeout).await
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
