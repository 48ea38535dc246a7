//! What must hold for the numbers of an option and between options: one sentence each.
//!
//! Owns the limits; where a value came from is looked up by the caller, who words the fault.

use std::time::Duration;

use super::address::Address;
use super::table::Config;

/// A broken rule: the options it is about and the sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Fields of `Config`; the origin of the first that somebody set is named.
    pub fields: &'static [&'static str],
    /// What is wrong.
    pub what: String,
}

/// The first rule a config breaks.
pub fn check(config: &Config) -> Result<(), Broken> {
    for Range {
        fields,
        value,
        least,
        most,
    } in ranges(config)
    {
        if !(least..=most).contains(&value) {
            let name = fields.concat().replace('_', "-");
            let what = format!("`{name}` is {value}, but must be from {least} to {most}");
            return Err(Broken { fields, what });
        }
    }
    rule(
        !config.bind.is_empty(),
        &["bind"],
        "`bind` is empty, so there is nothing to listen on",
    )?;
    let twice = config.bind.iter().enumerate().any(|(index, address)| {
        // Port 0 is another port each time.
        !matches!(address, Address::Tcp { port: 0, .. })
            && config
                .bind
                .iter()
                .take(index)
                .any(|earlier| earlier == address)
    });
    rule(!twice, &["bind"], "`bind` names the same address twice")?;
    rule(
        config
            .threads
            .is_none_or(|threads| config.threads_min <= threads),
        &["threads_min", "threads"],
        "`threads-min` is larger than `threads`",
    )?;
    rule(
        config.limit_request_line <= config.limit_request_header,
        &["limit_request_header", "limit_request_line"],
        "`limit-request-line` is larger than `limit-request-header`, which includes it",
    )?;
    rule(
        config.graceful_timeout <= LONGEST_DRAIN,
        &["graceful_timeout"],
        "`graceful-timeout` is more than an hour",
    )
}

fn rule(holds: bool, fields: &'static [&'static str], what: &str) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err(Broken {
            fields,
            what: what.to_owned(),
        })
    }
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

/// Least and most of a number.
struct Range {
    fields: &'static [&'static str],
    value: u64,
    least: u64,
    most: u64,
}

/// The upper ends are far above any use; they keep sums and allocations that follow in bounds.
fn ranges(config: &Config) -> Vec<Range> {
    const MIB: u64 = 1 << 20;
    // An absent number is in any range.
    let absent = |value: Option<u32>| u64::from(value.unwrap_or(1));
    let rows: [(&'static [&'static str], u64, u64, u64); 13] = [
        (&["workers"], absent(config.workers), 1, 1024),
        (&["threads"], absent(config.threads), 1, 10_000),
        (&["threads_min"], config.threads_min.into(), 1, 10_000),
        (&["backlog"], config.backlog.into(), 1, 65_535),
        (
            &["max_connections"],
            absent(config.max_connections),
            1,
            1_000_000,
        ),
        (&["queue_size"], absent(config.queue_size), 1, 1_000_000),
        (
            &["limit_request_line"],
            config.limit_request_line.0,
            64,
            MIB,
        ),
        (
            &["limit_request_fields"],
            config.limit_request_fields.into(),
            1,
            10_000,
        ),
        (
            &["limit_request_field_size"],
            config.limit_request_field_size.0,
            64,
            MIB,
        ),
        (
            &["limit_request_header"],
            config.limit_request_header.0,
            128,
            4 * MIB,
        ),
        (&["body_memory"], config.body_memory.0, 0, 256 * MIB),
        (
            &["response_memory"],
            config.response_memory.0,
            4096,
            256 * MIB,
        ),
        (&["forwarded_hops"], config.forwarded_hops.into(), 1, 64),
    ];
    rows.into_iter()
        .map(|(fields, value, least, most)| Range {
            fields,
            value,
            least,
            most,
        })
        .collect()
}
