//! Owns the front as a whole: starting, draining, stopping.
//! Leaves what all connections share to `shared`, single ones to `conn` and the runtime to the composition.

use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use canter_shield::pressure::Level;
use tokio::task::JoinHandle;

use crate::access::AccessLog;
use crate::app::App;
use crate::listener::Listener;
use crate::settings::Settings;
use crate::shared::Shared;

/// How often connections are looked at for time limits.
const SWEEP: Duration = Duration::from_millis(250);

/// How long those who came last have for a request that is on its way, before they count as idle: a turn
/// of the runtime, in which what has come is read.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// The running front.
pub struct Server<A: App> {
    shared: Rc<Shared<A>>,
    accepting: Vec<(Rc<Listener>, JoinHandle<()>)>,
}

impl<A: App> Server<A> {
    /// Starts accepting. Call inside a local runtime.
    pub fn start(
        settings: Settings,
        listeners: Vec<Listener>,
        app: A,
        access: Option<Rc<AccessLog>>,
    ) -> Self {
        let shared = Rc::new(Shared::new(settings, app, access));
        let accepting = listeners
            .into_iter()
            .map(|listener| {
                let listener = Rc::new(listener);
                let run = Rc::clone(&listener).run(Rc::clone(&shared));
                (listener, tokio::task::spawn_local(run))
            })
            .collect();
        tokio::task::spawn_local(sweep(Rc::clone(&shared)));
        Self { shared, accepting }
    }

    /// From now on every response says `Connection: close`; connections are still accepted.
    pub fn drain(&self) {
        self.shared.drain();
    }

    /// Accepts those who have connected already and no more, closes idle connections, and waits until
    /// the others are done. Meanwhile commands are still taken: a view that runs may purge pages.
    pub async fn stop(&mut self) {
        self.drain();
        self.finish(|listener| !listener.is_for_commands()).await;
        self.finish(|_| true).await;
    }

    /// The same for some of the listeners.
    async fn finish(&mut self, ends: impl Fn(&Listener) -> bool) {
        if !self.shared.table.has_room() {
            // Those who wait for room get that of the idle ones, once these have left.
            tokio::time::sleep(LAST_LOOK).await;
            self.shared.table.close_idle();
            tokio::time::sleep(LAST_LOOK).await;
        }
        for (listener, task) in self
            .accepting
            .extract_if(.., |(listener, _)| ends(listener))
        {
            task.abort();
            let _ = task.await;
            // Nobody else holds it, now that its task has gone.
            if let Some(listener) = Rc::into_inner(listener) {
                listener.finish(&self.shared);
            }
        }
        let table = &self.shared.table;
        if table.is_empty() {
            return;
        }
        tokio::time::sleep(LAST_LOOK).await;
        table.close_idle();
        std::future::poll_fn(|cx| {
            if table.is_empty() {
                return Poll::Ready(());
            }
            table.wake_on_leave(cx);
            Poll::Pending
        })
        .await;
    }

    /// To be told how short memory is.
    pub fn pressing(&self) -> impl Fn(Level) + use<A> {
        let shared = Rc::clone(&self.shared);
        move |level| shared.press(level)
    }

    /// Client connections now.
    pub fn connections(&self) -> usize {
        self.shared.table.len()
    }
}

async fn sweep<A: App>(shared: Rc<Shared<A>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        shared.table.sweep(Instant::now());
        if let Some(insight) = &shared.settings.insight {
            let connections = u32::try_from(shared.table.len()).unwrap_or(u32::MAX);
            insight.connections.set(connections);
        }
    }
}
