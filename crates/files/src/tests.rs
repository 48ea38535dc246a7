//! Requests against folders on disk: what is answered, with which fields.

use std::fs::{File, FileTimes};
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use canter_http::{HeadDecoder, Limits};

use super::*;

struct Place {
    path: PathBuf,
    files: Files,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A folder with `files` at `/static/`, all changed in the year 2001, and more lines of a site.
fn place(name: &str, kind: &str, files: &[(&str, &str)], lines: &str) -> Place {
    let path = std::env::temp_dir().join(format!("canter-files-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    for (name, content) in files {
        write(&path.join(name), content, 1_000_000_000);
    }
    let place = Place {
        files: Files::new(Vec::new(), Pointers::default(), true),
        path,
    };
    let url = if kind == "root" { "/" } else { "/static/" };
    let text = format!("{kind}\t{url}\t{}\nfresh\t1\n{lines}", place.path.display());
    place.files.set_site(Site::read(&text));
    place
}

fn write(path: &std::path::Path, content: &str, modified: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(modified));
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

/// The status, the fields and the content; None when the app is asked.
struct Got {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

fn ask(files: &Files, line: &str, fields: &str) -> Option<Got> {
    let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut head = Head::new();
    let done = HeadDecoder::new().decode(&Limits::default(), request.as_bytes(), &mut head);
    done.unwrap();
    Some(
        match files.find(&head, request.as_bytes(), Instant::now())? {
            Answer::File(answer) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                let fields = answer
                    .fields()
                    .map(|(name, value)| (text(name), text(value)));
                let Some(Bytes::Memory(bytes)) = answer.bytes() else {
                    panic!("not in memory")
                };
                let part = |span: &canter_http::range::Span| {
                    let start = usize::try_from(span.start).unwrap();
                    text(&bytes[start..start + usize::try_from(span.len).unwrap()])
                };
                let body = match answer.body() {
                    Body::None => String::new(),
                    Body::Part(span) => part(&span),
                    Body::Pieces(pieces) => pieces
                        .iter()
                        .map(|piece| match piece {
                            canter_http::range::Piece::Bytes(bytes) => text(bytes),
                            canter_http::range::Piece::Content(span) => part(span),
                        })
                        .collect(),
                };
                assert_eq!(body.len() as u64, answer.length());
                Got {
                    status: answer.status(),
                    fields: fields.collect(),
                    body,
                }
            }
            Answer::Redirect(place) => Got {
                status: 302,
                fields: vec![("Location".to_owned(), place)],
                body: String::new(),
            },
            Answer::NotFound => bare(404),
            Answer::NotAllowed => bare(405),
        },
    )
}

fn bare(status: u16) -> Got {
    Got {
        status,
        fields: Vec::new(),
        body: String::new(),
    }
}

#[test]
fn a_file_comes_with_its_type_age_and_validators() {
    let place = place("plain", "static", &[("css/a.css", "body {}")], "");
    let got = ask(&place.files, "GET /static/css/a.css", "").unwrap();
    assert_eq!((got.status, got.body.as_str()), (200, "body {}"));
    assert_eq!(got.field("Content-Type"), Some("text/css; charset=utf-8"));
    assert_eq!(got.field("Cache-Control"), Some("max-age=60, public"));
    assert_eq!(
        got.field("Last-Modified"),
        Some("Sun, 09 Sep 2001 01:46:40 GMT")
    );
    assert_eq!(got.field("Accept-Ranges"), Some("bytes"));
    assert_eq!(got.field("Vary"), None);
    let etag = got.field("ETag").unwrap();
    let same = ask(
        &place.files,
        "GET /static/css/a.css?v=1",
        &format!("If-None-Match: {etag}\r\n"),
    );
    let same = same.unwrap();
    assert_eq!((same.status, same.body.as_str()), (304, ""));
    assert_eq!(
        (same.field("ETag"), same.field("Content-Type")),
        (Some(etag), None)
    );
}

#[test]
fn the_shortest_form_the_client_takes_is_sent_unless_it_is_older_than_the_file() {
    let files = [
        ("a.js", "a long script, identity"),
        ("a.js.gz", "gzip form"),
        ("a.js.br", "br form"),
        ("a.js.zst", "older"),
        ("b.js", "tiny"),
        ("b.js.gz", "not shorter"),
    ];
    let place = place("forms", "static", &files, "");
    write(&place.path.join("a.js.zst"), "older", 999_999_999);
    let mut tags = Vec::new();
    for (accepted, body, coding) in [
        ("gzip, br, zstd", "br form", Some("br")),
        ("gzip", "gzip form", Some("gzip")),
        ("zstd", "a long script, identity", None),
        ("br;q=0, gzip;q=0", "a long script, identity", None),
        ("identity", "a long script, identity", None),
    ] {
        let fields = format!("Accept-Encoding: {accepted}\r\n");
        let got = ask(&place.files, "GET /static/a.js", &fields).unwrap();
        assert_eq!(
            (got.body.as_str(), got.field("Content-Encoding")),
            (body, coding)
        );
        assert_eq!(got.field("Vary"), Some("Accept-Encoding"));
        assert_eq!(
            got.field("Content-Type"),
            Some("text/javascript; charset=utf-8")
        );
        tags.push(got.field("ETag").unwrap().to_owned());
    }
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[2] == tags[4]);
    let tiny = ask(
        &place.files,
        "GET /static/b.js",
        "Accept-Encoding: gzip\r\n",
    )
    .unwrap();
    assert_eq!((tiny.body.as_str(), tiny.field("Vary")), ("tiny", None));
    // Asked for by its own name it is a file like any other.
    let own = ask(&place.files, "GET /static/a.js.gz", "").unwrap();
    assert_eq!(own.field("Content-Encoding"), None);
}

#[test]
fn names_of_the_manifest_last_for_ever_and_have_the_hash_as_tag() {
    let manifest = r#"{"paths": {"a.css": "a.0123456789ab.css"}}"#;
    let files = [
        ("a.css", "x"),
        ("a.0123456789ab.css", "x"),
        ("b.0123456789ab.css", "x"),
        ("staticfiles.json", manifest),
    ];
    let path = std::env::temp_dir().join(format!("canter-files-hashed-{}", std::process::id()));
    let lines = format!("manifest\t{}/staticfiles.json\n", path.display());
    let place = place("hashed", "static", &files, &lines);
    let age = |name: &str| {
        let got = ask(&place.files, &format!("GET /static/{name}"), "").unwrap();
        (
            got.field("Cache-Control").unwrap().to_owned(),
            got.field("ETag").unwrap().to_owned(),
        )
    };
    let (hashed, etag) = age("a.0123456789ab.css");
    assert_eq!(hashed, "max-age=31536000, public, immutable");
    assert_eq!(etag, "\"0123456789ab-1\"");
    assert_eq!(age("a.css").0, "max-age=60, public");
    // It only looks like one.
    assert_eq!(age("b.0123456789ab.css").0, "max-age=60, public");
}

#[test]
fn what_no_file_can_be_called_never_reaches_the_app() {
    let place = place("hostile", "static", &[("a", "x"), (".env", "secret")], "");
    std::os::unix::fs::symlink("/etc/passwd", place.path.join("out")).unwrap();
    for path in [
        "..%2f..%2fetc/passwd",
        "../a",
        ".env",
        "a/../a",
        "%2e%2e/a",
        "a%5c..",
        "/a",
    ] {
        let got = ask(&place.files, &format!("GET /static/{path}"), "").unwrap();
        assert_eq!(got.status, 404, "{path}");
    }
    for path in ["none", "out", "a/", "", "dir"] {
        assert!(
            ask(&place.files, &format!("GET /static/{path}"), "").is_none(),
            "{path}"
        );
    }
    assert!(ask(&place.files, "GET /statica", "").is_none());
    assert_eq!(ask(&place.files, "POST /static/a", "").unwrap().status, 405);
    assert!(ask(&place.files, "POST /static/none", "").is_none());
}

#[test]
fn an_index_file_stands_for_its_directory() {
    let files = [
        ("index.html", "home"),
        ("sub/index.html", "sub"),
        ("robots.txt", "x"),
    ];
    let place = place("index", "root", &files, "index\tindex.html\n");
    for (path, status, expected) in [
        ("/", 200, "home"),
        ("/sub/", 200, "sub"),
        ("/sub?a=1", 302, "/sub/?a=1"),
        ("/sub/index.html", 302, "/sub/"),
        ("/index.html", 302, "/"),
        ("/robots.txt", 200, "x"),
    ] {
        let got = ask(&place.files, &format!("GET {path}"), "").unwrap();
        let shown = got.field("Location").unwrap_or(&got.body);
        assert_eq!((got.status, shown), (status, expected), "{path}");
    }
    // The pages of the site are still its own.
    for line in [
        "GET /page",
        "POST /",
        "GET /../x",
        "GET //sub",
        "POST /robots.txt",
    ] {
        assert!(ask(&place.files, line, "").is_none(), "{line}");
    }
}

#[test]
fn what_users_sent_cannot_act_for_the_site() {
    let files = [
        ("a.html", "<script>"),
        ("a.svg", "<svg>"),
        ("a.png", "png"),
        ("a.html.gz", "x"),
    ];
    let place = place("media", "media", &files, "index\ta.html\ncors\tall\n");
    for (name, is_active) in [("a.html", true), ("a.svg", true), ("a.png", false)] {
        let line = format!("GET /static/{name}");
        let got = ask(&place.files, &line, "Accept-Encoding: gzip\r\n").unwrap();
        assert_eq!(got.field("X-Content-Type-Options"), Some("nosniff"));
        assert_eq!(
            got.field("Content-Disposition").is_some(),
            is_active,
            "{name}"
        );
        assert_eq!(
            got.field("Content-Security-Policy").is_some(),
            is_active,
            "{name}"
        );
        assert_eq!(got.field("Cache-Control"), Some("max-age=60"));
        assert_eq!(got.field("Access-Control-Allow-Origin"), None);
        // A sibling of a file that a user has sent is another file that a user has sent.
        assert_eq!(
            (got.field("Content-Encoding"), got.field("Vary")),
            (None, None)
        );
    }
    assert_eq!(ask(&place.files, "GET /static/", "").unwrap().status, 404);
    assert_eq!(
        ask(&place.files, "GET /static/none", "").unwrap().status,
        404
    );
}

#[test]
fn settings_of_the_site_rule_types_ages_and_fields() {
    let lines = "max-age\tnone\ncors\tall\ntype\t.foo\tapplication/x-foo\ntype\tspecial\ttext/x\n\
                 charset\tlatin-1\nnosniff\t1\nimmutable\t/static/special\n\
                 field\t/static/a.foo\tX-Mine\tyes\nfield\t/static/a.foo\tcontent-type\ttext/mine\n\
                 field\t/static/a.foo\tContent-Length\t7\n";
    let place = place(
        "rules",
        "static",
        &[("a.foo", "x"), ("special", "x")],
        lines,
    );
    let got = ask(&place.files, "GET /static/a.foo", "").unwrap();
    assert_eq!(got.field("Content-Type"), Some("text/mine"));
    assert_eq!(
        (got.field("X-Mine"), got.field("Content-Length")),
        (Some("yes"), None)
    );
    assert_eq!(got.field("Cache-Control"), None);
    assert_eq!(got.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(got.field("X-Content-Type-Options"), Some("nosniff"));
    let special = ask(&place.files, "GET /static/special", "").unwrap();
    assert_eq!(
        special.field("Content-Type"),
        Some("text/x; charset=latin-1")
    );
    assert!(
        special
            .field("Cache-Control")
            .unwrap()
            .ends_with("immutable")
    );
}

#[test]
fn ranges_are_parts_and_refusals_say_nothing_of_the_version() {
    let place = place("ranges", "static", &[("a.woff2", "0123456789")], "");
    let got = |fields: &str| ask(&place.files, "GET /static/a.woff2", fields).unwrap();
    let part = got("Range: bytes=0-0\r\n");
    assert_eq!((part.status, part.body.as_str()), (206, "0"));
    assert_eq!(part.field("Content-Range"), Some("bytes 0-0/10"));
    let several = got("Range: bytes=0-0,-2\r\n");
    let kind = several.field("Content-Type").unwrap();
    assert!(kind.starts_with("multipart/byteranges; boundary=canter-"));
    assert!(
        several
            .body
            .contains("Content-Type: font/woff2\r\nContent-Range: bytes 8-9/10\r\n\r\n89")
    );
    let beyond = got("Range: bytes=10-\r\n");
    assert_eq!((beyond.status, beyond.body.as_str()), (416, ""));
    assert_eq!(beyond.field("Content-Range"), Some("bytes */10"));
    assert_eq!(beyond.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(
        (beyond.field("Cache-Control"), beyond.field("ETag")),
        (None, None)
    );
    assert_eq!(got("If-Match: \"x\"\r\n").status, 412);
}

#[test]
fn a_file_that_changes_is_sent_anew_and_one_that_goes_is_gone() {
    let place = place("changes", "static", &[("a", "one")], "");
    let etag = |files: &Files| {
        let got = ask(files, "GET /static/a", "")?;
        Some((got.body.clone(), got.field("ETag")?.to_owned()))
    };
    let first = etag(&place.files).unwrap();
    write(&place.path.join("a"), "two", 1_000_000_001);
    let second = etag(&place.files).unwrap();
    assert!(second.0 == "two" && first.1 != second.1);
    std::fs::remove_file(place.path.join("a")).unwrap();
    assert!(etag(&place.files).is_none());
}

#[test]
fn the_app_points_to_files_below_the_roots_only() {
    let place = place(
        "pointed",
        "static",
        &[("in/a b.pdf", "x"), ("in/.hidden", "x"), ("out", "x")],
        "",
    );
    let root = place.path.join("in");
    std::os::unix::fs::symlink(place.path.join("out"), root.join("link")).unwrap();
    let pointers = Pointers {
        roots: vec![root.clone()],
        internal: vec![Folder {
            url: "/protected/".to_owned(),
            root: root.clone(),
            kind: Kind::Folder,
        }],
    };
    let absolute = |name: &str| format!("{}/{name}", root.display());
    for (path, is_open) in [
        (absolute("a b.pdf"), true),
        // The app knows what it does.
        (absolute(".hidden"), true),
        (absolute("../out"), false),
        (absolute("link"), false),
        (absolute("none"), false),
        (absolute(""), false),
        (format!("{}-other/a", root.display()), false),
        ("/etc/passwd".to_owned(), false),
        ("a b.pdf".to_owned(), false),
    ] {
        assert_eq!(
            pointers.sendfile(path.as_bytes()).is_ok(),
            is_open,
            "{path}"
        );
    }
    for (path, is_open) in [
        ("/protected/a%20b.pdf", true),
        ("/protected/a b.pdf?x=1", true),
        ("/protected/%2e%2e/out", false),
        ("/protected//etc/passwd", false),
        ("/protected/link", false),
        ("/other/a%20b.pdf", false),
        ("/protected/%00", false),
    ] {
        assert_eq!(pointers.accel(path.as_bytes()).is_ok(), is_open, "{path}");
    }
    let pointed = pointers.accel(b"/protected/a%20b.pdf").unwrap();
    assert_eq!(
        (pointed.length, pointed.content_type.as_str()),
        (1, "application/pdf")
    );
}

#[test]
fn f2_times_that_say_nothing_are_no_validators() {
    const IMAGE: u64 = 315_532_800;
    let place = place("times", "static", &[("a.css", "old!")], "");
    write(&place.path.join("a.css"), "old!", 0);
    let got = ask(&place.files, "GET /static/a.css", "").unwrap();
    assert_eq!(
        (got.field("ETag"), got.field("Last-Modified")),
        (None, None)
    );
    write(&place.path.join("b.css"), "old!", IMAGE);
    let old = ask(&place.files, "GET /static/b.css", "").unwrap();
    assert_eq!(old.field("Last-Modified"), None);
    let tag = old.field("ETag").unwrap().to_owned();
    let condition = format!("If-None-Match: {tag}\r\n");
    assert_eq!(
        ask(&place.files, "GET /static/b.css", &condition)
            .unwrap()
            .status,
        304
    );
    // As long and as old, after a deploy.
    write(&place.path.join("c.css"), "new!", IMAGE);
    std::fs::rename(place.path.join("c.css"), place.path.join("b.css")).unwrap();
    let since = "If-Modified-Since: Tue, 01 Jan 1980 00:00:00 GMT\r\n";
    for condition in [&*condition, since] {
        let new = ask(&place.files, "GET /static/b.css", condition).unwrap();
        assert_eq!((new.status, &*new.body), (200, "new!"), "{condition}");
    }
}
