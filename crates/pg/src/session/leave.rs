//! The end of a session, and of a transaction that its client does not end (E1 to E4).
//!
//! Owns what becomes of the server: cleaned and given back, within bounds, or closed.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::timeout;

use super::buffer::Input;
use super::pump::write;
use super::{Activity, End, Session};
use crate::relay::Leaving;
use crate::wire::{SqlError, TxStatus};

/// A server that is not clean after this is closed.
const CLEAN_WITHIN: Duration = Duration::from_secs(5);
/// What a client said goodbye after may go on for so long: the last write of a program that does
/// not wait for the answer is done, and a query that nobody will read is cancelled (E2).
const FINISH_WITHIN: Duration = Duration::from_secs(3);
/// A client has so long to read our last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends a session.
pub(super) async fn leave(mut session: Box<Session>, end: End) {
    let (finish, words) = match end {
        End::Goodbye => (true, None),
        End::Vanished | End::Cut => (false, None),
        End::Fatal(error) => (false, Some(error)),
    };
    if let Some(error) = words {
        // In the middle of a message there is no place for words.
        if !session.relay.is_in_message() {
            error.encode(session.client_out.tail());
        }
    }
    let mut last = std::mem::take(&mut session.client_out);
    if !last.is_empty() {
        let stream = &mut session.stream;
        let words = poll_fn(|cx| {
            while !last.is_empty() || last.flushing {
                std::task::ready!(write(stream, cx, &mut last))?;
            }
            stream.poll_shutdown(cx)
        });
        // A client that does not listen misses them.
        let _ = timeout(LAST_WORDS, words).await;
    }
    session.clean(finish).await;
}

impl Session {
    /// Cleans the server and gives it back, or closes it.
    async fn clean(&mut self, finish: bool) {
        if self.lease.is_none() {
            return;
        }
        let mut clean = None;
        if finish {
            clean = timeout(FINISH_WITHIN, self.clean_server(false)).await.ok();
        }
        let clean = match clean {
            Some(clean) => clean,
            None => timeout(CLEAN_WITHIN, self.clean_server(true))
                .await
                .unwrap_or_default(),
        };
        self.turn = None;
        let owes_nothing = self.owes_nothing();
        if let Some(mut held) = self.lease.take() {
            if clean && !owes_nothing {
                held.lease.unsettled();
            } else if clean {
                held.lease.busy = false;
                held.lease.give_back();
            } else {
                held.lease.close();
            }
        }
    }

    /// Whether the server is clean now.
    async fn clean_server(&mut self, cancel: bool) -> bool {
        if cancel
            && !self.relay.is_settled()
            && let Some(held) = &self.lease
        {
            held.lease.aim.fire();
        }
        loop {
            let (relay, mut io) = self.relay();
            match relay.leave(&mut io) {
                Leaving::Clean if self.shared.settings.reset_always && self.forget_all() => {}
                // Half of a message may be out.
                Leaving::Clean if !self.server_out.is_empty() => {}
                Leaving::Clean => return true,
                Leaving::Close => return false,
                Leaving::Wait => {}
            }
            if self.drive_server().await.is_err() {
                return false;
            }
        }
    }

    /// The request that this session belongs to is over, its transaction is open: it is rolled
    /// back and its server given back. The client learns of it with its next statement, or at once if
    /// more than the transaction goes with that server: its connection ends, as with a server that ends.
    pub(super) async fn abandon(&mut self) -> Result<(), End> {
        if self.relay.told() == TxStatus::Idle {
            return Ok(());
        }
        if self.relay.is_tied() {
            let mut error = SqlError::fatal(
                "57P01",
                "terminating connection: its transaction was open at the end of the request it began in",
            )
            .hint("end transactions before the response is sent");
            error.detail = self.relay.pin_reason();
            return Err(End::Fatal(error));
        }
        // What the client has not read yet stays its own.
        let unread = std::mem::take(&mut self.client_out);
        self.clean(false).await;
        self.client_out = unread;
        // A server that was lost meanwhile owes nothing to the next one's answers.
        self.server_in = Input::default();
        self.server_out.clear();
        self.relay.rewind();
        let error = SqlError::error(
            "40001",
            "the transaction was rolled back at the end of the request it began in",
        )
        .hint("end transactions before the response is sent");
        self.relay.abandoned(error);
        self.handle.set_activity(Activity::Idle);
        Ok(())
    }
}
