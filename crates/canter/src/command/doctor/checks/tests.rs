//! Tests of the doctor's checks: each is said where it is due, with its evidence, and nowhere else.

use serde_json::json;

use super::*;
use crate::command::doctor::profiled::Profiled;

fn healthy() -> Json {
    json!({"django": "6.1", "debug": false, "middleware": [], "apps": ["django.contrib.staticfiles"],
           "session_engine": "django.contrib.sessions.backends.cached_db", "has_sessions": true,
           "session_save_every_request": false, "static_root": true,
           "static_storage": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
           "caches": {"default": "django.core.cache.backends.redis.RedisCache"},
           "databases": [{"alias": "default", "vendor": "postgresql", "conn_max_age": 0, "pooled": true},
                         {"alias": "old", "vendor": "mysql", "conn_max_age": 60, "pooled": false}],
           "templates": [{"django": true, "cached": true}]})
}

fn measured() -> Json {
    json!({"uptime_s": 3600, "phases": ["app", "gil", "queue", "pool"],
           "total": {"requests": 9000, "time_per_hour_ms": 100_000.0, "phases_ms": [0, 500_000, 0, 0]},
           "hour": {"seconds": 3600, "statements_s": 3600, "requests": 1000, "asking": 900,
                    "phases_ms": [96_000, 2000, 1000, 1000]},
           "routes": [{"route": "/news/<pk>/", "compared": 100, "same": 10, "time_per_hour_ms": 9000.0}],
           "findings": [], "statements": []})
}

fn ids(settings: &Json, measured: &Json) -> Vec<&'static str> {
    told(settings, measured).iter().map(|one| one.id).collect()
}

fn told(settings: &Json, measured: &Json) -> Vec<Advice> {
    advise(&known(settings, measured))
}

fn known(settings: &Json, measured: &Json) -> Known {
    Known {
        settings: settings.clone(),
        measured: measured.clone(),
        ..Known::default()
    }
}

#[test]
fn a_site_that_is_well_is_told_nothing() {
    assert_eq!(ids(&healthy(), &measured()), [""; 0]);
    assert_eq!(ids(&json!({"django": null}), &json!({})), [""; 0]);
}

#[test]
fn each_setting_is_said_where_it_is_due() {
    let rows = [
        ("debug", "debug", json!(true)),
        (
            "gzip",
            "middleware",
            json!(["django.middleware.gzip.GZipMiddleware"]),
        ),
        (
            "whitenoise",
            "middleware",
            json!(["whitenoise.middleware.WhiteNoiseMiddleware"]),
        ),
        (
            "toolbar",
            "middleware",
            json!(["debug_toolbar.middleware.DebugToolbarMiddleware"]),
        ),
        (
            "silk",
            "middleware",
            json!(["silk.middleware.SilkyMiddleware"]),
        ),
        (
            "conditional_get",
            "middleware",
            json!(["django.middleware.http.ConditionalGetMiddleware"]),
        ),
        ("session_writes", "session_save_every_request", json!(true)),
        ("static_root", "static_root", json!(false)),
        (
            "static_names",
            "static_storage",
            json!("django.contrib.staticfiles.storage.StaticFilesStorage"),
        ),
        (
            "templates",
            "templates",
            json!([{"django": true, "cached": false}]),
        ),
        (
            "cache_backend",
            "caches",
            json!({"default": "django.core.cache.backends.locmem.LocMemCache"}),
        ),
        (
            "connections",
            "databases",
            json!([{"alias": "old", "vendor": "mysql", "conn_max_age": 0, "pooled": false}]),
        ),
    ];
    for (id, key, value) in rows {
        let mut settings = healthy();
        settings[key] = value;
        assert_eq!(ids(&settings, &measured()), [id]);
    }
}

#[test]
fn what_was_measured_is_said_with_its_gain_and_the_greatest_comes_first() {
    let mut found = measured();
    found["hour"]["phases_ms"] = json!([40_000, 30_000, 0, 30_000]);
    found["findings"] = json!([
        {"id": "aa", "rule": "n_plus_one", "title": "one query for each row", "route": "GET /api/",
         "count": 20, "file": "v.py", "line": 4, "advice": "select_related(\"x\")", "lost_per_hour_ms": 90_000.0},
        {"id": "bb", "rule": "slow", "title": "a slow query", "route": "GET /", "count": 1,
         "file": "v.py", "line": 9, "advice": "", "lost_per_hour_ms": 10.0},
        {"id": "cc", "rule": "slow", "acknowledged": true, "lost_per_hour_ms": 99_999.0}]);
    found["routes"] = json!([{"route": "/news/<pk>/", "compared": 100, "same": 90,
                              "time_per_hour_ms": 50_000.0}]);
    found["statements"] = json!([{"sql": "SELECT a FROM django_session", "calls": 9000, "total_ms": 90_000.0, "calls_hour": 500, "hour_ms": 2000.0}]);
    let mut settings = healthy();
    settings["session_engine"] = json!("django.contrib.sessions.backends.db");
    settings["debug"] = json!(true);
    let told = told(&settings, &found);
    let ids: Vec<_> = told.iter().map(|one| one.id).collect();
    assert_eq!(
        ids,
        [
            "debug", "finding", "pages", "gil", "pool", "sessions", "finding"
        ]
    );
    assert_eq!(told[1].remedy, "select_related(\"x\")");
    assert!(told[2].remedy.contains("path = \"/news/*/\"") && told[2].evidence.contains("90 %"));
    assert!(told[3].evidence.contains("30 %") && told[3].title == "too many threads");
    assert_eq!(told[5].gain, Gain::at_most(2000.0));
    assert!(told[6].remedy.contains("canter queries --explain bb"));
}

#[test]
fn pages_of_an_app_whose_routes_are_not_known_get_a_rule_that_can_be_written() {
    let mut found = measured();
    found["routes"] =
        json!([{"route": "", "compared": 100, "same": 90, "time_per_hour_ms": 50_000.0}]);
    let told = told(&healthy(), &found);
    let pages = told.iter().find(|one| one.id == "pages").unwrap();
    assert!(pages.title.starts_with("each page is made anew"));
    assert!(pages.remedy.contains("path = \"/*\""));
}

#[test]
fn a_queue_and_users_that_are_read_are_said_and_forgotten_with_the_hour() {
    let mut found = measured();
    found["hour"]["phases_ms"] = json!([60_000, 0, 40_000, 0]);
    found["statements"] = json!([{"sql": "SELECT a FROM auth_user", "calls": 9000, "total_ms": 900.0,
                                  "calls_hour": 800, "hour_ms": 400.0}]);
    let told = told(&healthy(), &found);
    let named: Vec<_> = told.iter().map(|one| one.id).collect();
    assert_eq!(named, ["queue", "users"]);
    assert_eq!(told[0].gain, Gain::at_most(40_000.0));
    assert!(
        told[1]
            .evidence
            .contains("800 statements on auth_user in 1000 requests")
    );
    // Statements of another table, or of posts joined with their authors, are none of users.
    for sql in [
        "SELECT a FROM auth_user_groups",
        "SELECT \"post\".\"a\" FROM \"post\" INNER JOIN \"auth_user\" ON x = y",
    ] {
        found["statements"][0]["sql"] = json!(sql);
        assert_eq!(ids(&healthy(), &found), ["queue"], "{sql}");
    }
    // Users of a model of one's own.
    let mut settings = healthy();
    settings["user_table"] = json!("people_person");
    for sql in [
        "SELECT a FROM \"people_person\" WHERE a = ?",
        "select a from `shop`.`people_person`",
    ] {
        found["statements"][0]["sql"] = json!(sql);
        assert_eq!(ids(&settings, &found), ["queue", "users"], "{sql}");
    }
    found["statements"][0]["sql"] = json!("SELECT a FROM auth_user");
    // A few that waited for the app to be loaded prove nothing.
    found["hour"]["requests"] = json!(350);
    assert_eq!(ids_of(&found), ["users"]);
    // Mended an hour ago: what was counted since the start says nothing any more.
    found["hour"]["phases_ms"] = json!([100_000, 0, 0, 0]);
    found["statements"][0]["calls_hour"] = json!(0);
    assert_eq!(ids_of(&found), [""; 0]);
}

#[test]
fn sessions_go_only_into_a_cache_that_all_processes_share() {
    let mut found = measured();
    found["statements"] = json!([
        {"sql": "SELECT a FROM django_session", "calls_hour": 500, "hour_ms": 2000.0},
        // Groups and permissions are not the user.
        {"sql": "SELECT 1 FROM \"auth_user_groups\"", "calls_hour": 900, "hour_ms": 2000.0}]);
    let db = "django.contrib.sessions.backends.db";
    let locmem = "django.core.cache.backends.locmem.LocMemCache";
    let redis = "django.core.cache.backends.redis.RedisCache";
    let table = "django.core.cache.backends.db.DatabaseCache";
    let rows = [
        ("default", json!({"default": redis}), "SESSION_ENGINE"),
        (
            "default",
            json!({"default": locmem}),
            "CACHES[\"default\"] with",
        ),
        (
            "kept",
            json!({"default": locmem, "kept": redis}),
            "SESSION_ENGINE",
        ),
        (
            "kept",
            json!({"default": redis, "kept": table}),
            "CACHES[\"kept\"] with",
        ),
    ];
    for (alias, caches, remedy) in rows {
        let mut settings = healthy();
        settings["session_engine"] = json!(db);
        settings["session_cache"] = json!(alias);
        settings["caches"] = caches;
        let told = told(&settings, &found);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].remedy.starts_with(remedy), "{}", told[0].remedy);
        assert!(told[0].remedy.ends_with("backends.cached_db\""));
    }
    // Those that are in a cache already: its own name counts.
    let mut settings = healthy();
    settings["session_cache"] = json!("kept");
    settings["caches"] = json!({"default": locmem, "kept": redis});
    assert_eq!(ids(&settings, &measured()), [""; 0]);
    settings["caches"] = json!({"default": redis, "kept": locmem});
    assert_eq!(ids(&settings, &measured()), ["cache_backend"]);
}

#[test]
fn what_was_counted_in_less_than_an_hour_is_told_as_of_a_whole_one() {
    let mut settings = healthy();
    settings["session_engine"] = json!("django.contrib.sessions.backends.db");
    let mut found = measured();
    let row = |table: &str| json!({"sql": format!("SELECT a FROM {table}"), "calls_hour": 600, "hour_ms": 4500.0});
    found["statements"] = json!([row("django_session"), row("auth_user")]);
    let rows = [
        (
            3600,
            3600,
            Some(4500.0),
            "600 statements on auth_user in 1000 requests, 4500 ms in the last hour",
        ),
        (
            3600,
            2700,
            Some(6000.0),
            "800 statements on auth_user in 1000 requests, 6000 ms in the last hour",
        ),
        (
            1800,
            1800,
            Some(9000.0),
            "600 statements on auth_user in 1000 requests, 4500 ms in the last 30 min",
        ),
    ];
    for (seconds, statements_s, gain_ms, evidence) in rows {
        found["hour"]["seconds"] = json!(seconds);
        found["hour"]["statements_s"] = json!(statements_s);
        let told = told(&settings, &found);
        let gains: Vec<_> = told.iter().map(|one| (one.id, one.gain.ms())).collect();
        assert_eq!(gains, [("sessions", gain_ms), ("users", gain_ms)]);
        assert_eq!(told[1].evidence, evidence);
    }
}

#[test]
fn what_was_seen_on_the_wire_is_said_by_its_text_and_with_nothing_of_django() {
    let mut found = measured();
    let row = |rule: &str, advice: &str| {
        json!({"id": "aa", "rule": rule, "title": "it", "route": "GET /", "count": 6, "file": "",
               "line": 0, "sql": "SELECT a", "advice": advice, "lost_per_hour_ms": 10.0})
    };
    found["findings"] = json!([
        row("n_plus_one", "ask once"),
        row("slow", ""),
        row("holding", "")
    ]);
    let told = told(&json!({"django": null}), &found);
    for (one, remedy) in told
        .iter()
        .zip(["ask once", "its plan (`EXPLAIN`)", "look at what that"])
    {
        assert_eq!(one.evidence, "6 times in a request, SELECT a [aa]");
        assert!(one.remedy.starts_with(remedy), "{}", one.remedy);
    }
    assert_eq!(told.len(), 3);
}

#[test]
fn threads_that_do_not_fit_are_said_before_they_run() {
    let mut found = measured();
    found["threads"] =
        json!({"now": 4, "most": 40, "each_kb": 10_240, "needed_kb": 552_960, "fit": 18});
    found["threads_sentence"] =
        json!("a thread takes about 10.0 MB: all 40 that may run need 540 MB of 512 MB");
    for (limit_kb, said) in [(0, vec![]), (524_288, vec!["threads"]), (1_048_576, vec![])] {
        found["now"] = json!({"memory_limit_kb": limit_kb});
        assert_eq!(ids_of(&found), said);
    }
    found["now"] = json!({"memory_limit_kb": 524_288});
    let told = told(&healthy(), &found);
    assert!(
        told[0]
            .evidence
            .ends_with("need 540 MB of 512 MB, 4 run now"),
        "{}",
        told[0].evidence
    );
    assert!(told[0].remedy.starts_with("`--threads 18`"));
}

fn ids_of(found: &Json) -> Vec<&'static str> {
    ids(&healthy(), found)
}

/// A site with many habits, at some of which nobody has looked.
fn unwell() -> Known {
    let mut settings = healthy();
    settings["debug"] = json!(true);
    settings["session_engine"] = json!("django.contrib.sessions.backends.cache");
    settings["caches"] = json!({"default": "django.core.cache.backends.locmem.LocMemCache"});
    settings["session_save_every_request"] = json!(true);
    settings["middleware"] = json!([
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "silk.middleware.SilkyMiddleware"
    ]);
    settings["static_storage"] = json!("django.contrib.staticfiles.storage.StaticFilesStorage");
    settings["templates"] = json!([{"django": true, "cached": false}]);
    settings["databases"] =
        json!([{"alias": "old", "vendor": "mysql", "conn_max_age": 0, "pooled": false}]);
    let mut found = measured();
    found["routes"] = json!([
        {"route": "/news/", "compared": 100, "same": 90, "time_per_hour_ms": 5000.0,
         "not_modified": 20, "not_modified_ms": 1500.0},
        {"route": "(front)", "not_modified": 400, "not_modified_ms": 80.0}]);
    found["statements"] = json!([
        {"sql": "INSERT INTO \"silk_request\" VALUES (?)", "calls_hour": 1000, "hour_ms": 2500.0}]);
    let mut known = known(&settings, &found);
    known.connects = json!({"old": {"ms": 4.0}});
    known
}

fn gains(known: &Known) -> Vec<(&'static str, String)> {
    let told = advise(known);
    told.iter().map(|one| (one.id, one.gain.text())).collect()
}

#[test]
fn what_does_harm_comes_first_then_the_greatest_gain_then_what_has_no_number() {
    let unprofiled = "no estimate: `canter profile 30s` while the site is used, then ask again";
    let expected = [
        (
            "debug",
            "no estimate of time: visitors no longer see what is not theirs",
        ),
        (
            "cache_backend",
            "no estimate of time: visitors stay signed in, and are signed out everywhere",
        ),
        ("pages", "at most 4.5 s in an hour, all requests together"),
        (
            "connections",
            "at most 3.6 s in an hour, all requests together: 900 connections in an hour, each 4.0 ms to make when it was tried just now",
        ),
        (
            "silk",
            "about 2.5 s in an hour, all requests together: 1000 statements that write its tables in the last hour, and its Python beside",
        ),
        (
            "conditional_get",
            "at most 1.5 s in an hour, all requests together: 20 answers 304 of the app in an hour",
        ),
        (
            "static_names",
            "at most 80 ms in an hour, all requests together: 400 answers in an hour only say that a file is the same (304)",
        ),
        (
            "session_writes",
            "no estimate: they are written past the database",
        ),
        ("templates", unprofiled),
        ("gzip", unprofiled),
    ];
    assert_eq!(
        gains(&unwell()),
        expected.map(|(id, gain)| (id, gain.to_owned()))
    );
}

#[test]
fn a_profile_tells_of_what_each_request_runs_through() {
    let mut known = unwell();
    // Of 100 s in an hour threads run for 97 s.
    known.profiled = Some(Profiled::of(
        "/;Engine.find_template (django/template/engine.py:150);parse (django/template/base.py:1) 30\n\
         /;G.process_response (django/middleware/gzip.py:40) 10\n/;view (v.py:1) 60\n"
            .to_owned(),
    ));
    // A connection that could not be made says so, and how many there are.
    known.connects = json!({"old": {"error": "it could not be made: OperationalError"}});
    let told = gains(&known);
    let ids: Vec<_> = told.iter().map(|row| row.0).collect();
    assert_eq!(ids[2..5], ["templates", "gzip", "pages"]);
    assert_eq!(
        told[2].1,
        "at most 29.1 s in an hour, all requests together: 30.0 % of the last profile"
    );
    assert_eq!(
        told[3].1,
        "at most 9.7 s in an hour, all requests together: 10.0 % of the last profile"
    );
    assert!(told.contains(&(
        "silk",
        "less than 1 ms in an hour, all requests together: 0.0 % of the last profile".to_owned()
    )));
    let connections =
        "no estimate: 900 connections in an hour, and it could not be made: OperationalError";
    assert!(
        told.contains(&("connections", connections.to_owned())),
        "{told:?}"
    );
}

#[test]
fn sessions_that_each_request_writes_are_counted_by_their_writes() {
    let mut settings = healthy();
    settings["session_engine"] = json!("django.contrib.sessions.backends.db");
    settings["session_save_every_request"] = json!(true);
    let mut found = measured();
    found["statements"] = json!([
        {"sql": "UPDATE \"django_session\" SET a = ?", "calls_hour": 700, "hour_ms": 3000.0},
        {"sql": "SELECT a FROM \"django_session\"", "calls_hour": 500, "hour_ms": 1000.0}]);
    let told = told(&settings, &found);
    let gains: Vec<_> = told.iter().map(|one| (one.id, one.gain.ms())).collect();
    assert_eq!(
        gains,
        [("session_writes", Some(3000.0)), ("sessions", Some(1000.0))]
    );
    assert!(
        told[0]
            .gain
            .text()
            .contains("700 statements that write django_session")
    );
}

#[test]
fn why_no_connection_was_tried_is_told() {
    let mut known = unwell();
    known.connects = json!({"error": "the database is asked something else now"});
    let told = "no estimate: 900 connections in an hour, and none was tried: the database is asked something else now";
    assert!(gains(&known).contains(&("connections", told.to_owned())));
}

#[test]
fn requests_that_asked_one_of_several_databases_are_reckoned_to_the_dearest_alone() {
    let mut settings = healthy();
    let database = |alias: &str| json!({"alias": alias, "vendor": "mysql", "conn_max_age": 0, "pooled": false});
    settings["databases"] = json!([database("default"), database("stats"), database("old")]);
    let mut known = known(&settings, &measured());
    known.connects = json!({"default": {"ms": 4.0}, "stats": {"ms": 9.0}, "old": {"error": "none could be made: E"}});
    let told = advise(&known);
    let told: Vec<_> = told
        .iter()
        .map(|one| (one.title.as_str(), one.gain.text()))
        .collect();
    let title = |alias: &str| format!("the database {alias} is connected to anew for each request");
    let (default, stats, old) = (title("default"), title("stats"), title("old"));
    let expected = [
        (
            stats.as_str(),
            "at most 8.1 s in an hour, all requests together: at most 900 connections in an hour, \
            each 9.0 ms to make when it was tried just now",
        ),
        (
            default.as_str(),
            "no estimate: at most 900 connections in an hour, each 4.0 ms to make when it was tried \
            just now; which database a request asked is not counted, and all of them are reckoned to stats",
        ),
        (
            old.as_str(),
            "no estimate: at most 900 connections in an hour, and none could be made: E",
        ),
    ];
    assert_eq!(told, expected.map(|(title, gain)| (title, gain.to_owned())));
}

#[test]
fn a_pool_of_djangos_own_keeps_connections_though_their_age_is_0() {
    let mut settings = healthy();
    settings["databases"] = json!([{"alias": "default", "vendor": "postgresql", "conn_max_age": 0,
                                    "pooled": false, "own_pool": true}]);
    assert_eq!(ids(&settings, &measured()), [""; 0]);
}
