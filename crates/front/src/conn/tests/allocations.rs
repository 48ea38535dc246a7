//! Owns the guard of the hot path: how often a request on a connection that is kept may allocate,
//! from its first byte to the last of its answer, with page cache, insight and coding on.
//! Leaves the dispatch and the worker out: the app here answers at once.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use canter_base::options::AccessLogFormat;
use canter_channel::call::{Answer, Submission};
use canter_channel::response::{Facts, Writer};
use canter_sys::counting::{Counting, allocations};

use super::{Ready, arrival, settings};
use crate::access::AccessLog;
use crate::app::App;
use crate::conn::Conn;
use crate::insight::{Insight, Profiler};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::stream::Stream;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUEST: &[u8] = b"GET /orders/?page=2 HTTP/1.1\r\nHost: example.org:8000\r\nUser-Agent: test\r\n\
    Accept: text/html\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\nCookie: theme=dark\r\n\r\n";
const REQUESTS: usize = 300;
/// Caches and tables have their size by then.
const WARM: usize = 100;

/// Answers at once, and writes down how often had been allocated when it was asked.
#[derive(Clone, Default)]
struct Prompt(Rc<RefCell<Vec<u64>>>);

impl App for Prompt {
    type Call = Ready;

    fn submit(&self, submission: Submission) -> Ready {
        self.0.borrow_mut().push(allocations());
        drop(submission);
        let facts = Facts {
            status: 200,
            reason: b"OK",
        };
        let mut message = Vec::with_capacity(4096);
        let mut writer = Writer::new(&mut message, &facts);
        for (name, value) in [
            (&b"Content-Type"[..], &b"text/html; charset=utf-8"[..]),
            (b"X-Frame-Options", b"DENY"),
            (b"Vary", b"Accept-Language, Cookie"),
            (b"Content-Length", b"2"),
        ] {
            writer.field(name, value).unwrap();
        }
        message.extend_from_slice(b"ok");
        Ready(Some(Answer::Head {
            message,
            last: true,
        }))
    }

    fn hindrance(&self) -> Option<&'static str> {
        None
    }

    fn between_turns(&self) {}
}

fn all_on() -> Settings {
    let pages = crate::pages::Pages::new(true, 1 << 20, &[]);
    pages.set_site("");
    let files = canter_files::Files::default();
    files.set_site(canter_files::Site::default());
    Settings {
        pages,
        files,
        insight: Some(Insight::new(None, |_| {}, String::new, Profiler::new())),
        compress: Some(crate::Compress {
            policy: canter_encode::Policy {
                minimum: 500,
                types: Vec::new(),
            },
            level: canter_encode::Level::DEFAULT,
            hides: true,
        }),
        ..settings()
    }
}

/// Its message, the notes of it, and the app's answer, which is made here.
const MOST: u64 = 3;

#[test]
fn a_request_on_a_kept_connection_allocates_no_more_than_what_is_handed_over() {
    let each = allocations_of_a_request(None);
    // The app's notes below grow once or twice.
    assert!(each < MOST as f64 + 0.1, "{each} allocations per request");
}

#[test]
fn its_line_in_the_access_log_is_one_allocation_more() {
    for format in [AccessLogFormat::Combined, AccessLogFormat::Json] {
        let open = || Ok(Box::new(std::io::sink()) as Box<dyn Write + Send>);
        let log = AccessLog::start(format, Box::new(open)).unwrap();
        let each = allocations_of_a_request(Some(Rc::new(log)));
        // So do the batches of lines.
        assert!(each < MOST as f64 + 1.2, "{each} allocations per request");
    }
}

fn allocations_of_a_request(access: Option<Rc<AccessLog>>) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = Prompt::default();
    let shared = Rc::new(Shared::new(all_on(), app.clone(), access));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    let asking = std::thread::spawn(move || {
        let mut answer = Vec::new();
        for _ in 0..REQUESTS {
            client.write_all(REQUEST).unwrap();
            answer.clear();
            while !answer.ends_with(b"\r\n\r\nok") {
                let mut some = [0; 4096];
                let count = client.read(&mut some).unwrap();
                assert!(count > 0);
                answer.extend_from_slice(some.get(..count).unwrap());
            }
        }
        answer
    });
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(server).unwrap();
        Conn::new(Stream::Tcp(stream), arrival(), shared, &[])
            .serve()
            .await;
    });
    let answer = String::from_utf8(asking.join().unwrap()).unwrap();
    assert!(answer.contains("Cache-Status: canter; fwd=uri-miss; detail="));
    let counts = app.0.borrow();
    let (warm, end) = (counts.get(WARM).unwrap(), counts.last().unwrap());
    (end - warm) as f64 / (REQUESTS - 1 - WARM) as f64
}
