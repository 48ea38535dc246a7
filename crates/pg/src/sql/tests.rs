//! The rows of `corpus/sql`, whole, cut at each byte and mutated; and how fast it goes.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use super::{Begin, Change, Flags, Isolation, Route, Seen, Verb, is_plain_read, scan};

struct Row {
    place: String,
    want: String,
    text: Vec<u8>,
    conforming: bool,
}

fn rows() -> Vec<Row> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/sql");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("{name}:{}", number + 1);
            let (want, text) = line.split_once("=> ").expect(&place);
            let mut words: Vec<_> = want.split_whitespace().collect();
            let before = words.len();
            words.retain(|word| *word != "scs-off");
            rows.push(Row {
                conforming: words.len() == before,
                want: words.join(" "),
                text: unescape(text),
                place,
            });
        }
    }
    rows
}

/// `\n`, `\r`, `\t`, `\\` and `\xff`.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other.unwrap(),
        });
    }
    out
}

/// What was seen, in the words of a row: sorted, and with the defaults left out.
fn words(seen: &Seen, with_verbs: bool) -> Vec<String> {
    let mut words = Vec::new();
    for (name, flag) in Flags::NAMED {
        if seen.flags.has(*flag) {
            words.push((*name).to_owned());
        }
    }
    if seen.statements != 1 {
        words.push(seen.statements.to_string());
    }
    match seen.route {
        Route::Primary => {}
        Route::Read => words.push("read".into()),
        Route::ReadCalling => words.push("read-calling".into()),
        Route::BeginReadOnly => words.push("begin-read-only".into()),
    }
    for setting in &seen.settings {
        let change = if setting.change == Change::Set {
            "set"
        } else {
            "reset"
        };
        words.push(format!("{change}:{}", setting.name));
    }
    if let Some(name) = &seen.prepared {
        words.push(format!("name:{name}"));
    }
    if let Some(begin) = seen.begin {
        words.push(format!("begin:{}", options(begin)));
    }
    if with_verbs {
        let verbs: Vec<_> = seen
            .verbs
            .as_slice()
            .iter()
            .map(|verb| format!("{verb:?}"))
            .collect();
        words.push(format!("verbs:{}", verbs.join(",").to_lowercase()));
    }
    words.sort();
    words
}

fn options(begin: Begin) -> String {
    let isolation = begin.isolation.map(|isolation| match isolation {
        Isolation::ReadUncommitted => "read-uncommitted",
        Isolation::ReadCommitted => "read-committed",
        Isolation::RepeatableRead => "repeatable-read",
        Isolation::Serializable => "serializable",
    });
    let access = begin
        .read_only
        .map(|only| if only { "read-only" } else { "read-write" });
    let deferrable = begin
        .deferrable
        .map(|yes| if yes { "deferrable" } else { "not-deferrable" });
    let options: Vec<_> = [isolation, access, deferrable]
        .into_iter()
        .flatten()
        .collect();
    options.join(",")
}

#[test]
fn what_is_taken_for_a_plain_read_is_one_to_the_scanner_too() {
    let mut plain = 0;
    for row in rows() {
        let seen = scan(&row.text, row.conforming);
        // What is not sure has no end of a quote or a comment: no server runs it.
        if !is_plain_read(&row.text) || seen.flags.any(Flags::UNSURE) {
            continue;
        }
        // What a backslash means matters where something may follow the string.
        let flags = seen.flags.without(Flags::BACKSLASH);
        assert!(flags.is_empty(), "{}: {flags:?}", row.place);
        assert!(
            seen.settings.is_empty() && seen.statements <= 1,
            "{}",
            row.place
        );
        plain += 1;
    }
    assert!(plain > 20, "{plain}");
    for text in [
        "",
        "SELECT",
        "SELECT(1)",
        "selectx",
        "select 1 into t",
        "SELECT 1; SET x = 1",
    ] {
        assert!(!is_plain_read(text.as_bytes()), "{text}");
    }
    assert!(is_plain_read(b"sElect a from b where c = 'x';"));
}

#[test]
fn every_row_of_the_corpus_is_seen_as_it_says() {
    let mut failures = String::new();
    let rows = rows();
    for row in &rows {
        let mut want: Vec<_> = row
            .want
            .split(' ')
            .filter(|word| !matches!(*word, "" | "NONE" | "primary"))
            .map(str::to_owned)
            .collect();
        want.sort();
        let seen = scan(&row.text, row.conforming);
        let got = words(&seen, row.want.contains("verbs:"));
        if got != want {
            let _ = writeln!(failures, "{}\n  want {want:?}\n  got  {got:?}", row.place);
        }
    }
    assert!(rows.len() > 250, "{} rows", rows.len());
    assert!(failures.is_empty(), "\n{failures}");
}

/// What must hold for any bytes.
fn check(text: &[u8]) {
    for conforming in [true, false] {
        let seen = scan(text, conforming);
        assert_eq!(seen.statements == 0, seen.verbs.first().is_none());
        assert!(seen.settings.len() <= Seen::SETTINGS_MOST);
        if seen.flags.any(Flags::UNSURE) {
            assert!(seen.flags.has(Flags::ANYTHING), "{seen:?}");
            assert_eq!(seen.route, Route::Primary);
            continue;
        }
        assert_eq!(seen.settings.is_empty(), !seen.flags.any(Flags::SETTINGS));
        let mut longer = text.to_vec();
        longer.extend_from_slice(b"\n; SET zz.zz = 1 ; NOTIFY zz");
        let more = scan(&longer, conforming);
        let found = more
            .settings
            .iter()
            .any(|setting| &*setting.name == "zz.zz");
        assert_eq!(
            more.statements,
            seen.statements + 2,
            "{}",
            text.escape_ascii()
        );
        assert!(
            found || more.flags.any(Flags::SETTINGS_UNKNOWN),
            "{}",
            text.escape_ascii()
        );
        assert!(
            more.flags.has(seen.flags | Flags::NOTIFY),
            "{}",
            text.escape_ascii()
        );
    }
    let quoted = [b"SELECT $zz$", text, b"$zz$"].concat();
    if memchr::memmem::find(text, b"$zz$").is_none() && text.last() != Some(&b'$') {
        assert_eq!(
            scan(&quoted, true).route,
            Route::Read,
            "{}",
            text.escape_ascii()
        );
    }
}

#[test]
fn any_cut_of_a_row_is_read_without_harm() {
    for row in rows() {
        for end in 0..=row.text.len() {
            check(&row.text[..end]);
        }
    }
}

#[test]
fn mutations_of_rows_are_read_without_harm() {
    let rows = rows();
    let mut random = Random(0x5eed_0001);
    for _ in 0..40_000 {
        let mut text = rows[random.below(rows.len())].text.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(text.len() + 1);
            match random.below(4) {
                0 if at < text.len() => text[at] ^= 1 << random.below(8),
                1 if at < text.len() => drop(text.remove(at)),
                2 => {
                    let piece = PIECES[random.below(PIECES.len())];
                    text.splice(at..at, piece.bytes());
                }
                _ => {
                    let other = &rows[random.below(rows.len())].text;
                    let from = random.below(other.len() + 1);
                    text.splice(at..at, other[from..].iter().copied());
                }
            }
        }
        check(&text);
    }
}

const PIECES: [&str; 27] = [
    "'",
    "\"",
    "''",
    "E'",
    "U&'",
    "U&\"",
    "$",
    "$$",
    "$q$",
    "/*",
    "*/",
    "--",
    "\n",
    ";",
    "(",
    ")",
    "\\",
    ".",
    ",",
    "::",
    " AS ",
    " end ",
    " case ",
    "begin atomic ",
    "set_config(",
    "\u{e9}",
    "u&",
];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

#[test]
fn a_hostile_text_takes_time_in_proportion_to_its_length() {
    // Look-aheads within look-aheads: quadratic ones would not end in our lifetime.
    for piece in [
        "set_config(",
        "(",
        "SET a.",
        "/*",
        "BEGIN READ ",
        "$a",
        "E'a'\n",
        "u&\"",
        "::",
        "'a'--",
    ] {
        let text = piece.repeat(4 * 1024 * 1024 / piece.len());
        scan(text.as_bytes(), true);
    }
}

#[test]
fn flags_print_by_name() {
    let flags = Flags::SETTINGS | Flags::TEMP;
    assert_eq!(format!("{flags:?}"), "{SETTINGS, TEMP}");
    assert_eq!(flags.without(Flags::TEMP), Flags::SETTINGS);
    assert_eq!(flags.only(Flags::ASKABLE), Flags::TEMP);
    assert!(Flags::NONE.is_empty() && !flags.is_empty());
    assert_eq!(scan(b"select 1", true).verbs.first(), Some(Verb::Select));
}

/// `cargo test -p canter-pg --release -- --ignored --nocapture speed_of_the_scanner`
#[test]
#[ignore = "a measurement"]
fn speed_of_the_scanner() {
    let rows = rows();
    let all: usize = rows.iter().map(|row| row.text.len()).sum();
    let wide = format!(
        "SELECT {} FROM \"app_model\" WHERE \"app_model\".\"name\" = 'some text' LIMIT 21",
        (0..22)
            .map(|n| format!("\"app_model\".\"column_{n}\""))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let short = "SELECT abalance FROM pgbench_accounts WHERE aid = 88422;";
    let json = format!(
        "INSERT INTO t (d) VALUES ('{}')",
        "{\"a\": [1, 2, 3]}, ".repeat(500)
    );
    let texts = [
        ("Django, 22 columns", wide.as_str()),
        ("pgbench -S", short),
        ("9 KB string", &json),
    ];
    for (name, text) in texts {
        let ns = time(|| drop(std::hint::black_box(scan(text.as_bytes(), true))));
        let per_kb = ns * 1024.0 / text.len() as f64;
        println!(
            "{name}: {} bytes, {ns:.0} ns, {per_kb:.0} ns per KB",
            text.len()
        );
    }
    let ns = time(|| {
        for row in &rows {
            std::hint::black_box(scan(&row.text, row.conforming));
        }
    });
    println!(
        "the corpus: {all} bytes, {:.0} ns per KB",
        ns * 1024.0 / all as f64
    );
}

/// The best of many short runs, in nanoseconds for one call: other work on the machine drops out.
fn time(mut call: impl FnMut()) -> f64 {
    (0..400)
        .map(|_| {
            let start = std::time::Instant::now();
            let mut calls = 0_u32;
            while start.elapsed().as_micros() < 400 {
                call();
                calls += 1;
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .fold(f64::MAX, f64::min)
}
