//! What must hold for the numbers of an option and between options: one sentence each.
//!
//! Owns the limits; where a value came from is looked up by the caller, who words the fault.

use std::time::Duration;

use super::address::Address;
use super::choice::{DbAuth, DbPool};
use super::habits;
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
            let mut what = format!("`{name}` is {value}, but must be from {least} to {most}");
            if value == 0 && name.starts_with("limit-request-") {
                what.push_str("; 0 is no limit in Gunicorn, and here there always is one");
            }
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
    let pairs = config.keyfile.len() == config.certfile.len();
    rule(
        pairs || config.keyfile.is_empty() || config.certfile.is_empty(),
        &["keyfile", "certfile"],
        "there must be one `keyfile` for each `certfile`, in the same order, or none",
    )?;
    rule(
        config
            .http_bind
            .iter()
            .all(|address| matches!(address, Address::Tcp { .. })),
        &["http_bind"],
        "`http-bind` takes TCP addresses such as `:80`",
    )?;
    rule(
        config.tls_acme.is_empty() || config.certfile.is_empty(),
        &["tls_acme", "certfile"],
        "certificates come from files (`certfile`) or from an authority (`tls-acme`), not from both",
    )?;
    rule(
        config.insight || config.admin_bind.is_empty(),
        &["admin_bind", "insight"],
        "`admin-bind` is for what `insight` gathers, which is `false`: leave one of the two out",
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
    )?;
    database(config)
}

/// What must hold for the pool and its doors.
fn database(config: &Config) -> Result<(), Broken> {
    let twice = config
        .bind_postgres
        .iter()
        .enumerate()
        .any(|(index, address)| {
            let earlier = config.bind_postgres.iter().take(index);
            !matches!(address, Address::Tcp { port: 0, .. })
                && earlier.chain(&config.bind).any(|other| other == address)
        });
    rule(
        !twice,
        &["bind_postgres", "bind"],
        "`bind-postgres` names an address that is taken already",
    )?;
    let trusts = config.db_auth == Some(DbAuth::Trust);
    rule(
        !trusts
            || config
                .bind_postgres
                .iter()
                .all(Address::is_this_machine_only),
        &["db_auth", "bind_postgres"],
        "`db-auth` is `trust` and `bind-postgres` an address that other machines reach",
    )?;
    rule(
        config.db_auth != Some(DbAuth::Cert)
            || (config.db_tls_cert.is_some() && config.db_tls_ca.is_some()),
        &["db_auth", "db_tls_cert", "db_tls_ca"],
        "`db-auth` is `cert`, which needs `db-tls-cert`, `db-tls-key` and `db-tls-ca`",
    )?;
    rule(
        config
            .db_connections
            .zip(config.db_pin_limit)
            .is_none_or(|(connections, pins)| pins <= connections),
        &["db_pin_limit", "db_connections"],
        "`db-pin-limit` is larger than `db-connections`",
    )?;
    rule(
        !config.db_wait_timeout.is_zero(),
        &["db_wait_timeout"],
        "`db-wait-timeout` is 0, so no query could ever wait for a connection",
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
    if let Some(file) = config.pid.as_deref().and_then(std::path::Path::to_str)
        && let Some(address) = habits::address(file)
    {
        advice.push(format!(
            "`pid` is the name of a file, here `{file}`; a port is named with `--bind {address}`"
        ));
    }
    if !config.reload_extra_file.is_empty() && !config.reload {
        advice.push("`reload-extra-file` does nothing without `reload`".to_owned());
    }
    if config.proxy_protocol && config.forwarded_allow_ips.is_empty() {
        advice.push("`proxy-protocol` does nothing without `forwarded-allow-ips`".to_owned());
    }
    if config.redirect_https && config.forwarded_allow_ips.is_empty() {
        advice.push("`redirect-https` does nothing without `forwarded-allow-ips`".to_owned());
    }
    if config.db_auth_file.is_some() && config.bind_postgres.is_empty() {
        advice.push("`db-auth-file` does nothing without `bind-postgres`".to_owned());
    }
    if config.db_pool == DbPool::Off && !config.bind_postgres.is_empty() {
        advice.push(
            "`db-pool` is `off`: the app does not use the pool that `bind-postgres` offers"
                .to_owned(),
        );
    }
    if config.otlp_endpoint.is_some() && !config.insight {
        advice.push("`otlp-endpoint` does nothing while `insight` is `false`".to_owned());
    }
    if config.usual_queries.is_some() && !config.insight {
        advice.push("`usual-queries` does nothing while `insight` is `false`".to_owned());
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

/// Fields, what they are set to, and the least and the most that makes sense.
type Row = (&'static [&'static str], u64, u64, u64);

/// Room in memory and on disk.
fn memory(config: &Config) -> [Row; 3] {
    const MIB: u64 = 1 << 20;
    let cache = config.cache_size.map_or(MIB, |size| size.0);
    // No limit is in any range.
    let worker = match config.max_memory_per_worker.0 {
        0 => MIB * MIB,
        bytes => bytes,
    };
    [
        (&["max_memory_per_worker"], worker, 16 * MIB, MIB * MIB),
        (&["cache_size"], cache, MIB, MIB * MIB),
        (&["cache_dir_size"], config.cache_dir_size.0, MIB, MIB * MIB),
    ]
}

/// How much clients may have.
fn clients(config: &Config) -> [Row; 4] {
    let upto =
        |fields, value: Option<u32>| -> Row { (fields, value.unwrap_or(1).into(), 1, 1_000_000) };
    [
        upto(&["max_connections"], config.max_connections),
        upto(&["max_connections_per_ip"], config.max_connections_per_ip),
        upto(&["tls_handshakes_per_ip"], config.tls_handshakes_per_ip),
        upto(&["tls_handshakes"], config.tls_handshakes),
    ]
}

/// The upper ends are far above any use; they keep sums and allocations that follow in bounds.
fn ranges(config: &Config) -> Vec<Range> {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    // An absent number is in any range.
    let line = config.limit_request_line.0;
    let absent = |value: Option<u32>| u64::from(value.unwrap_or(1));
    let kept = config.db_min_connections.into();
    let rows: [Row; 18] = [
        (&["workers"], absent(config.workers), 1, 1024),
        (&["compress_level"], config.compress_level.into(), 1, 9),
        (&["threads"], absent(config.threads), 1, 10_000),
        (&["threads_min"], config.threads_min.into(), 1, 10_000),
        (&["backlog"], config.backlog.into(), 1, 65_535),
        (&["queue_size"], absent(config.queue_size), 1, 1_000_000),
        (&["limit_request_line"], line, 64, 64 * KIB),
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
            128 * KIB,
        ),
        (
            &["limit_request_header"],
            config.limit_request_header.0,
            128,
            128 * KIB,
        ),
        (&["body_memory"], config.body_memory.0, 0, 256 * MIB),
        (
            &["response_memory"],
            config.response_memory.0,
            4096,
            256 * MIB,
        ),
        (&["forwarded_hops"], config.forwarded_hops.into(), 1, 64),
        (
            &["db_connections"],
            absent(config.db_connections),
            1,
            10_000,
        ),
        (&["db_min_connections"], kept, 0, 10_000),
        (&["db_max_clients"], config.db_max_clients.into(), 1, MIB),
        (&["db_pin_limit"], absent(config.db_pin_limit), 1, 10_000),
        (
            &["db_prepared_statements"],
            config.db_prepared_statements.into(),
            0,
            100_000,
        ),
    ];
    rows.into_iter()
        .chain(clients(config))
        .chain(memory(config))
        .map(|(fields, value, least, most)| Range {
            fields,
            value,
            least,
            most,
        })
        .collect()
}
