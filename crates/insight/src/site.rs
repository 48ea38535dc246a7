//! Owns everything that is known of the site: routes, findings, statements, places, history. The
//! clock is an argument; nothing here waits, reads or writes.
//! Leaves how it is shown to `show`.

use std::collections::{HashMap, HashSet};

use crate::findings::{Findings, Key, identity};
use crate::forecast;
use crate::history::{Gauges, History};
use crate::observation::{Name, Observation, Place, Told};
use crate::routes::{Route, Routes, is_timeout};
use crate::rules::{judge, judge_request};
use crate::statement::Traits;

/// Statements whose text is kept.
const MOST_STATEMENTS: usize = 1000;
/// Places in the app's code that are kept.
const MOST_PLACES: usize = 1000;
/// Pieces of advice that are kept.
const MOST_ADVICE: usize = 300;
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
        let (place, route) = self.routes.find(observation.method, observation.route);
        route.add(now_s, observation);
        if observation.queries == 0 {
            return false;
        }
        self.judge(now_s, place, observation)
    }

    fn judge(&mut self, now_s: u64, route: usize, observation: &Observation<'_>) -> bool {
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
                is_new |= self.findings.add(now_s, key, group, verdict);
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
            is_new |= self.findings.add(now_s, key, &group, verdict);
        }
        is_new
    }

    /// These findings are accepted, and no others.
    pub fn acknowledge(&mut self, names: Vec<String>) {
        self.acknowledged = names.into_iter().collect();
    }

    /// A statement by its name.
    pub fn statement(&self, name: Name) -> Option<&Told> {
        self.statements.get(&name).map(|counted| &counted.told)
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
        let mut told: Vec<_> = told.collect();
        told.sort_by_key(|seen| seen.acknowledged);
        told
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
