//! The flags of `canter bench`, one row each: the comment of a row is the manual.
//! Leaves reading and printing to the file above.

use super::{Flag, Tool, flag, letter};

/// Of every tool with a report.
pub(super) const HTML: Flag = flag(
    "html",
    "FILE",
    "Write the report with charts as one HTML file.",
);
pub(super) const JSON: Flag = flag(
    "json",
    "FILE",
    "Write the report as JSON; `-` is standard output, in place of the text.",
);
pub(super) const QUIET: Flag = letter('q', flag("quiet", "", "Show no progress."));

const LOAD: &[Flag] = &[
    flag(
        "users",
        "COUNT",
        "So many users, each of whom sends its next request when it has the answer to the last; or stages, as for `--ramp`. 10 if nothing else is said.",
    ),
    flag(
        "ramp",
        "FROM-TO:TIME",
        "Users that become more: `1-250:60s` goes from 1 to 250 in a minute; several with commas, `1-50:30s,50:2m`.",
    ),
    flag(
        "rate",
        "COUNT/s",
        "Arrivals that wait for no answer, as visitors do: `100/s`, `5-80:60s`, or stages with commas, `10:30s,50:1m,0:10s`.",
    ),
    letter(
        'd',
        flag(
            "duration",
            "TIME",
            "How long a load without a time of its own lasts; 10s if left out.",
        ),
    ),
    letter(
        'n',
        flag(
            "requests",
            "COUNT",
            "End after so many requests, if that is earlier.",
        ),
    ),
    flag(
        "warmup",
        "TIME",
        "Send so long before anything is counted, at the first level of the load.",
    ),
    flag(
        "think",
        "TIME",
        "What a user waits between an answer and its next request.",
    ),
    flag(
        "random-arrivals",
        "",
        "Let arrivals of `--rate` come at random distances instead of even ones.",
    ),
    flag(
        "connections",
        "COUNT",
        "Most connections of `--rate` and of a replay; 1000 if left out. An arrival that finds none waits for one, and that wait is counted.",
    ),
    flag(
        "slow",
        "SHARE",
        "This share of users is on a bad line: `5%` send their request in two seconds and read 10 KB a second. Their requests are counted apart.",
    ),
];

const REQUESTS: &[Flag] = &[
    letter(
        'X',
        flag(
            "method",
            "METHOD",
            "The method; GET if left out, POST with `--data`.",
        ),
    ),
    letter(
        'H',
        flag(
            "header",
            "NAME:VALUE",
            "A field of every request. May be given several times.",
        ),
    ),
    flag("data", "TEXT", "A body; `@FILE` takes it from a file."),
    flag(
        "url-list",
        "FILE",
        "Requests from a file, one on a line: `/path`, or `POST /path weight=3 type=application/json body={\"a\": 1}`. Without weights all are alike.",
    ),
    flag(
        "access-log",
        "FILE",
        "Replay an access log of Canter (JSON or combined) or of nginx and Apache (combined), each request at its time; with `--users`, `--ramp` or `--rate` only in its order. Other methods than GET and HEAD are left out.",
    ),
    flag(
        "speed",
        "FACTOR",
        "Replay a log so many times as fast as it was recorded; 1 if left out.",
    ),
    flag(
        "allow-writes",
        "",
        "Replay also requests of a log or recording that change something.",
    ),
    flag(
        "har",
        "FILE",
        "Requests recorded by a browser: every user goes through them in order, with its own cookies. Those to other hosts are left out.",
    ),
    flag(
        "login",
        "PATH",
        "Each user logs in first: gets this page, finds the hidden fields of the form in it (Django's token among them), posts it with `--login-data` and every `--header`. The login is not counted.",
    ),
    flag(
        "login-data",
        "FIELDS",
        "What is typed into the form: `username=user{n}&password=secret`; `{n}` becomes the number of the user, and `%26` in a value is `&`, `%25` is `%`, as in a URL.",
    ),
    flag(
        "cookies",
        "",
        "Users keep cookies. They do with `--login` and `--har`.",
    ),
    flag(
        "follow",
        "COUNT",
        "Follow so many redirects on the same site, with the method and the body where the status keeps them (307, 308); the request ends with the last answer. None if left out.",
    ),
];

const CONNECTION: &[Flag] = &[
    flag(
        "timeout",
        "TIME",
        "The longest wait for a whole answer, from the time the request should have been sent; 30s if left out, as the routers of hosting platforms have it. Time-outs are counted apart.",
    ),
    flag("no-keep-alive", "", "A new connection for each request."),
    flag(
        "http2",
        "",
        "Speak HTTP/2, one request at a time on the connection of each user; with `http://` from the first byte.",
    ),
    flag(
        "unix-socket",
        "PATH",
        "Connect to a unix socket; the URL says what is asked there.",
    ),
    letter(
        'k',
        flag(
            "insecure",
            "",
            "Believe any certificate. On a loopback address any is believed.",
        ),
    ),
    flag(
        "cacert",
        "FILE",
        "Believe what the authorities in this PEM file have signed.",
    ),
    flag(
        "max-body",
        "SIZE",
        "Longest body taken; a longer one is an error. 64MB if left out.",
    ),
    letter(
        't',
        flag(
            "threads",
            "COUNT",
            "Threads that send; 1 if left out, which is more than most servers can answer.",
        ),
    ),
    flag(
        "seed",
        "NUMBER",
        "Where random numbers begin; the same seed gives the same choices.",
    ),
];

const REPORT: &[Flag] = &[
    HTML,
    JSON,
    flag("csv", "FILE", "Write what happened over time as CSV."),
    flag("junit", "FILE", "Write the conditions as JUnit XML."),
    flag(
        "sarif",
        "FILE",
        "Write the conditions that are true as SARIF, for code hosts.",
    ),
    flag(
        "inside",
        "URL",
        "Where the server tells about itself: the URL of a JSON object on this machine, asked each second; the report says what it says held it back. Read are `now.queued`, `now.running` and `pool.waiting` at their highest, and what was counted between the first answer and the last: the times `total.phases_ms` with their names in `phases`, and `findings` with `requests` of their `routes`, and `statements` with `total_ms`, `calls` and `places`; of `running` the `sql`, for the first time-out. A Canter of this user on this machine is found and asked if left out; `off` asks nobody.",
    ),
    QUIET,
];

const VERDICT: &[Flag] = &[
    flag(
        "fail-if",
        "CONDITION",
        "Exit code 8 when it is true: `p95>400ms` (also `p99.9`), `max>2s`, `errors>1%`, `timeouts>0`, `rate<100/s`. May be given several times. When the generator was the limit there is no verdict, and the exit code is 8 as well; without a condition nothing is judged, and it is 0.",
    ),
    flag(
        "abort-on-fail",
        "",
        "End the run as soon as a condition of latency, errors or time-outs is true, but not before `--after`.",
    ),
    flag(
        "after",
        "TIME",
        "How long `--abort-on-fail` waits; 10s if left out.",
    ),
    flag(
        "compare",
        "OTHER",
        "Compare with another URL, asked in turn with the first, round after round; or compare two JSON reports of the same scenario. Says better, worse, no difference, or mixed; exit code 8 where anything is worse.",
    ),
    flag(
        "rounds",
        "COUNT",
        "Pairs of runs of `--compare`; 8 if left out.",
    ),
    flag(
        "noise",
        "SHARE",
        "Differences below this are none; 2% if left out.",
    ),
    flag(
        "i-own-this-host",
        "",
        "Load a host that is not this machine. Without it the host has to answer a challenge: start its server with `--bench-token`, and give the same here.",
    ),
    flag(
        "token",
        "TOKEN",
        "The token for the challenge; the variable `CANTER_BENCH_TOKEN` if left out.",
    ),
];

/// `canter bench`.
pub const BENCH: Tool = Tool {
    name: "bench",
    usage: "canter bench [URL] [FLAGS]",
    about: "Loads a site and says what it took: how many requests, how fast, and where it broke. URL is \
            http://127.0.0.1:8000/ if left out. Latencies are measured from the time each request should \
            have been sent. Only this machine is loaded, or a host that has agreed. Ctrl-C pauses \
            it on a terminal and ends it elsewhere, with the report so far.",
    groups: &[
        ("How much", LOAD),
        ("What is asked for", REQUESTS),
        ("Connections", CONNECTION),
        ("Reports", REPORT),
        ("Verdict", VERDICT),
    ],
};
