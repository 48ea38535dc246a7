//! Gunicorn's options that Canter does not have, with what to do instead. A migrating command line
//! gets an answer for each flag, never silence.

use crate::fault::Fault;

/// An option of Gunicorn without a counterpart here.
#[derive(Debug)]
pub struct Other {
    /// Its flags: long ones, and the letter if it has one. Without dashes what only a file can set.
    pub flags: &'static [&'static str],
    /// What to do instead, or why nothing needs to be done.
    pub instead: &'static str,
    /// With this value it asks for what Canter does anyway. Only flags with a value have one.
    pub needless_with: Option<&'static str>,
}

impl Other {
    /// The fault for the name it was given under.
    pub fn fault(&self, spelled: &str) -> Fault {
        Fault::usage(format!("Gunicorn's `{spelled}` is not available in Canter"))
            .hint(self.instead)
    }
}

/// Finds an option by a flag as spelled, with its hyphens.
pub fn find(spelled: &str) -> Option<&'static Other> {
    let spelled = spelled.replace('_', "-");
    let is_it = |flag: &&str| {
        let name = spelled.strip_prefix("--").unwrap_or_default();
        // What only a file can set is listed as it is spelled there.
        *flag == spelled || name == flag.replace('_', "-")
    };
    OTHERS.iter().find(|other| other.flags.iter().any(is_it))
}

/// In the order of Gunicorn's settings page.
pub static OTHERS: &[Other] = &[
    other(
        &["wsgi_app"],
        "name the app behind the command: `canter serve mysite.wsgi`",
    ),
    other(
        &["--access-logformat"],
        "choose a form with `--access-log-format`",
    ),
    with_value(
        &["--error-logfile", "--log-file", "--errorlog"],
        "-",
        "messages go to standard error; let the shell or service manager write them to a file",
    ),
    other(
        &["--capture-output"],
        "leave it out: what the app prints goes to standard output",
    ),
    other(
        &["--logger-class"],
        "configure logging in the app; Canter's own log has `--log-format`",
    ),
    other(
        &[
            "--log-config",
            "--log-config-json",
            "--logconfig",
            "--logconfig-dict",
            "logconfig_json",
        ],
        "configure logging in the app: Django's `LOGGING` setting",
    ),
    other(
        &[
            "--log-syslog",
            "--log-syslog-to",
            "--log-syslog-prefix",
            "--log-syslog-facility",
            "syslog",
            "syslog_addr",
            "syslog_prefix",
            "syslog_facility",
        ],
        "leave it out: systemd takes standard error into the journal, with levels",
    ),
    other(
        &["--disable-redirect-access-to-syslog"],
        "leave it out: nothing goes to syslog",
    ),
    other(
        &["--enable-stdio-inheritance", "-R"],
        "leave it out: output is inherited",
    ),
    other(
        &[
            "--statsd-host",
            "--statsd-prefix",
            "--dogstatsd-tags",
            "--enable-backlog-metric",
        ],
        "let Prometheus read `/-/canter/metrics`, or send them with `--otlp-endpoint`",
    ),
    other(
        &["ssl_context"],
        "name the certificate in `--certfile` and `--keyfile`, or have one got with `--tls-acme`",
    ),
    other(
        &["--ca-certs", "--cert-reqs"],
        "clients are not asked for certificates: let a proxy in front do that",
    ),
    other(
        &["--ciphers", "--ssl-version"],
        "leave it out: TLS 1.2 and 1.3 with sound ciphers only",
    ),
    other(
        &["--do-handshake-on-connect", "--suppress-ragged-eofs"],
        "leave it out: there is nothing to choose",
    ),
    other(
        &["--strip-header-spaces"],
        "leave it out: such requests are refused (RFC 9112, 5.1)",
    ),
    other(
        &[
            "--permit-unconventional-http-method",
            "--permit-unconventional-http-version",
            "--casefold-http-method",
            "--permit-obsolete-folding",
        ],
        "leave it out: requests are read strictly by RFC 9112, so that nothing can be smuggled",
    ),
    other(
        &["--header-map"],
        "leave it out: header names with an underscore are always dropped",
    ),
    other(
        &["--forwarder-headers"],
        "leave it out: only the `X-Forwarded-*` headers are read",
    ),
    other(
        &["--secure-scheme-headers"],
        "leave it out: `X-Forwarded-Proto` is read from the peers in `--forwarded-allow-ips`",
    ),
    other(
        &["--proxy-allow-from", "proxy_allow_ips"],
        "name the proxies in `--forwarded-allow-ips`: they are the same",
    ),
    other(&["--spew"], "use a debugger or `python -X importtime`"),
    other(
        &["--print-config"],
        "run `canter options` with the same flags",
    ),
    other(
        &["--reload-engine"],
        "leave it out: the system's own file notification is used",
    ),
    other(
        &["--daemon", "-D"],
        "run it under systemd, Docker or another service manager",
    ),
    other(
        &["--user", "--group", "-u", "-g", "--initgroups"],
        "start Canter as that user: `User=` in systemd, `USER` in a Dockerfile",
    ),
    with_value(
        &["--worker-tmp-dir"],
        "/dev/shm",
        "workers have no heartbeat file; bodies spill to `--temp-dir`",
    ),
    other(&["--tmp-upload-dir"], "use `--temp-dir`"),
    other(
        &["--worker-connections"],
        "leave it out: threads follow the waiting requests; `--threads` caps them",
    ),
    other(
        &["--no-sendfile", "sendfile"],
        "leave it out: files are sent by the front, not by workers",
    ),
    other(
        &["--reuse-port"],
        "leave it out: one process takes all connections",
    ),
    other(
        &[
            "--paste",
            "--paster",
            "--paste-global",
            "raw_paste_global_conf",
        ],
        "name a WSGI app: `canter serve mymodule:application`",
    ),
    other(
        &[
            "--control-socket",
            "--no-control-socket",
            "--control-socket-mode",
            "control_socket_disable",
        ],
        "leave it out: a private socket for `canter top` and its like is always there",
    ),
    other(&["default_proc_name"], "use `--name`"),
    other(
        &[
            "on_starting",
            "on_reload",
            "when_ready",
            "pre_fork",
            "post_fork",
            "post_worker_init",
            "worker_int",
            "worker_abort",
            "pre_exec",
            "pre_request",
            "post_request",
            "child_exit",
            "worker_exit",
            "nworkers_changed",
            "on_exit",
        ],
        "no code of yours runs in the server: what a worker needs the app can do when it is imported, at its end \
         with `atexit`, and around a request in a middleware",
    ),
    with_value(
        &["--protocol"],
        "http",
        "HTTP is spoken and nothing else: let the proxy in front speak it, too",
    ),
    other(
        &["--uwsgi-allow-from", "uwsgi_allow_ips"],
        "leave it out: the protocol of uWSGI is not spoken",
    ),
    other(
        &["--http-protocols", "--http2-cleartext"],
        "HTTP/1.1 is always spoken; `--http2` says where HTTP/2 is",
    ),
    other(
        &[
            "--http2-max-concurrent-streams",
            "--http2-initial-window-size",
            "--http2-max-frame-size",
            "--http2-max-header-list-size",
        ],
        "leave it out: what a client may hold open over HTTP/2 is bounded",
    ),
    other(&["--http-parser"], "leave it out: there is one"),
    other(
        &["--root-path"],
        "say where the site is mounted with `SCRIPT_NAME` in the environment, or with `--env`",
    ),
    other(
        &[
            "--asgi-loop",
            "--asgi-lifespan",
            "--asgi-disconnect-grace-period",
            "--websocket-max-message-size",
        ],
        "leave it out: ASGI and WebSocket are not there yet",
    ),
    other(
        &[
            "--dirty-app",
            "dirty_apps",
            "--dirty-workers",
            "--dirty-threads",
            "--dirty-timeout",
            "--dirty-graceful-timeout",
            "on_dirty_starting",
            "dirty_post_fork",
            "dirty_worker_init",
            "dirty_worker_exit",
        ],
        "there are no processes beside the workers: long work belongs to a queue such as Celery or RQ",
    ),
];

/// Always refused.
const fn other(flags: &'static [&'static str], instead: &'static str) -> Other {
    Other {
        flags,
        instead,
        needless_with: None,
    }
}

/// Refused, except with the value that asks for what happens anyway.
const fn with_value(
    flags: &'static [&'static str],
    needless_with: &'static str,
    instead: &'static str,
) -> Other {
    Other {
        flags,
        instead,
        needless_with: Some(needless_with),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::options::layer::row_named;
    use crate::options::table::ROWS;

    #[test]
    fn no_refused_name_is_an_option_and_none_is_listed_twice() {
        let mut seen = BTreeSet::new();
        for flag in OTHERS.iter().flat_map(|other| other.flags) {
            assert!(seen.insert(flag), "{flag}");
            let letter = flag.strip_prefix('-').and_then(|rest| rest.chars().next());
            let letter = letter.filter(|letter| *letter != '-');
            assert!(
                letter.is_none() || ROWS.iter().all(|row| row.short != letter),
                "{flag}"
            );
            assert!(row_named(flag.trim_start_matches('-')).is_none(), "{flag}");
        }
    }

    #[test]
    fn every_hint_names_options_that_exist() {
        for other in OTHERS {
            for word in other
                .instead
                .split('`')
                .filter(|word| word.starts_with("--"))
            {
                let name = word.trim_start_matches('-');
                assert!(
                    row_named(name).is_some(),
                    "`{word}` in the hint for {:?}",
                    other.flags
                );
            }
        }
    }
}
