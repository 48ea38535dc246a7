//! The commands of the console carried out. Leaves the protocol to `talk` and what a person may do
//! to `Command::needs`, which is asked here before anything else.

use std::rc::Rc;
use std::time::Duration;

use canter_base::info;

use super::command::{Command, Rights, Topic};
use super::orders::{Awaited, Order};
use super::table::{Kind, Table};
use super::talk::{Console, Stop};
use super::{config, is_console, show};
use crate::pool::Pool;
use crate::wire::{SqlError, TxStatus};

/// How often it is looked whether what a command waits for has come.
const LOOK: Duration = Duration::from_millis(50);

/// Why a command did not come to its end.
pub(super) enum Failed {
    /// The client is told and stays.
    Error(SqlError),
    /// The session ends.
    Stop(Stop),
}

impl From<SqlError> for Failed {
    fn from(error: SqlError) -> Self {
        Self::Error(error)
    }
}

type Done = Result<Option<Table>, Failed>;

impl Console {
    /// Carries a command out; a table when it has one.
    pub(super) async fn carry_out(&mut self, command: &Command) -> Done {
        if command.needs() > self.rights {
            let words = format!("{} needs an administrator", command.tag());
            return Err(SqlError::error("42501", words)
                .hint("The user of the database's URL is one, and those of --db-admin-users.")
                .into());
        }
        if command.needs() == Rights::All {
            info!(
                "console command",
                command = command.tag(),
                user = &*self.user,
                client = &**self.handle.client()
            );
        }
        match command {
            Command::Show(Topic::Help) => self.help(),
            Command::Show(topic) => {
                let suspended = self.shared.console.suspended.get();
                return Ok(Some(show::table(*topic, &self.shared, suspended)?));
            }
            Command::Parameter(name, value) | Command::Select(name, value) => {
                let mut table = Table::new(&command_columns(name));
                table.push([(*value).into()]);
                return Ok(Some(table));
            }
            Command::Set { key, value } => config::change(&self.shared, key, value)?,
            Command::Pause(database) => return self.pause(database.as_deref()).await,
            Command::Suspend => return self.suspend().await,
            Command::Resume(_) if self.shared.console.ending.get() => {
                return Err(SqlError::error("57P01", "pooler is shutting down")
                    .hint("SHUTDOWN without a word behind it ends it at once.")
                    .into());
            }
            Command::Resume(database) => {
                self.known(database.as_deref())?;
                self.shared.console.suspended.set(false);
                self.shared.pools.resume(database.as_deref());
            }
            Command::Reconnect(database) => {
                self.known(database.as_deref())?;
                self.shared.pools.reconnect(database.as_deref());
            }
            Command::Kill(database) => self.kill(database.as_deref())?,
            Command::KillClient(id) => self.kill_client(id)?,
            Command::Disable(database) => {
                self.known(Some(database))?;
                self.shared.pools.bar(database, true);
            }
            Command::Enable(database) => {
                self.known(Some(database))?;
                self.shared.pools.bar(database, false);
            }
            Command::WaitClose(database) => {
                self.known(database.as_deref())?;
                let pools = self.shared.pools.of(database.as_deref());
                self.until(|| !pools.iter().any(|pool| pool.has_outdated()))
                    .await
                    .map_err(Failed::Stop)?;
            }
            Command::Reload => return self.reload().await,
            Command::Shutdown(how) => {
                self.heard()?;
                self.shared.console.ending.set(true);
                // After the answer: it may be the end of this process.
                self.last = Some(Order::Shutdown(*how));
            }
            Command::Begin => self.status = TxStatus::Open,
            Command::Commit | Command::Rollback => self.status = TxStatus::Idle,
            Command::Nothing(_) => {}
        }
        Ok(None)
    }

    /// A name that is none is a mistake, not a database to come.
    fn known(&self, database: Option<&str>) -> Result<(), SqlError> {
        let Some(name) = database else {
            return Ok(());
        };
        let default = self.shared.default_target();
        let is_default = default.is_some_and(|target| target.dbname == name);
        let (paused, disabled) = self.shared.pools.standing(name);
        if is_default || paused || disabled || !self.shared.pools.of(database).is_empty() {
            return Ok(());
        }
        let shown: String = name.chars().take(63).collect();
        let error = SqlError::error("3D000", format!("no such database: {shown}"));
        Err(if is_console(name) {
            error.detail("That is this console itself.")
        } else {
            error.hint("SHOW DATABASES lists those that clients have used.")
        })
    }

    async fn pause(&mut self, database: Option<&str>) -> Done {
        self.known(database)?;
        self.shared.pools.pause(database);
        let gone = |pools: &[Rc<Pool>]| pools.iter().all(|pool| pool.is_disconnected());
        self.hold(database, gone).await
    }

    async fn suspend(&mut self) -> Done {
        self.shared.pools.pause(None);
        self.shared.console.suspended.set(true);
        let quiet = |pools: &[Rc<Pool>]| pools.iter().all(|pool| pool.in_use.borrow().is_empty());
        self.hold(None, quiet).await
    }

    /// Waits until it is so for the pools; an interrupted PAUSE is undone.
    async fn hold(&mut self, database: Option<&str>, is_so: impl Fn(&[Rc<Pool>]) -> bool) -> Done {
        let pools = self.shared.pools.of(database);
        match self.until(|| is_so(&pools)).await {
            Ok(()) => Ok(None),
            Err(stop) => {
                self.shared.console.suspended.set(false);
                self.shared.pools.resume(database);
                Err(Failed::Stop(stop))
            }
        }
    }

    /// As PgBouncer: clients and servers go, and new ones wait for RESUME.
    fn kill(&self, database: Option<&str>) -> Result<(), SqlError> {
        self.known(database)?;
        self.shared.pools.pause(database);
        self.shared.pools.kill(database);
        for seat in self.shared.sessions.all() {
            let is_meant = seat.handle.about().is_some_and(|about| {
                !about.is_console && database.is_none_or(|name| *about.database == *name)
            });
            if is_meant {
                seat.handle.end(killed());
            }
        }
        Ok(())
    }

    fn kill_client(&self, id: &str) -> Result<(), SqlError> {
        let id: i32 = id.trim().parse().map_err(|_| {
            let shown: String = id.chars().take(40).collect();
            SqlError::error("22023", format!("not the id of a client: {shown}"))
                .hint("SHOW CLIENTS has it in its last column.")
        })?;
        let all = self.shared.sessions.all();
        let seat = all.iter().find(|seat| seat.id() == id);
        let seat = seat.ok_or_else(|| SqlError::error("42704", "client not found"))?;
        seat.handle.end(killed());
        Ok(())
    }

    async fn reload(&mut self) -> Done {
        self.heard()?;
        let (answer, awaited) = Awaited::new();
        self.shared.console.orders.push(Order::Reload(answer));
        self.until(|| awaited.is_over())
            .await
            .map_err(Failed::Stop)?;
        match awaited.outcome() {
            Ok(()) => Ok(None),
            Err(why) => Err(SqlError::error("F0000", format!("RELOAD failed: {why}"))
                .detail("The old options stay.")
                .into()),
        }
    }

    fn heard(&self) -> Result<(), SqlError> {
        if self.shared.console.orders.are_heard() {
            return Ok(());
        }
        let words = "this pooler is part of `canter serve` and lives as long as the site";
        Err(SqlError::error("0A000", words)
            .hint("Reload or stop `canter serve` itself, with its signals."))
    }

    /// Waits until it is so, the client leaves or takes it back, or the session ends.
    async fn until(&mut self, is_so: impl Fn() -> bool) -> Result<(), Stop> {
        loop {
            if is_so() {
                return Ok(());
            }
            if let Ok(stop) = tokio::time::timeout(LOOK, self.interrupted()).await {
                return Err(stop);
            }
        }
    }
}

/// The one column of a setting.
pub(super) fn command_columns(name: &'static str) -> Vec<(&'static str, Kind)> {
    let kind = if name == "?column?" {
        Kind::Int4
    } else {
        Kind::Text
    };
    vec![(name, kind)]
}

fn killed() -> SqlError {
    SqlError::fatal(
        "57P01",
        "terminating connection due to administrator command",
    )
    .detail("KILL or KILL_CLIENT on the pooler's console.")
}
