//! Owns the front's end of the link to its supervisor: does what it says, to the exit.
//! Leaves the words to `canter_workers::link`.

use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use canter_base::{error, warn};
use canter_files::Files;
use canter_front::{AccessLog, Insight, Pages, Server};
use canter_sys::process::exit_now;
use canter_workers::dispatch::{Adopted, Dispatch, WorkerId};
use canter_workers::link::{MOST_WORD, ToFront, ToSupervisor};
use canter_workers::socket::MessageSocket;

use super::app::Workers;
use super::breakers::Guarded;
use super::collector::Collector;
use super::files;
use super::observed::Processes;
use super::pooled::Pooled;

/// Between asking the workers to end and leaving: they notice by themselves, too.
const FAREWELL: Duration = Duration::from_millis(20);

/// What purges have at least to reach the folder and the other machines.
const LAST_PURGES: Duration = Duration::from_millis(500);

/// The parts that the supervisor's words are about.
#[derive(Clone)]
pub(super) struct Joined {
    pub link: Rc<MessageSocket>,
    pub dispatch: Dispatch,
    pub access: Option<Rc<AccessLog>>,
    pub pooled: Pooled,
    pub processes: Processes,
    pub files: Files,
    pub pages: Pages,
    pub collector: Collector,
    pub insight: Option<Rc<Insight>>,
}

/// Does what the supervisor says, to the end.
pub(super) async fn obey(
    joined: Joined,
    server: Server<Guarded<Workers>>,
    graceful: Duration,
) -> io::Result<Infallible> {
    let Joined { link, dispatch, .. } = &joined;
    let mut server = Some(server);
    let mut buf = [0; MOST_WORD];
    loop {
        let (len, fds) = link.receive(&mut buf).await.unwrap_or_default();
        let word = match buf.get(..len).map(ToFront::read) {
            _ if len == 0 => {
                // The supervisor has died: nobody would replace what fails from here on.
                ToFront::Stop {
                    grace_ms: milliseconds(graceful),
                    linger_ms: 0,
                }
            }
            Some(Ok(word)) => word,
            _ => continue,
        };
        match word {
            ToFront::Adopt {
                worker,
                reloads,
                pid,
            } => {
                joined.pooled.adopt(worker, pid);
                joined.processes.adopt(worker, pid);
                if let Err(error) = adopt(dispatch, worker, reloads, fds) {
                    error!("cannot take a worker on", reason = &error.to_string());
                }
            }
            ToFront::Retire { worker } => dispatch.retire(worker),
            ToFront::Ended { worker } => dispatch.ended(worker),
            ToFront::Import { has_failed } => dispatch.import(has_failed),
            ToFront::Files => files::told(&joined.files, &joined.pages, fds),
            ToFront::Stop {
                grace_ms,
                linger_ms,
            } => {
                if let Some(server) = server.take() {
                    let stop = Stop {
                        joined: joined.clone(),
                        server,
                        grace: Duration::from_millis(grace_ms.into()),
                        linger: Duration::from_millis(linger_ms.into()),
                    };
                    tokio::task::spawn_local(stop.run());
                }
                if len == 0 {
                    std::future::pending::<()>().await;
                }
            }
            ToFront::Ping => say(link, ToSupervisor::Pong),
            ToFront::Reopen => {
                if let Some(access) = &joined.access {
                    access.reopen();
                }
            }
        }
    }
}

fn adopt(dispatch: &Dispatch, worker: WorkerId, reloads: u32, fds: Vec<OwnedFd>) -> io::Result<()> {
    let fds: [OwnedFd; 4] = fds.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
    let [memory, eventfd, control, files] = fds;
    dispatch.adopt(
        worker,
        Adopted {
            // From 1 on: 0 is no release.
            release: reloads.saturating_add(1),
            memory,
            eventfd,
            control,
            files,
        },
    )
}

/// The way to the exit.
struct Stop {
    joined: Joined,
    server: Server<Guarded<Workers>>,
    grace: Duration,
    linger: Duration,
}

impl Stop {
    async fn run(mut self) {
        let over = tokio::time::Instant::now() + self.grace;
        let end = over - self.joined.collector.reserve(self.grace);
        self.server.drain();
        tokio::time::sleep(self.linger.min(self.grace)).await;
        if tokio::time::timeout_at(end, self.server.stop())
            .await
            .is_err()
        {
            warn!(
                "connections are cut: the time to finish is over",
                connections = self.server.connections()
            );
        }
        let joined = &self.joined;
        joined.dispatch.stop();
        joined.dispatch.retire_all();
        tokio::time::sleep(FAREWELL).await;
        let left = end.saturating_duration_since(tokio::time::Instant::now());
        joined.pooled.drain(left).await;
        if let Some(access) = &joined.access {
            access.finish();
        }
        let left = over.saturating_duration_since(tokio::time::Instant::now());
        joined.collector.finish(left).await;
        // Also when connections took all the time there was.
        let left = over.saturating_duration_since(tokio::time::Instant::now());
        joined.pages.finish(left.max(LAST_PURGES)).await;
        if let Some(insight) = &joined.insight {
            insight.keep_usual();
        }
        say(&joined.link, ToSupervisor::Drained);
        exit_now(0);
    }
}

/// Says a word to the supervisor.
pub(super) fn say(link: &MessageSocket, word: ToSupervisor) {
    if let Err(error) = link.send(&word.to_bytes())
        && error.kind() == io::ErrorKind::WouldBlock
    {
        warn!("the supervisor does not listen");
    }
}

/// As the words and the log have it.
pub(super) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
