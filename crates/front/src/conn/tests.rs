//! Owns what is tested of a connection with an app that never answers: what it holds meanwhile, and
//! how large it is.
//! Leaves what clients see to the black-box tests.

mod allocations;
mod ending;
mod fairness;
mod logged;

use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use canter_base::options::ForwardedHeader;
use canter_channel::call::{Answer, Submission};
use canter_shield::pressure::Level;

use super::*;
use crate::app::Call;
use crate::guard::GuardSettings;
use crate::handshakes::HandshakeSettings;
use crate::pipe;
use crate::settings::Settings;

/// Takes every request and answers none.
#[derive(Clone)]
struct Silent;

impl App for Silent {
    type Call = Submission;

    fn submit(&self, submission: Submission) -> Submission {
        submission
    }

    fn hindrance(&self) -> Option<&'static str> {
        None
    }

    fn between_turns(&self) {}
}

impl Call for Submission {
    fn poll_answer(&mut self, _: &mut Context<'_>) -> Poll<Answer> {
        Poll::Pending
    }

    fn set_hold(&self, _: bool) {}

    fn is_queued(&self) -> bool {
        true
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        limits: canter_http::Limits::DEFAULT,
        max_body: 1 << 30,
        body_memory: 1 << 17,
        response_memory: 1 << 20,
        memory: 1 << 20,
        file_memory: None,
        temp_dir: PathBuf::from("/tmp"),
        max_connections: 100,
        keep_alive: Duration::from_secs(75),
        header_timeout: Duration::from_secs(10),
        http2_plain: false,
        guard: GuardSettings {
            per_client: 100,
            per_private_client: false,
            bans: None,
            rates: Vec::new(),
            handshakes: HandshakeSettings {
                per_client: 100,
                all: 100,
                private: false,
            },
        },
        pace: canter_shield::pace::Pace::default(),
        timeout: None,
        trusted: Vec::new(),
        forwarded_hops: 1,
        proxy_protocol: false,
        forwarded_header: ForwardedHeader::XForwarded,
        router_timeout: None,
        redirect_https: false,
        hsts: None,
        priorities: Vec::new(),
        early_hints: Vec::new(),
        challenges: crate::Challenges::default(),
        request_id_header: "x-request-id".to_owned(),
        compress: None,
        health: false,
        bench_token: None,
        files: canter_files::Files::default(),
        insight: None,
        pages: crate::pages::Pages::new(false, 0, &[]),
        purge_token: None,
    }
}

fn arrival() -> Arrival {
    Arrival {
        peer: Client {
            address: String::new(),
            port: 0,
            https: false,
        },
        peer_ip: None,
        trusted: false,
        local: (Vec::new(), 0),
        redirects: false,
        admin: false,
        commands: false,
        ends: None,
        own: std::cell::Cell::new(None),
        has_asked: std::cell::Cell::new(false),
        http2: true,
        stream: None,
        _entrance: None,
    }
}

/// Runs the connection with what its client sends until it waits for the app; then `look`.
fn serve(sent: &[u8], look: impl Fn(&Shared<Silent>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let shared = Rc::new(Shared::new(settings(), Silent, None));
    let (near, far) = pipe::pair();
    assert_eq!(near.try_write(sent).unwrap(), sent.len());
    let conn = Conn::new(Stream::Pipe(far), arrival(), Rc::clone(&shared), &[]);
    let mut serving = Box::pin(conn.serve());
    runtime.block_on(async {
        let waits = std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_pending()));
        assert!(waits.await);
        look(&shared);
        drop(serving);
        assert_eq!(shared.memory.taken(), 0);
    });
}

#[test]
fn a_body_counts_as_long_as_its_request_waits() {
    for (framing, body) in [
        ("Content-Length: 3000", "a".repeat(3000)),
        (
            "Transfer-Encoding: chunked",
            format!("bb8\r\n{}\r\n0\r\n\r\n", "a".repeat(3000)),
        ),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n{body}");
        serve(request.as_bytes(), |shared| {
            assert_eq!(shared.memory.taken(), 3000, "{framing}");
        });
    }
}

/// The first line of the answer to what the client sends, if there is one at once.
fn answer(shared: &Rc<Shared<Silent>>, sent: &[u8]) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let (near, far) = pipe::pair();
    assert_eq!(near.try_write(sent).unwrap(), sent.len());
    let conn = Conn::new(Stream::Pipe(far), arrival(), Rc::clone(shared), &[]);
    let mut serving = Box::pin(conn.serve());
    runtime.block_on(async {
        std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_pending())).await;
    });
    let said = near.take().ok()?;
    let text = String::from_utf8(said).unwrap();
    text.lines().next().map(str::to_owned)
}

#[test]
fn s6_an_upload_that_memory_in_the_place_of_a_disk_cannot_hold_is_refused_before_it_is_read() {
    let ask =
        |length: u64| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let on = |file_memory| {
        let settings = Settings {
            file_memory,
            ..settings()
        };
        Rc::new(Shared::new(settings, Silent, None))
    };
    let shared = on(Some(1_000_000));
    assert_eq!(answer(&shared, ask(900_000).as_bytes()), None);
    let refused = answer(&shared, ask(1_100_000).as_bytes());
    assert_eq!(refused.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
    assert_eq!(shared.memory.files().map(|files| files.taken()), Some(0));
    assert_eq!(answer(&on(None), ask(1_100_000).as_bytes()), None);
}

#[test]
fn s5_what_one_upload_was_promised_of_the_disk_another_is_not() {
    let shared = Rc::new(Shared::new(settings(), Silent, None));
    let ask =
        |length: u64| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    let mut others = shared.promised.share();
    assert_eq!(answer(&shared, ask(200_000).as_bytes()), None);
    assert_eq!(shared.promised.taken(), 0);
    others.force(1 << 60);
    let refused = answer(&shared, ask(200_000).as_bytes());
    assert_eq!(refused.as_deref(), Some("HTTP/1.1 503 Service Unavailable"));
    assert_eq!(answer(&shared, ask(100_000).as_bytes()), None);
    drop(others);
    serve(ask(200_000).as_bytes(), |shared| {
        assert_eq!(shared.promised.taken(), 200_000);
    });
}

#[test]
fn l9_short_memory_takes_no_large_uploads_and_keeps_no_idle_connections() {
    let shared = Rc::new(Shared::new(settings(), Silent, None));
    let most = shared.memory.most();
    let ask = |length: u64| {
        let length = format!("Content-Length: {length}");
        format!("POST / HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n")
    };
    let is_taken = |length| answer(&shared, ask(length).as_bytes()).is_none();
    let idle = shared.table.enter();
    idle.row.idle(Instant::now(), Duration::from_secs(75));
    assert!(is_taken(200_000) && !idle.row.is_expired());
    shared.press(Level::Tight);
    assert!(!is_taken(200_000) && is_taken(20_000) && idle.row.is_expired());
    assert_eq!(shared.memory.most(), most / 4);
    assert_eq!(shared.idle_limit(true), Duration::from_secs(5));
    shared.press(Level::Critical);
    assert!(!is_taken(20_000) && is_taken(2_000));
    let chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(answer(&shared, chunked).is_some_and(|line| line.contains("503")));
    shared.press(Level::Calm);
    assert!(is_taken(200_000) && answer(&shared, chunked).is_none());
    assert_eq!(shared.memory.most(), most);
}

#[test]
fn an_encoder_counts_and_without_room_the_answer_goes_as_it_is() {
    let compress = crate::Compress {
        policy: canter_encode::Policy {
            minimum: 0,
            types: Vec::new(),
        },
        level: canter_encode::Level::DEFAULT,
        hides: true,
    };
    let settings = Settings {
        compress: Some(compress),
        ..settings()
    };
    let shared = Rc::new(Shared::new(settings, Silent, None));
    let (_near, far) = pipe::pair();
    let conn = Conn::new(Stream::Pipe(far), arrival(), Rc::clone(&shared), &[]);
    let mut form = encode::Form::of(canter_encode::Coding::Zstd);
    let first = conn.encoder(&mut form);
    assert!(first.is_some() && form.is_encoded() && shared.memory.taken() >= 1 << 19);
    let mut other = encode::Form::of(canter_encode::Coding::Zstd);
    assert!(conn.encoder(&mut other).is_none() && !other.is_encoded());
    // Others might get it in another form still, and the tag is the app's.
    let own: [(&[u8], &[u8]); 2] = [(b"ETag", b"\"a\""), (b"Content-Length", b"3")];
    let fields: Vec<_> = other.fields(own.into_iter()).collect();
    let vary: (&[u8], &[u8]) = (b"Vary", b"Accept-Encoding");
    assert_eq!(fields, [own[0], own[1], vary]);
    drop(first);
    assert_eq!(shared.memory.taken(), 0);
}

#[test]
fn s1_long_heads_that_do_not_end_share_the_memory_of_all() {
    let settings = Settings {
        memory: 200_000,
        ..settings()
    };
    let shared = Rc::new(Shared::new(settings, Silent, None));
    let mut sent = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
    while sent.len() < 30_000 {
        sent.extend_from_slice(format!("X-Long: {}\r\n", "a".repeat(2000)).as_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut held = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        let (near, far) = pipe::pair();
        assert_eq!(near.try_write(&sent).unwrap(), sent.len());
        let conn = Conn::new(Stream::Pipe(far), arrival(), Rc::clone(&shared), &[]);
        let mut serving = Box::pin(conn.serve());
        runtime.block_on(async {
            std::future::poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx).is_pending())).await
        });
        let said = near.take().unwrap_or_default();
        refused += usize::from(said.starts_with(b"HTTP/1.1 503"));
        held.push((near, serving));
    }
    assert!((10..20).contains(&refused), "{refused}");
    assert!(shared.memory.taken() <= 200_000);
    drop(held);
    assert_eq!(shared.memory.taken(), 0);
}

/// Answers with a body of this length.
#[derive(Clone)]
struct Answering(usize);

struct Ready(Option<Answer>);

impl App for Answering {
    type Call = Ready;

    fn submit(&self, _: Submission) -> Ready {
        let facts = canter_channel::response::Facts {
            status: 200,
            reason: b"OK",
        };
        let mut message = Vec::new();
        canter_channel::response::Writer::new(&mut message, &facts);
        message.resize(message.len() + self.0, b'a');
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

impl Call for Ready {
    fn poll_answer(&mut self, _: &mut Context<'_>) -> Poll<Answer> {
        self.0.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn set_hold(&self, _: bool) {}

    fn is_queued(&self) -> bool {
        false
    }
}

#[test]
fn s5_a_response_that_waits_for_its_client_counts_and_goes_to_a_file_without_room() {
    const LENGTH: usize = 200_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for (memory, counted) in [(1 << 20, true), (1 << 10, false)] {
        let settings = Settings {
            memory,
            ..settings()
        };
        let shared = Rc::new(Shared::new(settings, Answering(LENGTH), None));
        let (near, far) = pipe::pair();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        near.try_write(request).unwrap();
        let conn = Conn::new(Stream::Pipe(far), arrival(), Rc::clone(&shared), &[]);
        let mut serving = Box::pin(conn.serve());
        runtime.block_on(async {
            let mut came = Vec::new();
            let mut is_over = false;
            while !is_over {
                std::future::poll_fn(|cx| {
                    is_over = serving.as_mut().poll(cx).is_ready();
                    Poll::Ready(())
                })
                .await;
                let taken = shared.memory.taken();
                assert!(is_over || (taken >= LENGTH as u64) == counted, "{taken}");
                came.extend(near.take().unwrap_or_default());
            }
            let body = came.iter().rev().take_while(|byte| **byte == b'a').count();
            assert_eq!((body, shared.memory.taken()), (LENGTH, 0));
        });
    }
}

/// A thousand idle connections are a thousand of these.
#[test]
fn a_connection_is_small() {
    let shared = Rc::new(Shared::new(settings(), Silent, None));
    let (_near, far) = pipe::pair();
    let conn = Conn::new(Stream::Pipe(far), arrival(), shared, &[]);
    let size = size_of_val(&conn.serve());
    assert!(size < 6 * 1024, "{size}");
}
