//! Owns what other load testers call what `canter bench` and `canter tune` can do: who types their name is told ours.

/// Names as they are typed, and what says the same here.
const NAMES: &[(&[&str], &str)] = &[
    // oha, wrk, hey, bombardier, h2load, ab, siege; k6, Locust.
    (
        &[
            "-c",
            "--concurrency",
            "--clients",
            "--concurrent",
            "--vus",
            "-u",
        ],
        "`--users COUNT` is how many ask at once",
    ),
    (&["-z", "--run-time", "--time"], "`-d TIME` is how long"),
    (
        &[
            "-R",
            "-r",
            "--qps",
            "--rps",
            "--query-per-second",
            "--reqs-per-sec",
        ],
        "`--rate COUNT/s` sends so many a second, whether or not they are answered",
    ),
    (
        &[
            "--pattern",
            "--stage",
            "--stages",
            "--ramp-up",
            "--spawn-rate",
            "--test-plan",
        ],
        "`--ramp 1-250:60s` are users that become more, `--rate 5-80:60s` arrivals",
    ),
    (&["-m"], "`-X METHOD` is the method"),
    (
        &[
            "-D",
            "-b",
            "--body",
            "--body-file",
            "--post-file",
            "--input",
        ],
        "`--data TEXT` is a body, `--data @FILE` one from a file",
    ),
    (
        &["-C", "--cookie"],
        "`-H 'Cookie: NAME=VALUE'` sends a cookie, `--cookies` keeps those of the site",
    ),
    (
        &["-A", "--user-agent", "-T", "--content-type"],
        "`-H NAME:VALUE` sends any field",
    ),
    (
        &["--disable-keepalive", "--disable-keep-alive", "--close"],
        "`--no-keep-alive` makes a connection for each request",
    ),
    (
        &[
            "-L",
            "--latency",
            "--latency-correction",
            "--u_latency",
            "--co-mitigation",
        ],
        "the report always has latencies from the time each request should have been sent, and the naive ones beside them",
    ),
    (
        &[
            "-f",
            "--file",
            "--targets",
            "--urls-from-file",
            "--request-file",
        ],
        "`--url-list FILE` has the requests, one on a line",
    ),
    (
        &["--replay-speed"],
        "`--speed FACTOR` is how fast `--access-log` is replayed",
    ),
    (
        &[
            "--assert",
            "--threshold",
            "--thresholds",
            "--failure-predicate",
        ],
        "`--fail-if 'p95>400ms'` is a condition that fails the run",
    ),
    (
        &["--baseline", "--save-baseline", "--baseline-file"],
        "`--json FILE` keeps a run, `--compare A B` compares two of them, or two sites in turn",
    ),
    (
        &[
            "-o",
            "--output",
            "--output-format",
            "--format",
            "--report-file",
        ],
        "`--json FILE`, `--csv FILE` and `--html FILE` write reports",
    ),
    (
        &["--unix", "--unixsocket", "--unix-sock"],
        "`--unix-socket PATH` connects to a socket",
    ),
    (
        &["--cookie-jar"],
        "`--cookies` keeps the cookies of each user",
    ),
    (
        &["--redirect", "--redirects", "--location"],
        "`--follow COUNT` follows so many redirects",
    ),
    (
        &["--warm-up", "--warm-up-time", "-W"],
        "`--warmup TIME` is sent before anything is counted",
    ),
];

/// What stands for a name of another program's.
pub(super) fn ours(name: &str) -> Option<&'static str> {
    let found = NAMES.iter().find(|(names, _)| names.contains(&name))?;
    Some(found.1)
}

#[cfg(test)]
mod tests {
    use super::super::{BENCH, TUNE};
    use super::NAMES;
    use std::ffi::OsString;

    #[test]
    fn names_of_other_load_testers_get_ours() {
        for (names, hint) in NAMES {
            for name in *names {
                // Those that are flags here mean what they say here.
                let own = BENCH.flags().any(|flag| {
                    *name == format!("--{}", flag.long)
                        || flag.short.is_some_and(|short| *name == format!("-{short}"))
                });
                let read = BENCH.read(&[OsString::from(name), OsString::from("9")]);
                match read {
                    Err(fault) => {
                        assert_eq!((own, fault.hint.as_deref()), (false, Some(*hint)), "{name}");
                    }
                    Ok(_) => assert!(own, "{name}"),
                }
            }
            let mut flags = hint.split('`').skip(1).step_by(2);
            assert!(
                flags.all(|ours| {
                    let ours = ours.split(' ').next().unwrap_or_default();
                    BENCH.help().contains(ours) || TUNE.help().contains(ours)
                }),
                "{hint}"
            );
        }
    }
}
