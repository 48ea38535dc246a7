//! Owns how much a connection does before others have their turn: whoever always has a request or a
//! piece of a body ready must not keep the front's only thread.
//! Leaves what it does to the other tests.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;

/// Answers nothing, and counts how often it was told that others have their turn.
#[derive(Clone, Default)]
struct Told(Rc<Cell<usize>>);

impl App for Told {
    type Call = Submission;

    fn submit(&self, submission: Submission) -> Submission {
        submission
    }

    fn hindrance(&self) -> Option<&'static str> {
        None
    }

    fn between_turns(&self) {
        self.0.set(self.0.get() + 1);
    }
}

/// What one turn after the other brings the client of a connection on which all of `sent` is there
/// from the beginning, until `is_enough`; how often the app was told of a turn.
fn turns(sent: &[u8], mut is_enough: impl FnMut(&[u8], usize) -> bool) -> (Vec<Vec<u8>>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let app = Told::default();
    let mut settings = settings();
    settings.body_memory = 1;
    let shared = Rc::new(Shared::new(settings, app.clone(), None));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    client.write_all(sent).unwrap();
    client.set_nonblocking(true).unwrap();
    let (mut turns, mut all) = (Vec::new(), Vec::new());
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(server).unwrap();
        let conn = Conn::new(Stream::Tcp(stream), arrival(), shared, &[]);
        let mut serving = Box::pin(conn.serve());
        while !is_enough(&all, app.0.get()) {
            poll_fn(|cx| {
                assert!(serving.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            let mut came = Vec::new();
            let _ = client.read_to_end(&mut came);
            all.extend_from_slice(&came);
            turns.push(came);
            tokio::task::yield_now().await;
        }
    });
    (turns, app.0.get())
}

#[test]
fn p11_a_client_that_has_a_thousand_requests_ready_gives_way_after_some() {
    const REQUESTS: usize = 1000;
    let count = |answers: &[u8]| {
        let text = String::from_utf8_lossy(answers);
        text.matches("HTTP/1.1 200 OK").count()
    };
    let sent = b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS);
    let (turns, told) = turns(&sent, |all, _| count(all) == REQUESTS);
    let mut answered = 0;
    for (at, came) in turns.iter().enumerate() {
        answered += count(came);
        assert!(answered <= 32 * (at + 1), "{answered} by turn {at}");
    }
    assert!(told >= REQUESTS / 32 - 1, "{told}");
}

#[test]
fn s3_chunks_of_one_byte_give_way_and_are_stored_together() {
    const CHUNKS: usize = 40_000;
    let mut sent = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    sent.extend(b"1\r\na\r\n".repeat(CHUNKS));
    // What was sent arrives in its own time, loopback or not.
    let limit = Instant::now() + Duration::from_secs(10);
    let (_, told) = turns(&sent, |_, told| told >= 2 || Instant::now() > limit);
    // 70 bytes of a turn's million each.
    assert!(told >= 2, "{told}");
}
