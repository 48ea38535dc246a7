//! The loop: N connections, each with one request under way, on one thread. Owns the sockets and the
//! clock; what a response means is `response`'s, what is counted is `tally`'s.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::options::{Options, Target};
use crate::response::{Fault, Progress, Response};
use crate::tally::{Failure, Tally, Totals};

/// How often late requests are looked for and waiting connections opened.
const TICK: Duration = Duration::from_millis(20);
/// New connections per tick: a burst of a thousand would overflow a short listen queue and measure
/// the kernel's SYN retries.
const OPENED_PER_TICK: usize = 64;
const READ_BUFFER: usize = 128 * 1024;

/// A client connection; `stream` is `None` while it waits to be opened.
struct Connection {
    stream: Option<TcpStream>,
    connected: bool,
    target: usize,
    sent: usize,
    started: Instant,
    response: Response,
}

/// What a socket had to say.
enum Outcome {
    Pending,
    Done {
        keep_alive: bool,
        wrong: Option<Fault>,
    },
    Failed(Failure),
}

/// The run in progress.
pub struct Client<'o> {
    options: &'o Options,
    poll: Poll,
    connections: Vec<Connection>,
    waiting: Vec<usize>,
    buffer: Vec<u8>,
    random: u64,
    weights: u64,
    tallies: Vec<Tally>,
    received: u64,
    sent: u64,
    connects: u64,
}

impl<'o> Client<'o> {
    /// Ready to run; nothing is opened yet.
    pub fn new(options: &'o Options) -> io::Result<Self> {
        let now = Instant::now();
        let connection = || Connection {
            stream: None,
            connected: false,
            target: 0,
            sent: 0,
            started: now,
            response: Response::new(),
        };
        Ok(Self {
            options,
            poll: Poll::new()?,
            connections: (0..options.connections).map(|_| connection()).collect(),
            waiting: (0..options.connections).rev().collect(),
            buffer: vec![0; READ_BUFFER],
            // xorshift must not start at zero.
            random: options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            weights: options
                .targets
                .iter()
                .map(|target| u64::from(target.weight))
                .sum(),
            tallies: options.targets.iter().map(|_| Tally::new()).collect(),
            received: 0,
            sent: 0,
            connects: 0,
        })
    }

    /// Warms up, measures, and leaves the connections open.
    pub fn run(&mut self) -> io::Result<(&[Tally], Totals)> {
        self.drive(self.options.warm_up)?;
        self.tallies.iter_mut().for_each(Tally::clear);
        (self.received, self.sent, self.connects) = (0, 0, 0);
        let cpu = cpu_time();
        eprintln!("start");
        let elapsed = self.drive(self.options.duration)?;
        let cpu = cpu_time()
            .zip(cpu)
            .map(|(after, before)| after.saturating_sub(before));
        eprintln!("end");
        let totals = Totals {
            elapsed,
            cpu,
            received: self.received,
            sent: self.sent,
            connects: self.connects,
        };
        Ok((&self.tallies, totals))
    }

    /// Works for a time; gives back how long it really took.
    fn drive(&mut self, duration: Duration) -> io::Result<Duration> {
        let mut events = Events::with_capacity(1024);
        let began = Instant::now();
        let (mut next_tick, mut next_line) = (began, began + Duration::from_secs(1));
        loop {
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.tick(now)?;
                if now >= next_line {
                    next_line += Duration::from_secs(1);
                    self.say(now - began);
                }
                if now - began >= duration {
                    return Ok(now - began);
                }
            }
            match self.poll.poll(&mut events, Some(TICK)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    for event in &events {
                        self.handle(event)?;
                    }
                }
            }
        }
    }

    fn say(&self, elapsed: Duration) {
        let succeeded: u64 = self.tallies.iter().map(Tally::succeeded).sum();
        let failed: u64 = self.tallies.iter().map(Tally::failed).sum();
        eprintln!("at {:.1} {succeeded} {failed}", elapsed.as_secs_f64());
    }

    fn tick(&mut self, now: Instant) -> io::Result<()> {
        let timeout = self.options.timeout;
        for index in 0..self.connections.len() {
            let late = self.connections.get(index).is_some_and(|connection| {
                connection.stream.is_some() && now.duration_since(connection.started) > timeout
            });
            if late {
                self.fail(index, Failure::Timeout);
            }
        }
        for _ in 0..OPENED_PER_TICK {
            let Some(index) = self.waiting.pop() else {
                break;
            };
            self.open(index)?;
        }
        Ok(())
    }

    fn open(&mut self, index: usize) -> io::Result<()> {
        let target = self.choose();
        let Some(connection) = self.connections.get_mut(index) else {
            return Ok(());
        };
        connection.response.reset();
        connection.connected = false;
        connection.started = Instant::now();
        connection.target = target;
        connection.sent = 0;
        self.connects += 1;
        match TcpStream::connect(self.options.address) {
            Ok(mut stream) => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll
                    .registry()
                    .register(&mut stream, Token(index), interest)?;
                connection.stream = Some(stream);
            }
            Err(_) => self.fail(index, Failure::Connect),
        }
        Ok(())
    }

    /// The target of the next request, by weight.
    fn choose(&mut self) -> usize {
        if self.options.targets.len() == 1 {
            return 0;
        }
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let mut rest = (self.random >> 16) % self.weights.max(1);
        for (index, target) in self.options.targets.iter().enumerate() {
            match rest.checked_sub(u64::from(target.weight)) {
                Some(less) => rest = less,
                None => return index,
            }
        }
        0
    }

    fn handle(&mut self, event: &Event) -> io::Result<()> {
        let index = event.token().0;
        let outcome = match self.connections.get_mut(index) {
            Some(connection) if connection.stream.is_some() => {
                let Some(target) = self.options.targets.get(connection.target) else {
                    return Ok(());
                };
                let before = connection.sent;
                let outcome =
                    connection.advance(event, target, &mut self.buffer, &mut self.received);
                self.sent += (connection.sent - before) as u64;
                outcome
            }
            _ => return Ok(()),
        };
        match outcome {
            Outcome::Pending => Ok(()),
            Outcome::Failed(failure) => {
                self.fail(index, failure);
                Ok(())
            }
            Outcome::Done { keep_alive, wrong } => {
                let now = Instant::now();
                self.count(index, now, wrong);
                // A close that is already known must not be mistaken for a dropped request.
                if keep_alive && !event.is_read_closed() {
                    self.next(index, now);
                    Ok(())
                } else {
                    self.open(index)
                }
            }
        }
    }

    fn count(&mut self, index: usize, now: Instant, wrong: Option<Fault>) {
        let Some(connection) = self.connections.get(index) else {
            return;
        };
        let taken = now.duration_since(connection.started);
        match (self.tallies.get_mut(connection.target), wrong) {
            (Some(tally), Some(fault)) => tally.fail(Failure::Response(fault)),
            (Some(tally), None) => {
                tally.succeed(u64::try_from(taken.as_nanos()).unwrap_or(u64::MAX));
            }
            (None, _) => {}
        }
    }

    /// Sends the next request on a connection that has just given its answer.
    fn next(&mut self, index: usize, now: Instant) {
        let target = self.choose();
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        connection.response.reset();
        connection.started = now;
        connection.target = target;
        connection.sent = 0;
        let Some(target) = self.options.targets.get(target) else {
            return;
        };
        let outcome = connection.write(target);
        self.sent += connection.sent as u64;
        if let Err(failure) = outcome {
            self.fail(index, failure);
        }
    }

    /// Counts a failure; the connection is opened anew at the next tick, which bounds a refusing
    /// server's cost.
    fn fail(&mut self, index: usize, failure: Failure) {
        let Some(connection) = self.connections.get_mut(index) else {
            return;
        };
        if let Some(tally) = self.tallies.get_mut(connection.target) {
            tally.fail(failure);
        }
        connection.stream = None;
        self.waiting.push(index);
    }
}

impl Connection {
    /// Does what an event allows: finish connecting, send on, read.
    fn advance(
        &mut self,
        event: &Event,
        target: &Target,
        buffer: &mut [u8],
        received: &mut u64,
    ) -> Outcome {
        if !self.connected {
            match self.connect() {
                Ok(true) => self.connected = true,
                Ok(false) => return Outcome::Pending,
                Err(failure) => return Outcome::Failed(failure),
            }
        }
        if self.sent < target.request.len()
            && let Err(failure) = self.write(target)
        {
            return Outcome::Failed(failure);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(target, buffer, received)
        } else {
            Outcome::Pending
        }
    }

    fn connect(&mut self) -> Result<bool, Failure> {
        let stream = self.stream.as_ref().ok_or(Failure::Connect)?;
        if stream.take_error().ok().flatten().is_some() {
            return Err(Failure::Connect);
        }
        match stream.peer_addr() {
            Ok(_) => stream
                .set_nodelay(true)
                .map(|()| true)
                .map_err(|_| Failure::Connect),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(_) => Err(Failure::Connect),
        }
    }

    fn write(&mut self, target: &Target) -> Result<(), Failure> {
        let stream = self.stream.as_mut().ok_or(Failure::Reset)?;
        while let Some(rest) = target
            .request
            .get(self.sent..)
            .filter(|rest| !rest.is_empty())
        {
            match stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // What the server said before it hung up decides; it is read next, or found missing.
                Err(_) if self.response.is_untouched() => return Err(Failure::Closed),
                Err(_) => return Err(Failure::Reset),
            }
        }
        Ok(())
    }

    /// Reads until the response is complete or the socket is empty. An edge-triggered socket need not be
    /// read to its end once the response is complete: nothing more can come before the next request.
    fn read(&mut self, target: &Target, buffer: &mut [u8], received: &mut u64) -> Outcome {
        let Some(stream) = self.stream.as_mut() else {
            return Outcome::Pending;
        };
        loop {
            let progress = match stream.read(buffer) {
                Ok(0) if self.response.is_untouched() => return Outcome::Failed(Failure::Closed),
                Ok(0) => self.response.end(target.expected()),
                Ok(count) => {
                    *received += count as u64;
                    self.response
                        .feed(buffer.get(..count).unwrap_or_default(), target.expected())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Pending,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) if self.response.is_untouched() => return Outcome::Failed(Failure::Closed),
                Err(_) => return Outcome::Failed(Failure::Reset),
            };
            match progress {
                Ok(Progress::More) => {}
                Ok(Progress::Done { keep_alive, wrong }) => {
                    let complete = self.sent == target.request.len();
                    return Outcome::Done {
                        keep_alive: keep_alive && complete,
                        wrong,
                    };
                }
                Err(fault) => return Outcome::Failed(Failure::Response(fault)),
            }
        }
    }
}

/// CPU time of this program so far: of its one thread, in nanoseconds, as the scheduler keeps it.
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/self/schedstat").ok()?;
    text.split_ascii_whitespace()
        .next()?
        .parse()
        .ok()
        .map(Duration::from_nanos)
}
