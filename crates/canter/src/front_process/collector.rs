//! Owns telling an OpenTelemetry collector what was kept for it: when, and what follows from its answers.
//! Leaves what is told to `canter_insight::otlp` and which requests to the front, and one exchange with the
//! collector to `post`.

mod post;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use canter_base::options::{Config, Value as _};
use canter_base::{info, warn};
use canter_front::{Insight, Spans};
use canter_insight::otlp::{Resource, metrics, traces};
use canter_trust::Trust;
use rustls::ClientConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use post::{Heard, Place};

/// Between two looks at what waits.
const TRACES: Duration = Duration::from_secs(2);
/// Between two tellings of the metrics.
const METRICS: Duration = Duration::from_secs(60);
/// The same after it has refused them.
const REFUSED: Duration = Duration::from_secs(3600);
/// For one message and its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a front that stops waits for at most, and what of its time is kept for that.
const FAREWELL: Duration = Duration::from_secs(2);
const RESERVE: Duration = Duration::from_secs(1);
/// After a failure, doubling to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// The collector; None where nobody is told.
#[derive(Clone, Default)]
pub struct Collector(Option<Rc<Inner>>);

struct Inner {
    place: Place,
    insight: Rc<Insight>,
    resource: Resource,
    start_ns: u64,
    /// Spans that were sent and not heard of, or could not be sent yet.
    kept: RefCell<Spans>,
    /// One message after the other, so that nothing is told twice.
    turn: Mutex<()>,
    state: RefCell<State>,
}

struct State {
    /// How long it is left alone after the next failure.
    pause: Duration,
    /// From when on it is asked again.
    until: Instant,
    failing: bool,
    metrics_at: Instant,
    /// What it has refused for good; told once for each.
    refused: Vec<&'static str>,
}

impl Collector {
    /// Begins to tell, if the options name somebody; inside the front's runtime.
    pub fn start(config: &Config, insight: Option<&Rc<Insight>>) -> Self {
        let (Some(endpoint), Some(insight)) = (&config.otlp_endpoint, insight) else {
            return Self::default();
        };
        // What is wrong with TLS here is wrong with every message.
        let rules = endpoint.tls.then(|| canter_trust::config(&Trust::System));
        let rules: Option<Arc<ClientConfig>> = match rules.transpose() {
            Ok(rules) => rules.map(Arc::new),
            Err(error) => {
                warn!("the collector is not told anything", reason = &error);
                return Self::default();
            }
        };
        insight.trace(config.otlp_sample);
        let headers = config.otlp_header.iter();
        let headers = headers.map(|one| (one.name.clone(), one.value.clone()));
        let now = Instant::now();
        let inner = Rc::new(Inner {
            place: Place::new(endpoint, headers.collect(), rules),
            insight: Rc::clone(insight),
            resource: resource(config),
            start_ns: now_ns(),
            kept: RefCell::default(),
            turn: Mutex::default(),
            state: RefCell::new(State {
                pause: PAUSE.0,
                until: now,
                failing: false,
                metrics_at: now + METRICS,
                refused: Vec::new(),
            }),
        });
        info!("a collector is told", endpoint = &endpoint.show());
        let telling = Rc::clone(&inner);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(TRACES).await;
                telling.tell(false).await;
            }
        });
        Self(Some(inner))
    }

    /// What of the time to finish is to be left for [`Collector::finish`].
    pub fn reserve(&self, grace: Duration) -> Duration {
        match self.0 {
            Some(_) => (grace / 4).min(RESERVE),
            None => Duration::ZERO,
        }
    }

    /// Tells what is left, at the end, and says what could not be told.
    pub async fn finish(&self, most: Duration) {
        let Some(inner) = &self.0 else { return };
        let _ = tokio::time::timeout(most.min(FAREWELL), inner.tell(true)).await;
        let (waiting, lost) = inner.insight.take_spans();
        let lost = inner.kept.borrow().requests + waiting.requests + lost;
        if lost > 0 {
            warn!(
                "the last requests could not be told to the collector: see `--otlp-endpoint`",
                endpoint = inner.place.shown(),
                requests = lost
            );
        }
    }
}

impl Inner {
    /// Tells what there is to tell, unless the collector is left alone for a while.
    async fn tell(&self, last: bool) {
        let turn = self.turn.lock().await;
        let now = Instant::now();
        let (until, metrics_at) = {
            let state = self.state.borrow();
            (state.until, state.metrics_at)
        };
        if now < until && !last {
            return;
        }
        while let Some(message) = self.spans() {
            if self.send("/v1/traces", &message).await == Heard::Later {
                return;
            }
            self.kept.take();
            if !last {
                break;
            }
        }
        // Only spans must be told one after the other.
        drop(turn);
        if now >= metrics_at || last {
            self.state.borrow_mut().metrics_at = now + METRICS;
            let time = metrics::Span {
                start_ns: self.start_ns,
                now_ns: now_ns(),
            };
            let message = self.insight.told_metrics(&self.resource, time);
            // The next ones say more, so that these need not be kept.
            if self.send("/v1/metrics", &message).await == Heard::Refused {
                // Many take traces alone.
                self.state.borrow_mut().metrics_at = now + REFUSED;
            }
        }
    }

    /// The message of what was kept, else of what waits; None when there is nothing. No more is taken
    /// while something is kept, so that the bound of the front holds.
    fn spans(&self) -> Option<Vec<u8>> {
        let mut kept = self.kept.borrow_mut();
        if kept.requests == 0 {
            let (spans, lost) = self.insight.take_spans();
            *kept = spans;
            if lost > 0 {
                warn!(
                    "requests were kept for the collector and not told: it does not take them fast enough",
                    requests = lost
                );
            }
        }
        (kept.requests > 0).then(|| traces::request(&self.resource, &kept.encoded))
    }

    async fn send(&self, path: &'static str, message: &[u8]) -> Heard {
        let sent = tokio::time::timeout(PATIENCE, self.place.post(path, message));
        let heard = sent
            .await
            .unwrap_or_else(|_| Err("no answer in 10 s".to_owned()));
        let mut state = self.state.borrow_mut();
        let reason = match heard {
            Ok(200..=299) => {
                if state.failing {
                    info!("the collector takes what it is told again");
                }
                (state.failing, state.pause) = (false, PAUSE.0);
                return Heard::Taken;
            }
            // These alone are tried again (OTLP, «Retryable Response Codes»).
            Ok(status @ (429 | 502 | 503 | 504)) => format!("it answers {status}"),
            Ok(status) => {
                if !state.refused.contains(&path) {
                    state.refused.push(path);
                    warn!(
                        "the collector refuses what it is told, and that is lost: see \
                         `--otlp-endpoint` and `--otlp-header`",
                        endpoint = self.place.shown(),
                        path = path,
                        status = status
                    );
                }
                return Heard::Refused;
            }
            Err(reason) => reason,
        };
        if !state.failing {
            warn!(
                "the collector is not reached: see `--otlp-endpoint`",
                endpoint = self.place.shown(),
                reason = &reason
            );
        }
        state.failing = true;
        state.until = Instant::now() + state.pause;
        state.pause = (state.pause * 2).min(PAUSE.1);
        Heard::Later
    }
}

fn resource(config: &Config) -> Resource {
    let app = config.app.as_ref().filter(|_| config.name == "canter");
    Resource {
        service: app.map_or_else(|| config.name.clone(), ToString::to_string),
        instance: format!("{}-{}", std::process::id(), now_ns()),
        version: env!("CARGO_PKG_VERSION"),
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}
