//! The options of `canter serve`: one row each, and nowhere else.
//!
//! The comment of a row is its manual: one line for help, then paragraphs for the reference page.
//! Flag, variable, file key, help, reference page, `canter options` and the field of `Config` all
//! come from the row. What must hold between options is in `rules.rs`.

use std::path::PathBuf;
use std::time::Duration;

use super::address::{Address, Network};
use super::app::App;
use super::cache_url::CacheUrl;
use super::choice::{
    AccessLogFormat, Ban, Cache, Compress, DbAuth, DbPool, ForwardedHeader, Http2, LogTarget,
    PlatformName, Preload, Static, WorkerClass,
};
use super::database_url::{DatabaseUrl, RoleName};
use super::declare::{Group, Row, first, options};
use super::folder::{Media, UrlFolder};
use super::otlp::{OtlpEndpoint, OtlpHeader};
use super::page_rule::PageRule;
use super::priority::Priority;
use super::quantity::{Mode, Size};
use super::rate::RateLimit;
use super::secret::Secret;
use super::text::{BenchToken, HeaderName, KeyValue, Token, TypePattern};
use super::value::{Field, Reading};
use super::web::{AcmeDirectory, DomainName, EarlyHint, Hsts};
use crate::log::{Format, Level};

options! {
    /// Listen on this address; may be given several times
    ///
    /// `127.0.0.1:8000` is reachable from this machine only. `:8000` listens on every address of
    /// the machine, IPv6 and IPv4. `[::1]:8000` is an IPv6 address, `unix:/run/canter.sock` a unix
    /// socket and `fd://3` a listening socket that was opened by whoever started Canter.
    ///
    /// Where the platform sets `PORT`, the default is every address at that port. Sockets handed
    /// over by systemd (`LISTEN_FDS`) are used unless a flag or `CANTER_BIND` says otherwise.
    bind: Vec<Address> = "127.0.0.1:8000" {
        group: Listening, example: "unix:/run/canter.sock", since: "0.1.0", short: 'b',
        gunicorn: ["bind"],
    }

    /// Connections the system may hold before Canter takes them
    ///
    /// Canter takes connections at once, so this only matters in the moment of a restart. The
    /// system may have a lower limit of its own (`net.core.somaxconn`).
    backlog: u32 = "2048" {
        group: Listening, example: "4096", since: "0.1.0", gunicorn: ["backlog"],
    }

    /// Permission bits of a unix socket
    ///
    /// Whoever may write to the socket file may send requests. `660` allows the user and group
    /// Canter runs as.
    unix_socket_mode: Option<Mode> = "" {
        group: Listening, example: "660", since: "0.1.0", unset: "what `--umask` leaves",
    }

    /// Connections held open at once
    ///
    /// When all are in use, the connection that has been idle longest is closed in favour of a
    /// new one.
    max_connections: Option<u32> = "" {
        group: Listening, example: "10000", since: "0.1.0",
        unset: "sized from the limit on open files and from memory",
    }

    /// Connections one client may hold at once
    ///
    /// A client is an IPv4 address or the /64 of an IPv6 one. Further connections are closed at
    /// once. Proxies in `--forwarded-allow-ips` may hold as many as they like. Left out, addresses
    /// of private networks may, too, for there it is mostly a proxy that asks.
    max_connections_per_ip: Option<u32> = "" {
        group: Listening, example: "50", since: "0.1.0",
        unset: "a quarter of `--max-connections` for each public address",
    }

    /// Most TLS handshakes that one client may begin in a second
    ///
    /// Five times as many may come at once; beyond that its connections are closed. A handshake costs the
    /// server a signature and the client next to nothing. IPv6 addresses count by their /64, and
    /// trusted proxies are not counted. A number given holds for private networks and this machine as well.
    tls_handshakes_per_ip: Option<u32> = "" {
        group: Tls, example: "50", since: "0.1.0",
        unset: "20 for each public address",
    }

    /// Most TLS handshakes that all clients together may begin in a second
    ///
    /// Counted as for one client: five times as many at once, and of a private network only where
    /// one of both numbers is given.
    tls_handshakes: Option<u32> = "" {
        group: Tls, example: "500", since: "0.1.0",
        unset: "1000 for all public addresses together",
    }

    /// Certificate with its chain, for TLS; may be given several times
    ///
    /// A file in PEM form. Every TCP `--bind` then speaks TLS 1.2 and 1.3. With several certificates each client gets
    /// the one for the host it asks for, and the first when there is none. Files that change are
    /// read again within a second; connections and tickets live on.
    certfile: Vec<PathBuf> = "" {
        group: Tls, example: "/etc/letsencrypt/live/example.org/fullchain.pem", since: "0.1.0",
        unset: "plain HTTP", gunicorn: ["certfile"],
    }

    /// Key of the certificate; one for each `--certfile`
    ///
    /// A file in PEM form, without a passphrase. Leave it out where the certificate's file holds the key, too.
    keyfile: Vec<PathBuf> = "" {
        group: Tls, example: "/etc/letsencrypt/live/example.org/privkey.pem", since: "0.1.0",
        unset: "in the file of the certificate", gunicorn: ["keyfile"],
    }

    /// Where HTTP/2 is spoken
    ///
    /// Requests of HTTP/2 pass through the same steps and limits as those of HTTP/1.1. `plain` is
    /// for proxies that speak it without TLS.
    http2: Http2 = "auto" {
        group: Tls, example: "plain", since: "0.1.0",
    }

    /// Listen here in plain HTTP beside TLS, and send everybody to HTTPS
    ///
    /// Requests are answered 308 with the same host and path under `https://`; none reaches the
    /// app.
    http_bind: Vec<Address> = "" {
        group: Tls, example: ":80", since: "0.1.0", unset: "nowhere",
    }

    /// Tell browsers to use HTTPS alone for this long
    ///
    /// Adds `Strict-Transport-Security` to answers over HTTPS unless the app has set it. Behind the
    /// time may stand `includeSubDomains` and `preload`. Browsers remember it: begin with a short
    /// time, for there is no way back before it is over.
    hsts: Option<Hsts> = "" {
        group: Tls, example: "365d includeSubDomains", since: "0.1.0", unset: "what the app says",
    }

    /// Send requests to HTTPS that a trusted proxy says came by plain HTTP
    ///
    /// For proxies that end TLS and say so in `X-Forwarded-Proto` or `Forwarded`. The answer is 308
    /// with the same host and path; health checks are still answered.
    redirect_https: bool = "false" {
        group: Tls, example: "true", since: "0.1.0",
    }

    /// Get a certificate for this name from an authority; may be given several times
    ///
    /// By ACME (RFC 8555): the authority asks at port 80 of the name, which `--http-bind` must
    /// answer. Certificates are renewed in time, when the authority suggests it (RFC 9773), and the
    /// old one stays in use until there is a new one. Using an authority means to agree to its
    /// terms.
    tls_acme: Vec<DomainName> = "" {
        group: Tls, example: "example.org", since: "0.1.0", unset: "none",
    }

    /// Address that the authority may write to
    ///
    /// Some authorities warn there before a certificate ends.
    tls_acme_email: Option<String> = "" {
        group: Tls, example: "admin@example.org", since: "0.1.0", unset: "none",
    }

    /// Where the authority speaks ACME
    ///
    /// The address of its directory (RFC 8555, section 7.1.1). To try things out, use the staging
    /// address of Let's Encrypt, as in the example: it gives as many certificates as one likes, and
    /// no browser accepts them.
    tls_acme_directory: Option<AcmeDirectory> = "" {
        group: Tls, example: "https://acme-staging-v02.api.letsencrypt.org/directory",
        since: "0.1.0", unset: "Let's Encrypt",
    }

    /// Directory for the account at the authority, keys and certificates
    ///
    /// It must outlive a restart, or the authority will soon refuse to give one more certificate.
    /// Its files can be read by this user alone.
    tls_acme_dir: Option<PathBuf> = "" {
        group: Tls, example: "/var/lib/canter/acme", since: "0.1.0",
        unset: "`/var/lib/canter/acme` for root, else `~/.local/share/canter/acme`",
    }

    /// Processes that run the app
    ///
    /// One process can keep one core busy. Leave it out and Canter starts one for each core, or
    /// fewer where memory is short; the start banner says how many and why. `WEB_CONCURRENCY` is
    /// honoured.
    workers: Option<u32> = "" {
        group: Workers, example: "3", since: "0.1.0", short: 'w',
        unset: "one for each core, fewer where memory is short", gunicorn: ["workers"],
    }

    /// Most threads in one worker
    ///
    /// Threads are added only while requests wait for something outside, such as a database or
    /// another site, and the processor is free. So this is a cap and not a count: a busy app that
    /// computes keeps to one. Lower it when the app is not safe with threads (`1`) or when
    /// something behind it, such as a database, allows only so many connections.
    threads: Option<u32> = "" {
        group: Workers, example: "40", since: "0.1.0", unset: "sized from memory, 8 to 1000",
        gunicorn: ["threads"],
    }

    /// Threads a worker always keeps
    ///
    /// Give it the same number as `--threads` to have a fixed number of threads.
    threads_min: u32 = "1" {
        group: Workers, example: "4", since: "0.1.0",
    }

    /// Kind of worker; `sync` and `gthread` are accepted and need nothing
    ///
    /// Here for command lines that come from Gunicorn. Canter's only kind of worker does what
    /// people choose these for, so the option can be left out.
    worker_class: Option<WorkerClass> = "" {
        group: Workers, example: "gthread", since: "0.1.0", short: 'k',
        unset: "nothing to choose", gunicorn: ["worker_class"],
    }

    /// Import the app once and fork the workers from there
    ///
    /// Forked workers share the memory of what was imported and start in milliseconds. It is not
    /// safe when the import leaves threads running or connections open: `auto` notices, says so in
    /// one line of the log, and lets each worker import the app itself. `--preload` alone means
    /// `on`.
    preload: Preload = "auto" {
        group: Workers, example: "off", since: "0.1.0", gunicorn: ["preload_app"],
        shorthand: ["preload" => "on", "no-preload" => "off"],
    }

    /// Replace a worker after this many requests; 0 means never
    ///
    /// Helps against an app that leaks memory. The new worker is up before the old one goes, and
    /// no request is lost.
    max_requests: u32 = "0" {
        group: Workers, example: "10000", since: "0.1.0", gunicorn: ["max_requests"],
    }

    /// Add up to this many requests, at random, to `--max-requests`
    ///
    /// Keeps workers that started together from being replaced together.
    max_requests_jitter: u32 = "0" {
        group: Workers, example: "1000", since: "0.1.0", gunicorn: ["max_requests_jitter"],
    }

    /// Replace a worker that keeps more memory than this for itself
    ///
    /// What it shares with the other workers does not count, and neither does what a request gives
    /// back at its end. The new worker takes requests before the old one finishes its last, and one
    /// worker is replaced at a time. A worker that needs as much from its start is not replaced. Memory is looked at every 15 s, and every
    /// 3 s once a worker may be above the limit.
    max_memory_per_worker: Size = "0" {
        group: Workers, example: "300MB", since: "0.1.0",
    }

    /// Requests that may wait for a worker
    ///
    /// When as many wait, or when those that wait will take longer than one may wait, the next one is
    /// answered 503 with `Retry-After`. A request whose client
    /// has gone leaves the queue and never runs. Up to 64 more are at each worker's door already;
    /// they are taken back when another worker is free first.
    queue_size: Option<u32> = "" {
        group: Workers, example: "500", since: "0.1.0", unset: "sized from memory, 256 to 4096",
    }

    /// Longest a request may take in the app; 0 means no limit
    ///
    /// When it is over the client is answered 504 at once, and the log has the path of the request
    /// and the Python lines its thread was stuck in. A response that has begun to stream is not
    /// cut. One that waits as long for a worker, or for the app to be imported, is answered 503; for
    /// those that an import was over for in time, the time begins anew. A bare number is seconds.
    timeout: Duration = "30s" {
        group: Time, example: "20s", since: "0.1.0", short: 't', gunicorn: ["timeout"],
    }

    /// How long requests may go on after the order to stop
    ///
    /// At SIGTERM Canter takes no more connections, finishes what runs, and exits; what still runs
    /// after this time is cut. Keep it below the time your platform waits before it kills: 30
    /// seconds on Kubernetes and Heroku, 10 with Docker unless told otherwise; `--platform` knows the
    /// usual ones.
    graceful_timeout: Duration = "30s" {
        group: Time, example: "10s", since: "0.1.0", gunicorn: ["graceful_timeout"],
    }

    /// How long an idle connection is kept for the next request; 0 means not at all
    ///
    /// It should be longer than the time the proxy in front keeps idle connections, or that proxy
    /// will now and then send a request into a closing connection. `--platform` knows how long
    /// routers keep theirs.
    keep_alive: Duration = "75s" {
        group: Time, example: "95s", since: "0.1.0", gunicorn: ["keepalive"],
    }

    /// How long a client may take to send a request's header
    ///
    /// The time of the first request runs from the moment the connection is accepted, TLS
    /// included. Each 500 bytes that come give a second more, up to twice the time. Then the answer
    /// is 408 and the connection is closed; no worker ever hears of it.
    header_timeout: Duration = "10s" {
        group: Time, example: "5s", since: "0.1.0",
    }

    /// Bytes a second that a client must send or take, on average; 0 means any
    ///
    /// Averaged over ten seconds, and counted as the client's system acknowledges them. Slower
    /// uploads are answered 408, slower downloads are cut. 240 is less than the slowest mobile
    /// network.
    min_rate: Size = "240" {
        group: Time, example: "1KB", since: "0.1.0",
    }

    /// How long an upload or a download may take to reach `--min-rate`
    ///
    /// Networks that start slowly and clients that think for a moment are not meant.
    rate_grace: Duration = "10s" {
        group: Time, example: "20s", since: "0.1.0",
    }

    /// How long the router in front waits for an answer; 0 means that it is not known
    ///
    /// A request is not started once the router has given up on it: the answer is 503. The time
    /// runs from the last byte of the request, or from `X-Request-Start` where a trusted router
    /// sends it with a request that has no body.
    router_timeout: Duration = "0" {
        group: Time, example: "30s", since: "0.1.0",
    }

    /// Longest request line
    ///
    /// A longer one is answered 414. At most `64KiB`.
    limit_request_line: Size = "8190" {
        group: Limits, example: "4094", since: "0.1.0", gunicorn: ["limit_request_line"],
    }

    /// Most header fields in a request
    ///
    /// More are answered 431.
    limit_request_fields: u32 = "100" {
        group: Limits, example: "64", since: "0.1.0", gunicorn: ["limit_request_fields"],
    }

    /// Longest header field of a request, name and value
    ///
    /// A longer one is answered 431. Large cookies are what mostly meets it. At most `128KiB`.
    limit_request_field_size: Size = "8190" {
        group: Limits, example: "16KiB", since: "0.1.0", gunicorn: ["limit_request_field_size"],
    }

    /// Largest header of a request, all its fields together
    ///
    /// A larger one is answered 431. This is memory that any stranger can make Canter hold for
    /// each connection, so raise it with care. At most `128KiB`; what the app gets of line and fields,
    /// the path decoded beside the target, may be 256 KiB together, or the answer is 431, too. Over
    /// HTTP/2 what headers of requests under way have beyond 16 KiB each may take 512 KiB of a connection; one
    /// that finds no room is refused as a stream that its client may send again.
    limit_request_header: Size = "32KiB" {
        group: Limits, example: "64KiB", since: "0.1.0",
    }

    /// Largest request body
    ///
    /// A larger upload is answered 413, before it is read where its length is announced. Bodies
    /// are kept on disk while they arrive, so this guards the disk and not the memory. The
    /// default lets documents and photographs through, and keeps a few uploads from filling the disk
    /// of a small box; nginx allows 1 MB, Waitress 1 GiB, and Gunicorn has no limit.
    max_body: Size = "100MB" {
        group: Limits, example: "1GB", since: "0.1.0",
    }

    /// Part of a request body that is kept in memory
    ///
    /// What is larger goes to a temporary file without a name in `--temp-dir`. Bodies above 128 KiB
    /// always do: so much passes to a worker in memory.
    body_memory: Size = "128KiB" {
        group: Limits, example: "32KiB", since: "0.1.0",
    }

    /// Part of a response that is kept in memory for a slow client
    ///
    /// What is larger goes to a temporary file, so that the worker is free for the next request
    /// however slowly the client reads.
    response_memory: Size = "1MiB" {
        group: Limits, example: "256KiB", since: "0.1.0",
    }

    /// Most requests in a time for each client; may be given several times
    ///
    /// `60/min` is a limit for each address (of IPv6, each /64). Behind it may stand
    /// `path=/login/` (paths that begin so), `burst=10` (most at once), `key=ip`,
    /// `key=header:X-Api-Key`, `key=cookie:sessionid` or `key=all`, and `dry-run`, which only logs.
    /// Beyond it the answer is 429 with `Retry-After`, `RateLimit` and `RateLimit-Policy`; the app
    /// is not asked. Health checks are never limited.
    rate_limit: Vec<RateLimit> = "" {
        group: Limits, example: "60/min", since: "0.1.0", unset: "no limit",
    }

    /// Requests that go ahead while all workers are busy; may be given several times
    ///
    /// `/checkout/` is for paths that begin so, `cookie:sessionid` for requests with that cookie, such
    /// as those of visitors who are logged in. They go to the head of the queue and are the last to be
    /// refused. Anyone can send a cookie: `--rate-limit` holds for them as for all others. Health
    /// checks (`--health`) need none of this, they never wait.
    priority: Vec<Priority> = "" {
        group: Limits, example: "/checkout/", since: "0.1.0", unset: "none",
    }

    /// Shut out clients that keep misbehaving
    ///
    /// Broken requests, transfers slower than any network, floods and the like give points that
    /// fade in minutes. At 300 the address is refused for a minute, four times as long each further
    /// time, up to an hour. `auto` spares private networks and this machine, where a proxy may
    /// stand; `all` spares only those in `--forwarded-allow-ips`.
    ban: Ban = "auto" {
        group: Limits, example: "off", since: "0.1.0",
    }

    /// Directory for bodies too large for memory
    ///
    /// It should be on a disk: on many systems `/tmp` is memory under another name.
    temp_dir: Option<PathBuf> = "" {
        group: Limits, example: "/var/tmp", since: "0.1.0", unset: "the system's choice",
    }

    /// Proxies whose word is taken for the client's address and scheme
    ///
    /// Only from these peers are `X-Forwarded-For`, `X-Forwarded-Proto` and their kin believed;
    /// anybody else could write what they like in them. `*` believes every peer and is right only
    /// where nothing but the proxy can reach Canter, as on Heroku. Fields that apps read of the
    /// client (`Remote-User`, `X-Remote-User`, `CF-Connecting-IP`, `True-Client-IP`,
    /// `X-Original-URL` and the like) reach the app from these peers alone, too; the log says once
    /// that another peer of a private network or this machine sends some. `FORWARDED_ALLOW_IPS` is
    /// honoured.
    forwarded_allow_ips: Vec<Network> = "" {
        group: Proxies, example: "10.0.0.0/8", since: "0.1.0", unset: "nobody",
        gunicorn: ["forwarded_allow_ips"],
    }

    /// In which words those proxies speak
    ///
    /// A proxy writes one kind and may pass on the other as the client sent it, so only one counts
    /// and the app never sees the other.
    forwarded_header: ForwardedHeader = "x-forwarded" {
        group: Proxies, example: "forwarded", since: "0.1.0",
    }

    /// Proxies in `--forwarded-allow-ips` begin each connection with a PROXY header
    ///
    /// Version 1 or 2 of that protocol, before TLS. The client that it names is the client
    /// everywhere: in `REMOTE_ADDR`, the log and all limits. A trusted peer that does not begin so
    /// is cut off; any other peer is served as itself.
    proxy_protocol: bool = "false" {
        group: Proxies, example: "true", since: "0.1.0", gunicorn: ["proxy_protocol"],
    }

    /// How many proxies stand in front, one behind the other
    ///
    /// Each adds one entry on the right of `X-Forwarded-For`; the client is that many entries from
    /// the right. Entries further left were written by the client and may be lies.
    forwarded_hops: u32 = "1" {
        group: Proxies, example: "2", since: "0.1.0",
    }

    /// Header that carries the id of a request
    ///
    /// An id that a client or proxy sends is kept when it is harmless: up to 128 letters, digits and
    /// a few signs. Otherwise one is made. The app and the logs carry the same id.
    request_id_header: HeaderName = "X-Request-Id" {
        group: Proxies, example: "X-Amzn-Trace-Id", since: "0.1.0",
    }

    /// What Canter runs on, for defaults that suit it
    ///
    /// Everything that is set anywhere beats these defaults; `canter options` shows which are in
    /// use. `none` keeps them away.
    platform: PlatformName = "auto" {
        group: Proxies, example: "none", since: "0.1.0",
    }

    /// Links to tell before the answer is known; may be given several times
    ///
    /// `/=</site.css>; rel=preload; as=style` sends `103 Early Hints` (RFC 8297) to whoever gets
    /// `/`, while the app is still at work; `/shop/*=...` is for every path that begins so. `/=link`
    /// sends the preloads and preconnects that the app's last answer to the same address had in its
    /// own `Link` field: for pages on which these are the same for all visitors.
    ///
    /// The app itself can send some at any time before its answer, to whoever can use them:
    /// `request.META["wsgi.early_hints"]([("Link", "</site.css>; rel=preload; as=style")])`.
    early_hint: Vec<EarlyHint> = "" {
        group: Proxies, example: "/=</static/site.css>;rel=preload;as=style", since: "0.1.0",
        unset: "none",
    }

    /// Answer `/-/live` and `/-/ready` for health checks
    ///
    /// They are answered without the app and without a worker: `/-/live` with 200 while Canter
    /// runs, `/-/ready` with 200 while requests are welcome. It is 503, with a word on why, before the
    /// app has loaded, once Canter is stopping, while as many requests wait as `--queue-size` lets, and
    /// while no connection to any of the pooled databases can be opened; asking then has them tried
    /// again. A database that sleeps unused is not woken by it.
    health: bool = "false" {
        group: Proxies, example: "true", since: "0.1.0",
    }

    /// Let whoever knows this token load the site with `canter bench`
    ///
    /// `canter bench` loads no other machine than its own unless that agrees. With this option
    /// `/.well-known/canter-bench/TOKEN` is answered with 204, which is the agreement; any other token
    /// goes to the app as any other path does. Take it away when the test is done.
    bench_token: Option<BenchToken> = "" {
        group: Proxies, example: "5b0c7f3e9d1a4c22", since: "0.1.0", unset: "none",
    }

    /// Answer static files without the app
    ///
    /// `auto` reads `STATIC_URL`, `STATIC_ROOT`, the manifest and `WHITENOISE_*` settings from Django:
    /// no middleware, no proxy and no other option is needed. `--no-static` is short for `off`.
    static_: Static = "auto" {
        group: Files, example: "off", since: "0.1.0", shorthand: ["no-static" => "off"],
    }

    /// Answer files of this folder at this path; may be given several times
    ///
    /// What is not in the folder is answered 404; the app is not asked. On the command line `--static
    /// URL=DIR` says the same. nginx has `alias` for it, Granian a route and a mount.
    static_map: Vec<UrlFolder> = "" {
        group: Files, example: "/downloads/=/srv/downloads", since: "0.1.0", unset: "none",
    }

    /// Answer files that users have sent, with fields that keep them harmless
    ///
    /// `auto` is Django's `MEDIA_URL` and `MEDIA_ROOT`; `URL=DIR` is another folder. Whoever knows
    /// the path gets the file, so this is not for private ones: see `--sendfile-root`. HTML, SVG and
    /// the like are downloaded instead of shown.
    media: Vec<Media> = "" {
        group: Files, example: "auto", since: "0.1.0", unset: "the app answers",
    }

    /// Folder the app may send from by `X-Sendfile`; may be given several times
    ///
    /// The view checks who asks and answers with the field and no body; the file is sent from here,
    /// with ranges and validators. A file outside is answered 500. Without this option and
    /// `--internal` both fields are left to a proxy in front. Apache has `XSendFilePath` for it.
    sendfile_root: Vec<PathBuf> = "" {
        group: Files, example: "/srv/private", since: "0.1.0",
        unset: "`SENDFILE_ROOT` of Django's settings, if there is one",
    }

    /// Path that only the app reaches, by `X-Accel-Redirect`, and its folder
    ///
    /// As an `internal` location with `alias` in nginx: clients that ask for the path get what the
    /// app says.
    internal: Vec<UrlFolder> = "" {
        group: Files, example: "/protected/=/srv/private", since: "0.1.0",
        unset: "`SENDFILE_URL` of Django's settings, if there is one",
    }

    /// Compress answers of the app, with zstd, brotli or gzip
    ///
    /// Pages, JSON and other text of a kilobyte and more, in the coding that the client likes best.
    /// Streams are passed on at once, piece by piece. Answers that are not `public` get up to a hundred
    /// bytes without meaning, so that their length tells less about what they hold (BREACH), as
    /// Django's `GZipMiddleware` does. That middleware is idle with `on`, for the app is not told
    /// what the client can decode. `--no-compress` is short for `off`.
    compress: Compress = "on" {
        group: Files, example: "off", since: "0.1.0", shorthand: ["no-compress" => "off"],
    }

    /// How hard to try: 1 (quick) to 9 (short)
    ///
    /// What each number means for each coding, in time, size and memory, is in the guide on
    /// compression.
    compress_level: u32 = "3" {
        group: Files, example: "1", since: "0.1.0",
    }

    /// Shorter answers are not compressed
    ///
    /// They fit into one packet either way. An answer whose length is not known is compressed.
    compress_min_size: Size = "1KB" {
        group: Files, example: "256", since: "0.1.0",
    }

    /// Compress content of this type, too; may be given several times
    ///
    /// Known are all that is `text/…`, JSON, XML, JavaScript, SVG, WebAssembly, and fonts and images
    /// that are not compressed of themselves. `model/*` is all of a kind.
    compress_type: Vec<TypePattern> = "" {
        group: Files, example: "chemical/x-pdb", since: "0.1.0", unset: "none beside those",
    }

    /// Answer pages again without the app
    ///
    /// As HTTP lets a shared cache (RFC 9111): what the app says may be kept for a time, with
    /// `Cache-Control: max-age=60`, `s-maxage` or `CDN-Cache-Control`, and what a `--cache-rule`
    /// covers. Never what is private, sets a cookie, or was asked for with a session. Under Django's
    /// `DEBUG` nothing is kept. `Cache-Status` in each answer says what happened, and why.
    /// `--no-cache` is short for `off`.
    cache: Cache = "on" {
        group: Pages, example: "off", since: "0.1.0", shorthand: ["no-cache" => "off"],
    }

    /// Memory for cached pages
    ///
    /// Everything counts: pages, their addresses and what is needed to find them. When it is full,
    /// the pages that are asked for least go.
    cache_size: Option<Size> = "" {
        group: Pages, example: "64MB", since: "0.1.0",
        unset: "6 % of memory, 8 MB to 256 MB",
    }

    /// A folder for cached pages
    ///
    /// Below memory: it is larger, and what is in it is there again after a restart. Memory is asked
    /// first. Files that are not whole are passed over. One server uses it at a time.
    cache_dir: Option<PathBuf> = "" {
        group: Pages, example: "/var/cache/canter", since: "0.1.0", unset: "none",
    }

    /// Disk for cached pages
    ///
    /// With `--cache-dir`. When it is full, the pages that were not asked for longest go.
    cache_dir_size: Size = "256MB" {
        group: Pages, example: "2GB", since: "0.1.0",
    }

    /// A Valkey or Redis server by which several machines share pages
    ///
    /// `redis://user:password@host:6379/0`, `rediss://…` with TLS, or `unix:///path`; the name of a
    /// variable, such as `REDIS_URL`, takes the address from there. Each machine's memory is asked
    /// first, pages that one has made are there for the others, and a purge reaches all. When the
    /// server is slow or gone, pages come from memory and from the app as without it. Behind a `?` may
    /// stand `prefix=shop` for several sites at one server, `timeout=10ms` for a look-up,
    /// `ssl_ca_certs=FILE` and `ssl_cert_reqs=none`. The password is never shown, but a flag can be
    /// seen by other users of the machine: prefer a variable. Redis must be 6 or newer.
    cache_url: Option<CacheUrl> = "" {
        group: Pages, example: "redis://:secret@cache.example.com:6379/0", since: "0.1.0",
        unset: "each machine for itself",
    }

    /// A rule for the pages of some paths; may be given several times
    ///
    /// `/news/* ttl=60s` keeps what the app answers there for a minute, for everybody without a
    /// session. Behind the path may stand `grace=5m` (how long an old page may be shown while it is
    /// fetched anew), `error-grace=1d` (and when the app fails), `browser-ttl=0`, `mode=respect` (the
    /// app's own time counts) or `mode=bypass`, `cookies=theme`, `headers=accept` and `query=page,q`
    /// (what the page depends on), `ignore-query=ref`, `status-ttl=404:10s`, `tags=news` and
    /// `host=www.example.org`. The first rule that fits counts. In a file each is a table
    /// `[[cache.rules]]` with these keys.
    cache_rule: Vec<PageRule> = "" {
        group: Pages, example: "/news/* ttl=60s grace=5m", since: "0.1.0",
        unset: "only what the app says",
    }

    /// What a request must know to purge pages
    ///
    /// `POST /-/purge` with `Authorization: Bearer` and this token removes pages; without the option
    /// the address is the app's, as any other. It has at least 16 characters.
    cache_token: Option<Secret> = "" {
        group: Pages, example: "a-long-random-text", since: "0.1.0", unset: "no such address",
    }

    /// Whether the app's PostgreSQL connections go through Canter's pool
    ///
    /// All workers then share a few server connections instead of opening one for each thread.
    /// Django needs no change: its PostgreSQL connections are led to a socket in a folder that
    /// only this user can enter. Other databases are left alone. Other Python code finds the
    /// pool at `CANTER_DATABASE_URL`.
    db_pool: DbPool = "auto" {
        group: Database, example: "off", since: "0.1.0", shorthand: ["no-db-pool" => "off"],
    }

    /// The database that clients without one of their own get
    ///
    /// A URL as in `postgresql://user:password@host:5432/name?sslmode=require`, with the words of
    /// libpq behind the question mark. `DATABASE_URL` is honoured when it names a PostgreSQL
    /// database. Django's `DATABASES` need not be repeated here. The password is never shown, but
    /// a flag can be seen by other users of the machine: prefer the variable. In PgBouncer it is
    /// a line of `[databases]`.
    database_url: Option<DatabaseUrl> = "" {
        group: Database, example: "postgresql://shop:secret@db.example.com/shop", since: "0.1.0",
        unset: "none",
    }

    /// Most connections to one database server, from all workers together
    ///
    /// A hard limit: connections being opened and closed count. Without it Canter asks the server
    /// how many it allows this user, leaves what others use and a few more, and looks again every
    /// 30 seconds. PgBouncer has `default_pool_size` and `max_db_connections` for it.
    db_connections: Option<u32> = "" {
        group: Database, example: "20", since: "0.1.0",
        unset: "what the server allows less what others use, at most 64",
    }

    /// Connections to the database that stay open without use
    ///
    /// They are opened at the start, to the database of `--database-url` as its user, and opened
    /// again when they end, so that the first clients after a quiet time do not wait for a login.
    /// They give way to other databases' and users' when all connections are needed. PgBouncer has
    /// `min_pool_size` for it.
    db_min_connections: u32 = "0" {
        group: Database, example: "4", since: "0.1.0",
    }

    /// Most clients of the pool at once
    ///
    /// One more is refused with SQLSTATE 53300. PgBouncer has `max_client_conn` for it.
    db_max_clients: u32 = "10000" {
        group: Database, example: "500", since: "0.1.0",
    }

    /// How long a client of `--bind-postgres` may ask nothing; 0 means for ever
    ///
    /// It is then disconnected with SQLSTATE 57P05. Who keeps a connection of his own, for a
    /// `LISTEN` or a lock, is not meant. PgBouncer has `client_idle_timeout` for it.
    db_client_idle_timeout: Duration = "0" {
        group: Database, example: "1h", since: "0.1.0",
    }

    /// Offer the pool to other programs at this address; may be given several times
    ///
    /// For `psql`, a Celery worker or a cron job: `127.0.0.1:6432`, or a unix socket such as
    /// `unix:/run/canter/.s.PGSQL.6432`. Clients get the database of `--database-url`. `canter pool` takes
    /// a socket that is open already, too: `fd://3`, as from systemd. PgBouncer
    /// has `listen_addr`, `listen_port` and `unix_socket_dir` for it.
    bind_postgres: Vec<Address> = "" {
        group: Database, example: "127.0.0.1:6432", since: "0.1.0",
        unset: "no other program; for `canter pool` `127.0.0.1:6432`",
    }

    /// How long a query may wait for a free connection
    ///
    /// When it is over the query fails with an error that says who uses the connections; the
    /// client stays connected. PgBouncer has `query_wait_timeout` for it.
    db_wait_timeout: Duration = "30s" {
        group: Database, example: "10s", since: "0.1.0",
    }

    /// Waiting time after which a query's client is told that it waits; 0 means never
    ///
    /// The client gets a NOTICE that says who uses the connections, once for each wait, and waits on.
    /// It is meant for people at `psql`; Django and most programs pass over it. PgBouncer has
    /// `query_wait_notify` for it.
    db_wait_notify: Duration = "5s" {
        group: Database, example: "1s", since: "0.1.0",
    }

    /// A replica of the database, for reads
    ///
    /// A URL as for `--database-url`; give it once for each replica. Lone `SELECT`s outside of
    /// transactions and transactions that are begun `READ ONLY` go to a replica, everything else to
    /// the database of `--database-url`. Who writes sees it: the visitor of a site carries the
    /// position of his last write in a signed cookie, and his reads go where it has arrived.
    db_replica: Vec<DatabaseUrl> = "" {
        group: Database, example: "postgresql://shop:secret@replica.example.com/shop",
        since: "0.1.0", unset: "none",
    }

    /// How far behind a replica may be and still be read from
    ///
    /// Measured once a second by the position in the write-ahead log and our own clock. When no
    /// replica is near enough, reads go to the database of `--database-url`.
    db_replica_max_lag: Duration = "10s" {
        group: Database, example: "2s", since: "0.1.0",
    }

    /// Age at which a server connection is replaced
    ///
    /// Each one gets up to a tenth more or less, so that they are not replaced together.
    /// PgBouncer has `server_lifetime` for it.
    db_lifetime: Duration = "1h" {
        group: Database, example: "30m", since: "0.1.0",
    }

    /// How long a server connection is kept without use
    ///
    /// PgBouncer has `server_idle_timeout` for it.
    db_idle_timeout: Duration = "10m" {
        group: Database, example: "1m", since: "0.1.0",
    }

    /// How long a transaction may stand still; 0 means for ever
    ///
    /// A transaction that waits for its client holds a connection that others could use. When the
    /// time is over it is rolled back.
    /// PgBouncer has `idle_transaction_timeout` for it.
    db_idle_in_transaction_timeout: Duration = "0" {
        group: Database, example: "30s", since: "0.1.0",
    }

    /// How long a transaction may take in all; 0 means for ever
    ///
    /// When the time is over what runs is cancelled, the transaction is rolled back, and its client is
    /// disconnected with SQLSTATE 25P04. A query outside of a transaction is one of its own. PgBouncer
    /// has `transaction_timeout` for it.
    db_transaction_timeout: Duration = "0" {
        group: Database, example: "1m", since: "0.1.0",
    }

    /// How long one query may run before it is cancelled; 0 means for ever
    ///
    /// `--timeout` already cancels what a request runs when its time is over. PgBouncer has
    /// `query_timeout` for it.
    db_query_timeout: Duration = "0" {
        group: Database, example: "20s", since: "0.1.0",
    }

    /// Clients that may keep a connection for themselves between transactions
    ///
    /// A client keeps its connection while it holds something that lives in that connection
    /// alone, such as a temporary table, an advisory lock or the cursor of Django's `.iterator()`.
    /// RDS Proxy calls it pinning; PgBouncer breaks such clients, or needs `pool_mode=session`.
    db_pin_limit: Option<u32> = "" {
        group: Database, example: "5", since: "0.1.0", unset: "half of the connections",
    }

    /// Lend connections to busy threads of the app while nobody else needs them
    ///
    /// A thread that answers many requests then speaks with the database itself, at the price of no pool at all. At most half of
    /// the connections are lent, only in clear (without TLS) and without replicas, and only to Django
    /// databases with `CONN_MAX_AGE` other than 0, whose connections outlive a request anyway. When somebody
    /// waits, each is closed at the end of its request, with what was set on it.
    db_lend: bool = "true" {
        group: Database, example: "false", since: "0.1.0",
    }

    /// Begin a transaction on the server with its first statement
    ///
    /// A `BEGIN` is answered at once and sent with what follows: that saves one round trip to the
    /// database for each transaction, and a transaction in which nothing is asked needs no connection.
    /// `now()` is then the time of the first statement. Transactions of `--db-replica` begin as they come.
    db_defer_begin: bool = "false" {
        group: Database, example: "true", since: "0.1.0",
    }

    /// Run `DISCARD ALL` whenever a server connection is given back
    ///
    /// For state that nobody can see, such as what a function of an extension keeps in its process. It
    /// costs a round trip for each transaction, though no client waits for its own, and statements are
    /// prepared anew; nothing is lent (`--db-lend`). What a client has set is still carried.
    /// PgBouncer has `server_reset_query_always` for it.
    db_reset_always: bool = "false" {
        group: Database, example: "true", since: "0.1.0",
    }

    /// Prepared statements that one server connection keeps
    ///
    /// Statements that clients prepare by name work although their transactions run on different
    /// connections, and a text that comes often is prepared for those who give it no name. With 0 none
    /// stays longer than its transaction. PgBouncer has `max_prepared_statements` for it.
    db_prepared_statements: u32 = "200" {
        group: Database, example: "500", since: "0.1.0",
    }

    /// How clients of `--bind-postgres` prove who they are
    ///
    /// Without it a client gives the user and password of `--database-url`, so that the same URL
    /// works with another host and port; on a unix socket it is enough to be the user that Canter
    /// runs as, and so it is on 127.0.0.1 when the URL has no password. `trust` lets every program
    /// of this machine in. PgBouncer has `auth_type` for it.
    db_auth: Option<DbAuth> = "" {
        group: Database, example: "scram", since: "0.1.0",
        unset: "`scram`, on a unix socket the operating system's word",
    }

    /// File with the users and passwords that `--bind-postgres` accepts
    ///
    /// Each line is `"user" "password"`, the password also as an `md5` or SCRAM secret: PgBouncer's
    /// `auth_file` can be used as it is. A user whom `--db-auth` asks for no password logs in at the
    /// server with what stands here: a password, or its `md5` hash where the server asks for MD5.
    /// Who logs in here by SCRAM, or by MD5 with a hash, is logged in there by the same where the server
    /// asks for that; a SCRAM secret of a user who was asked for nothing proves nothing there.
    db_auth_file: Option<PathBuf> = "" {
        group: Database, example: "/etc/canter/userlist.txt", since: "0.1.0",
        unset: "the user and password of `--database-url`",
    }

    /// Users who may command on the pool's console; may be given several times
    ///
    /// The console is the database `pgbouncer` (or `canter`) at `--bind-postgres`: `SHOW POOLS`,
    /// `PAUSE`, `KILL` and the like. The user of `--database-url` always may. Only a door where a
    /// user has proved who it is lets it in there. PgBouncer has `admin_users` for it.
    db_admin_users: Vec<RoleName> = "" {
        group: Database, example: "ops", since: "0.1.0", unset: "the user of `--database-url` alone",
    }

    /// Users who may look at the pool's console; may be given several times
    ///
    /// For monitoring: they may use `SHOW`. PgBouncer has `stats_users` for it.
    db_stats_users: Vec<RoleName> = "" {
        group: Database, example: "monitor", since: "0.1.0", unset: "nobody",
    }

    /// Certificate chain for TLS at `--bind-postgres`
    ///
    /// A PEM file, used with `--db-tls-key`. At an address that other machines reach, clients
    /// must then use TLS. PgBouncer has `client_tls_cert_file` for it.
    db_tls_cert: Option<PathBuf> = "" {
        group: Database, example: "/etc/canter/server.crt", since: "0.1.0", unset: "no TLS",
    }

    /// Private key of `--db-tls-cert`
    ///
    /// A PEM file without a passphrase. PgBouncer has `client_tls_key_file` for it.
    db_tls_key: Option<PathBuf> = "" {
        group: Database, example: "/etc/canter/server.key", since: "0.1.0", unset: "no TLS",
    }

    /// Authorities whose client certificates are accepted
    ///
    /// A PEM file, for `--db-auth` with `cert`. The common name of a client's certificate must be
    /// the user it asks for.
    /// PgBouncer has `client_tls_ca_file` for it.
    db_tls_ca: Option<PathBuf> = "" {
        group: Database, example: "/etc/canter/clients.crt", since: "0.1.0", unset: "none",
    }

    /// Where the access log goes
    ///
    /// `--no-access-log` is short for `none`.
    access_logfile: LogTarget = "-" {
        group: Logging, example: "/var/log/canter/access.log", since: "0.1.0",
        gunicorn: ["accesslog"], shorthand: ["no-access-log" => "none"],
    }

    /// How a line of the access log is written
    ///
    /// `common` and `combined` are what log analysers know; `json` and `logfmt` also carry the
    /// request id, the time from the request's head to the end of its response, and with `--insight` the
    /// route, the number of queries and where the time went.
    access_log_format: AccessLogFormat = "combined" {
        group: Logging, example: "json", since: "0.1.0",
    }

    /// Gather what requests cost, and show it at `/-/canter`
    ///
    /// Django's requests and statements are watched without any settings: which route, which line
    /// and which statement takes the time. Values in statements are never kept. The page, and what
    /// programs read below it, is for the user who runs Canter on this machine, for `--admin-bind`, and
    /// for whoever has `--admin-token`. Without it `--max-memory-per-worker` and `canter purge` work as
    /// before, and `--admin-bind` and `--otlp-endpoint` have nothing to tell.
    insight: bool = "true" {
        group: Logging, example: "false", since: "0.1.0",
    }

    /// Keep what routes usually ask in this file, over restarts
    ///
    /// A route that asks for much more than any request did before is a finding (`more_queries`) after a
    /// reload; with this file after a restart, too. It is read at the start, written once a minute and at the
    /// end, and holds names of routes and numbers only. One server uses it at a time.
    usual_queries: Option<PathBuf> = "" {
        group: Logging, example: "/var/lib/shop/usual-queries.txt", since: "0.1.0", unset: "none",
    }

    /// Log a request that still runs at this age; may be given several times
    ///
    /// The line `a request is slow` has its id, method, path and route, the statement it waits for,
    /// without values, and the Python stack of its thread. An age beyond `--timeout` counts for
    /// nothing, for there the stack is logged anyway; `0` alone turns the lines off.
    slow_request: Vec<Duration> = "5s,15s,25s" {
        group: Logging, example: "2s,10s", since: "0.1.0",
    }

    /// Show the dashboard at this address as well; may be given several times
    ///
    /// Nothing but the dashboard and the metrics is answered there, to all users of this machine. From
    /// other machines it wants `--admin-token`, too.
    admin_bind: Vec<Address> = "" {
        group: Logging, example: "127.0.0.1:9000", since: "0.1.0", unset: "at `--bind` alone",
    }

    /// Whoever has this token may see the dashboard from elsewhere
    ///
    /// A browser opens `/-/canter?token=TOKEN` once and keeps a cookie; programs send
    /// `Authorization: Bearer TOKEN`. Set it in the environment, where other users do not see it.
    admin_token: Option<Token> = "" {
        group: Logging, example: "a-long-random-word", since: "0.1.0",
        unset: "from elsewhere nobody may",
    }

    /// Tell an OpenTelemetry collector at this address about requests
    ///
    /// Traces and metrics go there by OTLP over HTTP, to `/v1/traces` and `/v1/metrics` below the address:
    /// traces within two seconds, metrics each minute and at the end. A trace is told when it is over:
    /// those that failed, those that took longer than 95 of 100 of their route, and one in
    /// `--otlp-sample`. The app gets `traceparent`, so that what it tells itself belongs to the same trace;
    /// not for pages that are asked for on behalf of several visitors (the page cache).
    /// A collector that is away costs what it does not hear, and nothing else. The site's `service.name` there is
    /// `--name`, or else the app, such as `mysite.wsgi`.
    otlp_endpoint: Option<OtlpEndpoint> = "" {
        group: Logging, example: "http://127.0.0.1:4318", since: "0.1.0", unset: "nobody is told",
    }

    /// Field to send with what the collector is told; may be given several times
    ///
    /// For collectors that want a key. The value is never shown, but a flag can be seen by other users
    /// of the machine: prefer `CANTER_OTLP_HEADER`.
    otlp_header: Vec<OtlpHeader> = "" {
        group: Logging, example: "x-api-key=secret", since: "0.1.0", unset: "none",
    }

    /// One in so many requests is told whatever came of it; 0 for none
    ///
    /// Which ones follows from the number of the trace, so that the parts of a trace agree. What a trusted
    /// proxy has chosen is told as well.
    otlp_sample: u32 = "100" {
        group: Logging, example: "1", since: "0.1.0",
    }

    /// Least important message that is logged
    ///
    /// Messages go to standard error. Gunicorn's `warning` and `critical` are understood.
    log_level: Level = "info" {
        group: Logging, example: "debug", since: "0.1.0", gunicorn: ["loglevel"],
    }

    /// How log messages are written
    ///
    /// `human` is for reading; `json` and `logfmt` are for programs that collect logs.
    log_format: Format = "human" {
        group: Logging, example: "json", since: "0.1.0",
    }

    /// Change to this directory first
    ///
    /// Relative paths in all other options are taken from here but that of `--config`, and modules are
    /// found here. Given as a flag or a variable, the options file of this directory is read, where it
    /// has one.
    chdir: Option<PathBuf> = "" {
        group: Application, example: "/srv/mysite", since: "0.1.0",
        unset: "where `canter` was started", gunicorn: ["chdir"],
    }

    /// Directories to search for modules before the others
    ///
    /// Separate several with commas, or give the option several times.
    pythonpath: Vec<PathBuf> = "" {
        group: Application, example: "/srv/lib", since: "0.1.0",
        unset: "the working directory only", gunicorn: ["pythonpath"],
    }

    /// Set an environment variable for the app; may be given several times
    ///
    /// It is set before the app is imported and wins over one of the same name from outside. In a
    /// file a table is allowed: `env = { LANG = "C.UTF-8" }`. Values never appear in
    /// `canter options`.
    env: Vec<KeyValue> = "" {
        group: Application, example: "DJANGO_SETTINGS_MODULE=mysite.settings", since: "0.1.0",
        short: 'e', unset: "nothing", gunicorn: ["raw_env"],
    }

    /// The Python that runs the app
    ///
    /// Canter uses the Python it was installed for. Name another one, with its own `canter`
    /// package, when that is not the one the app's packages are in.
    python: Option<PathBuf> = "" {
        group: Application, example: "/srv/mysite/.venv/bin/python", since: "0.1.0",
        unset: "the one Canter was installed for",
    }

    /// Start again when a source file changes
    ///
    /// For development. Sources, templates, translations and settings below the working directory and the
    /// folders of `--pythonpath` are watched: `.py`, `.html`, `.jinja`, `.jinja2`, `.mo`, `.toml` and `.env`.
    reload: bool = "false" {
        group: Development, example: "true", since: "0.1.0", gunicorn: ["reload"],
    }

    /// Also watch this file or directory
    ///
    /// Files with other endings, or outside of the project. Of a directory every file counts, also in
    /// the folders below it, but for hidden ones. Has no effect without `--reload`.
    reload_extra_file: Vec<PathBuf> = "" {
        group: Development, example: "mysite/templates", since: "0.1.0", unset: "nothing",
        gunicorn: ["reload_extra_files"],
    }

    /// Load the options and the app, say what is wrong, and exit
    ///
    /// Nothing is listened on. Exit code 0 means that `canter serve` with the same options would
    /// start.
    check_config: bool = "false" {
        group: Development, example: "true", since: "0.1.0", gunicorn: ["check_config"],
        in_file: false,
    }

    /// Read options from this file
    ///
    /// Without it Canter reads `canter.toml` in the directory of `--chdir` or in the current one, or else
    /// the table `[tool.canter]` of `pyproject.toml` there.
    config: Option<PathBuf> = "" {
        group: Running, example: "deploy/canter.toml", since: "0.1.0", short: 'c',
        unset: "`canter.toml` or `pyproject.toml`, if there is one", gunicorn: ["config"],
        in_file: false,
    }

    /// Write the process id of the supervisor to this file
    ///
    /// The file is removed at the end.
    pid: Option<PathBuf> = "" {
        group: Running, example: "/run/canter.pid", since: "0.1.0", short: 'p', unset: "no file",
        gunicorn: ["pidfile"],
    }

    /// Name that `ps` and `top` show for Canter's processes
    ///
    /// Useful when one machine runs several sites; `--otlp-endpoint` is told it, too.
    name: String = "canter" {
        group: Running, example: "mysite", since: "0.1.0", short: 'n', gunicorn: ["proc_name"],
    }

    /// Permission bits that new files do not get
    ///
    /// `027` keeps other users out of what the app writes.
    umask: Option<Mode> = "" {
        group: Running, example: "027", since: "0.1.0", short: 'm', unset: "inherited",
        gunicorn: ["umask"],
    }
}

#[cfg(test)]
mod tests;
