//! Owns what the options mean for the pooler: its settings, its database, its doors, and what is
//! said of them. The sockets are opened here, by a process that outlives a front that fails.
//! Leaves pooling to `canter_pg`, and the runtime to whoever calls [`Plan::open`].

mod folder;

use std::cell::Cell;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use canter_base::options::{Address, Config, DatabaseUrl, DbAuth, DbPool, RoleName};
use canter_base::{Fault, warn};
use canter_pg::access::{Access, AccessOptions, Auth, Reach};
use canter_pg::replica::{Rules, Seal};
use canter_pg::target::{Target, TargetError};
use canter_pg::{Door, Pooler, Refresh, Settings};
use rustix::net::getsockname;

use crate::command::sockets::{self, SocketFiles, Sockets};
use folder::Folder;

/// Where a URL came from decides whether a bad one is a fault: `DATABASE_URL` is first of all the
/// app's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFrom {
    /// The platform's variable.
    Platform,
    /// An option of ours.
    Option,
}

/// Everything of the pooler that exists before it runs.
pub struct Plan {
    settings: Settings,
    target: Option<Target>,
    replicas: Option<Replicas>,
    private: Option<Private>,
    access: AccessOptions,
    doors: Vec<OpenDoor>,
    /// Socket files, which go with the plan.
    _files: SocketFiles,
}

/// Where reads may go.
pub struct Replicas {
    targets: Vec<Target>,
    rules: Rules,
    /// For the position that visitors carry.
    seal: Seal,
}

/// The door of our own workers.
struct Private {
    listener: Cell<Option<UnixListener>>,
    path: PathBuf,
    _file: SocketFiles,
    _folder: Folder,
}

/// A door for other programs.
struct OpenDoor {
    /// Taken by the process that accepts there, as what follows is; a fork has copies of its own.
    listener: Cell<Option<OwnedFd>>,
    reach: Reach,
    shown: String,
    access: Cell<Option<Access>>,
}

impl Plan {
    /// For `canter serve`; `None` when there is nothing to pool and no door to open.
    pub fn for_site(config: &Config, from: UrlFrom) -> Result<Option<Self>, Fault> {
        let is_inherited = |address: &Address| matches!(address, Address::Inherited(_));
        if config.bind_postgres.iter().any(is_inherited) {
            let what = "`canter serve` takes inherited sockets for the site alone";
            return Err(Fault::usage(what)
                .from("`--bind-postgres`")
                .hint("`canter pool --bind-postgres fd://3` takes them"));
        }
        let private = match config.db_pool {
            DbPool::Auto => private(config)?,
            DbPool::Off => None,
        };
        let has_replicas = !config.db_replica.is_empty();
        if private.is_none() && config.bind_postgres.is_empty() {
            if has_replicas && config.db_pool == DbPool::Off {
                let what = "reads go to replicas through the pool, and it is off";
                return Err(Fault::usage(what)
                    .from("`--db-replica`")
                    .hint("leave out `--db-pool off`, or the replicas"));
            }
            return Ok(None);
        }
        let is_needed = from == UrlFrom::Option || !config.bind_postgres.is_empty() || has_replicas;
        let target = match target(config) {
            Err(fault) if !is_needed => {
                warn!(
                    "the database in DATABASE_URL cannot be used for CANTER_DATABASE_URL",
                    reason = fault.what.as_str()
                );
                None
            }
            other => other?,
        };
        if target.is_none() && has_replicas {
            return Err(without_database().from("`--db-replica`"));
        }
        if target.is_none() && !config.bind_postgres.is_empty() {
            return Err(without_database().from("`--bind-postgres`"));
        }
        Self::new(config, &config.bind_postgres, target, private).map(Some)
    }

    /// For `canter pool`.
    pub fn alone(config: &Config, addresses: &[Address]) -> Result<Self, Fault> {
        let target = target(config)?.ok_or_else(without_database)?;
        Self::new(config, addresses, Some(target), None)
    }

    fn new(
        config: &Config,
        addresses: &[Address],
        target: Option<Target>,
        private: Option<Private>,
    ) -> Result<Self, Fault> {
        let access = access(config)?;
        let (doors, files) = open(addresses, config)?;
        for door in &doors {
            let found = admission(door.reach, &access, target.as_ref())
                .map_err(|what| Fault::usage(what).from(format!("the door at {}", door.shown)))?;
            door.access.set(Some(found));
        }
        Ok(Self {
            settings: settings(config),
            replicas: target
                .as_ref()
                .map_or(Ok(None), |target| replicas(config, target))?,
            target,
            private,
            access,
            doors,
            _files: files,
        })
    }

    /// Asks this for the database's present contents when the server refuses its password.
    pub fn set_refresh(&mut self, refresh: Refresh) {
        self.settings.refresh = Some(refresh);
    }

    /// Starts the pooler in this thread's local runtime; once in a process, which keeps no other copy of
    /// the sockets: they close when the pooler closes its doors.
    pub fn open(&self) -> io::Result<Pooler> {
        let pooler = Pooler::new(self.settings.clone());
        if let Some(target) = &self.target {
            set_default(&pooler, target, self.replicas.as_ref());
        }
        if let Some(listener) = self.private.as_ref().and_then(|own| own.listener.take()) {
            pooler.open(Door::private(listener)?)?;
        }
        for door in &self.doors {
            let (Some(listener), Some(access)) = (door.listener.take(), door.access.take()) else {
                continue;
            };
            pooler.open(match door.reach {
                Reach::Unix => Door::unix(listener.into(), access),
                Reach::Loopback | Reach::Network => Door::tcp(listener.into(), access),
            })?;
        }
        Ok(pooler)
    }

    /// Closes this process's copies of the sockets.
    pub fn close(&self) {
        if let Some(private) = &self.private {
            private.listener.take();
        }
        for door in &self.doors {
            door.listener.take();
        }
    }

    /// The socket that workers connect to.
    pub fn private_path(&self) -> Option<&Path> {
        self.private.as_ref().map(|private| private.path.as_path())
    }

    /// For the app: the database behind the private socket, without a secret in it.
    pub fn url(&self) -> Option<String> {
        let (target, path) = (self.target.as_ref()?, self.private_path()?);
        let folder = path.parent()?.to_str()?;
        let mut url = String::from("postgresql://");
        percent(&mut url, &target.user);
        url.push_str("@/");
        percent(&mut url, &target.dbname);
        url.push_str("?host=");
        percent(&mut url, folder);
        Some(url)
    }

    /// What signs the position of a visitor's last write, where replicas are read from.
    pub fn seal(&self) -> Option<&Seal> {
        self.replicas.as_ref().map(|replicas| &replicas.seal)
    }

    /// The replicas, for people.
    pub fn replicas(&self) -> impl Iterator<Item = String> {
        let targets = self.replicas.iter().flat_map(|replicas| &replicas.targets);
        targets.map(Target::describe)
    }

    /// The database.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// The doors for other programs, as people read them.
    pub fn doors(&self) -> impl Iterator<Item = &str> {
        self.doors.iter().map(|door| door.shown.as_str())
    }

    /// How many connections and why, for people.
    pub fn connections(&self) -> String {
        connections(self.settings.connections)
    }

    /// How a client of a door gets in, for people.
    pub fn admission(&self) -> &'static str {
        let has_users = self.access.users.is_some();
        let only_unix = self.doors.iter().all(|door| door.reach == Reach::Unix);
        let has_password = self
            .target
            .as_ref()
            .is_some_and(|target| target.password.is_some());
        match self.access.auth {
            Some(Auth::Trust) => "nothing: every program of this machine gets in",
            Some(Auth::Cert) => "a client certificate whose common name is the user",
            _ if has_users => "a user and password of `--db-auth-file`",
            None | Some(Auth::Peer) if only_unix => "nothing of whoever runs as this user",
            None if !has_password => {
                "nothing of programs of this user; others are refused, for the URL has no password"
            }
            _ => "the user and password of the database's URL",
        }
    }

    /// A line that shows how to get to the console.
    pub fn console(&self) -> Option<String> {
        let (example, target) = (self.example()?, self.target.as_ref()?);
        // The database's name is the end of both kinds of address.
        let mut dbname = String::new();
        percent(&mut dbname, &target.dbname);
        let before = example
            .strip_suffix(&format!("dbname={}'", target.dbname))
            .map(|before| format!("{before}dbname=pgbouncer'"));
        before.or_else(|| Some(format!("{}pgbouncer", example.strip_suffix(&dbname)?)))
    }

    /// A line that shows how to get in.
    pub fn example(&self) -> Option<String> {
        let (door, target) = (self.doors.first()?, self.target.as_ref()?);
        let (mut user, mut dbname) = (String::new(), String::new());
        percent(&mut user, &target.user);
        percent(&mut dbname, &target.dbname);
        if let Some(path) = door.shown.strip_prefix("unix:") {
            let path = Path::new(path);
            let port = path.file_name()?.to_str()?.strip_prefix(".s.PGSQL.")?;
            let folder = path.parent()?.display();
            return Some(format!(
                "psql 'host={folder} port={port} user={} dbname={}'",
                target.user, target.dbname
            ));
        }
        Some(format!("psql postgresql://{user}@{}/{dbname}", door.shown))
    }
}

/// Makes this the database of clients that name none.
pub fn set_default(pooler: &Pooler, target: &Target, replicas: Option<&Replicas>) {
    let Some(id) = pooler.register(target.clone()) else {
        warn!("the pool knows too many databases to take another");
        return;
    };
    pooler.set_default(id);
    let (targets, rules) = replicas.map_or_else(Default::default, |replicas| {
        (replicas.targets.clone(), replicas.rules)
    });
    if targets.is_empty() {
        pooler.unset_replicas();
    } else if !pooler.set_replicas(id, targets, rules) {
        warn!("the pool knows too many databases to take the replicas, too");
    }
}

/// How many connections and why, for people.
pub fn connections(set: Option<u32>) -> String {
    match set {
        Some(1) => "1 connection, as set".to_owned(),
        Some(count) => format!("{count} connections, as set"),
        None => "as many connections as the server allows less what others use, at most 64".into(),
    }
}

/// The database of `--database-url`.
pub fn target(config: &Config) -> Result<Option<Target>, Fault> {
    let url = config.database_url.as_ref();
    url.map(|url| {
        target_of(url).map_err(|error| {
            Fault::usage(format!("cannot use the database's URL: {error}"))
                .from("`--database-url`, `CANTER_DATABASE_URL` or `DATABASE_URL`")
        })
    })
    .transpose()
}

/// The replicas of this database.
pub fn replicas(config: &Config, primary: &Target) -> Result<Option<Replicas>, Fault> {
    let targets: Result<Vec<_>, Fault> = config
        .db_replica
        .iter()
        .map(|url| {
            let fault = |what: String| Fault::usage(what).from("`--db-replica`");
            let target =
                target_of(url).map_err(|error| fault(format!("cannot use its URL: {error}")))?;
            if target.user != primary.user {
                return Err(fault(format!(
                    "a replica is read from as {}, and the database is used as {}",
                    target.user, primary.user
                ))
                .hint("name the same user, so that a statement may do the same on both"));
            }
            Ok(target)
        })
        .collect();
    let targets = targets?;
    if targets.is_empty() {
        return Ok(None);
    }
    let rules = Rules {
        max_lag: config.db_replica_max_lag,
        ..Rules::default()
    };
    Ok(Some(Replicas {
        seal: Seal::new(primary, &rules),
        targets,
        rules,
    }))
}

fn target_of(url: &DatabaseUrl) -> Result<Target, TargetError> {
    let mut target = Target::from_url(&url.0)?;
    if target.password.is_none() && target.passfile.is_none() {
        // As every other client of PostgreSQL does.
        target.passfile = std::env::var_os("PGPASSFILE")
            .map(PathBuf::from)
            .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pgpass")))
            .filter(|path| path.exists());
    }
    Ok(target)
}

fn without_database() -> Fault {
    Fault::usage("no database is named").hint(
        "set `DATABASE_URL` or `--database-url`, such as `postgresql://user:password@host/name`",
    )
}

/// What the options say of limits and time-outs.
pub fn settings(config: &Config) -> Settings {
    Settings {
        connections: config.db_connections,
        min_connections: config.db_min_connections,
        max_clients: config.db_max_clients as usize,
        client_idle_timeout: config.db_client_idle_timeout,
        wait_timeout: config.db_wait_timeout,
        wait_notify: config.db_wait_notify,
        lifetime: config.db_lifetime,
        idle_timeout: config.db_idle_timeout,
        idle_transaction_timeout: config.db_idle_in_transaction_timeout,
        transaction_timeout: config.db_transaction_timeout,
        query_timeout: config.db_query_timeout,
        pin_cap: config.db_pin_limit,
        prepared: config.db_prepared_statements as usize,
        lend: config.db_lend,
        defer_begin: config.db_defer_begin,
        reset_always: config.db_reset_always,
        admin_users: names(&config.db_admin_users),
        stats_users: names(&config.db_stats_users),
        ..Settings::default()
    }
}

fn names(roles: &[RoleName]) -> Vec<String> {
    roles.iter().map(|role| role.0.clone()).collect()
}

fn access(config: &Config) -> Result<AccessOptions, Fault> {
    let tls = match (&config.db_tls_cert, &config.db_tls_key) {
        (Some(cert), Some(key)) => Some((cert.clone(), key.clone())),
        (None, None) => None,
        _ => {
            return Err(
                Fault::usage("`--db-tls-cert` and `--db-tls-key` belong together")
                    .hint("give both, or neither"),
            );
        }
    };
    Ok(AccessOptions {
        auth: config.db_auth.map(|auth| match auth {
            DbAuth::Scram => Auth::Scram,
            DbAuth::Md5 => Auth::Md5,
            DbAuth::Plain => Auth::Plain,
            DbAuth::Trust => Auth::Trust,
            DbAuth::Cert => Auth::Cert,
        }),
        users: config.db_auth_file.clone(),
        require_tls: false,
        tls,
        client_ca: config.db_tls_ca.clone(),
    })
}

/// Who may come in at one door.
fn admission(
    reach: Reach,
    access: &AccessOptions,
    target: Option<&Target>,
) -> Result<Access, String> {
    let mut access = access.clone();
    // Where others can listen in, TLS that is there is not left to the client.
    access.require_tls = reach == Reach::Network && access.tls.is_some();
    Access::new(reach, &access, target)
}

fn open(addresses: &[Address], config: &Config) -> Result<(Vec<OpenDoor>, SocketFiles), Fault> {
    let (listeners, files) = sockets::bind_postgres(addresses, config)?.into_parts();
    let doors = listeners.into_iter().map(|(listener, shown)| {
        let reach = reach_of(&listener);
        OpenDoor {
            listener: Cell::new(Some(listener)),
            reach,
            shown,
            access: Cell::default(),
        }
    });
    Ok((doors.collect(), files))
}

fn reach_of(listener: &OwnedFd) -> Reach {
    let bound = getsockname(listener).ok();
    match bound.and_then(|bound| SocketAddr::try_from(bound).ok()) {
        Some(address) if address.ip().is_loopback() => Reach::Loopback,
        Some(_) => Reach::Network,
        None => Reach::Unix,
    }
}

/// The workers' door. Without a folder for it the app goes to its databases itself.
fn private(config: &Config) -> Result<Option<Private>, Fault> {
    let folder = match Folder::create(config.temp_dir.as_deref()) {
        Ok(folder) => folder,
        Err(error) => {
            warn!(
                "PostgreSQL connections are not pooled: no folder for the pool's socket",
                reason = error.to_string().as_str(),
                hint = "name a folder with --temp-dir"
            );
            return Ok(None);
        }
    };
    let path = folder.socket();
    let sockets: Sockets = sockets::bind_postgres(&[Address::Unix(path.clone())], config)?;
    let (mut listeners, file) = sockets.into_parts();
    Ok(listeners.pop().map(|(listener, _)| Private {
        listener: Cell::new(Some(listener.into())),
        path,
        _file: file,
        _folder: folder,
    }))
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3), but for slashes in paths.
fn percent(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                url.push(char::from(byte));
            }
            _ => {
                let _ = write!(url, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
