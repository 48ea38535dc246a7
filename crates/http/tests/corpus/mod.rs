//! Reads the rows of `corpus/h1`: owns their format, which `corpus/README.md` describes. Playing
//! them is left to the tests.

use std::fs;
use std::path::PathBuf;

/// One row.
#[derive(Debug)]
pub struct Row {
    /// File and name, for messages.
    pub name: String,
    /// What the client sends.
    pub bytes: Vec<u8>,
    /// The answers, such as `200/5` or `400/bare-lf`.
    pub answers: Vec<String>,
    /// `keep`, `close` or `incomplete`.
    pub end: String,
}

/// All rows of all files.
pub fn rows() -> Vec<Row> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/h1");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().flat_map(rows_of).collect()
}

fn rows_of(file: &PathBuf) -> Vec<Row> {
    let text = fs::read_to_string(file).unwrap();
    let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
    let mut rows = Vec::new();
    let mut name = None;
    let mut data = String::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("# ") {
            let (title, _rule) = heading.split_once(" | ").unwrap();
            assert!(
                name.replace(format!("{stem}: {title}")).is_none(),
                "{heading}"
            );
        } else if let Some(expected) = line.strip_prefix("=> ") {
            let mut answers: Vec<String> = expected.split(' ').map(String::from).collect();
            let end = answers.pop().unwrap();
            let bytes = unescape(&std::mem::take(&mut data));
            rows.push(Row {
                name: name.take().unwrap(),
                bytes,
                answers,
                end,
            });
        } else if name.is_some() {
            data.push_str(line);
        }
    }
    assert!(name.is_none(), "{stem} ends inside a row");
    rows
}

/// Turns the escapes of a row into bytes.
fn unescape(text: &str) -> Vec<u8> {
    let mut rest = text.as_bytes();
    let out = unescape_until(&mut rest, None);
    assert!(rest.is_empty());
    out
}

fn unescape_until(rest: &mut &[u8], end: Option<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    while let [byte, after @ ..] = *rest {
        *rest = after;
        if Some(*byte) == end {
            return out;
        }
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        let [escape, after @ ..] = after else {
            panic!("backslash at the end of a row")
        };
        *rest = after;
        match escape {
            b'r' => out.push(b'\r'),
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'\\' => out.push(b'\\'),
            b'x' => {
                let (digits, after) = after.split_at(2);
                out.push(u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap());
                *rest = after;
            }
            b'{' => {
                let star = after.iter().position(|&byte| byte == b'*').unwrap();
                let count: usize = str::from_utf8(&after[..star]).unwrap().parse().unwrap();
                *rest = &after[star + 1..];
                out.extend(unescape_until(rest, Some(b'}')).repeat(count));
            }
            other => panic!("unknown escape \\{}", char::from(*other)),
        }
    }
    assert_eq!(end, None, "unclosed repetition");
    out
}
