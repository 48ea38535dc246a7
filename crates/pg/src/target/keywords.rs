//! The keywords of libpq: what each means here, or why it is refused (PostgreSQL documentation,
//! "Parameter Key Words"). Nothing that bears on security is dropped in silence.

use std::path::PathBuf;
use std::time::Duration;

use canter_base::nearest::nearest;

use super::values::{decimal, flag, number, seconds, word};
use super::{
    AllowedAuth, ChannelBinding, Negotiation, Roots, ScramKeys, Secret, SessionAttrs, Target,
    TargetError, TcpOptions, Tls, TlsMode,
};
use super::{hosts, refused};
use crate::wire::startup;

/// Every keyword of libpq up to version 18, in the documentation's order.
const KNOWN: [&str; 53] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "gssencmode",
    "sslmode",
    "requiressl",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslcertmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "authtype",
];

/// Values as they were given, the last of each keyword; empty ones count as not given (libpq).
struct Given(Vec<(String, String)>);

impl Given {
    fn new<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, TargetError> {
        let mut given: Vec<(String, String)> = Vec::new();
        for (keyword, value) in pairs {
            let (keyword, value) = (keyword.as_ref(), value.as_ref());
            if !KNOWN.contains(&keyword) {
                return Err(unknown(keyword));
            }
            if value.contains('\0') {
                return Err(TargetError::new(format!("{keyword} holds a NUL character")));
            }
            given.retain(|(known, _)| known != keyword);
            given.push((keyword.to_owned(), value.to_owned()));
        }
        given.retain(|(_, value)| !value.is_empty());
        Ok(Self(given))
    }

    fn get(&self, keyword: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == keyword)
            .map(|(_, value)| value.as_str())
    }

    fn path(&self, keyword: &str) -> Option<PathBuf> {
        self.get(keyword).map(PathBuf::from)
    }
}

fn unknown(keyword: &str) -> TargetError {
    let shown: String = keyword.chars().take(40).collect();
    TargetError::new(match nearest(keyword, KNOWN) {
        Some(near) => format!("\"{shown}\" is no connection parameter; did you mean {near}?"),
        None => format!(
            "\"{shown}\" is no connection parameter of PostgreSQL's libpq: take it out of the \
             connection string"
        ),
    })
}

pub(super) fn build<K: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (K, V)>,
) -> Result<Target, TargetError> {
    let given = Given::new(pairs)?;
    refuse(&given)?;
    let hosts = hosts::list(given.get("host"), given.get("hostaddr"), given.get("port"))?;
    let Some(user) = given.get("user").map(str::to_owned) else {
        return Err(TargetError::new(
            "no user is given: write it as postgresql://USER@host/dbname or user=USER",
        ));
    };
    Ok(Target {
        hosts,
        dbname: given.get("dbname").unwrap_or(&user).to_owned(),
        user,
        password: given.get("password").map(Secret::new),
        scram_keys: scram_keys(&given)?,
        md5: None,
        passfile: given.path("passfile"),
        tls: tls(&given)?,
        auth: allowed_auth(&given)?,
        connect_timeout: seconds("connect_timeout", given.get("connect_timeout"))?,
        params: params(&given)?,
        target_session_attrs: word(
            given.get("target_session_attrs"),
            "target_session_attrs",
            &[
                ("any", SessionAttrs::Any),
                ("read-write", SessionAttrs::ReadWrite),
                ("read-only", SessionAttrs::ReadOnly),
                ("primary", SessionAttrs::Primary),
                ("standby", SessionAttrs::Standby),
                ("prefer-standby", SessionAttrs::PreferStandby),
            ],
        )?,
        shuffle_hosts: word(
            given.get("load_balance_hosts"),
            "load_balance_hosts",
            &[("disable", false), ("random", true)],
        )?,
        tcp: tcp(&given)?,
    })
}

/// What we cannot do, and words that are none of the keyword's.
fn refuse(given: &Given) -> Result<(), TargetError> {
    for (keyword, value) in &given.0 {
        refused::check(keyword, value)?;
    }
    word(
        given.get("gssencmode"),
        "gssencmode",
        &[("disable", ()), ("prefer", ())],
    )?;
    word(
        given.get("sslcertmode"),
        "sslcertmode",
        &[("allow", ()), ("disable", ())],
    )?;
    let versions = [("3.0", ()), ("3.2", ()), ("latest", ())];
    word(
        given.get("max_protocol_version"),
        "max_protocol_version",
        &versions,
    )
}

fn tls(given: &Given) -> Result<Tls, TargetError> {
    let roots = match given.get("sslrootcert") {
        None => Roots::Unset,
        Some("system") => Roots::System,
        Some(file) => Roots::File(file.into()),
    };
    let asked_mode = given.get("sslmode").map_or(
        // libpq: the system's authorities are no use without a check of the name.
        if roots == Roots::System {
            Some("verify-full")
        } else {
            None
        },
        Some,
    );
    let mode = word(
        asked_mode,
        "sslmode",
        &[
            ("prefer", TlsMode::Prefer),
            ("disable", TlsMode::Disable),
            ("allow", TlsMode::Allow),
            ("require", TlsMode::Require),
            ("verify-ca", TlsMode::VerifyCa),
            ("verify-full", TlsMode::VerifyFull),
        ],
    )?;
    if roots == Roots::System && mode != TlsMode::VerifyFull {
        return Err(TargetError::new(
            "sslrootcert=system needs sslmode=verify-full: anybody can have a certificate of a \
             public authority, so its name must be checked",
        ));
    }
    let negotiation = word(
        given.get("sslnegotiation"),
        "sslnegotiation",
        &[
            ("postgres", Negotiation::Postgres),
            ("direct", Negotiation::Direct),
        ],
    )?;
    if negotiation == Negotiation::Direct && mode < TlsMode::Require {
        return Err(TargetError::new(
            "sslnegotiation=direct needs sslmode=require or stricter: it cannot fall back to plain",
        ));
    }
    let versions = [
        ("TLSv1", 10),
        ("TLSv1.0", 10),
        ("TLSv1.1", 11),
        ("TLSv1.2", 12),
        ("TLSv1.3", 13),
    ];
    let newest = word(
        given.get("ssl_max_protocol_version").or(Some("TLSv1.3")),
        "ssl_max_protocol_version",
        &versions,
    )?;
    let oldest = word(
        given.get("ssl_min_protocol_version").or(Some("TLSv1.2")),
        "ssl_min_protocol_version",
        &versions,
    )?;
    if newest < 12 || newest < oldest {
        return Err(TargetError::new(
            "ssl_max_protocol_version leaves no version: TLSv1.2 and TLSv1.3 can be used",
        ));
    }
    // A certificate of which the key is missing (or the reverse) shows when the files are read.
    let shows_cert = given.get("sslcertmode") != Some("disable");
    Ok(Tls {
        mode,
        negotiation,
        roots,
        crl: given.path("sslcrl"),
        cert: given.path("sslcert").filter(|_| shows_cert),
        key: given.path("sslkey").filter(|_| shows_cert),
        no_sni: !flag("sslsni", given.get("sslsni"), true)?,
        only_tls13: oldest == 13,
        only_tls12: newest == 12,
        channel_binding: channel_binding(given, mode)?,
    })
}

fn channel_binding(given: &Given, mode: TlsMode) -> Result<ChannelBinding, TargetError> {
    let binding = word(
        given.get("channel_binding"),
        "channel_binding",
        &[
            ("prefer", ChannelBinding::Prefer),
            ("disable", ChannelBinding::Disable),
            ("require", ChannelBinding::Require),
        ],
    )?;
    if binding == ChannelBinding::Require && mode == TlsMode::Disable {
        return Err(TargetError::new(
            "channel_binding=require needs TLS: sslmode=disable can never satisfy it",
        ));
    }
    Ok(binding)
}

/// `require_auth`: a list of methods, or of methods each with `!` before it.
fn allowed_auth(given: &Given) -> Result<AllowedAuth, TargetError> {
    let Some(list) = given.get("require_auth") else {
        return Ok(AllowedAuth::default());
    };
    let (mut listed, mut negated) = (0, None);
    for entry in list.split(',').map(str::trim) {
        let (method, is_negated) = match entry.strip_prefix('!') {
            Some(method) => (method, true),
            None => (entry, false),
        };
        if negated.is_some_and(|before| before != is_negated) {
            return Err(TargetError::new(
                "require_auth mixes methods with and without \"!\": use one or the other",
            ));
        }
        negated = Some(is_negated);
        listed |= match method {
            "none" => AllowedAuth::NONE,
            "password" => AllowedAuth::PASSWORD,
            "md5" => AllowedAuth::MD5,
            "scram-sha-256" => AllowedAuth::SCRAM,
            // Known to libpq and never answered by us: allowing them changes nothing.
            "gss" | "sspi" | "oauth" => 0,
            _ => {
                return Err(TargetError::new(
                    "require_auth is a list of password, md5, scram-sha-256 and none",
                ));
            }
        };
    }
    let bits = if negated == Some(true) {
        AllowedAuth::ALL & !listed
    } else {
        listed
    };
    if bits == 0 {
        return Err(TargetError::new(
            "require_auth allows no method that can be used here: password, md5, scram-sha-256, \
             none",
        ));
    }
    Ok(AllowedAuth(bits))
}

fn scram_keys(given: &Given) -> Result<Option<ScramKeys>, TargetError> {
    match (given.get("scram_client_key"), given.get("scram_server_key")) {
        (None, None) => Ok(None),
        (Some(client), Some(server)) => {
            let key = |name: &str, text: &str| {
                crate::scram::key_from_base64(text)
                    .map(Secret::new)
                    .ok_or_else(|| TargetError::new(format!("{name} must be 32 bytes in base64")))
            };
            Ok(Some(ScramKeys {
                client: key("scram_client_key", client)?,
                server: key("scram_server_key", server)?,
            }))
        }
        _ => Err(TargetError::new(
            "scram_client_key and scram_server_key need each other",
        )),
    }
}

/// Settings of the session that the server is opened with.
fn params(given: &Given) -> Result<Vec<(String, String)>, TargetError> {
    let mut params: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| {
        params.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        params.push((name.to_owned(), value.to_owned()));
    };
    if let Some(options) = given.get("options") {
        let unfolded = startup::unfold(options).map_err(|error| {
            TargetError::new(format!(
                "options cannot be read ({}): write -c name=value",
                error.message
            ))
        })?;
        for (name, value) in unfolded {
            set(&name, &value);
        }
    }
    let name = given
        .get("application_name")
        .or(given.get("fallback_application_name"));
    if let Some(name) = name {
        set("application_name", name);
    }
    // `auto` means the locale of the client; ours is UTF-8, which is what a server is opened with.
    if let Some(encoding) = given
        .get("client_encoding")
        .filter(|&encoding| encoding != "auto")
    {
        set("client_encoding", encoding);
    }
    Ok(params)
}

fn tcp(given: &Given) -> Result<TcpOptions, TargetError> {
    Ok(TcpOptions {
        keepalive: flag("keepalives", given.get("keepalives"), true)?,
        idle: seconds("keepalives_idle", given.get("keepalives_idle"))?,
        interval: seconds("keepalives_interval", given.get("keepalives_interval"))?,
        count: decimal("keepalives_count", given.get("keepalives_count"))?
            .map(number)
            .filter(|&count| count > 0),
        user_timeout: decimal("tcp_user_timeout", given.get("tcp_user_timeout"))?
            .map(number)
            .filter(|&ms| ms > 0)
            .map(|ms| Duration::from_millis(u64::from(ms))),
    })
}
