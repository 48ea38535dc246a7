//! Owns what the doctor knows: the app's settings, what was measured, and what was asked for the occasion; and
//! the numbers that are read out of it.
//! Leaves what follows from them to `checks` and `habits`.

use serde_json::Value as Json;

use super::advice::Gain;
use super::plans::Plan;
use super::profiled::Profiled;

/// The route of what is answered without the app.
const FRONT: &str = "(front)";
/// Why there is no number of what only a profile tells.
const UNPROFILED: &str = "`canter profile 30s` while the site is used, then ask again";

/// What is known.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The app's settings.
    pub settings: Json,
    /// The dashboard's data.
    pub measured: Json,
    /// Plans of the dearest statements.
    pub plans: Vec<Plan>,
    /// How long connections take to make, by database.
    pub connects: Json,
    /// The profile that was made last, if it tells of all requests.
    pub profiled: Option<Profiled>,
}

/// What a statement does to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    Reading,
    Writing,
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

/// Whether it only reads.
fn does(sql: &str) -> Doing {
    let word = sql.split_ascii_whitespace().next().unwrap_or_default();
    let reads = ["SELECT", "WITH"];
    if reads.iter().any(|it| word.eq_ignore_ascii_case(it)) {
        Doing::Reading
    } else {
        Doing::Writing
    }
}

impl Known {
    pub fn has(&self, key: &str, part: &str) -> bool {
        let list = self.settings[key].as_array().into_iter().flatten();
        list.filter_map(Json::as_str).any(|one| one.contains(part))
    }

    /// The name and the backend of the cache that sessions would be kept in.
    pub fn session_cache(&self) -> (&str, &str) {
        let alias = self.settings["session_cache"].as_str().unwrap_or("default");
        let backend = self.settings["caches"][alias].as_str();
        (alias, backend.unwrap_or_default())
    }

    pub fn routes(&self) -> impl Iterator<Item = &Json> {
        self.measured["routes"].as_array().into_iter().flatten()
    }

    /// Requests of the last hour.
    pub fn requests(&self) -> u64 {
        self.measured["hour"]["requests"].as_u64().unwrap_or(0)
    }

    /// Those of them that asked a database.
    pub fn asking(&self) -> f64 {
        self.measured["hour"]["asking"].as_f64().unwrap_or(0.0)
    }

    /// Milliseconds in an hour that all requests spend in a phase, and its share of all their time; both of
    /// the last hour, so that what was mended is soon forgotten.
    pub fn phase(&self, word: &str) -> (f64, f64) {
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

    /// Statements of the last hour that do something to a table: calls and milliseconds, as of the time in which
    /// requests were counted, for statements are forgotten in larger steps.
    pub fn table(&self, doing: Doing, is_meant: impl Fn(&str) -> bool) -> (f64, f64) {
        let rows = self.measured["statements"].as_array().into_iter().flatten();
        let rows = rows.filter(|row| {
            let sql = row["sql"].as_str().unwrap_or_default();
            does(sql) == doing && first_table(sql).is_some_and(&is_meant)
        });
        let (calls, ms) = rows.fold((0.0, 0.0), |(calls, ms), row| {
            let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
            (calls + number("calls_hour"), ms + number("hour_ms"))
        });
        let longer = self.seconds() / self.counted("statements_s");
        (calls * longer, ms * longer)
    }

    /// Milliseconds in an hour that threads run requests, in the app and in the database.
    fn running(&self) -> f64 {
        ["app", "sql", "pool"]
            .iter()
            .map(|word| self.phase(word).0)
            .sum()
    }

    /// What is spent in an hour in code that each request runs through, by the last profile.
    pub fn gain_by_profile(&self, is_meant: impl Fn(&str) -> bool) -> Gain {
        let Some(profiled) = &self.profiled else {
            return Gain::Unknown(UNPROFILED.to_owned());
        };
        let share = profiled.share(is_meant);
        let from = format!("{:.1} % of the last profile", share * 100.0);
        // Below a frame of it may stand what it only wraps, as a statement.
        Gain::at_most(self.running() * share).because(from)
    }

    /// Answers 304 in an hour, and milliseconds in them: of files and stored pages, or of the app.
    pub fn not_modified(&self, of_the_front: bool) -> (f64, f64) {
        let rows = self
            .routes()
            .filter(|route| (route["route"] == FRONT) == of_the_front);
        rows.fold((0.0, 0.0), |(count, ms), route| {
            let number = |key: &str| self.per_hour(route[key].as_f64().unwrap_or(0.0));
            (
                count + number("not_modified"),
                ms + number("not_modified_ms"),
            )
        })
    }

    /// What the app calls one of its tables; the usual name where it has not said.
    pub fn name_of<'b>(&'b self, key: &str, usual: &'b str) -> &'b str {
        let named = self.settings[key].as_str().filter(|name| !name.is_empty());
        named.unwrap_or(usual)
    }

    /// What was counted in the last hour, as of a whole one: it is less where the server has not run for
    /// that long, or where a part of it was forgotten just now.
    pub fn whole_hour(&self, ms: f64) -> f64 {
        ms * 3600.0 / self.seconds()
    }

    /// Seconds that the last hour really has of requests.
    pub fn seconds(&self) -> f64 {
        self.counted("seconds")
    }

    fn counted(&self, key: &str) -> f64 {
        let seconds = self.measured["hour"][key].as_f64().unwrap_or(3600.0);
        seconds.clamp(60.0, 3600.0)
    }

    /// The same for people: a few minutes less are an hour, too.
    pub fn span(&self) -> String {
        match (self.seconds() / 60.0).round() {
            minutes if minutes >= 55.0 => "the last hour".to_owned(),
            minutes => format!("the last {minutes:.0} min"),
        }
    }

    /// What was counted since the start, as of an hour.
    pub fn per_hour(&self, ms: f64) -> f64 {
        let seconds = self.measured["uptime_s"].as_f64().unwrap_or(0.0).max(60.0);
        ms * 3600.0 / seconds
    }
}
