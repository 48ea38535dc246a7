//! Owns what follows from an app's settings and from what was measured: what to do, in order of gain,
//! each with its evidence and the setting to change.
//! Leaves asking and printing to `site`.

use serde_json::Value as Json;

use super::advice::{Advice, advice};
use super::plans::{Plan, indexes};

/// From this share of all time on a phase is worth a word.
const SHARE: f64 = 0.2;
/// For the interpreter's lock less is enough: what is waited for it after the app has begun is not seen.
const SHARE_OF_THE_LOCK: f64 = 0.1;
/// So many requests of the last hour tell how others wait than those that come while the app is loaded.
const ENOUGH_TO_QUEUE: u64 = 1000;
/// So many anonymous answers must have been compared before their likeness proves anything.
const COMPARED: u64 = 20;

/// What sessions may be kept in.
const SHARED_CACHE: &str =
    "a backend that all processes share, such as django.core.cache.backends.redis.RedisCache";

/// What is known: the app's settings, and the dashboard's data.
struct Known<'a> {
    settings: &'a Json,
    measured: &'a Json,
}

/// All there is to do, the greatest gain first; what has no number comes by its importance. `plans` are
/// those of the dearest statements.
pub fn advise(settings: &Json, measured: &Json, plans: &[Plan]) -> Vec<Advice> {
    let known = Known { settings, measured };
    // In order of importance where nothing was measured.
    let mut found: Vec<Advice> = Vec::new();
    found.extend(debug(&known));
    found.extend(findings(&known));
    found.extend(indexes(plans, |ms| known.per_hour(ms)));
    found.extend(steps(&known));
    found.extend(threads(&known));
    found.extend(pages(&known));
    found.extend(connections(&known));
    found.extend(sessions(&known));
    found.extend(caches(&known));
    found.extend(templates(&known));
    found.extend(middleware(&known));
    found.extend(static_files(&known));
    found.sort_by(|one, other| {
        let gain = |advice: &Advice| advice.gain_ms.unwrap_or(0.0);
        let first = |advice: &Advice| advice.id == "debug";
        first(other)
            .cmp(&first(one))
            .then(gain(other).total_cmp(&gain(one)))
    });
    found
}

/// The table that a statement reads or changes, not those it joins with it.
fn first_table(sql: &str) -> Option<&str> {
    let mut words = sql.split_ascii_whitespace();
    let is_before = |word: &str| {
        ["FROM", "INTO", "UPDATE"]
            .iter()
            .any(|it| word.eq_ignore_ascii_case(it))
    };
    words.find(|word| is_before(word))?;
    let name = words.next()?.rsplit('.').next()?;
    Some(name.trim_matches(|letter| matches!(letter, '"' | '`' | '[' | ']' | ';' | ',')))
}

impl Known<'_> {
    fn has(&self, key: &str, part: &str) -> bool {
        let list = self.settings[key].as_array().into_iter().flatten();
        list.filter_map(Json::as_str).any(|one| one.contains(part))
    }

    /// The name and the backend of the cache that sessions would be kept in.
    fn session_cache(&self) -> (&str, &str) {
        let alias = self.settings["session_cache"].as_str().unwrap_or("default");
        let backend = self.settings["caches"][alias].as_str();
        (alias, backend.unwrap_or_default())
    }

    fn routes(&self) -> impl Iterator<Item = &Json> {
        self.measured["routes"].as_array().into_iter().flatten()
    }

    /// Requests of the last hour.
    fn requests(&self) -> u64 {
        self.measured["hour"]["requests"].as_u64().unwrap_or(0)
    }

    /// Milliseconds in an hour that all requests spend in a phase, and its share of all their time; both of
    /// the last hour, so that what was mended is soon forgotten.
    fn phase(&self, word: &str) -> (f64, f64) {
        let (total, last) = (&self.measured["total"], &self.measured["hour"]);
        let names = self.measured["phases"].as_array();
        let place = names.and_then(|names| names.iter().position(|name| name == word));
        let spent: Vec<f64> = last["phases_ms"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_f64)
            .collect();
        let all: f64 = spent.iter().sum();
        let own = place.and_then(|place| spent.get(place)).copied();
        let share = own.unwrap_or(0.0) / all.max(1.0);
        let hour = total["time_per_hour_ms"].as_f64().unwrap_or(0.0);
        (hour * share, share)
    }

    /// Statements of the last hour that speak of a table: calls and milliseconds, as of the time in which
    /// requests were counted, for statements are forgotten in larger steps.
    fn table(&self, name: &str) -> (f64, f64) {
        let rows = self.measured["statements"].as_array().into_iter().flatten();
        let rows = rows.filter(|row| row["sql"].as_str().and_then(first_table) == Some(name));
        let (calls, ms) = rows.fold((0.0, 0.0), |(calls, ms), row| {
            let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
            (calls + number("calls_hour"), ms + number("hour_ms"))
        });
        let longer = self.seconds() / self.counted("statements_s");
        (calls * longer, ms * longer)
    }

    /// What the app calls one of its tables; the usual name where it has not said.
    fn name_of<'b>(&'b self, key: &str, usual: &'b str) -> &'b str {
        let named = self.settings[key].as_str().filter(|name| !name.is_empty());
        named.unwrap_or(usual)
    }

    /// What was counted in the last hour, as of a whole one: it is less where the server has not run for
    /// that long, or where a part of it was forgotten just now.
    fn whole_hour(&self, ms: f64) -> f64 {
        ms * 3600.0 / self.seconds()
    }

    /// Seconds that the last hour really has of requests.
    fn seconds(&self) -> f64 {
        self.counted("seconds")
    }

    fn counted(&self, key: &str) -> f64 {
        let seconds = self.measured["hour"][key].as_f64().unwrap_or(3600.0);
        seconds.clamp(60.0, 3600.0)
    }

    /// The same for people: a few minutes less are an hour, too.
    fn span(&self) -> String {
        match (self.seconds() / 60.0).round() {
            minutes if minutes >= 55.0 => "the last hour".to_owned(),
            minutes => format!("the last {minutes:.0} min"),
        }
    }

    /// What was counted since the start, as of an hour.
    fn per_hour(&self, ms: f64) -> f64 {
        let seconds = self.measured["uptime_s"].as_f64().unwrap_or(0.0).max(60.0);
        ms * 3600.0 / seconds
    }
}

fn debug(known: &Known<'_>) -> Option<Advice> {
    (known.settings["debug"] == true).then(|| {
        advice(
            "debug",
            "DEBUG is on",
            "settings.DEBUG is True: Django keeps the last 9000 statements with their values, and shows \
             visitors tracebacks and settings"
                .to_owned(),
            "DEBUG = False, and ALLOWED_HOSTS with the names of the site",
        )
    })
}

/// The dearest findings are advice already.
fn findings(known: &Known<'_>) -> Vec<Advice> {
    let list = known.measured["findings"].as_array().into_iter().flatten();
    let open = list.filter(|finding| finding["acknowledged"] != true);
    let word = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let told = open.take(5).map(|finding| {
        let (id, fix) = (word(&finding["id"]), word(&finding["advice"]));
        let (file, sql) = (word(&finding["file"]), word(&finding["sql"]));
        let is_django = !known.settings["django"].is_null();
        let remedy = match (fix.is_empty(), finding["rule"] == "slow") {
            (_, true) if is_django => {
                format!("`canter queries --explain {id}` tells whether an index is missing")
            }
            (_, true) => "its plan (`EXPLAIN`) tells whether an index is missing".to_owned(),
            (false, _) => fix,
            (true, _) if file.is_empty() => "look at what that route asks for".to_owned(),
            (true, _) => format!("look at {file} first"),
        };
        // What was seen on the wire alone has no line.
        let place = if file.is_empty() {
            sql
        } else {
            format!("at {file}:{}", finding["line"])
        };
        Advice {
            id: "finding",
            title: format!("{} in {}", word(&finding["title"]), word(&finding["route"])),
            evidence: format!("{} times in a request, {place} [{id}]", finding["count"]),
            remedy,
            gain_ms: finding["lost_per_hour_ms"].as_f64(),
        }
    });
    told.collect()
}

/// Phases in which requests only wait.
fn steps(known: &Known<'_>) -> Vec<Advice> {
    let rows = [
        (
            "gil",
            "too many threads",
            "requests wait for the interpreter's lock",
            "fewer threads and one process more: `--threads` and `--workers`; `canter tune` finds how many",
        ),
        (
            "queue",
            "too few threads or processes",
            "requests wait for a free thread",
            "`--threads` or `--workers` higher, where memory allows; `canter tune` finds how many",
        ),
        (
            "pool",
            "too few connections to the database",
            "requests wait for a connection of the pool",
            "shorter transactions first; then `--db-connections` higher",
        ),
    ];
    let found = rows.into_iter().filter_map(|(word, title, what, remedy)| {
        let (hour, share) = known.phase(word);
        let least = if word == "gil" {
            SHARE_OF_THE_LOCK
        } else {
            SHARE
        };
        // The first of all wait while the app is loaded, whatever threads there are.
        let is_early = word == "queue" && known.requests() < ENOUGH_TO_QUEUE;
        (!is_early && share >= least && hour >= 1000.0).then(|| Advice {
            gain_ms: Some(hour),
            ..advice(
                word,
                title,
                format!(
                    "{what}: {:.0} % of all their time in {}",
                    share * 100.0,
                    known.span()
                ),
                remedy,
            )
        })
    });
    found.collect()
}

/// All threads that may run need more memory than there is.
fn threads(known: &Known<'_>) -> Option<Advice> {
    let threads = &known.measured["threads"];
    let needed = threads["needed_kb"].as_u64()?;
    let limit = known.measured["now"]["memory_limit_kb"].as_u64()?;
    let fit = threads["fit"].as_u64()?;
    let said = known.measured["threads_sentence"].as_str()?;
    (limit > 0 && needed > limit).then(|| {
        advice(
            "threads",
            "memory does not suffice for all threads",
            format!("{said}, {} run now", threads["now"]),
            &format!(
                "`--threads {fit}`, or more memory; `canter tune --memory` finds what pays most"
            ),
        )
    })
}

/// Pages that were the same for several visitors: proof that a rule would help.
fn pages(known: &Known<'_>) -> Vec<Advice> {
    let told = known.routes().filter_map(|route| {
        let (compared, same) = (route["compared"].as_u64()?, route["same"].as_u64()?);
        if compared < COMPARED || same * 2 < compared {
            return None;
        }
        let share = same as f64 / compared as f64;
        let hour = route["time_per_hour_ms"].as_f64().unwrap_or(0.0);
        let name = route["route"].as_str().unwrap_or_default();
        // Of an app that is no Django's no routes are known.
        let (what, path) = match name {
            "" => ("each page".to_owned(), "/*".to_owned()),
            name => (name.to_owned(), pattern(name)),
        };
        Some(Advice {
            gain_ms: Some(hour * share),
            ..advice(
                "pages",
                &format!("{what} is made anew for each visitor, and is the same"),
                format!(
                    "of {compared} answers to visitors without a cookie, {same} were byte for byte \
                     what the same address had answered within the minute before: {:.0} %",
                    share * 100.0
                ),
                &format!("in canter.toml: [[cache.rules]] path = \"{path}\", ttl = \"10s\""),
            )
        })
    });
    told.collect()
}

/// `/news/<pk>/` as a rule says it: `/news/*/`.
fn pattern(route: &str) -> String {
    let mut out = String::new();
    let mut depth = 0_u32;
    for c in route.chars() {
        match c {
            '<' => {
                depth += 1;
                out.push('*');
            }
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

fn connections(known: &Known<'_>) -> Vec<Advice> {
    let list = known.settings["databases"].as_array().into_iter().flatten();
    let told = list.filter_map(|one| {
        let is_new_each_time = one["conn_max_age"] == 0;
        let vendor = one["vendor"].as_str().unwrap_or_default();
        if !is_new_each_time || one["pooled"] == true || vendor == "sqlite" {
            return None;
        }
        let alias = one["alias"].as_str().unwrap_or_default();
        let requests = known.measured["total"]["requests"].as_u64().unwrap_or(0);
        Some(advice(
            "connections",
            &format!("the database {alias} is connected to anew for each request"),
            format!("CONN_MAX_AGE is 0, {requests} requests were answered"),
            if vendor == "postgresql" {
                "`--db-pool on`, or CONN_MAX_AGE = 60 and CONN_HEALTH_CHECKS = True in DATABASES"
            } else {
                "CONN_MAX_AGE = 60 and CONN_HEALTH_CHECKS = True in DATABASES, and `--threads` as low as the \
                 server's limit asks: each thread keeps a connection"
            },
        ))
    });
    told.collect()
}

fn sessions(known: &Known<'_>) -> Vec<Advice> {
    let mut found = Vec::new();
    let engine = known.settings["session_engine"]
        .as_str()
        .unwrap_or_default();
    let (calls, ms) = known.table(known.name_of("session_table", "django_session"));
    if known.settings["has_sessions"] == true && engine.ends_with("backends.db") && calls > 0.0 {
        found.push(Advice {
            gain_ms: Some(known.whole_hour(ms)),
            ..advice(
                "sessions",
                "sessions are read from the database in each request",
                format!(
                    "SESSION_ENGINE is {engine}: {calls:.0} statements, {ms:.0} ms in {}",
                    known.span()
                ),
                &cached_sessions(known),
            )
        });
    }
    if known.settings["session_save_every_request"] == true {
        found.push(advice(
            "session_writes",
            "each request writes its session",
            "SESSION_SAVE_EVERY_REQUEST is True: also makes every page personal".to_owned(),
            "SESSION_SAVE_EVERY_REQUEST = False",
        ));
    }
    let users = known.name_of("user_table", "auth_user");
    let (calls, ms) = known.table(users);
    let requests = known.requests();
    if calls * 2.0 > requests as f64 && calls >= 100.0 {
        found.push(Advice {
            gain_ms: Some(known.whole_hour(ms)),
            ..advice(
                "users",
                "the user is read from the database in most requests",
                format!(
                    "{calls:.0} statements on {users} in {requests} requests, {ms:.0} ms in {}",
                    known.span()
                ),
                "read request.user only where it is needed, or keep what pages show of it in the session",
            )
        });
    }
    found
}

/// How sessions are kept in a cache. One that each process has for itself goes on showing a session that
/// another process has changed or ended: somebody who has logged out would be logged in there.
fn cached_sessions(known: &Known<'_>) -> String {
    let engine = "SESSION_ENGINE = \"django.contrib.sessions.backends.cached_db\"";
    let (alias, backend) = known.session_cache();
    let is_shared = !["locmem", "dummy", ".db."]
        .iter()
        .any(|kind| backend.contains(kind));
    if is_shared {
        return engine.to_owned();
    }
    format!("CACHES[\"{alias}\"] with {SHARED_CACHE}; with that, {engine}")
}

fn caches(known: &Known<'_>) -> Option<Advice> {
    let (alias, backend) = known.session_cache();
    let is_used = known.settings["session_engine"]
        .as_str()
        .is_some_and(|engine| engine.contains("cache"));
    let weak = ["locmem", "dummy"]
        .iter()
        .find(|kind| backend.contains(**kind));
    weak.filter(|_| is_used).map(|kind| {
        advice(
            "cache_backend",
            "sessions are kept in a cache that each process has for itself, or nobody",
            format!("CACHES[\"{alias}\"] is {backend} ({kind}), and sessions use it"),
            &format!("CACHES[\"{alias}\"] with {SHARED_CACHE}"),
        )
    })
}

fn templates(known: &Known<'_>) -> Option<Advice> {
    let list = known.settings["templates"].as_array();
    let mut engines = list.into_iter().flatten();
    let plain = engines.find(|one| one["django"] == true && one["cached"] == false);
    plain.map(|_| {
        advice(
            "templates",
            "templates are read and parsed again in each request",
            "TEMPLATES has loaders of its own without django.template.loaders.cached.Loader".to_owned(),
            "put them into (\"django.template.loaders.cached.Loader\", [...]), or leave `loaders` out",
        )
    })
}

fn middleware(known: &Known<'_>) -> Vec<Advice> {
    let rows = [
        (
            "gzip",
            "gzip.GZipMiddleware",
            "GZipMiddleware does in Python what Canter does already",
            "take django.middleware.gzip.GZipMiddleware out of MIDDLEWARE: Canter compresses, with zstd and \
             Brotli too",
        ),
        (
            "whitenoise",
            "whitenoise.middleware",
            "WhiteNoise is not needed",
            "take it out of MIDDLEWARE: Canter serves STATIC_ROOT without Python",
        ),
        (
            "toolbar",
            "debug_toolbar",
            "the debug toolbar runs",
            "take debug_toolbar out of MIDDLEWARE where visitors are served",
        ),
        (
            "silk",
            "silk.middleware",
            "Silk writes each request to the database",
            "take silk out of MIDDLEWARE: the dashboard at /-/canter tells the same",
        ),
        (
            "conditional_get",
            "http.ConditionalGetMiddleware",
            "ConditionalGetMiddleware makes the whole page to say that it has not changed",
            "a page rule in canter.toml answers 304 without asking the app",
        ),
    ];
    let found = rows
        .into_iter()
        .filter(|(_, part, ..)| known.has("middleware", part))
        .map(|(id, part, title, remedy)| {
            advice(id, title, format!("MIDDLEWARE names {part}"), remedy)
        });
    found.collect()
}

fn static_files(known: &Known<'_>) -> Vec<Advice> {
    let mut found = Vec::new();
    let has_static = known.has("apps", "django.contrib.staticfiles");
    if has_static && known.settings["static_root"] == false && known.settings["debug"] == false {
        found.push(advice(
            "static_root",
            "static files have no folder",
            "STATIC_ROOT is not set, so nothing is served without Python".to_owned(),
            "STATIC_ROOT = BASE_DIR / \"static\", then `manage.py collectstatic`",
        ));
    }
    let storage = known.settings["static_storage"]
        .as_str()
        .unwrap_or_default();
    if has_static && storage.ends_with("staticfiles.storage.StaticFilesStorage") {
        found.push(advice(
            "static_names",
            "static files keep their names when they change",
            format!("the storage of static files is {storage}: browsers must ask again each time"),
            "STORAGES[\"staticfiles\"] = {\"BACKEND\": \
             \"django.contrib.staticfiles.storage.ManifestStaticFilesStorage\"}",
        ));
    }
    found
}

#[cfg(test)]
mod tests;
