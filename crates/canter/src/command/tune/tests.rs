//! The command line of `canter tune`, and that what it writes can be read.

use super::*;

fn asked(line: &str) -> Result<Asked, Fault> {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    Asked::read(&TUNE.read(&words)?)
}

#[test]
fn b3_the_words_of_the_issue_are_understood() {
    let asked =
        asked("mysite.wsgi --memory 512MB --db-connections 20 --p95 300ms --seed 4 -- --chdir /x")
            .unwrap();
    assert_eq!(asked.app.as_deref(), Some("mysite.wsgi"));
    assert_eq!(asked.serve, ["--chdir", "/x"]);
    assert_eq!(asked.wish.walls.memory, Some(512_000_000));
    assert_eq!(asked.wish.walls.connections, Some(20));
    assert_eq!(asked.wish.walls.p95, Some(Duration::from_millis(300)));
    assert_eq!((asked.wish.seed, asked.wish.level), (4, None));
}

#[test]
fn an_app_may_be_left_out_and_loads_are_read() {
    let none = asked("-- --chdir /x").unwrap();
    assert_eq!((none.app, none.serve.len()), (None, 2));
    let users = asked("a --users 40").unwrap();
    assert_eq!(
        (users.wish.kind, users.wish.level),
        (Kind::Users, Some(40.0))
    );
    let rate = asked("a --rate 50/s").unwrap();
    assert_eq!((rate.wish.kind, rate.wish.level), (Kind::Rate, Some(50.0)));
}

#[test]
fn wrong_words_are_refused_by_name() {
    for (line, name) in [
        ("a --url-list /nonexistent", "/nonexistent"),
        ("a --rate 5-80:60s", "--rate"),
        ("a --rate 1/s", "too few"),
        ("a --users 1-9", "--users"),
        ("a --memory much", "--memory"),
        ("a --db-connections 0", "--db-connections"),
        ("a --p95 soon", "--p95"),
        ("a --time 1ms", "--time"),
        ("a --noise 9", "--noise"),
    ] {
        let fault = asked(line).err().unwrap();
        assert!(fault.what.contains(name), "{line}: {}", fault.what);
    }
}

#[test]
fn b2_the_file_that_is_written_is_one_that_serve_reads() {
    use canter_tune::measured::Measured;
    use canter_tune::search::{Found, Trial};
    let asked = asked("a --memory 512MB --db-connections 20").unwrap();
    let run = Measured {
        rate: 100.0,
        answers: 300,
        ..Measured::default()
    };
    let setting = Setting {
        preload: false,
        ..Setting::new(3, 24)
    };
    let found = Found {
        trials: vec![Trial {
            setting,
            runs: vec![(1, run)],
            broken: None,
            against_best: None,
        }],
        best: Some(0),
        choice: Some(0),
        ..Found::default()
    };
    let report = Report {
        app: "a",
        requests: "one\nworkers = 99",
        wish: &asked.wish,
        found: &found,
        took: Duration::from_secs(1),
        db_connections: Some(20),
        notes: &[],
    };
    let text = report.file().unwrap();
    let words = [OsString::from("a")];
    let resolved = canter_base::options::resolve(canter_base::options::Inputs {
        args: &words,
        env: &[],
        read_file: &|path| {
            let is_it = path == std::path::Path::new("canter.toml");
            if is_it {
                Ok(text.clone())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        },
        process_id: 0,
    });
    let config = resolved.unwrap().config;
    assert_eq!(
        (config.workers, config.threads, config.db_connections),
        (Some(3), Some(24), Some(20))
    );
    assert_eq!(config.preload, canter_base::options::Preload::Off);
}
