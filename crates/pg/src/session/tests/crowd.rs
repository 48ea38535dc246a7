//! Many sessions over few servers, with real sockets on both sides and all at random: what clients
//! say, how bytes are cut, when who reads, who cancels, dies or leaves in the midst of what.
//!
//! Each client hears what PostgreSQL would say to it alone, its settings with it; no server has two
//! clients at a time, and each is clean where it waits for the next; there are never more of them
//! than may be, none is lost, and nobody waits for ever. Time stands still unless the test moves it.
//!
//! `CANTER_MODEL_SEEDS` asks for more runs, `CANTER_MODEL_FROM` for others.

mod client;
mod line;

use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use client::Client;
use line::{Line, Stage};
use tokio::task::{spawn_local, yield_now};

use super::house::House;
use crate::pool::Pool;
use crate::relay::share_from;
use crate::relay::tests::crowd::hearing::Hearing;
use crate::relay::tests::crowd::talk::{Piece, Talker};
use crate::relay::tests::crowd::{asked, random, random_part};
use crate::session;
use crate::settings::Settings;
use crate::stream::testing::Folder;
use crate::target::Target;
use crate::wire::{SqlError, build};

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy)]
struct Risks {
    cancels: bool,
    leaves: bool,
    dies: bool,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Say(usize),
    Hear(usize),
    Work(usize),
    Answer(usize),
}

struct Crowd {
    state: u64,
    risks: Risks,
    house: House,
    listener: UnixListener,
    most: usize,
    pool: Rc<Pool>,
    clients: Vec<Client>,
    lines: Vec<Line>,
    /// What has happened, for a seed that fails.
    log: Vec<String>,
}

impl Crowd {
    fn new(seed: u64, folder: &Path, listener: UnixListener) -> Self {
        let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        // Each text is there once: for half of the seeds that is often.
        share_from(if (seed / 4).is_multiple_of(2) { 1 } else { 5 });
        let risks = Risks {
            cancels: !seed.is_multiple_of(4),
            leaves: seed % 4 > 1,
            dies: seed % 4 > 2,
        };
        let most = 2 + seed as usize % 2;
        let settings = Settings {
            connections: u32::try_from(most).ok(),
            prepared: 3,
            defer_begin: random(&mut state).is_multiple_of(2),
            reset_always: seed % 7 == 6,
            wait_timeout: Duration::from_secs(3600),
            ..Settings::default()
        };
        let path = folder.display();
        let target = Target::from_url(&format!("postgres://app@/app?host={path}")).unwrap();
        let house = House::before(settings, target);
        let pool = house
            .pooler
            .0
            .pools
            .pool(house.target, "app", "app")
            .unwrap();
        pool.host.set_chance(state);
        let mut crowd = Self {
            state,
            risks,
            house,
            listener,
            most,
            pool,
            clients: Vec::new(),
            lines: Vec::new(),
            log: Vec::new(),
        };
        for number in 0..5 + crowd.random(6) {
            crowd.enters(number, seed.is_multiple_of(5) && number == 0);
        }
        crowd
    }

    /// A client comes.
    fn enters(&mut self, number: usize, pins: bool) {
        let value = format!("s{number}_0");
        let mut start = Vec::new();
        if self.random(2) == 0 {
            start.push(("timezone", &*value));
        }
        if self.random(3) == 0 {
            start.push(("app.who", &*value));
        }
        let mut talker = Talker::new(number, pins);
        let mut said = std::collections::VecDeque::new();
        for _ in 0..2 + self.random(6) {
            said.extend(talker.phrase(&mut self.state));
        }
        said.extend(talker.last_words());
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let ours = tokio::net::UnixStream::from_std(ours).unwrap();
        let (guest, registered) = self.house.seated(ours, &start);
        let key = guest.key.clone();
        let task = spawn_local(async move {
            session::run(Box::new(guest)).await;
            drop(registered);
        });
        let mut hearing = Hearing::new(number, self.risks.dies, &start);
        hearing.may_refuse = self.risks.dies;
        self.clients
            .push(Client::new(theirs, key, said, hearing, task));
    }

    fn random(&mut self, below: usize) -> usize {
        random(&mut self.state) as usize % below.max(1)
    }

    fn part(&mut self, of: usize) -> usize {
        random_part(&mut self.state, of)
    }

    /// The sessions and the pool do what they can, or some of it.
    async fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            yield_now().await;
        }
        while let Ok((socket, _)) = self.listener.accept() {
            self.lines.push(Line::new(socket, self.lines.len()));
        }
        for line in &mut self.lines {
            line.receive();
        }
        self.check();
    }

    /// Whose server this is.
    fn leased_to(&self, number: usize) -> Option<usize> {
        let pid = self.lines[number].key.pid;
        let rows = self.pool.server_rows();
        let row = rows.iter().find(|row| row.pid == Some(pid))?;
        let (id, _) = row.client.as_ref()?;
        self.clients.iter().position(|client| client.key.pid == *id)
    }

    /// Whose server this is, or was when the pooler began to close it.
    fn owner(&mut self, number: usize) -> Option<usize> {
        let owner = self.leased_to(number).or(self.lines[number].owner);
        self.lines[number].owner = owner;
        owner
    }

    /// What must be so at all times.
    fn check(&self) {
        let up = self.lines.iter().filter(|line| line.is_up()).count();
        assert!(up <= self.most, "{up} servers");
        for held in self.pool.idle.borrow().iter() {
            let pid = crate::pool::Link::pid(&*held.server);
            let line = self.lines.iter().find(|line| Some(line.key.pid) == pid);
            let line = line.expect("an idle server that nobody has opened");
            let server = &line.server;
            if server.postgres.is_dead {
                continue;
            }
            assert!(
                server.is_clean_behind(&line.arrived),
                "server {pid:?} is given back dirty: {} {} {} {:?}",
                line.arrived.escape_ascii(),
                server.input.escape_ascii(),
                server.output.escape_ascii(),
                server.postgres
            );
            let there = &server.postgres.statements;
            for (name, is_ready) in held.server.known.prepared.names() {
                assert!(
                    !is_ready || there.contains_key(name),
                    "a name that is not there"
                );
            }
            for name in there.keys().filter(|name| !name.is_empty()) {
                let mut known = held.server.known.prepared.names();
                assert!(
                    known.any(|(known, _)| known == name),
                    "a name that nobody knows of"
                );
            }
        }
        let unsettled = self.pool.counters.unsettled.get();
        assert_eq!(unsettled, 0, "given back with answers outstanding");
    }

    fn acts(&self) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if client.may_say() {
                acts.push(Act::Say(number));
            }
            if client.can_hear() {
                acts.push(Act::Hear(number));
            }
        }
        for (number, line) in self.lines.iter().enumerate() {
            if line.can_work() {
                acts.push(Act::Work(number));
            }
            if line.can_say() {
                acts.push(Act::Answer(number));
            }
        }
        acts
    }

    async fn run(&mut self) {
        loop {
            self.happens().await;
            let mut acts = self.acts();
            if acts.is_empty() {
                self.turns(40).await;
                acts = self.acts();
            }
            if acts.is_empty() {
                if !self.goes_on().await {
                    break;
                }
                continue;
            }
            let act = acts[self.random(acts.len())];
            self.log.push(format!("{act:?}"));
            match act {
                Act::Say(client) => {
                    let state = &mut self.state;
                    let part = |of: usize| match random(state) % 3 {
                        0 => 1 + random(state) as usize % of,
                        _ => of,
                    };
                    self.clients[client].says(part);
                }
                Act::Hear(client) => {
                    let most = 1 + self.random(300);
                    self.clients[client].hears(most);
                }
                Act::Work(line) => self.work(line),
                Act::Answer(line) => {
                    let part = self.part(self.lines[line].server.output.len());
                    self.lines[line].says(part);
                }
            }
            let turns = self.random(4);
            self.log.push(format!("{turns}"));
            self.turns(turns).await;
        }
        self.is_over();
    }

    fn work(&mut self, number: usize) {
        let refuses = self.risks.dies && self.random(8) == 0;
        let part = self.part(self.lines[number].arrived.len());
        let line = &mut self.lines[number];
        match line.stage.clone() {
            Stage::New => line.opens(refuses),
            Stage::Cancels(key) => {
                line.dies();
                self.cancel(&key);
            }
            Stage::Up => {
                let pid = line.key.pid;
                let owner = self.owner(number);
                let message = self.lines[number].works(part, owner);
                if let Some(owner) = owner {
                    let read = format!("    server {pid} reads {}", message.escape_ascii());
                    if !message.is_empty() {
                        self.clients[owner].hearing.log.push(read);
                    }
                }
            }
            Stage::Over => {}
        }
        let line = &mut self.lines[number];
        if line.server.postgres.is_dead && line.server.output.is_empty() {
            line.dies();
        }
    }

    /// A cancel request has reached a server.
    fn cancel(&mut self, key: &crate::wire::BackendKey) {
        let number = self.lines.iter().position(|line| line.key == *key);
        let number = number.expect("a cancel for nobody");
        let owner = self.owner(number);
        let line = &self.lines[number];
        let is_idle = self.pool.idle.borrow().pids().any(|pid| pid == key.pid);
        assert!(
            !is_idle || line.stage == Stage::Over,
            "a cancel of an idle server"
        );
        if let Some(owner) = self.leased_to(number) {
            let client = &self.clients[owner];
            // Requests amid a COPY end it, too.
            let ends = client.has_left() || client.is_over() || client.hearing.has_copied();
            let may = client.is_cancelled || ends;
            assert!(may, "a cancel of client {owner}: {:#?}", client.hearing.log);
        }
        let line = &mut self.lines[number];
        if line.stage == Stage::Up {
            line.server.input.append(&mut line.arrived);
            line.server.cancel(owner);
        }
    }

    /// What nobody waits for.
    async fn happens(&mut self) {
        let client = self.random(self.clients.len());
        let line = self.random(self.lines.len());
        match self.random(200) {
            0..4 if self.risks.cancels => {
                let client = &mut self.clients[client];
                if client.is_greeted && !client.has_left() {
                    client.is_cancelled = true;
                    client.hearing.may_refuse = true;
                    client.hearing.log.push("is cancelled".to_owned());
                    self.house.pooler.0.sessions.cancel(&client.key);
                }
            }
            4 if self.risks.leaves && self.random(3) == 0 => {
                let last: &[u8] = if self.random(2) == 0 {
                    build::TERMINATE
                } else {
                    b""
                };
                let client = &mut self.clients[client];
                let is_amid = matches!(client.said.front(), Some(Piece::Goes(_)));
                client.leaves(if is_amid { b"" } else { last });
                client.hearing.log.push("leaves".to_owned());
            }
            5 if self.risks.dies && line < self.lines.len() && self.random(2) == 0 => {
                let heard = self.random(self.lines[line].server.output.len() + 1);
                let polite = self.random(2) == 0;
                self.log.push(format!("Die({line})"));
                let line = &mut self.lines[line];
                if line.stage != Stage::Up {
                    return;
                }
                if polite {
                    let error = SqlError::fatal("57P01", "terminating connection");
                    error.encode(&mut line.server.output);
                    line.says(line.server.output.len());
                } else {
                    line.says(heard);
                }
                line.dies();
            }
            6 | 7 => {
                let by = Duration::from_millis(random(&mut self.state) % 400);
                tokio::time::advance(by).await;
            }
            8 => self.pool.reconnect(),
            _ => {}
        }
    }

    /// Nothing goes on by itself: whoever waited to say something says it, whoever is through
    /// leaves, and if that is nobody, time passes. Whether there is anything left to happen.
    async fn goes_on(&mut self) -> bool {
        let waiting: Vec<_> = self
            .clients
            .iter_mut()
            .filter(|client| {
                client.is_greeted
                    && !client.has_left()
                    && matches!(client.said.front(), Some(Piece::Waits))
            })
            .collect();
        let count = waiting.len();
        if count > 0 {
            let which = random(&mut self.state) as usize % count;
            waiting.into_iter().nth(which).unwrap().said.pop_front();
            return true;
        }
        for client in &mut self.clients {
            if client.has_left() || !client.is_greeted && !client.is_over() {
                continue;
            }
            if client.is_over() || client.hearing.is_over() {
                client.leaves(build::TERMINATE);
                return true;
            }
        }
        if self
            .clients
            .iter()
            .all(|client| client.session.is_finished())
            && self.is_at_rest()
        {
            return false;
        }
        for _ in 0..600 {
            tokio::time::advance(Duration::from_millis(250)).await;
            self.turns(8).await;
            if !self.acts().is_empty() {
                return true;
            }
        }
        if self
            .clients
            .iter()
            .all(|client| client.session.is_finished())
        {
            return false;
        }
        let waits = self
            .clients
            .iter()
            .filter(|client| !client.session.is_finished());
        let waits: Vec<_> = waits.map(|client| &client.hearing.log).collect();
        panic!("these wait for ever: {waits:#?}");
    }

    /// All servers are where they can be had from.
    fn is_at_rest(&self) -> bool {
        let pool = &self.pool;
        pool.servers() == pool.idle.borrow().len() && pool.host.closing() == 0
    }

    /// What must be so at the end.
    fn is_over(&self) {
        assert!(self.is_at_rest(), "a server did not come back");
        assert_eq!(self.pool.waiting(), 0);
        let idle = self.pool.idle.borrow().len();
        assert_eq!(self.pool.host.open() as usize, idle, "a place is lost");
        assert_eq!(self.house.pooler.0.sessions.len(), 0);
    }
}

impl Drop for Crowd {
    /// What led to a failure.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (number, client) in self.clients.iter().enumerate() {
                let log = &client.hearing.log;
                eprintln!(
                    "client {number}: {:#?}",
                    &log[log.len().saturating_sub(16)..]
                );
            }
            let log = &self.log[self.log.len().saturating_sub(40)..];
            eprintln!("steps: {}", log.join(" "));
        }
    }
}

fn try_one(seed: u64, folder: &Path, listener: UnixListener) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async {
        let mut crowd = Crowd::new(seed, folder, listener);
        crowd.run().await;
        for client in std::mem::take(&mut crowd.clients) {
            client.session.await.expect("a session panicked");
        }
        // Nothing stays open for the runs that follow.
        crowd.pool.pause();
        crowd.lines.clear();
        crowd.turns(20).await;
        crowd.pool.host.pools.borrow_mut().clear();
    });
}

#[test]
fn b2_d2_e3_each_of_many_sessions_hears_what_a_server_of_its_own_would_say() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let from = asked("CANTER_MODEL_FROM", 0);
    for seed in from..from + asked("CANTER_MODEL_SEEDS", 300) {
        // Nobody is left in the queue, and in a thread of its own nothing else of the seeds before.
        while listener.accept().is_ok() {}
        let listener = listener.try_clone().unwrap();
        let run = std::thread::scope(|scope| {
            let run = scope.spawn(|| try_one(seed, folder.path(), listener));
            run.join()
        });
        run.unwrap_or_else(|_| panic!("seed {seed}"));
    }
}
