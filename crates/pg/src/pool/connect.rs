//! Opening a server connection for a pool, and what follows when that fails: hold the clients,
//! make do with fewer, ask for the new password, or tell them. Leaves the protocol to `login`.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::drive::Job;
use super::host::{Held, Permit};
use super::one::Pool;
use super::outlook::Outlook;
use super::stats::bump;
use super::{Connect, Refused, Why};
use crate::target::Target;
use crate::wire::SqlError;

/// A server that was never reached is more likely a mistake than a fail-over: clients are told
/// what is wrong this soon.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Servers that nobody waits for are tried again this long after the server refused us.
const FILL_AGAIN: Duration = Duration::from_secs(15);

/// Counts also when the task is dropped or panics.
struct Connecting<C: Connect>(Rc<Pool<C>>);

impl<C: Connect> Drop for Connecting<C> {
    fn drop(&mut self) {
        self.0
            .connecting
            .set(self.0.connecting.get().saturating_sub(1));
    }
}

pub(crate) async fn connect<C: Connect>(pool: Rc<Pool<C>>, permit: Permit<C>) {
    let connecting = Connecting(Rc::clone(&pool));
    let generation = pool.generation.get();
    let mut end = attempt(&pool).await;
    if end
        .as_ref()
        .is_err_and(|refused| refused.why == Why::Password)
        && refresh(&pool).await
    {
        end = attempt(&pool).await;
    }
    match end {
        Ok(server) => {
            bump(&pool.counters.connects);
            pool.backoff.reset();
            pool.ever_connected.set(true);
            pool.outlook.set(Outlook::Fair);
            pool.last_refusal.replace(None);
            let mut held = Held::new(server, permit, generation);
            if pool.host.size.is_unknown() {
                // Others that are opening are not ours yet in the server's eyes: a safe error.
                let ours = pool.host.pids_with(&held);
                let limits = pool.host.connector.limits(&mut held.server, &ours).await;
                pool.host.size.look(limits);
                pool.host
                    .look_at
                    .set(Instant::now() + super::tick::LOOK_EVERY);
            }
            drop(connecting);
            pool.take_back(held);
            pool.replaced();
            pool.fill(Instant::now());
            // The cap may have become known, and a failing pool opens one at a time.
            pool.host.pump();
        }
        Err(refused) => {
            bump(&pool.counters.connect_failures);
            // As long as others of them work, it says nothing but that one could not be had.
            pool.outlook.set(if pool.has_none() {
                Outlook::Bad
            } else {
                Outlook::Doubtful
            });
            drop(connecting);
            fail(&pool, refused);
            drop(permit);
        }
    }
}

async fn attempt<C: Connect>(pool: &Rc<Pool<C>>) -> Result<C::Server, Refused> {
    let target = Rc::clone(&pool.target.borrow());
    let limit = pool.host.settings.connect_timeout;
    let open = pool.host.connector.connect(&target, &pool.key);
    timeout(limit, open).await.unwrap_or_else(|_| {
        let error = format!(
            "no answer from {} within {} s",
            pool.host.name,
            limit.as_secs_f32()
        );
        Err(Refused {
            why: Why::Unreachable,
            error: SqlError::fatal("08001", error),
        })
    })
}

/// Whether the password may be another one now (E8).
async fn refresh<C: Connect>(pool: &Rc<Pool<C>>) -> bool {
    let asked = pool.host.connector.refresh(pool.key.target).await;
    let known = || {
        let newest = pool.host.newest.of(&pool.target.borrow())?;
        Some(Target::clone(&newest))
    };
    let Some(target) = asked.or_else(known) else {
        return false;
    };
    {
        // Another place, such as the primary's for a replica, is not this pool's.
        let present = pool.target.borrow();
        let is_ours = *target.user == *pool.key.user && target.hosts == present.hosts;
        if !is_ours || **present == target {
            return false;
        }
    }
    pool.target.replace(Rc::new(target));
    true
}

fn fail<C: Connect>(pool: &Rc<Pool<C>>, refused: Refused) {
    let host = &pool.host;
    match refused.why {
        Why::Password | Why::Final => {
            // Clients are told at once, and ask again; what nobody waits for may wait itself.
            pool.fill_at.set(Instant::now() + FILL_AGAIN);
            pool.fail_all(&refused.error);
        }
        Why::Full | Why::Unreachable => {
            if refused.why == Why::Full {
                // Our own permit is still counted and brought nothing.
                host.size.shrink(host.open().saturating_sub(1));
            }
            let until = pool.backoff.fail(Instant::now(), host.chance());
            pool.last_refusal.replace(Some(refused));
            host.jobs.push(Job::PumpAt(until));
        }
    }
}
