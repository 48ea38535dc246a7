//! Owns doing what was asked of the workers over the private socket: their number is the supervisor's, the
//! cap on threads the dispatch's, connections the pool's.

use std::rc::Rc;

use canter_front::{Insight, Scale};
use canter_workers::dispatch::Dispatch;
use canter_workers::link::ToSupervisor;
use canter_workers::socket::MessageSocket;

use super::link::say;
use super::pooled::Pooled;

/// From now on does it, where there is somebody to ask.
pub fn connect(
    insight: Option<&Insight>,
    link: &Rc<MessageSocket>,
    dispatch: &Dispatch,
    pooled: &Pooled,
) {
    let (link, dispatch, pooled) = (Rc::clone(link), dispatch.clone(), pooled.clone());
    if let Some(insight) = insight {
        insight.on_scale(move |asked| change(&link, &dispatch, &pooled, asked));
    }
}

fn change(link: &MessageSocket, dispatch: &Dispatch, pooled: &Pooled, asked: Scale) {
    if let Some(threads) = asked.threads {
        dispatch.set_threads(threads);
    }
    if asked.fresh {
        pooled.renew();
    }
    if asked.workers.is_some() || asked.fresh {
        let workers = asked.workers.unwrap_or(0).into();
        let fresh = asked.fresh;
        say(link, ToSupervisor::Scale { workers, fresh });
    }
}
