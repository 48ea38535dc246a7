//! Owns what becomes of the dispatch's notices: words to the supervisor, lines of the log, profiles.
//! Leaves whose memory and connections they are about to `observed` and `pooled`.

use std::time::Duration;

use canter_base::log::Value;
use canter_base::{error, info, warn};
use canter_front::Profiler;
use canter_workers::dispatch::Notice;
use canter_workers::link::ToSupervisor;
use canter_workers::socket::MessageSocket;

use super::link::{milliseconds, say};

/// Requests that are named when they are lost with their worker; more of them are counted.
const MOST_NAMED: usize = 20;

/// Passes on what the dispatch has to tell.
pub(super) fn tell(link: &MessageSocket, profiler: &Profiler, notice: &Notice) {
    match notice {
        Notice::Unwanted { .. } => {}
        Notice::Ready(worker) => say(link, ToSupervisor::Ready { worker: *worker }),
        Notice::Gone { worker, lost } => {
            for request in lost.iter().take(MOST_NAMED) {
                warn!(
                    "a request was lost with its worker",
                    request = request.as_str(),
                    worker = worker.0
                );
            }
            if lost.len() > MOST_NAMED {
                warn!(
                    "more requests were lost with their worker",
                    worker = worker.0,
                    requests = lost.len() - MOST_NAMED
                );
            }
            profiler.gone(worker.0);
            say(link, ToSupervisor::Gone { worker: *worker });
        }
        Notice::Closed { was_open, after } => tell_closed(*was_open, *after),
        Notice::Replace(worker, reason) => {
            say(
                link,
                ToSupervisor::Replace {
                    worker: *worker,
                    reason: *reason,
                },
            );
        }
        Notice::TimedOut {
            worker,
            request,
            after,
        } => error!(
            "a request took too long and was given up",
            request = request.as_str(),
            after_ms = milliseconds(*after),
            worker = worker.0
        ),
        Notice::Slow {
            worker,
            request,
            after,
            sample,
        } => warn!(
            "a request is slow",
            request_id = request.id.as_str(),
            method = request.method.as_str(),
            path = request.path.as_str(),
            route = sample.route.as_str(),
            after_ms = milliseconds(*after),
            worker = worker.0,
            sql = sample.sql.as_str(),
            stack = Value::Block(&sample.stack)
        ),
        Notice::Profile {
            worker,
            number,
            last,
            text,
        } => profiler.hear(worker.0, *number, text, *last),
        Notice::Stack {
            worker,
            request,
            text,
        } => info!(
            "where the request that took too long is stuck",
            request = request.as_str(),
            worker = worker.0,
            stack = Value::Block(text)
        ),
        Notice::Refused { request } => error!(
            "workers died twice while this request ran: it is refused for a while",
            request = request.as_str()
        ),
    }
}

/// Nobody takes requests.
fn tell_closed(was_open: bool, after: Duration) {
    if was_open {
        warn!("no worker is running: requests that cannot wait longer are answered 503");
    } else {
        warn!(
            "the app is still being loaded: requests that cannot wait longer are answered 503",
            after_ms = milliseconds(after)
        );
    }
}
