//! Flags and words that people know from other servers than Gunicorn (`manage.py runserver`, Uvicorn,
//! Waitress, Granian, uWSGI), with what to write here. Gunicorn's are in `gunicorn`.

use std::net::Ipv6Addr;

use super::address::{Address, Host};
use super::value::Value as _;

/// Flags that mean the same, and what stands for them.
type Row = (&'static [&'static str], &'static str);

static FLAGS: &[Row] = &[
    (
        &["--port", "--host", "--listen", "--http", "--http-socket"],
        "address and port are one: `--bind 127.0.0.1:8000`, or `--bind :8000` for all addresses",
    ),
    (
        &["--socket", "--uds", "--unix-socket"],
        "`--bind unix:/path/of/the.sock`",
    ),
    (&["--processes"], "`--workers`"),
    (
        &[
            "--blocking-threads",
            "--enable-threads",
            "--runtime-threads",
        ],
        "leave it out: threads are added while requests wait, up to `--threads`",
    ),
    (
        &["--module", "--wsgi", "--wsgi-file", "--interface"],
        "name the app behind the command: `canter serve mysite.wsgi`",
    ),
    (&["--harakiri"], "`--timeout`"),
    (&["--ssl-certfile", "--ssl-certificate"], "`--certfile`"),
    (&["--ssl-keyfile"], "`--keyfile`"),
    (
        &["--proxy-headers", "--trusted-proxy"],
        "name the proxies that may speak for clients: `--forwarded-allow-ips`",
    ),
    (
        &["--static-path-mount", "--static-path-route"],
        "leave it out: Django's static files are found in its settings",
    ),
    (&["--lazy-apps"], "`--no-preload`"),
    (
        &[
            "--master",
            "--vacuum",
            "--die-on-term",
            "--need-app",
            "--single-interpreter",
        ],
        "leave it out: Canter always does so",
    ),
];

/// What to write in place of a flag of another server, as spelled with its hyphens.
pub fn instead(spelled: &str) -> Option<&'static str> {
    let spelled = spelled.replace('_', "-");
    let mut rows = FLAGS.iter();
    let found = rows.find(|(flags, _)| flags.contains(&&*spelled));
    found.map(|(_, instead)| *instead)
}

/// The address that `8001` or `0.0.0.0:8001` means where `runserver` is told it; None for other words.
pub fn address(word: &str) -> Option<String> {
    let (host, port) = word.rsplit_once(':').unwrap_or(("127.0.0.1", word));
    let text = match host {
        // The system's short form of all addresses, which Django's documentation names.
        "0" => format!("0.0.0.0:{port}"),
        host if host.parse::<Ipv6Addr>().is_ok() => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    };
    let address = Address::parse(&text).ok()?;
    let is_meant = match &address {
        Address::Tcp {
            host: Host::Name(name),
            ..
        } => name == "localhost",
        Address::Tcp { .. } => true,
        Address::Unix(_) | Address::Inherited(_) => false,
    };
    is_meant.then(|| address.show())
}

#[cfg(test)]
mod tests {
    use super::super::gunicorn;
    use super::super::table::ROWS;
    use super::*;

    #[test]
    fn flags_of_other_servers_are_answered_with_ours() {
        assert!(instead("--port").unwrap().contains("--bind"));
        assert_eq!(instead("--ssl_keyfile"), Some("`--keyfile`"));
        assert_eq!(instead("--frobnicate"), None);
        let flags = FLAGS.iter().flat_map(|(flags, _)| *flags);
        for flag in flags {
            let name = flag.trim_start_matches('-').replace('-', "_");
            assert!(ROWS.iter().all(|row| row.field != name), "{flag} is ours");
            assert!(gunicorn::find(flag).is_none(), "{flag} is Gunicorn's");
        }
    }

    #[test]
    fn an_address_is_told_from_an_app() {
        for (word, meant) in [
            ("8001", Some("127.0.0.1:8001")),
            ("0.0.0.0:8001", Some("0.0.0.0:8001")),
            ("localhost:8001", Some("localhost:8001")),
            ("[::1]:80", Some("[::1]:80")),
            (":8001", Some(":8001")),
            ("0:8001", Some("0.0.0.0:8001")),
            ("::1:8001", Some("[::1]:8001")),
            (":::8001", Some("[::]:8001")),
            ("0.0.0:8001", None),
            ("[127.0.0.1]:80", None),
            ("unix:80", None),
            ("cafe:80", None),
            ("+80", None),
            ("mysite.wsgi", None),
            ("mysite.wsgi:app", None),
            ("80010", None),
            ("cafe", None),
        ] {
            assert_eq!(address(word).as_deref(), meant, "{word}");
            // What is told is taken.
            assert!(meant.is_none_or(|meant| Address::parse(meant).is_ok()));
        }
    }
}
