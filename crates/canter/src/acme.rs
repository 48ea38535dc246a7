//! Owns certificates from an authority (ACME, RFC 8555): which are due, getting them one after the
//! other, and what happens when that fails. What is in use stays in use until there is a new one.
//! Leaves one order to `order`, when a certificate is due to `due`, files to `store`, and the way to the
//! authority to `client`.

mod client;
mod due;
mod order;
mod store;

use std::time::{Duration, SystemTime};

use canter_base::options::Config;
use canter_base::{Fault, info, warn};
use canter_front::{Challenges, KeyPair};
use instant_acme::{Account, Error};

use client::{Client, Refusal, Wish};
use due::{Certificate, Due};
use store::{Failures, Store};

/// Let's Encrypt.
const USUAL: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Between two looks at a certificate, at least and at most.
const SOON: Duration = Duration::from_secs(60);
const LATE: Duration = Duration::from_secs(24 * 3600);
/// Failures in a row that a new start does not wait for, and after which an order is as plain as can be.
const PATIENT: u32 = 3;
/// The longest wait after a start.
const MOST_AT_START: Duration = Duration::from_secs(3600);
/// For one order, from its beginning to the certificate.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the options ask for.
#[derive(Clone)]
pub struct Plan {
    names: Vec<String>,
    email: Option<String>,
    directory: String,
    store: Store,
    wish: Wish,
}

impl Plan {
    /// Opens the folder; a site without a certificate gets one of our own making, so that there is
    /// something to begin with. None where no authority is asked for.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn new(config: &Config) -> Result<Option<Self>, Fault> {
        if config.tls_acme.is_empty() {
            return Ok(None);
        }
        let directory = config.tls_acme_directory.as_ref();
        let directory = directory.map_or(USUAL, |directory| &directory.0).to_owned();
        let store = Store::open(config.tls_acme_dir.as_deref(), &directory)?;
        let names: Vec<String> = config.tls_acme.iter().map(|name| name.0.clone()).collect();
        for name in &names {
            store.begin(name)?;
        }
        Ok(Some(Self {
            names,
            email: config.tls_acme_email.clone(),
            directory,
            store,
            wish: Wish::default(),
        }))
    }

    /// Where the certificates are.
    pub fn pairs(&self) -> Vec<KeyPair> {
        let pair = |name: &String| {
            let certificate = self.store.certificate(name);
            KeyPair {
                key: certificate.clone(),
                certificate,
            }
        };
        self.names.iter().map(pair).collect()
    }

    /// Looks after the certificates until the task is dropped.
    pub async fn run(self, challenges: Challenges) {
        let mut sites: Vec<Site> = self.names.iter().map(|name| self.site(name)).collect();
        let mut account = None;
        loop {
            for at in 0..sites.len() {
                if let Some(site) = sites.get_mut(at)
                    && site.next <= SystemTime::now()
                    && let Some(until) = self.look(site, &mut account, &challenges).await
                {
                    self.wait_all(&mut sites, until);
                }
            }
            let next = sites.iter().map(|site| site.next).min();
            let wait = next.and_then(|next| next.duration_since(SystemTime::now()).ok());
            // Clocks are set now and then: nobody relies on a long sleep.
            let wait = wait.unwrap_or_default().clamp(Duration::from_secs(1), SOON);
            tokio::time::sleep(wait).await;
        }
    }

    /// A name, as the last run has left it. Whoever has just mended something and starts again does
    /// not wait; who starts again and again does.
    fn site(&self, name: &str) -> Site {
        let Failures { count, last, until } = self.store.failures(name).unwrap_or_default();
        let wait = if count < PATIENT {
            Duration::ZERO
        } else {
            back_off(count).min(MOST_AT_START)
        };
        let next = last.checked_add(wait).unwrap_or(last).max(until);
        let left = next.duration_since(SystemTime::now()).unwrap_or_default();
        if !left.is_zero() {
            warn!(
                "the authority is not asked yet: it has refused too often, or named a time",
                name = name,
                next_try_s = left.as_secs()
            );
        }
        Site {
            name: name.to_owned(),
            next,
            failures: count,
        }
    }

    /// Asks for none of the names before that, over a restart neither.
    fn wait_all(&self, sites: &mut [Site], until: SystemTime) {
        for site in sites {
            site.next = site.next.max(until);
            let _ = self.store.put_wait(&site.name, until);
        }
    }

    /// Gets a new certificate when it is time; says when to look again. Where the authority has named a
    /// time before which it answers nobody, that comes back.
    async fn look(
        &self,
        site: &mut Site,
        account: &mut Option<Account>,
        challenges: &Challenges,
    ) -> Option<SystemTime> {
        // Of an earlier refusal that came to nothing, as where a renewal is not suggested.
        let _ = self.wish.take();
        let attempt = async {
            match self.try_look(site, account, challenges).await {
                // It was wiped, as those for tests are, or the account was closed: another is made.
                Err(failure) if failure.contains(NO_ACCOUNT) && account.is_some() => {
                    *account = None;
                    self.store
                        .forget_account()
                        .map_err(|error| format!("{failure}; account.json stays: {error}"))?;
                    self.try_look(site, account, challenges).await
                }
                outcome => outcome,
            }
        };
        let failure = match tokio::time::timeout(PATIENCE, attempt).await {
            Ok(Ok(next)) => {
                site.failures = 0;
                site.next = next;
                let _ = self.store.put_failures(&site.name, 0, None);
                return None;
            }
            Ok(Err(failure)) => failure,
            Err(_) => "the authority did not answer in time".to_owned(),
        };
        site.failures = site.failures.saturating_add(1);
        let (now, refusal) = (SystemTime::now(), self.wish.take());
        let until = refusal.and_then(|refusal| refusal.until);
        // An account is not for one name alone.
        let is_for_all = refusal.is_some_and(Refusal::is_of_the_authority) || account.is_none();
        site.next = (now + back_off(site.failures)).max(until.unwrap_or(now));
        let wait = site.next.duration_since(now).unwrap_or_default();
        // A folder that cannot be written was named when the certificate could not be stored.
        let _ = self.store.put_failures(&site.name, site.failures, until);
        warn!(
            "no new certificate: the one in use stays",
            name = site.name.as_str(),
            reason = failure.as_str(),
            next_try_s = wait.as_secs()
        );
        until.filter(|_| is_for_all)
    }

    async fn try_look(
        &self,
        site: &Site,
        account: &mut Option<Account>,
        challenges: &Challenges,
    ) -> Result<SystemTime, String> {
        let said = |error: Error| error.to_string();
        let current = Certificate::read(&self.store.certificate(&site.name));
        let account = match account {
            Some(account) => account,
            None => account.insert(self.account().await.map_err(said)?),
        };
        let now = SystemTime::now();
        if let Due::Later(when) = due::find(account, current.as_ref()).await {
            return Ok(when.clamp(now + SOON, now + LATE));
        }
        let replaced = current.as_ref().and_then(Certificate::id);
        // That it replaces one is a courtesy (RFC 9773, section 5): whatever it is that fails, in the end
        // it must not be that.
        let replaced = replaced.filter(|_| site.failures < PATIENT);
        let got = order::run(account, &site.name, replaced, challenges, &self.wish).await?;
        self.store
            .put(&site.name, &got)
            .map_err(|error| format!("it cannot be stored: {error}"))?;
        info!(
            "there is a new certificate",
            name = site.name.as_str(),
            from = self.directory.as_str()
        );
        Ok(now + SOON)
    }

    /// The account at the authority: the one we had, or a new one.
    async fn account(&self) -> Result<Account, Error> {
        let client = Client::new(self.wish.clone())?;
        let builder = Account::builder_with_http(Box::new(client));
        if let Some(credentials) = self.store.account() {
            return builder.from_credentials(credentials).await;
        }
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = instant_acme::NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder.create(&new, self.directory.clone(), None).await?;
        self.store
            .put_account(&credentials)
            .map_err(|error| Error::Other(error.into()))?;
        Ok(account)
    }
}

/// What an authority says that does not know our account (RFC 8555, section 6.7).
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// One name, as it stands.
struct Site {
    name: String,
    next: SystemTime,
    failures: u32,
}

/// From a minute up to a day: authorities stop listening to those that ask too often.
fn back_off(failures: u32) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(11);
    (SOON * factor).min(LATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_followed_by_ever_longer_waits() {
        let waits: Vec<u64> = (1..=13)
            .map(|count| back_off(count).as_secs() / 60)
            .collect();
        assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
        assert_eq!(waits[12], 24 * 60);
        assert_eq!(back_off(u32::MAX), LATE);
    }

    #[test]
    fn a_time_for_all_names_shortens_no_wait_of_one_and_is_no_failure_of_another() {
        let folder = std::env::temp_dir().join(format!("canter-acme-all-{}", std::process::id()));
        let store = Store::open(Some(&folder), USUAL).unwrap();
        let names = ["a.org", "b.org", "c.org"].map(str::to_owned);
        let at =
            |hours: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000 + hours * 3600);
        let (soon, late) = (at(1), at(24));
        store.put_failures("a.org", 1, Some(late)).unwrap();
        store.put_failures("b.org", 5, None).unwrap();
        let plan = Plan {
            names: names.to_vec(),
            email: None,
            directory: USUAL.to_owned(),
            store: store.clone(),
            wish: Wish::default(),
        };
        let before = names.clone().map(|name| store.failures(&name));
        let mut sites: Vec<Site> = names.iter().map(|name| plan.site(name)).collect();
        plan.wait_all(&mut sites, soon);
        let after = names.clone().map(|name| store.failures(&name).unwrap());
        assert_eq!(Some(after[0]), before[0]);
        let last = before[1].unwrap().last;
        assert_eq!(
            (after[1].count, after[1].until, after[1].last),
            (5, soon, last)
        );
        assert_eq!((after[2].count, after[2].until), (0, soon));
        // In this run and after a start.
        let started = names.each_ref().map(|name| plan.site(name).next);
        assert_eq!(started, [late, soon, soon]);
        let next: Vec<SystemTime> = sites.iter().map(|site| site.next).collect();
        assert_eq!(next, [late, soon, soon]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
