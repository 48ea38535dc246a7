//! What must hold for the numbers of an option and between options: one sentence each.
//!
//! Owns the limits; where a value came from is looked up by the caller, who words the fault.

use std::time::Duration;

use super::address::Address;
use super::table::Config;

/// A broken rule: the option to blame and the sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Field of `Config` whose origin is named.
    pub field: &'static str,
    /// What is wrong.
    pub what: String,
}

/// The first rule a config breaks.
pub fn check(config: &Config) -> Result<(), Broken> {
    let broken = |field, what: &str| {
        Err(Broken {
            field,
            what: what.to_owned(),
        })
    };
    for (field, value, least, most) in ranges(config) {
        if !(least..=most).contains(&value) {
            let name = field.replace('_', "-");
            let what = format!("`{name}` is {value}, but must be from {least} to {most}");
            return Err(Broken { field, what });
        }
    }
    if config.bind.is_empty() {
        return broken("bind", "`bind` is empty, so there is nothing to listen on");
    }
    for (index, address) in config.bind.iter().enumerate() {
        let free = matches!(address, Address::Tcp { port: 0, .. });
        if !free
            && config
                .bind
                .iter()
                .take(index)
                .any(|earlier| earlier == address)
        {
            return broken("bind", "`bind` names the same address twice");
        }
    }
    if config
        .threads
        .is_some_and(|threads| config.threads_min > threads)
    {
        return broken("threads_min", "`threads-min` is larger than `threads`");
    }
    if config.limit_request_line > config.limit_request_header {
        return broken(
            "limit_request_header",
            "`limit-request-header` is smaller than `limit-request-line`, which it includes",
        );
    }
    if config.body_memory > config.max_body {
        return broken("body_memory", "`body-memory` is larger than `max-body`");
    }
    if config.graceful_timeout > LONGEST_DRAIN {
        return broken(
            "graceful_timeout",
            "`graceful-timeout` is more than an hour",
        );
    }
    Ok(())
}

/// Combinations that work but cannot be what was meant.
pub fn advice(config: &Config) -> Vec<String> {
    let mut advice = Vec::new();
    if config.max_requests_jitter > 0 && config.max_requests == 0 {
        advice.push("`max-requests-jitter` does nothing without `max-requests`".to_owned());
    }
    if !config.reload_extra_file.is_empty() && !config.reload {
        advice.push("`reload-extra-file` does nothing without `reload`".to_owned());
    }
    if let Some(class) = config.worker_class {
        let word = super::value::Value::show(&class);
        advice.push(format!(
            "`worker-class` `{word}` needs nothing: threads are added when requests wait"
        ));
    }
    advice
}

/// Nobody waits longer for a stop; beyond it the number is a slip.
const LONGEST_DRAIN: Duration = Duration::from_secs(3600);

/// Least and most of each number. The upper ends are far above any use; they keep sums and
/// allocations that follow from them in bounds.
fn ranges(config: &Config) -> Vec<(&'static str, u64, u64, u64)> {
    const MIB: u64 = 1 << 20;
    let count = |value: Option<u32>| u64::from(value.unwrap_or(1));
    vec![
        ("workers", count(config.workers), 1, 1024),
        ("threads", count(config.threads), 1, 10_000),
        ("threads_min", u64::from(config.threads_min), 1, 10_000),
        ("backlog", u64::from(config.backlog), 1, 65_535),
        (
            "max_connections",
            count(config.max_connections),
            1,
            1_000_000,
        ),
        ("queue_size", count(config.queue_size), 1, 1_000_000),
        ("limit_request_line", config.limit_request_line.0, 64, MIB),
        (
            "limit_request_fields",
            u64::from(config.limit_request_fields),
            1,
            10_000,
        ),
        (
            "limit_request_field_size",
            config.limit_request_field_size.0,
            64,
            MIB,
        ),
        (
            "limit_request_header",
            config.limit_request_header.0,
            128,
            4 * MIB,
        ),
        ("body_memory", config.body_memory.0, 0, 256 * MIB),
        ("response_memory", config.response_memory.0, 4096, 256 * MIB),
        ("forwarded_hops", u64::from(config.forwarded_hops), 1, 64),
    ]
}
