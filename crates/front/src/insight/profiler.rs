//! Owns the one profile that is made or was made last: who asked for what, which workers have not
//! told yet, and what they told.
//! Leaves sampling to the workers, and how it is drawn to `canter_insight::profile`.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_channel::control::ProfileOrder;
use canter_http::target::decode_path;
use canter_insight::profile::{Profile, flame};
use canter_insight::show::json::Json;

/// The longest profile.
const MOST: Duration = Duration::from_secs(600);
/// Workers that have not told this long after its end will not.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most samples in a second.
const MOST_RATE: u16 = 1000;
const USUAL_RATE: u16 = 100;

/// Asks the workers; answers their numbers.
type Start = Box<dyn Fn(ProfileOrder) -> Vec<u32>>;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    time: Duration,
    rate: u16,
    holder: bool,
    route: Option<String>,
}

/// Why a profile is not begun.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another is being made.
    Busy,
    /// No worker runs.
    NoWorker,
}

#[derive(Default)]
struct State {
    number: u64,
    made: Option<Made>,
}

struct Made {
    asked: Asked,
    begun: Instant,
    workers: usize,
    awaited: BTreeSet<u32>,
    profile: Profile,
}

/// The profiler of a front.
#[derive(Default)]
pub struct Profiler {
    state: RefCell<State>,
    start: RefCell<Option<Start>>,
}

impl Profiler {
    /// A profiler that [`Profiler::connect`] has to give workers to.
    pub fn new() -> Rc<Self> {
        Rc::default()
    }

    /// How workers are asked; it answers which of them sample.
    pub fn connect(&self, start: impl Fn(ProfileOrder) -> Vec<u32> + 'static) {
        *self.start.borrow_mut() = Some(Box::new(start));
    }

    /// A worker has told a piece; with `last` it was all.
    pub fn hear(&self, worker: u32, number: u64, text: &str, last: bool) {
        let mut state = self.state.borrow_mut();
        if number != state.number {
            return;
        }
        if let Some(made) = &mut state.made
            && made.awaited.contains(&worker)
        {
            made.profile.add(text, made.asked.route.as_deref());
            if last {
                made.awaited.remove(&worker);
            }
        }
    }

    /// A worker has ended.
    pub fn gone(&self, worker: u32) {
        if let Some(made) = &mut self.state.borrow_mut().made {
            made.awaited.remove(&worker);
        }
    }

    pub(crate) fn begin(&self, asked: Asked) -> Result<(), Refused> {
        let mut state = self.state.borrow_mut();
        if state.made.as_ref().is_some_and(Made::is_running) {
            return Err(Refused::Busy);
        }
        state.number += 1;
        let order = ProfileOrder {
            number: state.number,
            milliseconds: asked.time.as_millis() as u32,
            rate: asked.rate,
            holder: asked.holder,
        };
        let start = self.start.borrow();
        let awaited: BTreeSet<u32> = start
            .as_ref()
            .map(|start| start(order))
            .into_iter()
            .flatten()
            .collect();
        if awaited.is_empty() {
            return Err(Refused::NoWorker);
        }
        state.made = Some(Made {
            asked,
            begun: Instant::now(),
            workers: awaited.len(),
            awaited,
            profile: Profile::default(),
        });
        Ok(())
    }

    /// How far it is, as JSON.
    pub(crate) fn progress(&self) -> String {
        let state = self.state.borrow();
        let mut json = Json::default();
        json.object(|json| {
            let Some(made) = &state.made else {
                json.text("state", "none");
                return;
            };
            json.text("state", if made.is_running() { "running" } else { "done" });
            json.number("elapsed_ms", made.elapsed().as_millis());
            json.number("of_ms", made.asked.time.as_millis());
            json.number("workers", made.workers)
                .number("awaited", made.awaited.len());
            json.text("title", &made.title());
            json.ms("sampled_ms", made.profile.total_us());
            json.list("dearest", |json| {
                for (name, us) in made.profile.dearest(10) {
                    json.object(|json| {
                        json.text("function", name).ms("self_ms", us);
                    });
                }
            });
        });
        json.into_text()
    }

    /// What was told, in one of the forms; None while there is none.
    pub(crate) fn told(&self, form: &[u8]) -> Option<(&'static str, String)> {
        let state = self.state.borrow();
        let made = state.made.as_ref().filter(|made| !made.is_running())?;
        let title = made.title();
        Some(match form {
            b"svg" => ("image/svg+xml", flame::svg(&made.profile, &title)),
            b"txt" => ("text/plain; charset=utf-8", made.profile.collapsed()),
            b"speedscope.json" => ("application/json", made.profile.speedscope(&title)),
            _ => return None,
        })
    }
}

impl Made {
    fn is_running(&self) -> bool {
        !self.awaited.is_empty() && self.begun.elapsed() < self.asked.time + PATIENCE
    }

    fn elapsed(&self) -> Duration {
        self.begun.elapsed().min(self.asked.time)
    }

    fn title(&self) -> String {
        let what = if self.asked.holder {
            "Interpreter time"
        } else {
            "Wall time"
        };
        let route = self.asked.route.as_deref();
        format!(
            "{what} of requests{}: {} s, {} worker{}, {} samples a second",
            route.map_or_else(String::new, |route| format!(" of {route}")),
            self.asked.time.as_secs_f64(),
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            self.asked.rate
        )
    }
}

impl Asked {
    /// Reads `seconds=30&mode=gil&rate=100&route=/api/`; None where that cannot be.
    pub(crate) fn read(query: &[u8]) -> Option<Self> {
        let mut asked = Self {
            time: Duration::from_secs(30),
            rate: USUAL_RATE,
            holder: false,
            route: None,
        };
        let query = std::str::from_utf8(query).ok()?;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=')? {
                ("seconds", text) => {
                    let seconds = text.parse().ok()?;
                    asked.time = Duration::try_from_secs_f64(seconds).ok()?;
                }
                ("mode", "wall") => asked.holder = false,
                ("mode", "gil") => asked.holder = true,
                ("rate", text) => asked.rate = text.parse().ok()?,
                ("route", text) => asked.route = Some(decoded(text)?),
                _ => return None,
            }
        }
        let is_possible = (1..=MOST_RATE).contains(&asked.rate)
            && (Duration::from_millis(10)..=MOST).contains(&asked.time);
        is_possible.then_some(asked)
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    decode_path(text.as_bytes(), &mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Option<Asked> {
        Asked::read(query.as_bytes())
    }

    #[test]
    fn d9_what_cannot_be_sampled_is_refused() {
        let usual = asked("").unwrap();
        assert_eq!(
            (usual.time.as_secs(), usual.rate, usual.holder),
            (30, 100, false)
        );
        let all = asked("seconds=0.5&mode=gil&rate=50&route=%2Fapi%2F%3Cpk%3E").unwrap();
        assert_eq!(all.route.as_deref(), Some("/api/<pk>"));
        assert!(all.holder);
        for wrong in [
            "seconds=0",
            "seconds=NaN",
            "seconds=-1",
            "seconds=1e9",
            "rate=0",
            "rate=70000",
            "mode=cpu",
            "route=%f",
            "route=%ff",
            "x=1",
            "seconds",
        ] {
            assert_eq!(asked(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn d9_a_profile_is_done_when_every_worker_has_told_or_ended() {
        let profiler = Profiler::new();
        assert_eq!(profiler.begin(asked("").unwrap()), Err(Refused::NoWorker));
        profiler.connect(|_| vec![1, 2]);
        assert_eq!(profiler.begin(asked("").unwrap()), Ok(()));
        assert_eq!(profiler.begin(asked("").unwrap()), Err(Refused::Busy));
        profiler.hear(1, 2, "/;f 30\n", false);
        profiler.hear(1, 2, "/;g 3\n", true);
        // Of an earlier one, and of a worker that has told all.
        profiler.hear(2, 1, "/;old 9\n", true);
        profiler.hear(1, 2, "/;late 9\n", true);
        assert!(profiler.progress().contains("\"awaited\":1"));
        assert_eq!(profiler.told(b"txt"), None);
        profiler.gone(2);
        assert_eq!(profiler.told(b"txt").unwrap().1, "/;f 30\n/;g 3\n");
        assert_eq!(profiler.told(b"exe"), None);
        assert!(profiler.progress().contains("\"state\":\"done\""));
    }
}
