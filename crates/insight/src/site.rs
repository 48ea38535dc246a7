//! Owns everything that is known of the site: routes, findings, statements, places, history. The
//! clock is an argument; nothing here waits, reads or writes.
//! Leaves how it is shown to `show`.

mod mended;

use std::collections::{HashMap, HashSet};

use crate::findings::{Findings, Key, identity};
use crate::forecast;
use crate::histogram::Step;
use crate::history::{Gauges, History};
use crate::observation::{Advice, Group, Name, Observation, Place, Repeat, Told};
use crate::operations::Operations;
use crate::phases::{PHASES, Phases};
use crate::routes::{Route, Routes, is_timeout};
use crate::rules::{Rule, Verdict, judge, judge_growth, judge_request};
use crate::statement::{Traits, shape};
use crate::window::Window;

/// Statements whose text is kept.
const MOST_STATEMENTS: usize = 1000;
/// Places in the app's code that are kept.
const MOST_PLACES: usize = 1000;
/// Pieces of advice that are kept.
const MOST_ADVICE: usize = 280;
/// Places of one statement that are told apart.
const MOST_ASKING: usize = 4;
/// The most bytes of a piece of advice.
const MOST_ADVICE_TEXT: usize = 600;

/// What is summed up of a statement.
#[derive(Clone, Debug)]
pub struct Counted {
    /// When it was seen last, in observations.
    seen: u64,
    /// What it is.
    pub told: Told,
    /// What findings are named by: the statement without its columns.
    shape: Name,
    /// How often it ran.
    pub calls: u64,
    /// Microseconds in the database.
    pub total_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Runs, and microseconds in them, by the hour.
    hour: (Window<4>, Window<4>),
    /// Where it was asked for, those that came first.
    asked: Vec<Asked>,
}

/// A statement's runs from one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Where in the app's code; 0 for what was seen on the wire alone.
    pub place: Name,
    /// How often.
    pub calls: u64,
    /// Microseconds in the database.
    pub total_us: u64,
}

impl Counted {
    /// Runs of the last hour, and microseconds in them.
    pub fn last_hour(&self, now_s: u64) -> (u64, u64) {
        (self.hour.0.sum(now_s), self.hour.1.sum(now_s))
    }

    /// Where it was asked for, the dearest first.
    pub fn asked(&self) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        asked.sort_by_key(|it| std::cmp::Reverse(it.total_us));
        asked
    }

    /// The same statement at a place in one request.
    fn add(&mut self, now_s: u64, group: &Group) {
        let calls = u64::from(group.count);
        self.calls += calls;
        self.total_us = self.total_us.saturating_add(group.total_us);
        self.max_us = self.max_us.max(group.max_us);
        self.hour.0.add(now_s, calls);
        self.hour.1.add(now_s, group.total_us);
        let known = self.asked.iter().position(|it| it.place == group.place);
        let at = known.unwrap_or(self.asked.len());
        if at == self.asked.len() && at < MOST_ASKING {
            self.asked.push(Asked {
                place: group.place,
                ..Asked::default()
            });
        }
        if let Some(asked) = self.asked.get_mut(at) {
            asked.calls += calls;
            asked.total_us = asked.total_us.saturating_add(group.total_us);
        }
    }
}

/// What was told to help.
#[derive(Debug)]
struct Advised {
    /// When it was told last, in observations.
    told: u64,
    text: String,
    repeat: Repeat,
}

/// All requests together, by the hour: how many, how many of them asked a database, and the phases.
type Hour = Window<12, { 2 + PHASES }>;

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Site {
    statements: HashMap<Name, Counted>,
    /// With the observation that had them last.
    places: HashMap<Name, (u64, Place)>,
    /// By route, statement and place.
    advice: HashMap<(usize, Name, Name), Advised>,
    /// How many requests were observed.
    observed: u64,
    routes: Routes,
    operations: Operations,
    hour: Hour,
    findings: Findings,
    history: History,
    acknowledged: HashSet<String>,
    /// How often the app was loaded anew, as far as requests tell.
    release: u32,
    grown: Option<Grown>,
}

/// A route of which a request asked for much more than any did before the app was loaded anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Which route.
    pub route: String,
    /// Statements now.
    pub queries: u32,
    /// The most before.
    pub before: u32,
}

impl Site {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A statement that will be named from now on. Where there are too many, those go that were not seen
    /// for longest and belong to no finding; whoever names them again will tell them again.
    pub fn tell_statement(&mut self, name: Name, told: Told) {
        if !self.statements.contains_key(&name) {
            let findings = &self.findings;
            let is_kept = |name: &Name| findings.keys().any(|key| key.statement == *name);
            make_room(&mut self.statements, MOST_STATEMENTS, |it| it.seen, is_kept);
        }
        self.statements.entry(name).or_insert_with(|| Counted {
            seen: self.observed,
            shape: shape(&told.text).unwrap_or(name),
            told,
            calls: 0,
            total_us: 0,
            max_us: 0,
            hour: Default::default(),
            asked: Vec::new(),
        });
    }

    /// A place that will be named from now on. Those of findings stay, since the findings' names depend on
    /// them.
    pub fn tell_place(&mut self, name: Name, place: Place) {
        if !self.places.contains_key(&name) {
            let findings = &self.findings;
            let is_kept = |name: &Name| findings.keys().any(|key| key.place == *name);
            make_room(&mut self.places, MOST_PLACES, |it| it.0, is_kept);
        }
        self.places.insert(name, (self.observed, place));
    }

    /// What helps; a later word replaces an earlier one.
    pub fn tell_advice(&mut self, advice: &Advice<'_>) {
        let (method, route) = advice.route;
        let (route, _) = self.routes.find(judged_as(method), route);
        let key = (route, advice.statement, advice.place);
        if !self.advice.contains_key(&key) {
            let findings = &self.findings;
            let is_kept =
                |key: &(usize, Name, Name)| findings.keys().any(|it| advised_by(it) == *key);
            make_room(&mut self.advice, MOST_ADVICE, |it| it.told, is_kept);
        }
        let chars = advice.text.chars().filter(|c| !c.is_control());
        let told = Advised {
            told: self.observed,
            text: chars.take(MOST_ADVICE_TEXT).collect(),
            repeat: advice.repeat,
        };
        self.advice.insert(key, told);
    }

    /// A request has ended. Answers whether something is wrong that was not known before.
    pub fn observe(&mut self, now_s: u64, observation: &Observation<'_>) -> bool {
        let wall = observation.phases.wall_us();
        let step = Step::of(wall);
        self.observed += 1;
        for rows in observation.times {
            self.operations.add(rows);
        }
        let mut sums = [0; 2 + PHASES];
        let [requests, asking, phases @ ..] = &mut sums;
        (*requests, *asking) = (1, u64::from(observation.queries > 0));
        *phases = observation.phases.0;
        self.hour.add_each(now_s, &sums);
        self.history.add(
            (wall, step),
            &observation.phases,
            observation.queries,
            observation.status >= 500,
            is_timeout(observation.status, wall),
        );
        let release = observation.release.unwrap_or(self.release);
        if release > self.release {
            // The first one is no change.
            if self.release > 0 {
                self.routes.turn();
            }
            self.release = release;
        }
        let (mut judged, mut route) = self.routes.find(observation.method, observation.route);
        route.add(now_s, (wall, step), observation);
        let method = judged_as(observation.method);
        if method != observation.method {
            (judged, route) = self.routes.find(method, observation.route);
        }
        // Whatever still runs in the workers of before tells nothing of this one.
        let mut before = None;
        if release == self.release {
            before = route.release.exceeded(observation.queries);
            // What ends at a login or a refusal shows nothing of what the route costs.
            if (200..300).contains(&observation.status) {
                route.release.add(observation.queries, wall);
            }
        }
        if observation.queries == 0 {
            return false;
        }
        self.judge((now_s, release), judged, observation, before)
    }

    fn judge(
        &mut self,
        now: (u64, u32),
        route: usize,
        observation: &Observation<'_>,
        before: Option<u32>,
    ) -> bool {
        let mut is_new = false;
        for group in observation.groups {
            let mut traits = Traits::default();
            if let Some((seen, _)) = self.places.get_mut(&group.place) {
                *seen = self.observed;
            }
            if let Some(counted) = self.statements.get_mut(&group.statement) {
                counted.seen = self.observed;
                counted.add(now.0, group);
                traits = counted.told.traits;
            }
            let advice = self.advice.get(&(route, group.statement, group.place));
            let repeat = advice.map_or(Repeat::Unknown, |it| it.repeat);
            if let Some(verdict) = judge(group, traits, repeat) {
                let key = Key {
                    route,
                    rule: verdict.rule,
                    statement: group.statement,
                    place: group.place,
                };
                is_new |= self.note((now, key), group, verdict);
            }
        }
        if let Some(before) = before {
            // What is asked for most often is where to look.
            let groups = observation.groups.iter();
            let most = groups.max_by_key(|group| group.count).copied();
            let group = Group {
                count: observation.queries,
                distinct: before,
                ..most.unwrap_or_default()
            };
            let verdict = judge_growth(observation, before);
            let key = Key {
                route,
                rule: verdict.rule,
                statement: group.statement,
                place: group.place,
            };
            if self.note((now, key), &group, verdict) {
                is_new = true;
                self.grown = self.routes.rows().get(route).map(|route| Grown {
                    route: route.label(),
                    queries: observation.queries,
                    before,
                });
            }
        }
        if let Some(verdict) = judge_request(observation) {
            let group = observation.groups.last().copied().unwrap_or_default();
            let key = Key {
                route,
                rule: verdict.rule,
                statement: 0,
                place: group.place,
            };
            is_new |= self.note((now, key), &group, verdict);
        }
        is_new
    }

    fn note(&mut self, (now, key): ((u64, u32), Key), group: &Group, verdict: Verdict) -> bool {
        let route = self.routes.rows().get(key.route);
        let of = route.map_or(0, |route| route.release.requests());
        self.findings.add(now, key, group, verdict, of)
    }

    /// What has grown with the last request, told once.
    pub fn take_grown(&mut self) -> Option<Grown> {
        self.grown.take()
    }

    /// These findings are accepted, and no others.
    pub fn acknowledge(&mut self, names: Vec<String>) {
        self.acknowledged = names.into_iter().collect();
    }

    /// A statement by its name.
    pub fn statement(&self, name: Name) -> Option<&Told> {
        self.statements.get(&name).map(|counted| &counted.told)
    }

    /// A place by its name.
    pub fn place(&self, name: Name) -> Option<&Place> {
        self.places.get(&name).map(|(_, place)| place)
    }

    /// Whether requests of this route, of which enough were seen, rarely take as long: one in twenty.
    pub fn is_unusual(&self, method: &'static str, route: &str, wall_us: u64) -> bool {
        let known = self.routes.get(method, route);
        known.is_some_and(|route| route.is_unusual(wall_us))
    }

    /// To be called about each second.
    pub fn tick(&mut self, now_s: u64, gauges: Gauges) {
        self.history.tick(now_s, gauges);
    }

    /// Seconds until the processes need more than `limit_kb`, if memory goes on growing.
    pub fn memory_left_s(&self, limit_kb: u64) -> Option<u64> {
        let points = self.history.points(false);
        let points = points.map(|it| (it.at_s.into(), it.gauges.memory_kb.into()));
        // Before the first measurement it is 0.
        let points: Vec<(u64, u64)> = points.filter(|it: &(u64, u64)| it.1 > 0).collect();
        forecast::seconds_left(&points, limit_kb)
    }

    /// The routes whose requests made memory grow by more than a megabyte, the worst first.
    pub fn grows_most(&self) -> Vec<&Route> {
        let mut found: Vec<_> = self.routes().collect();
        found.retain(|route| route.grown_kb >= forecast::LEAST_GROWN_KB);
        found.sort_by_key(|route| std::cmp::Reverse(route.grown_kb));
        found
    }

    /// What is remembered.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// All routes together, added up for who asks; None before the first request.
    pub fn total(&self) -> Option<Route> {
        self.routes.total()
    }

    /// Requests of the last hour, and where their time went.
    pub fn last_hour(&self, now_s: u64) -> (u64, Phases) {
        let [requests, _, phases @ ..] = self.hour.sums(now_s);
        (requests, Phases(phases))
    }

    /// Those of them that asked a database.
    pub fn asking_last_hour(&self, now_s: u64) -> u64 {
        let [_, asking, ..] = self.hour.sums(now_s);
        asking
    }

    /// Seconds that the last hour really has: of requests, and of a statement's runs.
    pub fn hour_s(now_s: u64) -> (u64, u64) {
        (<Window>::seconds(now_s, 0), Window::<4>::seconds(now_s, 0))
    }

    /// The routes that have answered, in order of appearance.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let rows = self.routes.rows().iter();
        // One that was asked by HEAD alone has none of GET.
        rows.filter(|route| route.requests > 0)
    }

    /// How long statements took, by kind.
    pub fn operations(&self) -> &Operations {
        &self.operations
    }

    /// The statements by time in the database, the dearest first.
    pub fn statements(&self) -> Vec<(Name, &Counted)> {
        let mut found: Vec<_> = self
            .statements
            .iter()
            .map(|(name, it)| (*name, it))
            .collect();
        found.sort_by_key(|(name, counted)| (std::cmp::Reverse(counted.total_us), *name));
        found
    }

    /// The findings with all that belongs to them, the dearest first, those that are accepted last.
    pub fn findings(&self, now_s: u64) -> Vec<Seen<'_>> {
        let mut told = self.all(now_s);
        told.retain(|seen| !self.is_mended(seen));
        told.sort_by_key(|seen| seen.acknowledged);
        told
    }

    fn all(&self, now_s: u64) -> Vec<Seen<'_>> {
        let ranked = self.findings.ranked(now_s, 0);
        let told = ranked.into_iter().filter_map(|(key, finding)| {
            let route = self.routes.rows().get(key.route)?;
            let place = self.place(key.place).cloned().unwrap_or_default();
            let counted = self.statements.get(&key.statement);
            let shape = counted.map_or(key.statement, |it| it.shape);
            let id = identity(route.method, &route.name, &place, key.rule, shape);
            let is_quiet = finding.release < self.release;
            Some(Seen {
                acknowledged: self.acknowledged.contains(&id),
                id,
                statement_name: key.statement,
                quiet_for: if is_quiet {
                    route.release.requests()
                } else {
                    0
                },
                quiet_until: finding.enough(key.rule),
                route,
                place,
                rule: key.rule,
                statement: counted.map(|it| &it.told),
                advice: self.advised(key),
                lost_per_hour_us: finding.lost_per_hour_us(now_s, 0),
                finding,
            })
        });
        told.collect()
    }

    /// What helps: what the worker told, and where it saw nothing what holds for any code.
    fn advised(&self, key: Key) -> Option<&str> {
        let told = self.advice.get(&advised_by(&key));
        let holds = key.place == 0 || key.rule == Rule::Redundant;
        let general = || key.rule.remedy().filter(|_| holds);
        told.map(|it| it.text.as_str()).or_else(general)
    }

    /// Bytes that are held, about: for the bound on memory.
    pub fn bytes(&self) -> usize {
        let text = |string: &String| string.capacity() + size_of::<String>();
        let statements = self.statements.values().map(|it| {
            let asked = it.asked.capacity() * size_of::<Asked>();
            text(&it.told.text) + 96 + 2 * size_of::<Window<4>>() + asked
        });
        let places = self.places.values();
        let places =
            places.map(|(_, it)| text(&it.file) + text(&it.function) + text(&it.source) + 40);
        let routes = self
            .routes
            .rows()
            .iter()
            .map(|it| size_of_val(it) + 2 * text(&it.name) + it.bytes());
        let points = [false, true].map(|coarse| self.history.points(coarse).count());
        statements.sum::<usize>()
            + places.sum::<usize>()
            + routes.sum::<usize>()
            + self
                .advice
                .values()
                .map(|it| text(&it.text) + 56)
                .sum::<usize>()
            + self.operations.bytes()
            + self.findings.len() * (size_of::<crate::findings::Finding>() + 64)
            + points.iter().sum::<usize>() * size_of::<crate::history::Point>()
    }
}

/// Under which method a request is judged: an app answers HEAD by doing what it does for GET (RFC 9110, section
/// 9.3.2), so that what is wrong there is wrong once. OPTIONS runs other code.
fn judged_as(method: &'static str) -> &'static str {
    if method == "HEAD" { "GET" } else { method }
}

/// Where the advice for a finding is.
fn advised_by(key: &Key) -> (usize, Name, Name) {
    (key.route, key.statement, key.place)
}

/// Where there are `most`, a tenth goes, as far as it is not kept: those seen longest ago. With all of them
/// kept, one goes all the same.
fn make_room<K: Copy + Eq + std::hash::Hash + Ord, V>(
    all: &mut HashMap<K, V>,
    most: usize,
    seen: impl Fn(&V) -> u64,
    is_kept: impl Fn(&K) -> bool,
) {
    if all.len() < most {
        return;
    }
    let rows = all.iter();
    let mut rows: Vec<_> = rows
        .map(|(key, value)| (is_kept(key), seen(value), *key))
        .collect();
    rows.sort_unstable();
    let mut old = rows.into_iter().take((most / 10).max(1));
    if let Some((_, _, oldest)) = old.next() {
        all.remove(&oldest);
    }
    for (_, _, key) in old.take_while(|(is_kept, ..)| !is_kept) {
        all.remove(&key);
    }
}

/// A finding with all that belongs to it.
pub struct Seen<'s> {
    /// Its name.
    pub id: String,
    /// Somebody has looked at it and accepts it.
    pub acknowledged: bool,
    /// Requests of its route since the app was loaded anew, where none of them has shown it.
    pub quiet_for: u64,
    /// So many are enough to call it mended.
    pub quiet_until: u64,
    /// The statement's name; 0 where the whole request is meant.
    pub statement_name: Name,
    /// Where it was seen.
    pub route: &'s Route,
    /// Where in the app's code.
    pub place: Place,
    /// What is wrong.
    pub rule: Rule,
    /// With which statement.
    pub statement: Option<&'s Told>,
    /// What helps.
    pub advice: Option<&'s str>,
    /// What it costs.
    pub lost_per_hour_us: u64,
    /// The numbers.
    pub finding: &'s crate::findings::Finding,
}

#[cfg(test)]
mod tests;
