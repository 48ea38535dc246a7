//! Owns asking a worker of the app in our own words, and waiting for its answer.
//! Leaves what is asked to `act`, and what is answered to `canter.asked`.

use std::future::poll_fn;
use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Submission};
use canter_channel::request::{Facts, OF_THE_FRONT, Writer};
use canter_channel::response::Response;

use super::Conn;
use crate::app::{App, Call};

/// How long an answer may take; a plan is limited to less by the worker.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer.
const MOST: usize = 256 << 10;

impl<A: App> Conn<A> {
    /// What a worker answers to a question, which is JSON as well. None where no worker answers.
    pub(super) async fn ask(&self, question: &str) -> Option<String> {
        let facts = Facts {
            method: b"POST",
            target: OF_THE_FRONT,
            path: OF_THE_FRONT,
            query: b"",
            version: 1,
            https: false,
            client: b"",
            client_port: 0,
            server: b"localhost",
            server_port: 0,
            id: b"canter",
        };
        let mut message = Vec::with_capacity(question.len() + 128);
        Writer::new(&mut message, &facts).inline_body(question.as_bytes());
        let at = Instant::now();
        let until = at + PATIENCE;
        let mut call = self.shared.app.submit(Submission {
            message,
            file: None,
            at,
            deadline: Some(until),
            wanted_until: Some(until),
            urgent: false,
            trace: None,
        });
        let mut body = Vec::new();
        loop {
            let next = poll_fn(|cx| call.poll_answer(cx));
            let answer = tokio::time::timeout_at(until.into(), next).await.ok()?;
            let is_last = answer.is_last();
            match answer {
                Answer::Head { message, .. } => {
                    let answer = Response::read(&message).ok()?;
                    if answer.facts.status != 200 {
                        return None;
                    }
                    body.extend_from_slice(message.get(answer.body_at..)?);
                }
                Answer::Chunk { bytes, .. } => body.extend_from_slice(&bytes),
                Answer::Hints(_) => {}
                Answer::File { .. } | Answer::Failed(_) => return None,
            }
            if body.len() > MOST {
                return None;
            }
            if is_last {
                return String::from_utf8(body).ok();
            }
        }
    }
}
