//! Owns what becomes of the dispatch's notices: words to the supervisor, lines of the log, profiles.
//! Leaves whose memory and connections they are about to `observed` and `pooled`.

use std::sync::Once;
use std::time::Duration;

use canter_base::log::Value;
use canter_base::{error, info, warn};
use canter_channel::StackSample;
use canter_front::Profiler;
use canter_sys::program;
use canter_workers::dispatch::{Named, Notice, WorkerId};
use canter_workers::link::ToSupervisor;
use canter_workers::socket::MessageSocket;

use super::link::{milliseconds, say};

/// Done once the first worker is ready.
static STARTED: Once = Once::new();

/// Requests that are named when they are lost with their worker; more of them are counted.
const MOST_NAMED: usize = 20;

/// Passes on what the dispatch has to tell.
pub(super) fn tell(link: &MessageSocket, profiler: &Profiler, notice: &Notice) {
    match notice {
        Notice::Unwanted { .. } => {}
        Notice::Ready(worker) => {
            // What only the start needed is given back; what serves comes back with its first use.
            STARTED.call_once(program::forget_code);
            say(link, ToSupervisor::Ready { worker: *worker });
        }
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
            sample,
        } => timed_out(*worker, request, *after, sample),
        Notice::RouterGaveUp {
            worker,
            request,
            after,
            sample,
        } => router_gave_up(*worker, request, *after, sample),
        Notice::Slow {
            worker,
            request,
            after,
            sample,
        } => slow(*worker, request, *after, sample),
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

fn timed_out(worker: WorkerId, request: &str, after: Duration, sample: &StackSample) {
    error!(
        "a request took too long and was given up",
        request = request,
        route = sample.route.as_str(),
        after_ms = milliseconds(after),
        worker = worker.0,
        sql = sample.sql.as_str(),
        line = innermost(&sample.stack)
    );
}

fn slow(worker: WorkerId, request: &Named, after: Duration, sample: &StackSample) {
    warn!(
        "a request is slow",
        request_id = request.id.as_str(),
        method = request.method.as_str(),
        path = request.path.as_str(),
        route = sample.route.as_str(),
        after_ms = milliseconds(after),
        worker = worker.0,
        sql = sample.sql.as_str(),
        stack = Value::Block(&sample.stack)
    );
}

fn router_gave_up(worker: WorkerId, request: &Named, after: Duration, sample: &StackSample) {
    warn!(
        "the router has given up on a request that still runs (Heroku calls it H12)",
        request_id = request.id.as_str(),
        method = request.method.as_str(),
        path = request.path.as_str(),
        route = sample.route.as_str(),
        after_ms = milliseconds(after),
        worker = worker.0,
        sql = sample.sql.as_str(),
        line = innermost(&sample.stack)
    );
}

/// The innermost line of a stack that is neither Python's nor a library's, or else the innermost of all; most
/// recent calls are last, as `traceback` prints them.
fn innermost(stack: &str) -> &str {
    let lines = stack.lines().map(str::trim);
    let frames = lines.filter(|line| line.starts_with("File \""));
    let is_own = |frame: &&str| {
        ![
            "/site-packages/",
            "/dist-packages/",
            "/lib/python3",
            "<frozen ",
        ]
        .iter()
        .any(|part| frame.contains(part))
    };
    let mut inwards: Vec<&str> = frames.collect();
    inwards.reverse();
    let own = inwards.iter().copied().find(is_own);
    own.or_else(|| inwards.first().copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_request_is_the_innermost_of_the_app() {
        let stack = "  File \"/usr/lib/python3.13/threading.py\", line 9, in run\n    x()\n  \
                     File \"/srv/shop/views.py\", line 41, in orders\n    list(rows)\n  \
                     File \"/venv/lib/python3.13/site-packages/django/db/models/query.py\", line 7, in fetch\n    y()\n";
        assert_eq!(
            innermost(stack),
            "File \"/srv/shop/views.py\", line 41, in orders"
        );
        let library = "  File \"/usr/lib/python3.13/a.py\", line 1, in a\n  File \"<frozen b>\", line 2, in b\n";
        assert_eq!(innermost(library), "File \"<frozen b>\", line 2, in b");
        assert_eq!(innermost(""), "");
    }
}
