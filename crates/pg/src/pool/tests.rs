//! The rules of the pool, with time that stands still until everybody waits, and servers without
//! sockets. Names begin with the id of what they accept.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::one::{Attached, Pool};
use super::registry::Pools;
use super::{Connect, Limits, Link, PoolKey, Refused, WaitInfo, Why, lease};
use crate::cancel::Aim;
use crate::relay::Label;
use crate::settings::Settings;
use crate::target::{Target, TargetId};
use crate::wire::SqlError;

mod churn;
mod failure;
mod fairness;
mod life;
mod sizing;

type Lease = lease::Lease<Fake>;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The database server that the fake connections lead to.
#[derive(Default)]
struct World {
    /// Server processes: from the first byte of a connect until a close is through.
    open: Cell<u32>,
    most_open: Cell<u32>,
    opened: Cell<u32>,
    attempts: Cell<u32>,
    /// What every connect gets instead of a server.
    refuse: RefCell<Option<Refused>>,
    connect_takes: Cell<Duration>,
    close_takes: Cell<Duration>,
    limits: Cell<Option<Limits>>,
    looks: Cell<u32>,
    addresses: RefCell<Option<Vec<IpAddr>>>,
    /// Where the next server will be.
    address: Cell<Option<IpAddr>>,
    refreshed: RefCell<Option<Target>>,
    /// The only contents of a target that the server lets in, when set.
    wanted: RefCell<Option<Target>>,
}

struct Process(Rc<World>);

impl Process {
    fn start(world: &Rc<World>) -> Self {
        world.open.set(world.open.get() + 1);
        world
            .most_open
            .set(world.most_open.get().max(world.open.get()));
        Self(Rc::clone(world))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

struct Fake(Rc<World>);

struct FakeServer {
    number: u32,
    label: Rc<Label>,
    dead: Rc<Cell<bool>>,
    firing: Rc<Cell<bool>>,
    address: Option<IpAddr>,
    process: Process,
}

impl Connect for Fake {
    type Server = FakeServer;

    async fn connect(&self, target: &Rc<Target>, _: &PoolKey) -> Result<FakeServer, Refused> {
        let world = &self.0;
        world.attempts.set(world.attempts.get() + 1);
        let process = Process::start(world);
        sleep(world.connect_takes.get()).await;
        if let Some(refused) = &*world.refuse.borrow() {
            return Err(refused.clone());
        }
        if world
            .wanted
            .borrow()
            .as_ref()
            .is_some_and(|wanted| *wanted != **target)
        {
            return Err(refusal(Why::Password, "28P01"));
        }
        world.opened.set(world.opened.get() + 1);
        Ok(FakeServer {
            number: world.opened.get(),
            label: Label::empty(),
            dead: Rc::default(),
            firing: Rc::default(),
            address: world.address.get(),
            process,
        })
    }

    async fn limits(&self, _: &mut FakeServer, _: &[i32]) -> Option<Limits> {
        self.0.looks.set(self.0.looks.get() + 1);
        sleep(MS).await;
        self.0.limits.get()
    }

    async fn addresses(&self, _: &Target) -> Option<Vec<IpAddr>> {
        self.0.addresses.borrow().clone()
    }

    async fn refresh(&self, _: TargetId) -> Option<Target> {
        sleep(MS).await;
        self.0.refreshed.borrow().clone()
    }
}

impl Link for FakeServer {
    fn is_alive(&mut self) -> bool {
        !self.dead.get()
    }

    fn label(&self) -> &Rc<Label> {
        &self.label
    }

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn pid(&self) -> Option<i32> {
        i32::try_from(self.number).ok()
    }

    fn is_being_cancelled(&self) -> bool {
        self.firing.get()
    }

    fn aim(&self) -> Option<Rc<Aim>> {
        None
    }

    async fn quiet(&self) {
        while self.firing.get() {
            sleep(MS).await;
        }
    }

    async fn close(self: Box<Self>) {
        sleep(self.process.0.close_takes.get()).await;
    }
}

fn refusal(why: Why, code: &str) -> Refused {
    Refused {
        why,
        error: SqlError::fatal(code, format!("the server said {code}")),
    }
}

/// Runs a test where time passes only while everybody waits.
fn run<F: Future>(test: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap()
        .block_on(test)
}

fn world() -> Rc<World> {
    let world = World::default();
    world.connect_takes.set(5 * MS);
    world.close_takes.set(2 * MS);
    Rc::new(world)
}

fn settings(connections: u32) -> Settings {
    Settings {
        connections: Some(connections),
        ..Settings::default()
    }
}

fn pools(world: &Rc<World>, settings: Settings) -> Pools<Fake> {
    let world = Rc::clone(world);
    Pools::with(
        &Rc::new(settings),
        Box::new(move || Fake(Rc::clone(&world))),
    )
}

/// The pool of a database; the clients that keep it in use are in the second part.
fn pool(pools: &Pools<Fake>, database: &str) -> (Rc<Pool<Fake>>, Attached<Fake>) {
    let target = Target::from_url("postgres://u@db.example.com/shop").unwrap();
    let id = pools.register(target).unwrap();
    let pool = pools.pool(id, database, "u").unwrap();
    let attached = pool.attach();
    (pool, attached)
}

fn who() -> WaitInfo {
    WaitInfo {
        client: "pid 1 (test)".into(),
        seat: None,
    }
}

async fn lease(pool: &Rc<Pool<Fake>>) -> Result<Lease, SqlError> {
    pool.lease(&Label::empty(), &who()).await
}

async fn must(pool: &Rc<Pool<Fake>>) -> Lease {
    lease(pool).await.unwrap()
}

/// Lets every task run until it waits for time.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
