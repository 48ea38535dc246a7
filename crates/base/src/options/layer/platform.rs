//! Settings from variables that platforms set: Heroku, Docker images, systemd. Owns their meaning.
//! Leaves which platform it is and what suits it to `preset`.

use std::ffi::OsString;

use super::super::choice::PlatformName;
use super::super::database_url::DatabaseUrl;
use super::preset::{self, Found};
use super::{Origin, Setting, row_of};
use crate::fault::Fault;

/// What the platform says.
#[derive(Debug, Default)]
pub struct Read {
    /// Settings that count like any other layer.
    pub settings: Vec<Setting>,
    /// Better defaults for this platform: anything a person wrote is stronger.
    pub defaults: Vec<Setting>,
    /// Facts that are not options.
    pub platform: Platform,
    /// What to tell.
    pub notices: Vec<String>,
}

/// Facts about the platform, recorded for the parts of Canter that need them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    /// `DATABASE_URL`; holds a password, never print it.
    pub database_url: Option<String>,
    /// `REDIS_URL`; holds a password, never print it.
    pub redis_url: Option<String>,
    /// What Canter runs on, and what showed it.
    pub found: Option<Found>,
}

/// Descriptor of the first socket systemd hands over (`sd_listen_fds(3)`).
const FIRST_INHERITED: u32 = 3;

/// More than anybody passes; a larger number is garbage in the variable.
const MOST_INHERITED: u32 = 1024;

/// Reads the platform variables. An empty one counts as not set: they are not ours to judge.
/// `asked` is what somebody has said of the platform; `exists` looks for a file.
pub fn read(
    env: &[(OsString, OsString)],
    process_id: u32,
    asked: PlatformName,
    exists: &dyn Fn(&str) -> bool,
) -> Result<Read, Fault> {
    let value = |wanted: &str| -> Option<String> {
        let (_, text) = env.iter().rfind(|(name, _)| name == wanted)?;
        Some(text.to_string_lossy().into_owned()).filter(|text| !text.is_empty())
    };
    let mut read = Read {
        platform: Platform {
            database_url: value("DATABASE_URL"),
            redis_url: value("REDIS_URL"),
            found: preset::find(asked, &value, process_id, exists),
        },
        ..Read::default()
    };
    if let Some(port) = value("PORT") {
        let origin = Origin::Platform("PORT");
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || port.parse::<u16>().is_err() {
            let what = format!("invalid value `{port}` for `PORT`: expected a port number");
            return Err(Fault::usage(what).from(origin.to_string()));
        }
        read.settings
            .push(setting("bind", vec![format!(":{port}")], origin)?);
    }
    if let Some(sockets) = inherited(&value, process_id)? {
        read.settings.retain(|setting| setting.row.field != "bind");
        read.settings
            .push(setting("bind", sockets, Origin::Platform("LISTEN_FDS"))?);
    }
    for (variable, field) in [
        ("WEB_CONCURRENCY", "workers"),
        ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips"),
    ] {
        if let Some(text) = value(variable) {
            read.settings
                .push(setting(field, vec![text], Origin::Platform(variable))?);
        }
    }
    // Another database is the app's own business.
    if let Some(url) = read
        .platform
        .database_url
        .as_deref()
        .and_then(DatabaseUrl::from_platform)
    {
        let origin = Origin::Platform("DATABASE_URL");
        read.settings
            .push(setting("database_url", vec![url.0], origin)?);
    }
    if let Some(found) = read.platform.found {
        for (field, text) in preset::defaults(found.name) {
            let origin = Origin::PlatformDefault(found.word());
            read.defaults
                .push(setting(field, vec![(*text).to_owned()], origin)?);
        }
    }
    // Heroku sets it so on every dyno, and the access log goes there anyway.
    let needless = ["--access-logfile -", "--access-logfile=-"];
    if value("GUNICORN_CMD_ARGS").is_some_and(|text| !needless.contains(&text.trim())) {
        read.notices.push(
            "`GUNICORN_CMD_ARGS` is set and not read: Canter has `CANTER_*` variables of its own"
                .to_owned(),
        );
    }
    Ok(read)
}

/// Sockets passed by systemd or a tool that speaks its protocol, if they are meant for us.
fn inherited(
    value: &impl Fn(&str) -> Option<String>,
    process_id: u32,
) -> Result<Option<Vec<String>>, Fault> {
    let (Some(count), Some(owner)) = (value("LISTEN_FDS"), value("LISTEN_PID")) else {
        return Ok(None);
    };
    if owner != process_id.to_string() {
        return Ok(None);
    }
    let number = count
        .parse::<u32>()
        .ok()
        .filter(|number| *number <= MOST_INHERITED);
    let number = number.ok_or_else(|| {
        Fault::usage(format!(
            "invalid value `{count}` for `LISTEN_FDS`: expected a small number"
        ))
        .from("environment variable `LISTEN_FDS`")
    })?;
    let sockets = FIRST_INHERITED..FIRST_INHERITED + number;
    let addresses = sockets.map(|descriptor| format!("fd://{descriptor}"));
    Ok((number > 0).then(|| addresses.collect()))
}

fn setting(field: &str, texts: Vec<String>, origin: Origin) -> Result<Setting, Fault> {
    let row = row_of(field)
        .ok_or_else(|| Fault::internal(format!("the options table has no `{field}`")))?;
    Setting::new(row, texts, origin)
}
