//! The engine over real sockets on given time: what it counts is known to the microsecond.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;

use super::*;
use crate::histogram::{Histogram, PRECISION};
use crate::scenario::{Request, Scenario};
use crate::target::{Door, Site};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const MS: Duration = Duration::from_millis(1);

thread_local! {
    static NOW: Cell<Instant> = Cell::new(Instant::now());
}

fn given() -> Instant {
    NOW.with(Cell::get)
}

/// What is in use by an engine on given time: a hundred arrivals a second on one connection.
struct Given {
    listener: TcpListener,
    plan: Plan,
    rendered: Vec<Rendered>,
    stop: AtomicBool,
    pause: AtomicBool,
    base: Instant,
}

impl Given {
    fn new(arrivals: u32, timeout: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (site, path) = Site::parse(&format!("http://{address}/")).unwrap();
        let scenario = Scenario {
            requests: vec![Request::get(path)],
            order: Order::Weighted,
            left_out: Vec::new(),
        };
        let stage = Stage {
            from: 100.0,
            to: 100.0,
            time: 10 * MS * arrivals,
        };
        let load = Load::Rate(vec![stage]);
        let mut plan = Plan::new(site, Door::Address(address), scenario, load);
        (plan.connections, plan.timeout) = (1, timeout);
        let request = &plan.scenario.requests[0];
        let rendered = vec![Rendered::new(request, &plan.site, plan.keep_alive)];
        Self {
            listener,
            plan,
            rendered,
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            base: given(),
        }
    }

    fn common(&self) -> Common<'_> {
        Common {
            plan: &self.plan,
            rendered: &self.rendered,
            base: self.base,
            begin: self.base,
            stretch: Duration::from_secs(60),
            stop: &self.stop,
            pause: &self.pause,
            clock: given,
        }
    }

    /// Sets the time, and looks at what is due.
    fn send_due(&self, engine: &mut Engine<'_>, time: Duration) {
        NOW.with(|now| now.set(self.base + time));
        engine.send_due(given());
    }
}

/// Arrivals that are answered after `service` each: what each of them felt, and what was counted.
fn one_after_the_other(
    arrivals: u32,
    service: impl Fn(u32) -> Duration,
) -> (Vec<Duration>, Box<Tally>) {
    let given_ = Given::new(arrivals, Duration::from_secs(30));
    let common = given_.common();
    let mut engine = Engine::new(&common, 0, poller().unwrap());
    let mut server: Option<TcpStream> = None;
    let (mut felt, mut free) = (Vec::new(), Duration::ZERO);
    for at in 0..arrivals {
        let due = 10 * MS * at;
        let start = due.max(free);
        given_.send_due(&mut engine, start);
        let server = server.get_or_insert_with(|| {
            hear(&mut engine);
            given_.listener.accept().unwrap().0
        });
        let mut asked = [0; 4096];
        assert!(server.read(&mut asked).unwrap() > 0);
        free = start + service(at);
        // Whoever is due meanwhile is looked at when due, and held.
        for due in (at + 1..arrivals).map(|next| 10 * MS * next) {
            if due >= start && due < free {
                given_.send_due(&mut engine, due);
            }
        }
        NOW.with(|now| now.set(given_.base + free));
        server.write_all(ANSWER).unwrap();
        hear(&mut engine);
        felt.push(free.abs_diff(due));
    }
    (felt, engine.tally)
}

fn hear(engine: &mut Engine<'_>) {
    engine.hear(&mut Vec::with_capacity(EVENTS), Duration::from_secs(10));
}

fn exact(felt: &[Duration], share: f64) -> Duration {
    let mut sorted = felt.to_vec();
    sorted.sort();
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted[place.max(1) - 1]
}

fn assert_within_precision(told: &Histogram, known: &[Duration]) {
    assert_eq!(told.count(), known.len() as u64);
    for share in [0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0] {
        let (told, known) = (told.quantile(share), exact(known, share));
        let off = told.abs_diff(known).as_secs_f64();
        // A microsecond more: the schedule's times are no whole microseconds.
        let room = known.as_secs_f64() * PRECISION + 1.5e-6;
        assert!(off <= room, "{share}: {told:?} for {known:?}");
    }
}

fn stalls_once(at: u32) -> Duration {
    if at == 100 {
        Duration::from_secs(1)
    } else {
        2 * MS
    }
}

#[test]
fn a2_a_stall_of_a_second_is_told_within_the_histograms_precision() {
    let (felt, tally) = one_after_the_other(400, stalls_once);
    assert_within_precision(&tally.corrected, &felt);
    let naive: Vec<Duration> = (0..400).map(stalls_once).collect();
    assert_within_precision(&tally.naive, &naive);
    assert_eq!(exact(&felt, 1.0), Duration::from_secs(1));
    assert!(exact(&felt, 0.8) > 300 * MS && exact(&naive, 0.99) == 2 * MS);
}

#[test]
fn a4_who_waits_for_a_connection_waits_for_the_server_not_for_the_generator() {
    let (_, tally) = one_after_the_other(400, stalls_once);
    assert!(tally.held > 0);
    assert!(tally.lateness.max() < MS, "{:?}", tally.lateness.max());
    assert_eq!(tally.lateness.count(), 400);
}

#[test]
fn a10_the_time_out_of_who_waits_for_a_connection_counts_from_the_intended_start() {
    let given_ = Given::new(100, 500 * MS);
    let common = given_.common();
    let mut engine = Engine::new(&common, 0, poller().unwrap());
    let (out, _told) = sync_channel(64);
    // Nobody answers. What is due at 0, 10, 20 ms is over at 500, 510, 520 ms, connection or not.
    for time in (1..=600).step_by(10) {
        given_.send_due(&mut engine, time * MS);
        engine.tick(given(), Duration::ZERO, &out);
    }
    assert_eq!((engine.tally.timeouts(), engine.tally.hits), (10, 0));
    let felt = &engine.tally.corrected;
    assert_eq!(felt.count(), 10);
    let (least, most) = (felt.quantile(0.0), felt.max());
    assert!(least >= 499 * MS && most < 512 * MS, "{least:?} {most:?}");
}

#[test]
fn a_pause_is_in_no_latency_and_shifts_what_is_due() {
    let given_ = Given::new(100, Duration::from_secs(30));
    let common = given_.common();
    let mut engine = Engine::new(&common, 0, poller().unwrap());
    let (out, told) = sync_channel(64);
    let mut server: Option<TcpStream> = None;
    let mut ask = |engine: &mut Engine<'_>, time: Duration| {
        given_.send_due(engine, time);
        let server = server.get_or_insert_with(|| {
            hear(engine);
            given_.listener.accept().unwrap().0
        });
        assert!(server.read(&mut [0; 4096]).unwrap() > 0);
        server.write_all(ANSWER).unwrap();
        NOW.with(|now| now.set(given_.base + time + 2 * MS));
        hear(engine);
    };
    for at in 0..10 {
        ask(&mut engine, 10 * MS * at);
    }
    NOW.with(|now| now.set(given_.base + 95 * MS));
    engine.pause_or_go_on(given(), &out);
    for second in 1..60 {
        given_.send_due(&mut engine, Duration::from_secs(second));
        engine.tick(given(), Duration::ZERO, &out);
    }
    assert!(!engine.ending && engine.busy == 0);
    // What would have been due 5 ms later is due 5 ms after the pause.
    NOW.with(|now| now.set(given_.base + 60_095 * MS));
    engine.pause_or_go_on(given(), &out);
    given_.send_due(&mut engine, 60_099 * MS);
    assert_eq!(engine.busy, 0);
    for at in 0..10 {
        ask(&mut engine, 60_100 * MS + 10 * MS * at);
    }
    engine.close_stretch(&out);
    let mut felt = Histogram::default();
    for told in told.try_iter() {
        if let Told::Stretch(_, tally) = told {
            felt.merge(&tally.corrected);
        }
    }
    assert_eq!(felt.count(), 20);
    assert!(felt.max() < 3 * MS, "{:?}", felt.max());
}
