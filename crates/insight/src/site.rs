//! Owns everything that is known of the site: routes, findings, statements, places, history. The
//! clock is an argument; nothing here waits, reads or writes.
//! Leaves how it is shown to `show`.

use std::collections::{HashMap, HashSet};

use crate::findings::{Findings, Key, identity};
use crate::forecast;
use crate::history::{Gauges, History};
use crate::observation::{Group, Name, Observation, Place, Told};
use crate::releases::Before;
use crate::routes::{Route, Routes, is_timeout};
use crate::rules::{judge, judge_growth, judge_request};
use crate::statement::Traits;

/// Statements whose text is kept.
const MOST_STATEMENTS: usize = 1000;
/// Places in the app's code that are kept.
const MOST_PLACES: usize = 1000;
/// Pieces of advice that are kept.
const MOST_ADVICE: usize = 300;
/// Findings that are told as mended.
const MOST_MENDED: usize = 20;
/// The most bytes of a piece of advice.
const MOST_ADVICE_TEXT: usize = 600;

/// What is summed up of a statement.
#[derive(Clone, Debug)]
pub struct Counted {
    /// What it is.
    pub told: Told,
    /// How often it ran.
    pub calls: u64,
    /// Microseconds in the database.
    pub total_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// Everything that is known.
#[derive(Debug, Default)]
pub struct Site {
    statements: HashMap<Name, Counted>,
    places: HashMap<Name, Place>,
    advice: HashMap<(Name, Name), String>,
    routes: Routes,
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

    /// A statement that will be named from now on.
    pub fn tell_statement(&mut self, name: Name, told: Told) {
        if self.statements.len() < MOST_STATEMENTS {
            self.statements.entry(name).or_insert(Counted {
                told,
                calls: 0,
                total_us: 0,
                max_us: 0,
            });
        }
    }

    /// A place that will be named from now on.
    pub fn tell_place(&mut self, name: Name, place: Place) {
        if self.places.len() < MOST_PLACES {
            self.places.insert(name, place);
        }
    }

    /// What helps against a statement at a place; a later word replaces an earlier one.
    pub fn tell_advice(&mut self, statement: Name, place: Name, text: &str) {
        let key = (statement, place);
        if self.advice.len() < MOST_ADVICE || self.advice.contains_key(&key) {
            let text = text
                .chars()
                .filter(|c| !c.is_control())
                .take(MOST_ADVICE_TEXT);
            self.advice.insert(key, text.collect());
        }
    }

    /// A request has ended. Answers whether something is wrong that was not known before.
    pub fn observe(&mut self, now_s: u64, observation: &Observation<'_>) -> bool {
        let wall = observation.phases.wall_us();
        self.history.add(
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
        let (place, route) = self.routes.find(observation.method, observation.route);
        route.add(now_s, observation);
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
        self.judge((now_s, release), place, observation, before)
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
            if let Some(counted) = self.statements.get_mut(&group.statement) {
                counted.calls += u64::from(group.count);
                counted.total_us = counted.total_us.saturating_add(group.total_us);
                counted.max_us = counted.max_us.max(group.max_us);
                traits = counted.told.traits;
            }
            if let Some(verdict) = judge(group, traits) {
                let key = Key {
                    route,
                    rule: verdict.rule,
                    statement: group.statement,
                    place: group.place,
                };
                is_new |= self.findings.add(now, key, group, verdict);
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
            if self.findings.add(now, key, &group, verdict) {
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
            is_new |= self.findings.add(now, key, &group, verdict);
        }
        is_new
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
        self.places.get(&name)
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
        let mut found: Vec<_> = self.routes().iter().collect();
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

    /// The routes, in order of appearance.
    pub fn routes(&self) -> &[Route] {
        self.routes.rows()
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

    /// Those that no request of this release has shown, though their routes were asked for, with what
    /// came of it; a line that has only moved is no other finding.
    pub fn mended(&self, now_s: u64) -> Vec<(Seen<'_>, Before)> {
        let all = self.all(now_s);
        let (mended, open): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|seen| self.is_mended(seen));
        let open: HashSet<_> = open.into_iter().map(|seen| seen.id).collect();
        let told = mended.into_iter().filter(|seen| !open.contains(&seen.id));
        told.filter_map(|seen| {
            let before = seen.route.release.before()?;
            Some((seen, before))
        })
        .take(MOST_MENDED)
        .collect()
    }

    fn is_mended(&self, seen: &Seen<'_>) -> bool {
        seen.finding.release < self.release && seen.route.release.requests() > 0
    }

    fn all(&self, now_s: u64) -> Vec<Seen<'_>> {
        let ranked = self.findings.ranked(now_s, 0);
        let told = ranked.into_iter().filter_map(|(key, finding)| {
            let route = self.routes.rows().get(key.route)?;
            let place = self.places.get(&key.place).cloned().unwrap_or_default();
            let id = identity(route.method, &route.name, &place, key.rule, key.statement);
            Some(Seen {
                acknowledged: self.acknowledged.contains(&id),
                id,
                statement_name: key.statement,
                route,
                place,
                rule: key.rule,
                statement: self.statements.get(&key.statement).map(|it| &it.told),
                advice: self
                    .advice
                    .get(&(key.statement, key.place))
                    .map(String::as_str),
                lost_per_hour_us: finding.lost_per_hour_us(now_s, 0),
                finding,
            })
        });
        told.collect()
    }

    /// Bytes that are held, about: for the bound on memory.
    pub fn bytes(&self) -> usize {
        let text = |string: &String| string.capacity() + size_of::<String>();
        let statements = self.statements.values().map(|it| text(&it.told.text) + 96);
        let places = self.places.values();
        let places = places.map(|it| text(&it.file) + text(&it.function) + text(&it.source) + 32);
        let routes = self
            .routes
            .rows()
            .iter()
            .map(|it| size_of::<Route>() + 2 * text(&it.name));
        let points = [false, true].map(|coarse| self.history.points(coarse).count());
        statements.sum::<usize>()
            + places.sum::<usize>()
            + routes.sum::<usize>()
            + self.advice.values().map(|it| text(it) + 32).sum::<usize>()
            + self.findings.len() * (size_of::<crate::findings::Finding>() + 64)
            + points.iter().sum::<usize>() * size_of::<crate::history::Point>()
    }
}

/// A finding with all that belongs to it.
pub struct Seen<'s> {
    /// Its name.
    pub id: String,
    /// Somebody has looked at it and accepts it.
    pub acknowledged: bool,
    /// The statement's name; 0 where the whole request is meant.
    pub statement_name: Name,
    /// Where it was seen.
    pub route: &'s Route,
    /// Where in the app's code.
    pub place: Place,
    /// What is wrong.
    pub rule: crate::rules::Rule,
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
mod tests {
    use super::*;
    use crate::observation::Group;
    use crate::phases::Phases;
    use crate::rules::Rule;
    use crate::statement::{Dialect, strip};

    fn told(sql: &str) -> (Name, Told) {
        let statement = strip(sql.as_bytes(), Dialect::Sqlite);
        let told = Told {
            text: statement.text,
            traits: statement.traits,
        };
        (statement.fingerprint, told)
    }

    #[test]
    fn c1_a_loop_is_found_with_its_statement_place_and_advice() {
        let mut site = Site::new();
        let (name, text) = told("SELECT a FROM customer WHERE id = %s");
        site.tell_statement(name, text);
        site.tell_place(
            9,
            Place::read("shop/views.py\n41\norders\nfor order in orders:"),
        );
        site.tell_advice(name, 9, "Order.objects.select_related(\"customer\")");
        let groups = [Group {
            statement: name,
            place: 9,
            count: 20,
            distinct: 20,
            price_us: 20_000,
            ..Group::default()
        }];
        let observation = Observation {
            method: "GET",
            route: "/api/orders/",
            status: 200,
            queries: 22,
            phases: Phases([0, 0, 0, 0, 9000, 0, 9000, 0, 0]),
            groups: &groups,
            ..Observation::default()
        };
        assert!(site.observe(10, &observation));
        assert!(!site.observe(11, &observation));
        let findings = site.findings(11);
        let [found] = findings.as_slice() else {
            panic!("{} findings", findings.len());
        };
        assert_eq!(
            (found.rule, found.place.line, found.finding.most),
            (Rule::NPlusOne, 41, 20)
        );
        assert_eq!(
            found.advice,
            Some("Order.objects.select_related(\"customer\")")
        );
        assert_eq!(found.route.label(), "GET /api/orders/");
        assert_eq!(site.statements()[0].1.calls, 40);
    }

    fn asks(count: u32, release: u32, groups: &[Group]) -> Observation<'_> {
        Observation {
            method: "GET",
            route: "/api/orders/",
            status: 200,
            queries: count,
            phases: Phases([0, 0, 0, 0, 9000, 0, u64::from(count) * 1000, 0, 0]),
            groups,
            release: Some(release),
            ..Observation::default()
        }
    }

    #[test]
    fn s4_what_a_release_has_mended_is_told_with_what_was_predicted_and_what_came_of_it() {
        let mut site = Site::new();
        let groups = [Group {
            statement: 7,
            place: 9,
            count: 20,
            distinct: 20,
            price_us: 20_000,
            ..Group::default()
        }];
        let (name, text) = told("SELECT a FROM customer WHERE id = %s");
        site.tell_statement(name, text);
        let groups = groups.map(|group| Group {
            statement: name,
            ..group
        });
        for _ in 0..3 {
            site.observe(1, &asks(20, 1, &groups));
        }
        site.observe(2, &asks(2, 2, &[]));
        assert!(site.findings(3).is_empty());
        let mended = site.mended(3);
        let [(seen, before)] = mended.as_slice() else {
            panic!("{} mended", mended.len());
        };
        assert_eq!(seen.rule, Rule::NPlusOne);
        assert_eq!(seen.finding.lost_per_request_us(), 19_000);
        assert!(before.p50_us >= 28_000 && seen.route.release.p50_us() < 28_000);
        // A worker of before has the last word of its own code, and none of this one.
        site.observe(4, &asks(20, 1, &groups));
        assert!(site.findings(4).is_empty());
        // It is back.
        site.observe(5, &asks(20, 2, &groups));
        assert!(site.mended(5).is_empty());
        assert_eq!(site.findings(5).len(), 1);
    }

    #[test]
    fn s10_a_route_that_asks_for_more_since_a_release_is_a_finding_and_its_loop_the_place() {
        let mut site = Site::new();
        for _ in 0..crate::releases::ENOUGH {
            assert!(!site.observe(1, &asks(4, 1, &[])));
        }
        let groups = [Group {
            statement: 7,
            place: 9,
            count: 57,
            ..Group::default()
        }];
        assert!(site.observe(2, &asks(61, 2, &groups)));
        let grown = Grown {
            route: "GET /api/orders/".to_owned(),
            queries: 61,
            before: 4,
        };
        assert_eq!(site.take_grown(), Some(grown));
        assert!(!site.observe(2, &asks(61, 2, &groups)));
        assert_eq!(site.take_grown(), None, "it is said once");
        let findings = site.findings(2);
        let found = findings.iter().find(|seen| seen.rule == Rule::More);
        let found = found.unwrap_or_else(|| panic!("{} findings", findings.len()));
        let last = found.finding.last;
        assert_eq!((last.count, last.distinct, last.place), (61, 4, 9));
        assert_eq!(found.finding.lost_per_request_us(), 57_000);
        assert!(found.finding.critical);
    }

    #[test]
    fn d6_routes_in_which_memory_grows_are_named_the_worst_first() {
        let mut site = Site::new();
        for (route, grown_kb) in [
            ("/a", 900),
            ("/b", 700),
            ("/a", 1200),
            ("/c", 3000),
            ("/d", -9),
        ] {
            let observation = Observation {
                method: "GET",
                route,
                grown_kb,
                ..Observation::default()
            };
            site.observe(1, &observation);
        }
        let found: Vec<_> = site.grows_most().into_iter().map(forecast::grown).collect();
        let wanted = [
            "GET /c +2 MB, 3000 kB a request",
            "GET /a +2 MB, 1050 kB a request",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn d5_everything_that_is_remembered_stays_below_three_megabytes() {
        let mut site = Site::new();
        let long = "x".repeat(1000);
        for number in 0..3000_u64 {
            let text = told(&format!("SELECT {long}{number}")).1;
            site.tell_statement(number, text);
            site.tell_place(number, Place::read(&format!("{long}\n1\n{long}\n{long}")));
            site.tell_advice(number, number, &long);
            let groups = [Group {
                statement: number,
                place: number,
                count: 9,
                distinct: 9,
                ..Group::default()
            }];
            let route = format!("/{number}{long}");
            site.observe(
                number,
                &Observation {
                    method: "GET",
                    route: &route,
                    queries: 9,
                    groups: &groups,
                    ..Observation::default()
                },
            );
        }
        for second in 0..90_000 {
            site.tick(second, Gauges::default());
        }
        assert!(site.bytes() < 3_000_000, "{}", site.bytes());
        assert!(site.bytes() > 1_000_000, "{}", site.bytes());
    }
}
