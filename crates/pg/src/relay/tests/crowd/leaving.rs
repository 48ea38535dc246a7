//! Clients of a crowd that leave: what the session does until their server can go back.
//!
//! Owns cleaning it, and the cancel of what a goodbye left running.

use super::house::{Client, Crowd, Life};
use crate::relay::Leaving;

impl Crowd {
    /// It vanishes, or says goodbye.
    pub(super) fn leaves(&mut self, client: usize, is_cancelled: bool) {
        self.clients[client].life = Life::Leaves { is_cancelled };
        if is_cancelled {
            self.cancel(client);
        }
        self.clean(client);
    }

    fn cancel(&mut self, client: usize) {
        if let Some(slot) = self.clients[client].server
            && !self.clients[client].relay.is_settled()
        {
            self.slots[slot].server.cancel(Some(client));
        }
    }

    pub(super) fn clean(&mut self, client: usize) {
        if self.clients[client].server.is_none() {
            self.clients[client].life = Life::Gone;
            return;
        }
        let (relay, mut io) = self.relay(client);
        let leaving = relay.leave(&mut io);
        let Client {
            answers,
            to_server,
            relay,
            server_in,
            life,
            ..
        } = &mut self.clients[client];
        answers.clear();
        match leaving {
            Leaving::Wait => return,
            Leaving::Clean if !to_server.is_empty() => return,
            Leaving::Clean
                if relay.is_settled() && !relay.is_in_doubt() && server_in.is_empty() =>
            {
                *life = Life::Gone;
                self.give_back(client);
            }
            Leaving::Clean | Leaving::Close => {
                *life = Life::Gone;
                self.close(client);
            }
        }
        self.serve();
    }

    /// Nothing goes on by itself: what a goodbye left running is cancelled.
    pub(super) fn runs_out_of_patience(&mut self) -> bool {
        let leaves = |client: &Client| {
            client.life
                == Life::Leaves {
                    is_cancelled: false,
                }
        };
        let Some(client) = self.clients.iter().position(leaves) else {
            return false;
        };
        self.leaves(client, true);
        true
    }
}
