//! Owns what is noted of requests whose client leaves: each has its line in the access log, with the
//! bytes that went out, and is held against who sent it.
//! Leaves the forms of a line to `access`.

use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use canter_base::options::AccessLogFormat;
use canter_channel::response::{Facts, FilePart, Writer};

use super::*;
use crate::access::AccessLog;

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

/// Where the lines go.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A front whose log can be read.
struct Logged<A: App> {
    shared: Rc<Shared<A>>,
    log: Rc<AccessLog>,
    lines: Lines,
}

impl<A: App> Logged<A> {
    fn new(settings: Settings, app: A) -> Self {
        let lines = Lines::default();
        let out = lines.clone();
        let open = move || Ok(Box::new(out.clone()) as Box<dyn Write + Send>);
        let log = AccessLog::start(AccessLogFormat::Common, Box::new(open)).unwrap();
        let log = Rc::new(log);
        Self {
            shared: Rc::new(Shared::new(settings, app, Some(Rc::clone(&log)))),
            log,
            lines,
        }
    }

    /// What the client gets that sends this, and leaves after so many turns or at the end.
    fn serve(&self, sent: &str, patience: usize) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (near, far) = pipe::pair();
        assert_eq!(near.try_write(sent.as_bytes()).unwrap(), sent.len());
        let arrival = Arrival {
            peer_ip: Some(CLIENT),
            ..arrival()
        };
        let conn = Conn::new(Stream::Pipe(far), arrival, Rc::clone(&self.shared), &[]);
        let mut serving = Box::pin(conn.serve());
        let mut got = Vec::new();
        let local = tokio::task::LocalSet::new();
        runtime.block_on(local.run_until(async {
            for _ in 0..patience {
                let ended =
                    std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_ready()));
                let ended = ended.await;
                got.extend(near.take().unwrap_or_default());
                if ended {
                    return;
                }
            }
            drop(near);
            serving.await;
        }));
        got
    }

    /// Statuses and bytes, line by line.
    fn told(&self) -> Vec<(u16, u64)> {
        let text = self.text();
        let told = text.lines().map(|line| {
            let mut words = line.rsplit(' ');
            let bytes = words.next().unwrap().parse().unwrap();
            (words.next().unwrap().parse().unwrap(), bytes)
        });
        told.collect()
    }

    fn text(&self) -> String {
        self.log.finish();
        String::from_utf8(self.lines.0.lock().unwrap().clone()).unwrap()
    }
}

fn body_of(answer: &[u8]) -> usize {
    let head = memchr::memmem::find(answer, b"\r\n\r\n").unwrap();
    answer.len() - head - 4
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn who_resets_without_taking_an_answer_made_here_is_noted_all_the_same() {
    let rows = [
        (get("/-/live"), 200),
        (get("/-/purge"), 401),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 200),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999\r\n\r\n".to_owned(),
            413,
        ),
    ];
    for (sent, status) in rows {
        let settings = Settings {
            health: true,
            purge_token: Some("t".to_owned()),
            ..settings()
        };
        let logged = Logged::new(settings, Silent);
        assert!(logged.serve(&sent, 0).is_empty());
        assert_eq!(logged.told(), [(status, 0)], "{sent}");
    }
}

#[test]
fn who_resets_each_refusal_is_shut_out_like_others() {
    let mut settings = settings();
    settings.purge_token = Some("t".to_owned());
    settings.guard.bans = Some(true);
    let logged = Logged::new(settings, Silent);
    // Each costs two tenths of a point, and 300 points are the limit.
    for _ in 0..1600 {
        logged.serve(&get("/-/purge"), 0);
    }
    assert!(logged.shared.guard.shut_out(CLIENT).is_some());
}

#[test]
fn what_is_asked_of_the_dashboard_is_noted_without_its_token() {
    let insight = crate::insight::Insight::new(
        Some("secret".to_owned()),
        |_| {},
        String::new,
        crate::insight::Profiler::new(),
    );
    let settings = Settings {
        insight: Some(insight),
        ..settings()
    };
    let logged = Logged::new(settings, Silent);
    let closing = |path| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    logged.serve(&closing("/-/canter?token=secret"), 3);
    logged.serve(&closing("/-/canter/metrics?token=wrong"), 3);
    let text = logged.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].ends_with("\"GET /-/canter HTTP/2.0\" 303 0"),
        "{text}"
    );
    let refused = "\"GET /-/canter/metrics HTTP/2.0\" 404 10";
    assert!(lines[1].ends_with(refused) && lines.len() == 2, "{text}");
    // Where insight is off, the app is asked.
    let logged = Logged::new(super::settings(), Silent);
    logged.serve(&closing("/-/canter?token=secret"), 3);
    logged.serve(&closing("/-/canters?token=other"), 3);
    let text = logged.text();
    let lines: Vec<&str> = text.lines().collect();
    let left = ["/-/canter", "/-/canters?token=other"];
    for (line, target) in lines.iter().zip(left) {
        let end = format!("\"GET {target} HTTP/2.0\" 499 0");
        assert!(line.ends_with(&end) && lines.len() == 2, "{text}");
    }
}

/// Answers with a body of [`LENGTH`] bytes, in the way that the path says.
#[derive(Clone)]
struct ByPath;

const LENGTH: usize = 200_000;

impl App for ByPath {
    type Call = Ready;

    fn submit(&self, submission: Submission) -> Ready {
        let facts = Facts {
            status: 200,
            reason: b"OK",
        };
        let asks =
            |path: &str| memchr::memmem::find(&submission.message, path.as_bytes()).is_some();
        let mut message = Vec::new();
        let mut writer = Writer::new(&mut message, &facts);
        if asks("/kept") {
            writer
                .field(b"Cache-Control", b"public, max-age=60")
                .unwrap();
        }
        if asks("/file") {
            let length = LENGTH.to_string();
            writer.field(b"Content-Length", length.as_bytes()).unwrap();
            let mut file = tempfile();
            file.write_all(&vec![b'a'; LENGTH]).unwrap();
            let part = FilePart {
                offset: 0,
                len: LENGTH as u64,
            };
            message.extend_from_slice(&part.to_bytes());
            let file = file.into();
            return Ready(Some(Answer::File { message, file }));
        }
        message.resize(message.len() + LENGTH, b'a');
        let last = !asks("/stream");
        Ready(Some(Answer::Head { message, last }))
    }

    fn hindrance(&self) -> Option<&'static str> {
        None
    }

    fn between_turns(&self) {}
}

fn tempfile() -> File {
    canter_sys::temp::unlinked(std::path::Path::new("/tmp")).unwrap()
}

#[test]
fn bytes_are_those_that_went_out_where_the_client_left_in_the_middle() {
    let pages = crate::pages::Pages::new(true, 64 << 20, &[]);
    pages.set_site("");
    let settings = Settings {
        pages,
        ..settings()
    };
    let logged = Logged::new(settings, ByPath);
    // The first to ask for it gets all of it.
    let closing = "GET /kept HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let whole = logged.serve(closing, usize::MAX);
    assert_eq!(body_of(&whole), LENGTH);
    let mut expected = vec![(200, LENGTH as u64)];
    for path in ["/whole", "/file", "/stream", "/kept"] {
        // After the first turn the pipe is full; what it held was taken.
        let got = logged.serve(&get(path), 1);
        let came = body_of(&got);
        assert!(came > 0 && came < LENGTH, "{path}");
        let is_hit = memchr::memmem::find(&got, b"canter; hit").is_some();
        assert_eq!(is_hit, path == "/kept", "{path}");
        expected.push((200, came as u64));
    }
    assert_eq!(logged.told(), expected);
}
