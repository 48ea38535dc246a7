//! Resolving from outside: rows of layers in, values, origins and faults out.

use std::io;
use std::time::Duration;

use super::*;
use crate::Exit;
use crate::options::{Address, Host, KeyValue, Preload, Size, report_json, report_text};

/// What the layers hold in one case.
#[derive(Default)]
struct Case<'a> {
    args: &'a str,
    env: &'a [(&'a str, &'a str)],
    files: &'a [(&'a str, &'a str)],
}

impl Case<'_> {
    fn resolve(&self) -> Result<Resolved, Fault> {
        // Lines are words that may hold spaces.
        let lines = self.args.contains('\n');
        let between = |c: char| c == '\n' || (!lines && c.is_whitespace());
        let words = self.args.split(between).filter(|word| !word.is_empty());
        let args: Vec<OsString> = words.map(Into::into).collect();
        let env: Vec<(OsString, OsString)> = self
            .env
            .iter()
            .map(|(name, text)| (name.into(), text.into()))
            .collect();
        let read_file = |path: &std::path::Path| {
            let found = self
                .files
                .iter()
                .find(|(name, _)| path == std::path::Path::new(name));
            match found {
                Some((_, "<denied>")) => Err(io::ErrorKind::PermissionDenied.into()),
                Some((_, text)) => Ok((*text).to_owned()),
                None => Err(io::ErrorKind::NotFound.into()),
            }
        };
        resolve(Inputs {
            args: &args,
            env: &env,
            read_file: &read_file,
            process_id: 42,
        })
    }

    fn shown(&self, name: &str) -> (String, String) {
        let resolved = self
            .resolve()
            .unwrap_or_else(|fault| panic!("{}", fault.render(false)));
        let chosen = resolved
            .chosen
            .iter()
            .find(|chosen| chosen.row.name() == name)
            .unwrap();
        (chosen.shown.join(","), chosen.origin.to_string())
    }
}

fn flags(args: &str) -> Case<'_> {
    Case {
        args,
        ..Case::default()
    }
}

fn env<'a>(env: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case {
        env,
        ..Case::default()
    }
}

fn files<'a>(files: &'a [(&'a str, &'a str)]) -> Case<'a> {
    Case {
        files,
        ..Case::default()
    }
}

/// The fault as printed, with its code.
fn fault(case: &Case<'_>) -> (String, u8) {
    let fault = case.resolve().map(|resolved| resolved.config).unwrap_err();
    (fault.render(false), fault.exit.code())
}

#[test]
fn the_strongest_layer_wins_and_is_remembered() {
    let file = [("canter.toml", "# size\nworkers = 5\n")];
    let both = [("CANTER_WORKERS", "4"), ("WEB_CONCURRENCY", "3")];
    for (case, value, origin) in [
        (
            Case {
                args: "-w 7",
                env: &both,
                files: &file,
            },
            "7",
            "flag `-w`",
        ),
        (
            Case {
                args: "",
                env: &both,
                files: &file,
            },
            "4",
            "environment variable `CANTER_WORKERS`",
        ),
        (
            Case {
                args: "",
                env: &both[1..],
                files: &file,
            },
            "3",
            "environment variable `WEB_CONCURRENCY`",
        ),
        (
            Case {
                args: "",
                env: &[],
                files: &file,
            },
            "5",
            "canter.toml:2, key `workers`",
        ),
        (Case::default(), "", "default"),
    ] {
        assert_eq!(case.shown("workers"), (value.into(), origin.into()));
    }
}

#[test]
fn flags_are_read_in_every_common_spelling() {
    for (args, name, value) in [
        ("--workers=3", "workers", "3"),
        ("--workers 3", "workers", "3"),
        ("-w3", "workers", "3"),
        ("-w 2 -w 3", "workers", "3"),
        ("-b :1 -b unix:/x,:2", "bind", ":1,unix:/x,:2"),
        (
            "--limit-request-field_size 99",
            "limit-request-field-size",
            "99",
        ),
        ("--keepalive 5", "keep-alive", "5s"),
        ("--reload", "reload", "true"),
        ("--no-reload", "reload", "false"),
        ("--reload=no", "reload", "false"),
        ("--preload mysite.wsgi", "preload", "on"),
        ("--preload=off mysite.wsgi", "preload", "off"),
        ("--no-preload", "preload", "off"),
        ("--no-access-log", "access-logfile", "none"),
        ("--threads 0", "threads", ""),
        ("--log-level WARNING", "log-level", "warn"),
    ] {
        assert_eq!(flags(args).shown(name).0, value, "{args}");
    }
    let config = flags("--preload mysite.wsgi:app").resolve().unwrap().config;
    assert_eq!(config.app.unwrap().to_string(), "mysite.wsgi:app");
    assert_eq!(config.preload, Preload::On);
}

#[test]
fn platform_variables_mean_what_they_mean_there() {
    let heroku = env(&[
        ("PORT", "5000"),
        ("DYNO", "web.1"),
        ("FORWARDED_ALLOW_IPS", "*"),
        ("WEB_CONCURRENCY", "2"),
        ("DATABASE_URL", "postgres://u:secret@h/d"),
        ("REDIS_URL", ""),
        ("GUNICORN_CMD_ARGS", "--access-logfile - --workers 9"),
    ]);
    let resolved = heroku.resolve().unwrap();
    let config = &resolved.config;
    assert_eq!(
        config.bind,
        [Address::Tcp {
            host: Host::Any,
            port: 5000
        }]
    );
    assert_eq!(
        (config.workers, config.forwarded_allow_ips.len()),
        (Some(2), 1)
    );
    assert_eq!(config.keep_alive, Duration::from_secs(95));
    assert_eq!(config.graceful_timeout, Duration::from_secs(25));
    assert_eq!(resolved.platform.redis_url, None);
    assert!(resolved.platform.database_url.is_some());
    assert_eq!(
        config.database_url.as_ref().map(|url| url.0.as_str()),
        Some("postgresql://u:secret@h/d")
    );
    assert_eq!(resolved.notices.len(), 1, "{:?}", resolved.notices);
    for report in [report_text(&resolved), report_json(&resolved)] {
        assert!(!report.contains("secret") && report.contains("GUNICORN_CMD_ARGS"));
    }
    // What Heroku itself sets asks for nothing.
    let quiet = env(&[("GUNICORN_CMD_ARGS", "--access-logfile -")]).resolve();
    assert!(quiet.unwrap().notices.is_empty());
}

#[test]
fn what_a_person_wrote_beats_a_default_of_the_platform() {
    let dyno = [("DYNO", "web.1")];
    let file = [("canter.toml", "keep-alive = 5")];
    let case = Case {
        args: "",
        env: &dyno,
        files: &file,
    };
    assert_eq!(case.shown("keep-alive").0, "5s");
    assert_eq!(
        env(&dyno).shown("keep-alive"),
        ("95s".into(), "platform heroku".into())
    );
}

#[test]
fn a_platform_variable_that_beats_the_file_is_told() {
    let case = Case {
        args: "",
        env: &[("WEB_CONCURRENCY", "2")],
        files: &[("canter.toml", "workers = 3")],
    };
    let notices = case.resolve().unwrap().notices;
    assert_eq!(
        notices,
        [
            "`workers` comes from environment variable `WEB_CONCURRENCY`, which beats canter.toml:1, \
          key `workers`; a flag or `CANTER_WORKERS` would beat both"
        ]
    );
}

#[test]
fn sockets_from_systemd_are_taken_when_they_are_for_this_process() {
    for (pid, args, value) in [
        ("42", "", "fd://3,fd://4"),
        ("43", "", "127.0.0.1:8000"),
        ("42", "-b :1", ":1"),
    ] {
        let env = [("LISTEN_FDS", "2"), ("LISTEN_PID", pid)];
        let case = Case {
            args,
            env: &env,
            files: &[],
        };
        assert_eq!(case.shown("bind").0, value);
        assert_eq!(
            case.resolve().unwrap().notices.len(),
            usize::from(!args.is_empty())
        );
    }
    let too_many = env(&[("LISTEN_FDS", "4294967295"), ("LISTEN_PID", "42")]);
    assert_eq!(fault(&too_many).1, 2);
}

#[test]
fn toml_values_of_every_kind_are_understood() {
    let toml = "
        bind = ['127.0.0.1:1', 'unix:/x']
        workers = 1_0
        timeout = 1.5
        keep_alive = '2m'
        umask = 0o027
        preload = true
        reload = true
        max-body = 5000
        pythonpath = 'a,b'
        env = { LANG = 'C', COUNT = 3 }
    ";
    let config = files(&[("canter.toml", toml)]).resolve().unwrap().config;
    assert_eq!((config.bind.len(), config.workers), (2, Some(10)));
    assert_eq!(config.timeout, Duration::from_millis(1500));
    assert_eq!(config.umask.unwrap().0, 0o27);
    assert_eq!((config.preload, config.reload), (Preload::On, true));
    assert_eq!((config.max_body, config.pythonpath.len()), (Size(5000), 2));
    let pair = |key: &str, value: &str| KeyValue {
        key: key.into(),
        value: value.into(),
    };
    assert_eq!(config.env, [pair("COUNT", "3"), pair("LANG", "C")]);
}

#[test]
fn the_file_is_found_by_its_rules() {
    let own = ("canter.toml", "workers = 2");
    let project = (
        "pyproject.toml",
        "[project]\nname = 'x'\n[tool.canter]\nworkers = 3",
    );
    let other = ("etc/x.toml", "workers = 4");
    for (case, value, notices) in [
        (files(&[own, project]), "2", 1),
        (files(&[project]), "3", 0),
        (files(&[("pyproject.toml", "[tool.canter]\n"), own]), "2", 1),
        (
            files(&[("pyproject.toml", "[project]\nname = 'canter'"), own]),
            "2",
            0,
        ),
        (files(&[("pyproject.toml", "broken =")]), "", 0),
        (
            Case {
                args: "--config etc/x.toml",
                env: &[],
                files: &[own, other],
            },
            "4",
            0,
        ),
        (
            Case {
                args: "",
                env: &[("CANTER_CONFIG", "etc/x.toml")],
                files: &[own, other],
            },
            "4",
            0,
        ),
        (
            Case {
                args: "-c pyproject.toml",
                env: &[],
                files: &[own, project],
            },
            "3",
            0,
        ),
    ] {
        assert_eq!(case.shown("workers").0, value);
        assert_eq!(case.resolve().unwrap().notices.len(), notices);
    }
}

#[test]
fn every_example_on_the_reference_page_is_accepted_in_every_layer() {
    for row in ROWS {
        let example = crate::options::layer::file::toml_example(row);
        let toml = [("canter.toml", example.as_str())];
        assert_eq!(files(&toml).resolve().is_ok(), row.in_file, "{example}");
        // The file that the example of `config` names.
        let there = [("deploy/canter.toml", "")];
        let flag = format!("--{}={}\n", row.name(), row.example);
        let case = Case {
            args: &flag,
            env: &[],
            files: &there,
        };
        assert!(case.resolve().is_ok(), "{flag}");
        let variable = row.variable();
        let set = [(variable.as_str(), row.example)];
        assert!(
            Case {
                args: "",
                env: &set,
                files: &there
            }
            .resolve()
            .is_ok(),
            "{variable}"
        );
    }
}

#[test]
fn a_fault_names_the_layer_the_value_and_the_nearest_right_name() {
    let toml = |text| [("canter.toml", text)];
    for (case, expected) in [
        (
            env(&[("CANTER_WROKERS", "3")]),
            "canter: no option is called `CANTER_WROKERS`\n  from: environment variable \
             `CANTER_WROKERS`\n  hint: did you mean `CANTER_WORKERS`?\n",
        ),
        (
            env(&[("CANTER_KEEPALIVE", "3")]),
            "canter: no option is called `CANTER_KEEPALIVE`\n  from: environment variable \
             `CANTER_KEEPALIVE`\n  hint: did you mean `CANTER_KEEP_ALIVE`?\n",
        ),
        (
            flags("--wrokers 3"),
            "canter: unknown option `--wrokers`\n  from: command line\n  hint: did you mean \
             `--workers`?\n",
        ),
        (
            files(&toml("a = 1")),
            "canter: no option is called `a`\n  from: canter.toml:1, key `a`\n  hint: `canter \
             options` lists every option\n",
        ),
        (
            files(&toml("\n\nwrokers = 1")),
            "canter: no option is called `wrokers`\n  from: canter.toml:3, key `wrokers`\n  hint: \
             did you mean `workers`?\n",
        ),
        (
            flags("--max-body 12QB"),
            "canter: invalid value `12QB` for `max-body`: expected a size such as `64MB`, `512KiB` \
             or `8190` (bytes)\n  from: flag `--max-body`\n",
        ),
        (
            env(&[("PORT", "8O00")]),
            "canter: invalid value `8O00` for `PORT`: expected a port number\n  from: environment \
             variable `PORT`\n",
        ),
        (
            env(&[("WEB_CONCURRENCY", "two")]),
            "canter: invalid value `two` for `workers`: expected a whole number such as `4`\n  \
             from: environment variable `WEB_CONCURRENCY`\n",
        ),
        (
            files(&toml("workers = [1]")),
            "canter: `workers` does not take a TOML array\n  from: \
             canter.toml:1, key `workers`\n  hint: for example `workers = 3`\n",
        ),
        (
            flags("-k gevent"),
            "canter: invalid value `gevent` for `worker-class`: not available yet\n  from: flag \
             `-k`\n  hint: leave the option out: Canter runs as many waiting requests at once as \
             gevent would, in threads, without patching the app\n",
        ),
        (
            flags("--statsd-host x:1"),
            "canter: Gunicorn's `--statsd-host` is not available in Canter\n  from: flag \
             `--statsd-host`\n  hint: let Prometheus read `/-/canter/metrics`, or send them with \
             `--otlp-endpoint`\n",
        ),
        (
            Case {
                args: "--threads 2",
                env: &[("CANTER_THREADS_MIN", "3")],
                files: &[],
            },
            "canter: `threads-min` is larger than `threads`\n  from: environment variable \
             `CANTER_THREADS_MIN`, flag `--threads`\n",
        ),
    ] {
        assert_eq!(fault(&case), (expected.to_owned(), Exit::Usage.code()));
    }
}

#[test]
fn a_bad_value_stops_the_start_even_when_a_stronger_layer_has_a_good_one() {
    let case = Case {
        args: "-w 3",
        env: &[("CANTER_WORKERS", "4")],
        files: &[("canter.toml", "workers = 'many'")],
    };
    assert!(
        fault(&case)
            .0
            .contains("from: canter.toml:1, key `workers`")
    );
}

#[test]
fn other_wrong_input_is_refused_with_its_place() {
    for (case, part) in [
        (flags("--workers"), "`--workers` needs a value"),
        (flags("--no-workers"), "unknown option `--no-workers`"),
        (flags("-z"), "unknown option `-z`"),
        (flags("a.wsgi b.wsgi"), "named: `a.wsgi` and `b.wsgi`"),
        (flags("a.wsgi 8001"), "`--bind 127.0.0.1:8001`"),
        (flags("--port 8001 a.wsgi"), "address and port are one"),
        (flags("a.asgi"), "cannot serve `a.asgi`"),
        (
            flags("--workers 2000"),
            "`workers` is 2000, but must be from 1 to 1024",
        ),
        (flags("--cache-size 5"), "from: flag `--cache-size`"),
        (flags("-b :1 -b :1"), "names the same address twice"),
        (flags("--limit-request-line 0"), "no limit in Gunicorn"),
        (
            flags("--limit-request-header 4KiB"),
            "from: flag `--limit-request-header`",
        ),
        (flags("--graceful-timeout 2h"), "more than an hour"),
        (
            flags("--ciphers x"),
            "Gunicorn's `--ciphers` is not available",
        ),
        (
            flags("--log-file x.log"),
            "Gunicorn's `--log-file` is not available",
        ),
        (flags("-D"), "Gunicorn's `-D` is not available"),
        (env(&[("CANTER_BIND", "")]), "`bind` is empty"),
        (
            env(&[("CANTER_TIMEOUT", "")]),
            "invalid value `` for `timeout`",
        ),
        (
            env(&[("CANTER_CIPHERS", "x")]),
            "Gunicorn's `CANTER_CIPHERS`",
        ),
        (
            files(&[("canter.toml", "config = 'x'")]),
            "`config` cannot be set in a file",
        ),
        (
            files(&[("canter.toml", "workers = ")]),
            "`canter.toml` is not TOML",
        ),
        (
            files(&[("canter.toml", "keepalive = 1\nkeep-alive = 2")]),
            "set twice under two names",
        ),
        (
            files(&[("pyproject.toml", "[tool]\ncanter = 3")]),
            "`tool.canter` is not a table",
        ),
        (
            flags("-c pyproject.toml"),
            "cannot read `pyproject.toml`: it does not exist",
        ),
        (
            Case {
                args: "-c pyproject.toml",
                env: &[],
                files: &[("pyproject.toml", "")],
            },
            "has no table `[tool.canter]`",
        ),
        (flags("-c gunicorn.conf.py"), "it is Python"),
    ] {
        let (text, _) = fault(&case);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_read_has_an_exit_code_of_its_own() {
    for case in [
        files(&[("canter.toml", "<denied>")]),
        flags("-c missing.toml"),
    ] {
        assert_eq!(fault(&case).1, Exit::File.code());
    }
}

#[test]
fn gunicorn_habits_that_need_nothing_are_accepted_with_a_word() {
    for args in [
        "-k gthread",
        "--log-file -",
        "--max-requests-jitter 5",
        "-p 8001",
        "--worker-tmp-dir /dev/shm",
    ] {
        assert_eq!(flags(args).resolve().unwrap().notices.len(), 1, "{args}");
    }
}

#[test]
fn the_json_report_lists_every_option_with_its_layer() {
    let resolved = flags("-w 3 mysite.wsgi -e KEY=hidden").resolve().unwrap();
    let json = report_json(&resolved);
    assert!(json.starts_with("{\"app\":\"mysite.wsgi\""));
    assert!(json.contains(
        "{\"name\":\"workers\",\"values\":[\"3\"],\"layer\":\"flag\",\"origin\":\"flag `-w`\"}"
    ));
    assert!(!json.contains("hidden"));
    assert_eq!(json.matches("\"layer\":").count(), ROWS.len());
}

#[test]
fn a_database_of_another_kind_is_the_apps_own_business() {
    let resolved = env(&[("DATABASE_URL", "mysql://u:secret@h/d")]);
    assert_eq!(resolved.resolve().unwrap().config.database_url, None);
    let fault = flags("--database-url=mysql://u:secret@h/d").resolve();
    let text = fault.unwrap_err().render(false);
    assert!(
        text.contains("mysql://u:…@h/d") && !text.contains("secret"),
        "{text}"
    );
}

#[test]
fn a_door_that_lets_strangers_in_is_refused() {
    for (line, fine) in [
        ("--db-auth trust --bind-postgres 127.0.0.1:6432", true),
        ("--db-auth trust --bind-postgres unix:/run/x", true),
        ("--db-auth trust --bind-postgres :6432", false),
        ("--db-auth trust --bind-postgres 10.0.0.1:6432", false),
        ("--bind-postgres :6432", true),
        ("--db-auth cert --bind-postgres :6432", false),
        ("--bind-postgres 127.0.0.1:8000", false),
        ("--bind-postgres fd://3", true),
        ("--db-connections 5 --db-pin-limit 6", false),
        ("--db-wait-timeout 0", false),
    ] {
        assert_eq!(flags(line).resolve().is_ok(), fine, "{line}");
    }
}
