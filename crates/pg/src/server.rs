//! One server connection: its stream, what is known of it, and the few things that are said on it
//! when no client listens. Leaves clients' traffic to `relay` and who has it to `pool`.

mod ask;

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::timeout;

use crate::cancel::Aim;
use crate::pool::{Facts, Link};
use crate::relay::{Known, Label, Params};
use crate::stream::{Idle, Stream};
use crate::wire::{TxStatus, build};

/// A server process that does not end after this keeps its connection no longer counted.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// A server connection that is logged in.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) stream: Stream,
    /// Parameters, label, prepared statements, status.
    pub(crate) known: Known,
    /// How to cancel what runs on it.
    pub(crate) aim: Rc<Aim>,
    /// Whether somebody has it who has not had all replies: it is not said goodbye to, but
    /// cancelled.
    pub(crate) busy: bool,
}

impl Server {
    pub(crate) fn new(stream: Stream, params: Rc<Params>, prepared: usize, aim: Rc<Aim>) -> Self {
        Self {
            stream,
            known: Known::new(params, prepared),
            aim,
            busy: false,
        }
    }

    /// Says goodbye and reads until the server has closed: its process is gone then.
    async fn part(&mut self) -> io::Result<()> {
        // Whatever runs would keep the process alive after its client has gone.
        if self.busy {
            self.aim.fire();
        }
        self.stream.write_all(build::TERMINATE).await?;
        // Half a message may have gone before: then only the end of the stream is understood.
        std::future::poll_fn(|cx| self.stream.poll_shutdown(cx)).await?;
        let mut rest = [0; 4096];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

impl Link for Server {
    fn is_alive(&mut self) -> bool {
        // What it was asked was not answered to the end.
        if self.busy || self.known.status != TxStatus::Idle {
            return false;
        }
        match self.stream.idle() {
            Idle::Quiet => true,
            Idle::Talking => ask::is_harmless(self),
            Idle::Gone => false,
        }
    }

    fn label(&self) -> &Rc<Label> {
        &self.known.label
    }

    fn address(&self) -> Option<IpAddr> {
        self.stream.peer_addr().map(|address| address.ip())
    }

    fn pid(&self) -> Option<i32> {
        self.aim.pid()
    }

    fn is_being_cancelled(&self) -> bool {
        self.aim.is_firing()
    }

    fn aim(&self) -> Option<Rc<Aim>> {
        Some(Rc::clone(&self.aim))
    }

    fn facts(&self) -> Facts {
        Facts {
            address: self.stream.peer_addr(),
            local: self.stream.local_addr(),
            tls: self.stream.tls_summary().unwrap_or_default(),
            ..Facts::default()
        }
    }

    fn prepared(&self) -> usize {
        self.known.prepared.len()
    }

    async fn quiet(&self) {
        self.aim.quiet().await;
    }

    async fn close(mut self: Box<Self>) {
        // A server that does not listen, or has gone, has nothing to say to this.
        let _ = timeout(CLOSE_WITHIN, self.part()).await;
    }
}
