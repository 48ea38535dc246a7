//! Owns what a run is to do, as one value that engine, report and comparison read.
//! Leaves making it from a command line to `canter`.

use std::sync::Arc;
use std::time::Duration;

use crate::login::Login;
use crate::scenario::Scenario;
use crate::schedule::Load;
use crate::target::{Door, Site};

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The site.
    pub site: Site,
    /// The address behind it.
    pub door: Door,
    /// What is asked for.
    pub scenario: Scenario,
    /// How much.
    pub load: Load,
    /// Ends after so many requests, if that is earlier.
    pub requests: Option<u64>,
    /// Sent before anything is counted.
    pub warmup: Duration,
    /// The longest wait for a whole response.
    pub timeout: Duration,
    /// What a user does between an answer and the next request.
    pub think: Duration,
    /// Whether connections are used again.
    pub keep_alive: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// The rules for TLS, where it is spoken.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The share of users that send and read slowly.
    pub slow: f64,
    /// Each user logs in first.
    pub login: Option<Login>,
    /// Whether users keep cookies.
    pub cookies: bool,
    /// Redirects followed for one request.
    pub redirects: u8,
    /// Threads that send.
    pub threads: usize,
    /// Most connections where arrivals do not wait for answers.
    pub connections: usize,
    /// Longest body taken.
    pub max_body: u64,
    /// Whether arrivals come at random distances, as visitors do, instead of even ones.
    pub random_arrivals: bool,
    /// How much faster than it was recorded a log is replayed.
    pub speed: f64,
    /// Where random numbers begin.
    pub seed: u64,
}

impl Plan {
    /// Ten users for ten seconds on one page; everything else follows the words of a person.
    pub fn new(site: Site, door: Door, scenario: Scenario, load: Load) -> Self {
        Self {
            site,
            door,
            scenario,
            load,
            requests: None,
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(30),
            think: Duration::ZERO,
            keep_alive: true,
            http2: false,
            tls: None,
            slow: 0.0,
            login: None,
            cookies: false,
            redirects: 0,
            threads: 1,
            connections: 1000,
            max_body: 64 << 20,
            random_arrivals: false,
            speed: 1.0,
            seed: 1,
        }
    }

    /// Whether arrivals wait for nobody (an open model).
    pub fn is_open(&self) -> bool {
        !matches!(self.load, Load::Users(_))
    }

    /// What must be equal for two runs to be comparable: everything but the site.
    pub fn fingerprint(&self) -> String {
        let mut words = format!(
            "{:016x} {} timeout={:?} think={:?} keep-alive={} http2={} tls={} slow={}",
            self.scenario.fingerprint(),
            self.load.words(),
            self.timeout,
            self.think,
            self.keep_alive,
            self.http2,
            self.tls.is_some(),
            self.slow,
        );
        words.push_str(&format!(
            " login={} cookies={} redirects={} random-arrivals={} speed={}",
            self.login.is_some(),
            self.cookies,
            self.redirects,
            self.random_arrivals,
            self.speed,
        ));
        words
    }
}
