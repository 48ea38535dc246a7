//! `SHOW CONFIG` and `SET`: the settings by PgBouncer's names, one row each. Times are in seconds,
//! as there.

use std::rc::Rc;
use std::time::Duration;

use super::command::wrong;
use super::statistics::PERIOD;
use super::table::{Column, Kind, Table};
use crate::pooler::Shared;
use crate::settings::Settings;
use crate::wire::SqlError;

pub(super) const COLUMNS: &[Column] = &[
    ("key", Kind::Text),
    ("value", Kind::Text),
    ("default", Kind::Text),
    ("changeable", Kind::Text),
];

/// Takes over a value, if it makes sense.
type Change = fn(&Rc<Shared>, &str) -> Option<()>;

/// One setting.
struct Row {
    key: &'static str,
    read: fn(&Settings) -> String,
    change: Option<Change>,
}

/// A setting that can be changed.
const fn live(key: &'static str, read: fn(&Settings) -> String, change: Change) -> Row {
    Row {
        key,
        read,
        change: Some(change),
    }
}

/// One that cannot.
const fn fixed(key: &'static str, read: fn(&Settings) -> String) -> Row {
    Row {
        key,
        read,
        change: None,
    }
}

const ROWS: [Row; 22] = [
    fixed("admin_users", |settings| settings.admin_users.join(", ")),
    live(
        "client_idle_timeout",
        |settings| seconds(settings.client_idle_timeout()),
        |shared, text| {
            set(&shared.settings.live.client_idle_timeout, time(text))?;
            shared.idlers.keep(shared);
            Some(())
        },
    ),
    live(
        "client_login_timeout",
        |settings| seconds(settings.login_timeout()),
        |shared, text| set(&shared.settings.live.login_timeout, positive(text)),
    ),
    live("default_pool_size", connections, set_connections),
    live(
        "idle_transaction_timeout",
        |settings| seconds(settings.idle_transaction_timeout()),
        |shared, text| set(&shared.settings.live.idle_transaction_timeout, time(text)),
    ),
    live(
        "max_client_conn",
        |settings| settings.max_clients().to_string(),
        |shared, text| {
            let count = text.parse().ok().filter(|count| *count > 0);
            set(&shared.settings.live.max_clients, count)
        },
    ),
    live("max_db_connections", connections, set_connections),
    live(
        "max_prepared_statements",
        |settings| settings.prepared().to_string(),
        |shared, text| set(&shared.settings.live.prepared, text.parse().ok()),
    ),
    live(
        "min_pool_size",
        |settings| settings.min_connections().to_string(),
        |shared, text| {
            set(&shared.settings.live.min_connections, text.parse().ok())?;
            shared.pools.fill();
            Some(())
        },
    ),
    live(
        "pin_idle_timeout",
        |settings| seconds(settings.pin_idle_timeout()),
        |shared, text| set(&shared.settings.live.pin_idle_timeout, time(text)),
    ),
    live(
        "pin_limit",
        |settings| {
            let cap = settings.pin_cap();
            cap.map_or_else(String::new, |cap| cap.to_string())
        },
        |shared, text| set(&shared.settings.live.pin_cap, text.parse().ok().map(Some)),
    ),
    fixed("pool_mode", |_| "transaction".to_owned()),
    live(
        "query_timeout",
        |settings| seconds(settings.query_timeout()),
        |shared, text| set(&shared.settings.live.query_timeout, time(text)),
    ),
    live(
        "query_wait_notify",
        |settings| seconds(settings.wait_notify()),
        |shared, text| set(&shared.settings.live.wait_notify, time(text)),
    ),
    live(
        "query_wait_timeout",
        |settings| seconds(settings.wait_timeout()),
        |shared, text| set(&shared.settings.live.wait_timeout, time(text)),
    ),
    fixed("server_connect_timeout", |settings| {
        seconds(settings.connect_timeout)
    }),
    live(
        "server_idle_timeout",
        |settings| seconds(settings.idle_timeout()),
        |shared, text| set(&shared.settings.live.idle_timeout, time(text)),
    ),
    live(
        "server_lifetime",
        |settings| seconds(settings.lifetime()),
        |shared, text| set(&shared.settings.live.lifetime, time(text)),
    ),
    fixed("server_reset_query_always", |settings| {
        u8::from(settings.reset_always).to_string()
    }),
    fixed("stats_period", |_| seconds(PERIOD)),
    fixed("stats_users", |settings| settings.stats_users.join(", ")),
    live(
        "transaction_timeout",
        |settings| seconds(settings.transaction_timeout()),
        |shared, text| set(&shared.settings.live.transaction_timeout, time(text)),
    ),
];

/// Fills the table of `SHOW CONFIG`.
pub(super) fn fill(table: &mut Table, settings: &Settings) {
    let default = Settings::default();
    for row in &ROWS {
        let changeable = if row.change.is_some() { "yes" } else { "no" };
        table.push([
            row.key.into(),
            (row.read)(settings).into(),
            (row.read)(&default).into(),
            changeable.into(),
        ]);
    }
}

/// Changes a setting.
pub(super) fn change(shared: &Rc<Shared>, key: &str, value: &str) -> Result<(), SqlError> {
    let Some(row) = ROWS.iter().find(|row| row.key.eq_ignore_ascii_case(key)) else {
        let keys = ROWS.each_ref().map(|row| row.key);
        return Err(wrong(&format!("unknown setting: {key}"), key, &keys));
    };
    let Some(change) = row.change else {
        // Scripts give a whole configuration: what it is already is no change.
        let now = (row.read)(&shared.settings);
        if now.eq_ignore_ascii_case(value.trim()) || time(value.trim()).map(seconds) == Some(now) {
            return Ok(());
        }
        let words = format!("{} cannot be changed while the pooler runs", row.key);
        return Err(SqlError::error("55P02", words));
    };
    change(shared, value.trim()).ok_or_else(|| {
        let shown: String = value.chars().take(40).collect();
        let words = format!("{} cannot be {shown:?}", row.key);
        SqlError::error("22023", words).hint("Times are in seconds; a limit is a whole number.")
    })
}

fn set<T>(cell: &std::cell::Cell<Option<T>>, value: Option<T>) -> Option<()> {
    cell.set(Some(value?));
    Some(())
}

fn connections(settings: &Settings) -> String {
    settings.connections().unwrap_or_default().to_string()
}

fn set_connections(shared: &Rc<Shared>, text: &str) -> Option<()> {
    let count = text.parse().ok().filter(|count| *count > 0)?;
    shared.settings.live.connections.set(Some(Some(count)));
    shared.pools.tell_connections(Some(count));
    Some(())
}

fn seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

/// Seconds, up to a year; a unit may follow.
fn time(text: &str) -> Option<Duration> {
    const MOST: f64 = 366.0 * 86_400.0;
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor = match unit.trim() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "min" | "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    (seconds <= MOST).then(|| Duration::from_secs_f64(seconds))
}

fn positive(text: &str) -> Option<Duration> {
    time(text).filter(|time| !time.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_times_of_a_setting() {
        let rows = [
            ("5", Some(5000)),
            ("0.25", Some(250)),
            ("250ms", Some(250)),
            ("2min", Some(120_000)),
            ("1 h", Some(3_600_000)),
            ("0", Some(0)),
            ("-1", None),
            ("", None),
            ("x", None),
            ("1e300", None),
            ("99999999999999999999999", None),
            ("1..2", None),
        ];
        for (text, expected) in rows {
            assert_eq!(time(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
