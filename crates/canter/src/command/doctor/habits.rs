//! Owns what follows from an app's settings: habits that cost each request something, with what was measured of
//! them, where that can be told.
//! Leaves what is measured of every site to `checks`.

use serde_json::Value as Json;

use super::advice::{Advice, Gain, Weight, advice};
use super::known::{Doing, Known};

/// What sessions may be kept in.
const SHARED_CACHE: &str =
    "a backend that all processes share, such as django.core.cache.backends.redis.RedisCache";

/// Databases that are connected to anew for each request.
pub fn connections(known: &Known) -> Vec<Advice> {
    let list = known.settings["databases"].as_array().into_iter().flatten();
    let anew: Vec<_> = list
        .filter(|one| {
            let is_new_each_time = one["conn_max_age"] == 0;
            // Django's own pool wants that age.
            let is_kept = one["pooled"] == true || one["own_pool"] == true;
            is_new_each_time && !is_kept && one["vendor"] != "sqlite"
        })
        .collect();
    let ms_of =
        |one: &Json| known.connects[one["alias"].as_str().unwrap_or_default()]["ms"].as_f64();
    // Which of several a request asked is not counted, so that its connections are reckoned once: to the dearest.
    let is_one = anew.len() == 1;
    let dearest = anew.iter().max_by(|a, b| {
        ms_of(a)
            .unwrap_or(-1.0)
            .total_cmp(&ms_of(b).unwrap_or(-1.0))
    });
    let dearest = dearest
        .and_then(|one| one["alias"].as_str())
        .unwrap_or_default();
    let told = anew.iter().map(|one| {
        let alias = one["alias"].as_str().unwrap_or_default();
        let hour = known.whole_hour(known.asking());
        let most = if is_one { "" } else { "at most " };
        let count = format!("{most}{hour:.0} connections in an hour");
        let gain = match ms_of(one) {
            Some(ms) => {
                let seen = format!("{count}, each {ms:.1} ms to make when it was tried just now");
                if alias == dearest {
                    Gain::at_most(hour * ms).because(seen)
                } else {
                    Gain::Unknown(format!(
                        "{seen}; which database a request asked is not counted, and all of them are reckoned to {dearest}"
                    ))
                }
            }
            None => Gain::Unknown(format!("{count}, and {}", untried(known, alias))),
        };
        advice(
            "connections",
            &format!("the database {alias} is connected to anew for each request"),
            format!(
                "CONN_MAX_AGE is 0, {:.0} requests of {} asked a database",
                known.asking(),
                known.span()
            ),
            if one["vendor"] == "postgresql" {
                "`--db-pool on`, or CONN_MAX_AGE = 60 and CONN_HEALTH_CHECKS = True in DATABASES"
            } else {
                "CONN_MAX_AGE = 60 and CONN_HEALTH_CHECKS = True in DATABASES, and `--threads` as low as the \
                 server's limit asks: each thread keeps a connection"
            },
        )
        .gaining(gain)
    });
    told.collect()
}

/// Why it is not known how long a connection takes to make.
fn untried(known: &Known, alias: &str) -> String {
    let why = |told: &Json| told["error"].as_str().map(str::to_owned);
    // The server may have refused to try any.
    let refused = || why(&known.connects).map(|error| format!("none was tried: {error}"));
    let told = why(&known.connects[alias]).or_else(refused);
    told.unwrap_or_else(|| "none was tried".to_owned())
}

/// Sessions and users that are read and written more often than they need be.
pub fn sessions(known: &Known) -> Vec<Advice> {
    let mut found = Vec::new();
    let engine = known.settings["session_engine"]
        .as_str()
        .unwrap_or_default();
    let table = known.name_of("session_table", "django_session");
    let is_table = |name: &str| name == table;
    // What is written goes to the database from `cached_db`, too.
    let (calls, ms) = known.table(Doing::Reading, is_table);
    if known.settings["has_sessions"] == true && engine.ends_with("backends.db") && calls > 0.0 {
        let told = advice(
            "sessions",
            "sessions are read from the database in each request",
            format!(
                "SESSION_ENGINE is {engine}: {calls:.0} statements, {ms:.0} ms in {}",
                known.span()
            ),
            &cached_sessions(known),
        );
        found.push(told.gaining(Gain::at_most(known.whole_hour(ms))));
    }
    if known.settings["has_sessions"] == true
        && known.settings["session_save_every_request"] == true
    {
        let (calls, ms) = known.table(Doing::Writing, is_table);
        let told = advice(
            "session_writes",
            "each request writes its session",
            "SESSION_SAVE_EVERY_REQUEST is True: also makes every page personal".to_owned(),
            "SESSION_SAVE_EVERY_REQUEST = False",
        );
        found.push(told.gaining(if calls > 0.0 {
            let from = format!(
                "{calls:.0} statements that write {table} in {}",
                known.span()
            );
            Gain::at_most(known.whole_hour(ms)).because(from)
        } else {
            Gain::Unknown("they are written past the database".to_owned())
        }));
    }
    let users = known.name_of("user_table", "auth_user");
    let (calls, ms) = known.table(Doing::Reading, |name| name == users);
    let requests = known.requests();
    if calls * 2.0 > requests as f64 && calls >= 100.0 {
        let told = advice(
            "users",
            "the user is read from the database in most requests",
            format!(
                "{calls:.0} statements on {users} in {requests} requests, {ms:.0} ms in {}",
                known.span()
            ),
            "read request.user only where it is needed, or keep what pages show of it in the session",
        );
        found.push(told.gaining(Gain::at_most(known.whole_hour(ms))));
    }
    found
}

/// How sessions are kept in a cache. One that each process has for itself goes on showing a session that
/// another process has changed or ended: somebody who has logged out would be logged in there.
fn cached_sessions(known: &Known) -> String {
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

/// A cache that loses what is kept in it.
pub fn caches(known: &Known) -> Option<Advice> {
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
        .gaining(Gain::Other(
            "no estimate of time: visitors stay signed in, and are signed out everywhere"
                .to_owned(),
        ))
        .weighing(Weight::Harm)
    })
}

/// Templates that are parsed again and again.
pub fn templates(known: &Known) -> Option<Advice> {
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
        .gaining(known.gain_by_profile(is_loading))
    })
}

/// Whether a frame of a profile finds a template by its name.
fn is_loading(frame: &str) -> bool {
    frame.contains("django/template/engine.py:")
        && ["get_template (", "find_template (", "select_template ("]
            .iter()
            .any(|name| frame.contains(name))
}

/// What `MIDDLEWARE` names: id, part of the name, part of its file, what is the matter, what to do.
const MIDDLEWARE: [[&str; 5]; 5] = [
    [
        "gzip",
        "gzip.GZipMiddleware",
        "django/middleware/gzip.py:",
        "GZipMiddleware does in Python what Canter does already",
        "take django.middleware.gzip.GZipMiddleware out of MIDDLEWARE: Canter compresses, with zstd and \
         Brotli too",
    ],
    [
        "whitenoise",
        "whitenoise.middleware",
        "whitenoise/",
        "WhiteNoise is not needed",
        "take it out of MIDDLEWARE: Canter serves STATIC_ROOT without Python",
    ],
    [
        "toolbar",
        "debug_toolbar",
        "debug_toolbar/",
        "the debug toolbar runs",
        "take debug_toolbar out of MIDDLEWARE where visitors are served",
    ],
    [
        "silk",
        "silk.middleware",
        "silk/",
        "Silk writes each request to the database",
        "take silk out of MIDDLEWARE: the dashboard at /-/canter tells the same",
    ],
    [
        "conditional_get",
        "http.ConditionalGetMiddleware",
        "",
        "ConditionalGetMiddleware makes the whole page to say that it has not changed",
        "a page rule in canter.toml answers 304 without asking the app",
    ],
];

/// Middleware that does what Canter does, or that is for development.
pub fn middleware(known: &Known) -> Vec<Advice> {
    let found = MIDDLEWARE
        .into_iter()
        .filter(|[_, part, ..]| known.has("middleware", part))
        .map(|[id, part, file, title, remedy]| {
            let (calls, ms) = known.table(Doing::Writing, |name| name.starts_with("silk_"));
            let gain = if id == "conditional_get" {
                let (count, ms) = known.not_modified(false);
                Gain::at_most(ms).because(format!("{count:.0} answers 304 of the app in an hour"))
            } else if id == "silk" && known.profiled.is_none() && calls > 0.0 {
                let from = format!(
                    "{calls:.0} statements that write its tables in {}, and its Python beside",
                    known.span()
                );
                Gain::about(known.whole_hour(ms)).because(from)
            } else {
                known.gain_by_profile(|frame| frame.contains(file))
            };
            let weight = if matches!(id, "toolbar" | "silk") {
                Weight::Cost
            } else {
                Weight::Habit
            };
            advice(id, title, format!("MIDDLEWARE names {part}"), remedy)
                .gaining(gain)
                .weighing(weight)
        });
    found.collect()
}

/// Static files that Canter does not serve, or that browsers ask for again.
pub fn static_files(known: &Known) -> Vec<Advice> {
    let mut found = Vec::new();
    let has_static = known.has("apps", "django.contrib.staticfiles");
    if has_static && known.settings["static_root"] == false && known.settings["debug"] == false {
        found.push(
            advice(
                "static_root",
                "static files have no folder",
                "STATIC_ROOT is not set, so nothing is served without Python".to_owned(),
                "STATIC_ROOT = BASE_DIR / \"static\", then `manage.py collectstatic`",
            )
            .gaining(Gain::Unknown(
                "who serves them now is not known here".to_owned(),
            )),
        );
    }
    let storage = known.settings["static_storage"]
        .as_str()
        .unwrap_or_default();
    if has_static && storage.ends_with("staticfiles.storage.StaticFilesStorage") {
        let (count, ms) = known.not_modified(true);
        let told = advice(
            "static_names",
            "static files keep their names when they change",
            format!("the storage of static files is {storage}: browsers must ask again each time"),
            "STORAGES[\"staticfiles\"] = {\"BACKEND\": \
             \"django.contrib.staticfiles.storage.ManifestStaticFilesStorage\"}",
        );
        let from = format!("{count:.0} answers in an hour only say that a file is the same (304)");
        found.push(
            told.gaining(Gain::at_most(ms).because(from))
                .weighing(Weight::Habit),
        );
    }
    found
}
