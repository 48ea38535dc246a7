//! Owns what the parts of the front's process are set to: options and sizes, as each of them wants them.
//! Leaves what the options mean to `canter_base::options`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use canter_base::options::{Ban, Cache, Compress as Compression, Config, Hsts, Http2, LogTarget};
use canter_base::sizing::Sizing;
use canter_encode::{Level, Policy};
use canter_files::Files;
use canter_front::{
    AccessLog, Challenges, Compress, GuardSettings, HandshakeSettings, Pages, Settings,
};
use canter_shield::pace::Pace;
use canter_sys::temp;
use canter_workers::dispatch;

/// What the dispatch is set to.
pub(super) fn dispatch(config: &Config, sizing: &Sizing) -> dispatch::Settings {
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

/// What the front is set to.
pub(super) fn front(
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
        guard: guard(config, sizing),
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

/// The page cache, in memory.
pub(super) fn pages(config: &Config, sizing: &Sizing) -> Pages {
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

fn guard(config: &Config, sizing: &Sizing) -> GuardSettings {
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

/// The access log, if there is to be one.
pub(super) fn access_log(config: &Config) -> io::Result<Option<Rc<AccessLog>>> {
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

/// Where bodies go that are too large for memory.
pub fn temp_dir(config: &Config) -> PathBuf {
    let dir = config.temp_dir.clone().unwrap_or_else(temp::folder);
    std::path::absolute(&dir).unwrap_or(dir)
}
