//! Owns what is counted of each route. At most [`MOST`] are told apart, all further ones are
//! «other»: a million addresses cost no more than these.
//! Leaves what a route is to the app, which has named it; a raw path never comes here.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::histogram::{Histogram, Step};
use crate::observation::{Name, Observation};
use crate::phases::Phases;
use crate::releases::{Before, ENOUGH, Release};
use crate::usual::Usual;
use crate::window::Window;

/// Routes told apart; one more stands for all others.
pub const MOST: usize = 200;
/// The most bytes of a route's name.
const MOST_NAME: usize = 200;
/// Statuses of a route that are told apart; of the others, their classes.
const MOST_STATUSES: usize = 5;
/// Different statements of a route that are counted.
const MOST_STATEMENTS: usize = 64;
/// A router gives up on an answer that takes longer.
pub const ROUTER_US: u64 = 30_000_000;

/// What was answered with one status.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Which; that of its class where the route has many, as whoever does not know a status takes it
    /// (RFC 9110, section 15).
    pub status: u16,
    /// Whether over an encrypted connection.
    pub https: bool,
    /// Wall times.
    pub wall: Histogram,
    /// Wall time in microseconds, all together.
    pub total_us: u64,
}

impl Answers {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }

    /// Whether they are failures of the server.
    pub fn failed(&self) -> bool {
        self.status >= 500
    }
}

/// What was seen of one route.
#[derive(Clone, Debug)]
pub struct Route {
    /// `GET`…
    pub method: &'static str,
    /// The pattern; empty where none is known, `other` beyond the bound.
    pub name: String,
    /// Responses.
    pub requests: u64,
    /// Responses by first digit of the status: 1xx to 5xx.
    pub by_class: [u64; 5],
    /// The same by status.
    pub answers: Vec<Answers>,
    /// Those that took 30 s or were given up.
    pub timeouts: u64,
    /// Wall times.
    pub wall: Histogram,
    /// Time by phase.
    pub phases: Phases,
    /// Statements: all, the most in one request, and how they are spread (in hundreds).
    pub queries: (u64, u32, Histogram),
    /// The different ones of them, in order, as far as they are counted.
    statements: Vec<Name>,
    /// The slowest one in microseconds.
    pub slowest_us: u64,
    /// Kilobytes by which its requests made their processes grow.
    pub grown_kb: i64,
    /// Answers that were compared with the one before at the same address, and those that were the same.
    pub alike: (u64, u64),
    /// Since the app was loaded anew, and before.
    pub release: Release,
    /// Wall time, by the hour.
    wall_window: Window,
}

impl Route {
    fn new(method: &'static str, name: String) -> Self {
        Self {
            method,
            name,
            requests: 0,
            by_class: [0; 5],
            answers: Vec::new(),
            timeouts: 0,
            wall: Histogram::default(),
            phases: Phases::default(),
            queries: (0, 0, Histogram::default()),
            statements: Vec::new(),
            slowest_us: 0,
            grown_kb: 0,
            alike: (0, 0),
            release: Release::default(),
            wall_window: Window::default(),
        }
    }

    /// Counts one request, of which the wall time is known with its step.
    pub fn add(&mut self, now_s: u64, (wall, step): (u64, Step), observation: &Observation<'_>) {
        self.requests += 1;
        let class = usize::from((observation.status / 100).saturating_sub(1));
        if let Some(count) = self.by_class.get_mut(class) {
            *count += 1;
        }
        self.timeouts += u64::from(is_timeout(observation.status, wall));
        if let Some(answers) = self.answers(observation.status, observation.https) {
            answers.wall.add_step(step);
            answers.total_us = answers.total_us.saturating_add(wall);
        }
        self.wall.add_step(step);
        self.phases.add(&observation.phases);
        self.queries.0 += u64::from(observation.queries);
        self.queries.1 = self.queries.1.max(observation.queries);
        self.queries.2.add(u64::from(observation.queries) * 100);
        for group in observation.groups {
            self.note_statement(group.statement);
        }
        self.slowest_us = self.slowest_us.max(wall);
        self.grown_kb = self.grown_kb.saturating_add(observation.grown_kb);
        self.wall_window.add(now_s, wall);
        if let Some(same) = observation.same {
            self.alike.0 += 1;
            self.alike.1 += u64::from(same);
        }
    }

    fn note_statement(&mut self, name: Name) {
        if let Err(place) = self.statements.binary_search(&name)
            && self.statements.len() < MOST_STATEMENTS
        {
            self.statements.insert(place, name);
        }
    }

    /// How many different statements its requests have asked for; where there are very many, as far as they are
    /// counted.
    pub fn statements(&self) -> usize {
        self.statements.len()
    }

    /// The same for people.
    pub fn statements_told(&self) -> String {
        let more = if self.statements.len() < MOST_STATEMENTS {
            ""
        } else {
            "+"
        };
        format!("{}{more}", self.statements.len())
    }

    /// Bytes that it holds beside its own size.
    pub(crate) fn bytes(&self) -> usize {
        self.answers.capacity() * size_of::<Answers>()
            + self.statements.capacity() * size_of::<Name>()
    }

    fn answers(&mut self, status: u16, https: bool) -> Option<&mut Answers> {
        let class = status / 100 * 100;
        let find = |known: &[Answers], status| {
            let mut known = known.iter();
            known.position(|it| it.status == status && it.https == https)
        };
        let is_full = self.answers.len() >= MOST_STATUSES;
        let at = find(&self.answers, status).or_else(|| {
            let by_class = || find(&self.answers, class);
            is_full.then(by_class).flatten()
        });
        let at = at.unwrap_or_else(|| {
            self.answers.push(Answers {
                status: if is_full { class } else { status },
                https,
                wall: Histogram::default(),
                total_us: 0,
            });
            self.answers.len() - 1
        });
        self.answers.get_mut(at)
    }

    /// Adds all of another, but its statuses.
    fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        for (count, more) in self.by_class.iter_mut().zip(other.by_class) {
            *count += more;
        }
        self.timeouts += other.timeouts;
        self.wall.merge(&other.wall);
        self.phases.add(&other.phases);
        self.queries.0 += other.queries.0;
        self.queries.1 = self.queries.1.max(other.queries.1);
        self.queries.2.merge(&other.queries.2);
        for name in &other.statements {
            self.note_statement(*name);
        }
        self.slowest_us = self.slowest_us.max(other.slowest_us);
        self.grown_kb = self.grown_kb.saturating_add(other.grown_kb);
        self.wall_window.merge(&other.wall_window);
    }

    /// Responses with a status from 500 on.
    pub fn errors(&self) -> u64 {
        self.by_class.last().copied().unwrap_or(0)
    }

    /// Responses that only say that nothing has changed (304), and microseconds in them; those of a route of
    /// many statuses may stand with their class.
    pub fn not_modified(&self) -> (u64, u64) {
        let told = self.answers.iter().filter(|it| it.status == 304);
        told.fold((0, 0), |(count, us), it| {
            (count + it.wall.total(), us + it.total_us)
        })
    }

    /// Whether its requests rarely take as long.
    pub fn is_unusual(&self, wall_us: u64) -> bool {
        self.requests >= ENOUGH && wall_us > self.wall.quantile_us(950)
    }

    /// Statements in the middle request, to a third.
    pub fn queries_p50(&self) -> u64 {
        if self.queries.0 == 0 {
            return 0;
        }
        // A bucket of many has more than the most that was seen.
        (self.queries.2.quantile_us(500) / 100).min(self.queries.1.into())
    }

    /// Microseconds that all its requests take in an hour.
    pub fn time_per_hour_us(&self, now_s: u64, since_s: u64) -> u64 {
        self.wall_window.per_hour(now_s, since_s)
    }

    /// For people: `GET /api/orders/`.
    pub fn label(&self) -> String {
        let name = if self.name.is_empty() {
            "(no route)"
        } else {
            &self.name
        };
        format!("{} {name}", self.method)
    }
}

/// Whether a router would have given up on it, or we did.
pub fn is_timeout(status: u16, wall_us: u64) -> bool {
    wall_us >= ROUTER_US || status == 504
}

/// All routes.
#[derive(Debug, Default)]
pub struct Routes {
    rows: Vec<Route>,
    /// By name, then method; a request finds its route without making a string.
    places: HashMap<String, Vec<(&'static str, usize)>>,
    /// What was found last, by method and name: often it is asked for again.
    last: (&'static str, String, usize),
    /// What was usual before the start, of those that nobody has asked for since.
    usual: Usual,
}

impl Routes {
    /// The route of a request and its place, which does not change.
    pub fn find(&mut self, method: &'static str, name: &str) -> (usize, &mut Route) {
        let place = if self.last.1 == name && self.last.0 == method {
            self.last.2
        } else {
            self.look_up(method, name)
        };
        // Places are those of rows, which never go.
        let row = match self.rows.get(place) {
            Some(_) => place,
            None => 0,
        };
        (row, &mut self.rows[row])
    }

    fn look_up(&mut self, method: &'static str, name: &str) -> usize {
        let known = self.known(method, name);
        let place = known.unwrap_or_else(|| self.add(method, name));
        if name.len() <= MOST_NAME {
            self.last.1.clear();
            self.last.1.push_str(name);
            (self.last.0, self.last.2) = (method, place);
        }
        place
    }

    /// A route that was seen before and is told apart.
    pub fn get(&self, method: &'static str, name: &str) -> Option<&Route> {
        self.rows.get(self.known(method, name)?)
    }

    fn known(&self, method: &'static str, name: &str) -> Option<usize> {
        let mut places = self.places.get(name)?.iter();
        let found = places.find(|(other, _)| *other == method);
        found.map(|(_, place)| *place)
    }

    fn add(&mut self, method: &'static str, name: &str) -> usize {
        if self.rows.len() >= MOST {
            let other = self.rows.get(MOST).map(|_| MOST);
            return other.unwrap_or_else(|| {
                self.rows.push(Route::new("*", "other".to_owned()));
                MOST
            });
        }
        let clean: String = name.chars().filter(|c| !c.is_control()).collect();
        let mut end = clean.len().min(MOST_NAME);
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        let place = self.rows.len();
        let mut route = Route::new(method, clean.get(..end).unwrap_or_default().to_owned());
        let key = (method.to_owned(), route.name.clone());
        if let Some(before) = self.usual.remove(&key) {
            route.release = Release::after(before);
        }
        self.rows.push(route);
        self.places
            .entry(name.to_owned())
            .or_default()
            .push((method, place));
        place
    }

    /// This was usual before the start.
    pub fn remember(&mut self, usual: Usual) {
        self.usual = usual;
    }

    /// What is usual by now: of routes that were asked for in this run, then of those that others have asked for
    /// most often, up to [`MOST`] in all.
    pub fn usual(&self) -> Usual {
        let rows = self.rows.iter().take(MOST).filter_map(|row| {
            let key = (row.method.to_owned(), row.name.clone());
            Some((key, row.release.usual()?))
        });
        let mut usual: Usual = rows.collect();
        let mut old: Vec<(&(String, String), &Before)> = self.usual.iter().collect();
        old.sort_unstable_by_key(|(key, before)| (Reverse(before.requests), *key));
        let room = MOST.saturating_sub(usual.len());
        let kept = old.into_iter().take(room);
        usual.extend(kept.map(|(key, before)| (key.clone(), *before)));
        usual
    }

    /// The app was loaded anew.
    pub fn turn(&mut self) {
        for row in &mut self.rows {
            row.release.turn();
        }
    }

    /// All of them as one; None when there is none.
    pub fn total(&self) -> Option<Route> {
        let mut total = Route::new("*", "all".to_owned());
        for row in &self.rows {
            total.merge(row);
        }
        (!self.rows.is_empty()).then_some(total)
    }

    /// All of them, in order of appearance.
    pub fn rows(&self) -> &[Route] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(route: &mut Route, observation: &Observation<'_>) {
        let wall = observation.phases.wall_us();
        route.add(0, (wall, Step::of(wall)), observation);
    }

    #[test]
    fn a_million_addresses_stay_within_the_bound() {
        let mut routes = Routes::default();
        for number in 0..1_000_000_u32 {
            let (_, route) = routes.find("GET", &format!("/{number}\r\n<script>"));
            add(route, &Observation::default());
        }
        assert_eq!(routes.rows().len(), MOST + 1);
        assert_eq!(routes.rows()[MOST].requests, 1_000_000 - MOST as u64);
        assert_eq!(routes.rows()[0].name, "/0<script>");
        assert_eq!(routes.places.len(), MOST);
    }

    #[test]
    fn s10_what_is_asked_now_is_kept_before_what_is_remembered_and_in_all_within_the_bound() {
        let remembered = |number: u64| {
            let before = Before {
                requests: 20 + number,
                most_queries: 4,
                p50_us: 1,
            };
            (("GET".to_owned(), format!("/{number:03}/old/")), before)
        };
        let mut routes = Routes::default();
        routes.remember((0..MOST as u64).map(remembered).collect());
        let mut names = vec!["/000/old/".to_owned()];
        names.extend((1..10).map(|number| format!("/zzz/{number}/")));
        for name in &names {
            for _ in 0..20 {
                routes.find("GET", name).1.release.add(5, 1);
            }
        }
        // Too few to be a habit: takes nobody's place.
        routes.find("GET", "/new/").1.release.add(5, 1);
        let usual = routes.usual();
        assert_eq!(usual.len(), MOST);
        for name in &names {
            let kept = usual.get(&("GET".to_owned(), name.clone()));
            assert_eq!(kept.map(|it| it.most_queries), Some(5), "{name}");
        }
        // Those go that the fewest have asked for.
        for (number, is_kept) in [(1, false), (9, false), (10, true), (199, true)] {
            assert_eq!(
                usual.contains_key(&remembered(number).0),
                is_kept,
                "{number}"
            );
        }
    }

    #[test]
    fn d3_statuses_are_told_apart_and_of_many_the_classes() {
        let mut route = Route::new("GET", "/a".to_owned());
        for status in (200..600).chain([200, 503]) {
            for https in [false, true] {
                let observation = Observation {
                    status,
                    https,
                    ..Observation::default()
                };
                add(&mut route, &observation);
            }
        }
        let told = route.answers.iter();
        let told: Vec<_> = told
            .map(|it| (it.status, it.scheme(), it.wall.total()))
            .collect();
        let wanted = [
            (200, "http", 99),
            (200, "https", 100),
            (201, "http", 1),
            (201, "https", 1),
            (202, "http", 1),
            (300, "http", 100),
            (300, "https", 100),
            (400, "http", 100),
            (400, "https", 100),
            (500, "http", 101),
            (500, "https", 101),
        ];
        assert_eq!(told, wanted);
        assert_eq!(route.answers.iter().filter(|it| it.failed()).count(), 2);
    }

    #[test]
    fn methods_are_told_apart_and_statements_counted() {
        let mut routes = Routes::default();
        let observation = Observation {
            status: 504,
            queries: 3,
            ..Observation::default()
        };
        add(routes.find("GET", "/a").1, &observation);
        add(routes.find("POST", "/a").1, &observation);
        let (place, route) = routes.find("GET", "/a");
        add(route, &observation);
        assert_eq!(
            (place, route.requests, route.errors(), route.timeouts),
            (0, 2, 2, 2)
        );
        assert_eq!(
            (route.queries.0, route.queries.1, route.queries_p50()),
            (6, 3, 3)
        );
        let many = Observation {
            queries: 181,
            ..observation
        };
        let (_, route) = routes.find("GET", "/many");
        add(route, &many);
        assert_eq!((route.queries.1, route.queries_p50()), (181, 181));
    }
}
