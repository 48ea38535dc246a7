//! The flags of `canter tune`, one row each: the comment of a row is the manual.
//! Leaves reading and printing to the file above.

use super::table::{HTML, JSON, QUIET};
use super::{Flag, Tool, flag, letter};

const TRAFFIC: &[Flag] = &[
    flag(
        "url-list",
        "FILE",
        "Requests from a file, one on a line, as for `canter bench`: `/path`, or `POST /path weight=3 type=application/json body={\"a\": 1}`. Just `/` if nothing is said.",
    ),
    flag(
        "access-log",
        "FILE",
        "Requests of an access log of Canter, nginx or Apache, in its order and mixture; with `--speed` also at its times. Other methods than GET and HEAD are left out.",
    ),
    flag(
        "allow-writes",
        "",
        "Send also requests of a log that change something.",
    ),
    flag(
        "speed",
        "FACTOR",
        "Replay the log at its own times, so many times as fast; each measurement takes the first seconds of it.",
    ),
    letter(
        'H',
        flag(
            "header",
            "NAME:VALUE",
            "A field of every request, such as `Host:www.example.org` where the app asks for one. May be given several times.",
        ),
    ),
    flag(
        "login",
        "PATH",
        "Each user logs in first, as for `canter bench`.",
    ),
    flag(
        "login-data",
        "FIELDS",
        "What is typed into the form, as for `canter bench`: `username=user{n}&password=secret`; `%26` in a value is `&`, `%25` is `%`.",
    ),
    flag(
        "users",
        "COUNT",
        "So many users, each of whom waits for its answer. Left out, users are added to what Canter runs by itself until it answers no more, or `--p95` breaks.",
    ),
    flag(
        "rate",
        "COUNT/s",
        "So many arrivals a second instead, whether or not earlier ones have been answered.",
    ),
    flag(
        "timeout",
        "TIME",
        "The longest wait for an answer; 30s if left out.",
    ),
];

const WALLS: &[Flag] = &[
    flag(
        "memory",
        "SIZE",
        "What all processes of the server may use together, as the kernel counts it (proportional set size); what this machine or its control group has if left out.",
    ),
    flag(
        "db-connections",
        "COUNT",
        "Most connections to databases. Canter's pool keeps to it; a database outside of the pool is counted where it is reached over TCP.",
    ),
    flag(
        "p95",
        "TIME",
        "95 % of the answers have to come within this time.",
    ),
];

const SEARCH: &[Flag] = &[
    flag(
        "time",
        "TIME",
        "How long the search may take, about; 4m if left out. With `--observe` how long it looks; 10s if left out.",
    ),
    flag(
        "window",
        "TIME",
        "How long one measurement is at least; 3s if left out. Slow pages get longer ones.",
    ),
    flag(
        "noise",
        "SHARE",
        "Configurations that give this much less than the best count as equal; 3% if left out.",
    ),
    flag(
        "most-workers",
        "COUNT",
        "Most workers tried; twice the cores and one more if left out.",
    ),
    flag(
        "seed",
        "NUMBER",
        "Where the random order begins; printed, and taken from the clock if left out.",
    ),
];

const REPORT: &[Flag] = &[
    flag(
        "write",
        "FILE",
        "Write the configuration found to this file, which must not be there yet. Printed if left out.",
    ),
    HTML,
    JSON,
    QUIET,
    flag(
        "observe",
        "",
        "Start nothing, send nothing and change nothing: look at a running server for `--time` and say what it could do without, and what it lacks; as text, or with `--json`. The word is then the path of its socket or the HOST:PORT of `--admin-bind`, and may be left out when one server of this user runs.",
    ),
];

/// `canter tune`.
pub const TUNE: Tool = Tool {
    name: "tune",
    usage: "canter tune [MODULE[:APP]] [FLAGS] [-- OPTIONS OF canter serve]",
    about: "Starts the app in different configurations (workers, their threads, preload), loads each, and names \
            the smallest one that is as good as the best, what holds it back, and where it breaks. The app runs \
            with the options of `canter.toml` and of the words behind `--`, on private sockets. Ctrl-C ends it \
            with the report so far.",
    groups: &[
        ("What is asked for", TRAFFIC),
        ("Walls", WALLS),
        ("The search", SEARCH),
        ("Reports", REPORT),
    ],
};
