//! The connector of real servers: `login`, DNS, and the question how many connections are left.

use std::net::IpAddr;
use std::rc::Rc;

use canter_base::warn;
use tokio::time::Instant;

use super::{Connect, Limits, PoolKey, Refused, Why};
use crate::cancel::Aim;
use crate::login::{self, LoginError, LoginErrorKind};
use crate::relay::Params;
use crate::server::Server;
use crate::settings::Settings;
use crate::target::{Addr, Target, TargetId};
use crate::wire::SqlError;

/// Others' connections are those of clients; a role that may not see who is a background worker
/// counts those too, which errs to the safe side.
const LIMITS: &str = "\
SELECT pg_catalog.current_setting('max_connections'), \
CASE WHEN r.rolsuper THEN '0' ELSE pg_catalog.current_setting('superuser_reserved_connections') END, \
CASE WHEN r.rolsuper THEN '0' ELSE coalesce(pg_catalog.current_setting('reserved_connections', true), '0') END, \
a.others, r.rolconnlimit, a.role_others, d.datconnlimit, a.database_others \
FROM pg_catalog.pg_roles r, pg_catalog.pg_database d, (SELECT count(*) AS others, \
count(*) FILTER (WHERE usename = session_user) AS role_others, \
count(*) FILTER (WHERE datname = pg_catalog.current_database()) AS database_others \
FROM pg_catalog.pg_stat_activity WHERE datid IS NOT NULL \
AND coalesce(backend_type, 'client backend') = 'client backend' AND pid <> ALL ('{OURS}'::int4[])) a \
WHERE r.rolname = session_user AND d.datname = pg_catalog.current_database()";

pub(crate) struct Network {
    settings: Rc<Settings>,
}

impl Network {
    pub(crate) fn new(settings: &Rc<Settings>) -> Self {
        Self {
            settings: Rc::clone(settings),
        }
    }
}

impl super::Pools {
    /// Pools of real servers.
    pub(crate) fn new(settings: &Rc<Settings>) -> Self {
        let kept = Rc::clone(settings);
        Self::with(settings, Box::new(move || Network::new(&kept)))
    }
}

impl Connect for Network {
    type Server = Server;

    async fn connect(&self, target: &Rc<Target>, key: &PoolKey) -> Result<Server, Refused> {
        let deadline = Instant::now() + self.settings.connect_timeout;
        let logged_in = login::connect(target, &key.database, &key.user, &[], deadline)
            .await
            .map_err(refused)?;
        let aim = Aim::new(Rc::clone(target), logged_in.at, logged_in.key);
        let params = Params::new(logged_in.params);
        Ok(Server::new(
            logged_in.stream,
            params,
            self.settings.prepared,
            aim,
        ))
    }

    async fn limits(&self, server: &mut Server, ours: &[i32]) -> Option<Limits> {
        let ours: Vec<_> = ours.iter().map(ToString::to_string).collect();
        match server.ask(&LIMITS.replace("OURS", &ours.join(","))).await {
            Ok(Ok(row)) => limits(&row?),
            Ok(Err(error)) => {
                let error = error.to_string();
                warn!(
                    "the server does not say how many connections are left",
                    error = &*error
                );
                None
            }
            Err(_) => None,
        }
    }

    async fn addresses(&self, target: &Target) -> Option<Vec<IpAddr>> {
        let mut all = Vec::new();
        for host in &target.hosts {
            match &host.addr {
                Addr::Name(name) => {
                    let found = tokio::net::lookup_host((name.as_str(), host.port))
                        .await
                        .ok()?;
                    all.extend(found.map(|address| address.ip()));
                }
                Addr::Ip(address, _) => all.push(*address),
                Addr::Unix(_) => {}
            }
        }
        Some(all)
    }

    async fn refresh(&self, target: TargetId) -> Option<Target> {
        let refresh = self.settings.refresh.as_ref()?;
        refresh(target).await
    }
}

fn limits(row: &[Option<String>]) -> Option<Limits> {
    let mut numbers = row
        .iter()
        .map(|column| column.as_ref()?.parse::<i64>().ok());
    let mut next = || numbers.next().flatten();
    let (most, superuser, reserved) = (next()?, next()?, next()?);
    Some(Limits {
        server: most.saturating_sub(superuser).saturating_sub(reserved),
        server_others: next()?,
        role: next()?,
        role_others: next()?,
        database: next()?,
        database_others: next()?,
    })
}

fn refused(error: LoginError) -> Refused {
    let why = match error.kind {
        LoginErrorKind::Dns
        | LoginErrorKind::Refused
        | LoginErrorKind::Timeout
        | LoginErrorKind::Gone
        | LoginErrorKind::StartingUp
        | LoginErrorKind::WrongRole => Why::Unreachable,
        LoginErrorKind::TooMany => Why::Full,
        LoginErrorKind::Auth => Why::Password,
        LoginErrorKind::Tls
        | LoginErrorKind::NoDatabase
        | LoginErrorKind::Protocol
        | LoginErrorKind::Other => Why::Final,
    };
    // The server's own words are kept (A11); 08001 is "unable to establish a connection".
    let error = error
        .sql
        .unwrap_or_else(|| SqlError::fatal("08001", error.message));
    Refused { why, error }
}
