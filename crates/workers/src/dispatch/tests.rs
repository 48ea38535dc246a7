//! Owns the tests of the dispatch, with workers played by the test through the real channel.
//! Leaves real Python workers to the black-box tests.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use canter_channel::call::{Answer, Failure, Submission};
use canter_channel::{Event, Kind, RecordHead, StackSample, WorkerEnd, request, response};
use canter_sys::fds;
use rustix::event::{EventfdFlags, eventfd};

use super::*;

mod broken;
mod closed;
mod cost;
mod room;
mod slow;
mod urgent;

/// A worker played by the test.
struct Played {
    end: WorkerEnd,
    control: OwnedFd,
    memory: OwnedFd,
}

impl Played {
    fn say(&self, event: &Event) {
        fds::send(&self.control, &event.to_bytes(), &[]).unwrap();
    }

    /// Takes the next request and starts it; None when none waits, or it was taken back.
    fn start(&mut self) -> Option<RecordHead> {
        let head = self.end.requests.take(|head, _| head).unwrap()?;
        self.end.watch.start(head.slot, 1, 0).map(|_| head)
    }

    fn answer(&mut self, request: RecordHead) {
        let mut message = Vec::new();
        response::Writer::new(
            &mut message,
            &response::Facts {
                status: 200,
                reason: b"OK",
            },
        );
        let head = RecordHead {
            kind: Kind::Response,
            last: true,
            ..request
        };
        self.end.answers.push(head, &[&message]).unwrap();
        self.end.watch.wake_front();
    }
}

struct Stage {
    dispatch: Dispatch,
    notices: Rc<RefCell<Vec<Notice>>>,
    next: u32,
}

impl Stage {
    fn new(queue_size: usize) -> Self {
        Self::with(queue_size, false)
    }

    fn with(queue_size: usize, has_priorities: bool) -> Self {
        let notices = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&notices);
        let settings = Settings {
            queue_size,
            max_requests: 0,
            max_requests_jitter: 0,
            most_stuck: 1,
            slow_after: vec![Duration::from_millis(60), Duration::from_secs(9)],
            has_priorities,
        };
        let dispatch = Dispatch::new(settings, move |notice| heard.borrow_mut().push(notice));
        dispatch.start();
        Self {
            dispatch,
            notices,
            next: 1,
        }
    }

    async fn worker(&mut self) -> Played {
        let (memory, _front) = canter_channel::create().unwrap();
        let bell = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let end = WorkerEnd::open(&memory, bell.try_clone().unwrap()).unwrap();
        let kept = memory.try_clone().unwrap();
        let (control, ours) = fds::pair().unwrap();
        let (files, _files) = fds::pair().unwrap();
        let id = WorkerId(self.next);
        self.next += 1;
        let adopted = Adopted {
            release: 1,
            memory,
            eventfd: bell,
            control,
            files,
        };
        self.dispatch.adopt(id, adopted).unwrap();
        let played = Played {
            end,
            control: ours,
            memory: kept,
        };
        played.say(&Event::Ready);
        self.until(|notices| notices.contains(&Notice::Ready(id)))
            .await;
        played
    }

    /// Lets the dispatch's tasks run until they have told what is waited for.
    async fn until(&self, seen: impl Fn(&[Notice]) -> bool) {
        let limit = Instant::now() + Duration::from_secs(10);
        while !seen(&self.notices.borrow()) {
            assert!(
                Instant::now() < limit,
                "never told: {:?}",
                self.notices.borrow()
            );
            tokio::task::yield_now().await;
        }
    }

    fn submit(&self, path: &str, limit: Duration) -> Ticket {
        self.submit_wanted(path, limit, None)
    }

    fn submit_wanted(&self, path: &str, limit: Duration, wanted: Option<Duration>) -> Ticket {
        let facts = request::Facts {
            method: b"GET",
            target: path.as_bytes(),
            path: path.as_bytes(),
            query: b"",
            version: 1,
            https: false,
            client: b"192.0.2.1",
            client_port: 1,
            server: b"localhost",
            server_port: 80,
            id: b"id",
        };
        let mut message = Vec::new();
        request::Writer::new(&mut message, &facts).inline_body(b"");
        let at = Instant::now();
        self.dispatch.submit(Submission {
            message,
            file: None,
            at,
            deadline: Some(at + limit),
            wanted_until: wanted.map(|wanted| at + wanted),
            urgent: path.starts_with("/urgent"),
            trace: None,
        })
    }
}

async fn answer_of(ticket: &mut Ticket) -> Answer {
    tokio::time::timeout(
        Duration::from_secs(10),
        std::future::poll_fn(|cx| ticket.poll_answer(cx)),
    )
    .await
    .expect("an answer within ten seconds")
}

fn failure_of(answer: &Answer) -> Option<Failure> {
    if let Answer::Failed(failure) = answer {
        Some(*failure)
    } else {
        None
    }
}

const LONG: Duration = Duration::from_secs(60);

fn run(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(before_sleep)
        .build_local(tokio::runtime::LocalOptions::default())
        .unwrap();
    runtime.block_on(async { test().await });
}

#[test]
fn a_request_that_came_before_any_worker_is_answered_by_the_first() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut ticket = stage.submit("/", LONG);
        assert!(ticket.is_queued());
        let mut worker = stage.worker().await;
        let request = worker.start().unwrap();
        worker.answer(request);
        assert!(matches!(
            answer_of(&mut ticket).await,
            Answer::Head { last: true, .. }
        ));
        assert_eq!(stage.dispatch.load(), (0, 0));
    });
}

#[test]
fn a_request_whose_client_has_gone_is_never_run() {
    run(async || {
        let mut stage = Stage::new(10);
        drop(stage.submit("/queued", LONG));
        let mut worker = stage.worker().await;
        let offered = stage.submit("/offered", LONG);
        drop(offered);
        assert!(worker.start().is_none());
        assert_eq!(stage.dispatch.load(), (0, 0));
    });
}

#[test]
fn what_a_worker_has_not_begun_waits_for_a_thread() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let tickets: Vec<_> = (0..5).map(|_| stage.submit("/", LONG)).collect();
        assert_eq!(stage.dispatch.load(), (5, 0));
        let _running = worker.start().unwrap();
        assert_eq!(stage.dispatch.load(), (4, 1));
        drop(tickets);
    });
}

#[test]
fn who_lets_go_of_a_complete_answer_lets_go_of_no_other_request() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let first = stage.submit("/first", LONG);
        let request = worker.start().unwrap();
        worker.answer(request);
        // Brings the answer home, after which the next request gets the first one's place.
        before_sleep();
        let mut second = stage.submit("/second", LONG);
        drop(first);
        let request = worker.start().unwrap();
        worker.answer(request);
        assert_eq!(failure_of(&answer_of(&mut second).await), None);
    });
}

#[test]
fn whose_client_goes_while_it_runs_is_told_with_its_thread() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let unwanted = |thread| Notice::Unwanted {
            worker: WorkerId(1),
            thread,
        };
        let running = stage.submit("/running", LONG);
        assert!(worker.start().is_some());
        drop(running);
        assert!(stage.notices.borrow().contains(&unwanted(1)));
        stage.notices.borrow_mut().clear();
        // This thread has begun the next request meanwhile: what it runs now is wanted.
        let earlier = stage.submit("/earlier", LONG);
        let later = stage.submit("/later", LONG);
        assert!(worker.start().is_some() && worker.start().is_some());
        let running = stage.dispatch.running(WorkerId(1), 1);
        for number in [earlier.number(), later.number()] {
            assert!(running.contains(&number.unwrap()), "{running:?}");
        }
        assert!(stage.dispatch.running(WorkerId(1), 2).is_empty());
        assert!(stage.dispatch.running(WorkerId(2), 1).is_empty());
        drop(earlier);
        assert!(stage.notices.borrow().is_empty());
    });
}

#[test]
fn the_clock_starts_when_a_request_may_have_to_wait() {
    run(async || {
        let mut stage = Stage::new(10);
        let worker = stage.worker().await;
        let is_running = |stage: &Stage| stage.dispatch.0.borrow().clock.is_running();
        let requests = worker.end.requests;
        let asleep = std::thread::spawn(move || requests.sleep(Some(LONG)));
        let is_idle = |stage: &Stage| stage.dispatch.0.borrow().workers[0].end.is_idle();
        while !is_idle(&stage) {
            tokio::task::yield_now().await;
        }
        // A thread that sleeps at the ring takes the first; the second is behind it.
        let _first = stage.submit("/first", LONG);
        assert!(!is_running(&stage));
        let _second = stage.submit("/second", LONG);
        assert!(is_running(&stage));
        before_sleep();
        asleep.join().unwrap();
    });
}

#[test]
fn when_a_worker_dies_what_it_ran_is_lost_and_the_rest_goes_to_another() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut dying = stage.worker().await;
        let mut started = stage.submit("/started", LONG);
        let mut waiting = stage.submit("/waiting", LONG);
        assert!(dying.start().is_some());
        drop(dying);
        assert_eq!(
            failure_of(&answer_of(&mut started).await),
            Some(Failure::WorkerDied)
        );
        stage
            .until(|notices| {
                notices.contains(&Notice::Gone {
                    worker: WorkerId(1),
                    lost: vec!["GET /started (request id)".to_owned()],
                })
            })
            .await;
        let mut worker = stage.worker().await;
        let request = worker.start().unwrap();
        worker.answer(request);
        assert_eq!(failure_of(&answer_of(&mut waiting).await), None);
    });
}

#[test]
fn a_request_that_ran_when_two_workers_died_is_refused() {
    run(async || {
        let mut stage = Stage::new(10);
        for _ in 0..2 {
            let mut worker = stage.worker().await;
            let mut ticket = stage.submit("/deadly", LONG);
            assert!(worker.start().is_some());
            drop(worker);
            assert_eq!(
                failure_of(&answer_of(&mut ticket).await),
                Some(Failure::WorkerDied)
            );
        }
        let mut refused = stage.submit("/deadly", LONG);
        assert_eq!(
            failure_of(&answer_of(&mut refused).await),
            Some(Failure::Refused)
        );
        let told = stage.notices.borrow();
        assert!(
            told.iter()
                .any(|notice| matches!(notice, Notice::Refused { .. }))
        );
    });
}

#[test]
fn deadlines_pass_in_the_queue_in_the_ring_and_in_the_app() {
    run(async || {
        let mut stage = Stage::new(10);
        let short = Duration::from_millis(1);
        let mut queued = stage.submit("/queued", short);
        assert_eq!(
            failure_of(&answer_of(&mut queued).await),
            Some(Failure::Loading)
        );
        let mut worker = stage.worker().await;
        let mut running = stage.submit("/running", short);
        let request = worker.start().unwrap();
        let mut offered = stage.submit("/offered", short);
        assert_eq!(
            failure_of(&answer_of(&mut running).await),
            Some(Failure::RanTooLong)
        );
        assert_eq!(
            failure_of(&answer_of(&mut offered).await),
            Some(Failure::QueuedTooLong)
        );
        assert!(worker.end.watch.is_cancelled(request.slot));
        worker.say(&Event::Stack {
            number: request.number,
            sample: StackSample {
                stack: "in view".to_owned(),
                ..StackSample::default()
            },
        });
        let has_stack = |notices: &[Notice]| {
            notices
                .iter()
                .any(|told| matches!(told, Notice::Stack { text, .. } if text == "in view"))
        };
        stage.until(has_stack).await;
    });
}

#[test]
fn l3_what_the_router_gave_up_on_is_dropped_while_it_waits_and_unwanted_while_it_runs() {
    run(async || {
        let mut stage = Stage::new(10);
        let short = Some(Duration::from_millis(1));
        let mut queued = stage.submit_wanted("/queued", LONG, short);
        assert_eq!(
            failure_of(&answer_of(&mut queued).await),
            Some(Failure::Loading)
        );
        let mut worker = stage.worker().await;
        let mut running = stage.submit_wanted("/running", LONG, short);
        let request = worker.start().unwrap();
        assert_eq!(
            failure_of(&answer_of(&mut running).await),
            Some(Failure::Unwanted)
        );
        assert!(worker.end.watch.is_cancelled(request.slot));
        let unwanted = Notice::Unwanted {
            worker: WorkerId(1),
            thread: 1,
        };
        let told = stage.notices.borrow().clone();
        assert!(told.contains(&unwanted));
        let is_blamed = |notice: &Notice| matches!(notice, Notice::TimedOut { .. });
        assert!(!told.iter().any(is_blamed), "{told:?}");
    });
}

#[test]
fn a_request_behind_a_busy_worker_moves_to_one_that_has_nothing_to_do() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut busy = stage.worker().await;
        let _first = stage.submit("/slow", LONG);
        assert!(busy.start().is_some());
        let mut behind = stage.submit("/behind", LONG);
        let mut idle = stage.worker().await;
        // The second worker sleeps at its ring, in a thread of its own as in a real one.
        let sleeper = std::thread::spawn(move || {
            let limit = Instant::now() + Duration::from_secs(30);
            let request = loop {
                assert!(Instant::now() < limit, "nothing came");
                if let Some(request) = idle.start() {
                    break request;
                }
                idle.end.requests.sleep(Some(Duration::from_millis(50)));
            };
            idle.answer(request);
            idle
        });
        assert_eq!(failure_of(&answer_of(&mut behind).await), None);
        drop(sleeper.join().unwrap());
        assert!(busy.start().is_none(), "taken back");
    });
}

#[test]
fn a_request_at_a_worker_that_has_been_stopped_moves_to_another() {
    run(async || {
        let mut stage = Stage::new(10);
        let stopped = stage.worker().await;
        let _other = stage.worker().await;
        // A thread sleeps at its ring and is woken, but takes nothing: the worker was stopped.
        let requests = stopped.end.requests;
        let asleep = std::thread::spawn(move || requests.sleep(Some(LONG)));
        while !stage.dispatch.0.borrow().workers[0].end.is_idle() {
            tokio::task::yield_now().await;
        }
        let ticket = stage.submit("/", LONG);
        let is_running = |stage: &Stage| stage.dispatch.0.borrow().clock.is_running();
        assert!(!is_running(&stage), "the worker looks as if it took it");
        before_sleep();
        asleep.join().unwrap();
        let workers_of = |stage: &Stage| {
            let inner = stage.dispatch.0.borrow();
            let counts = inner.workers.iter().map(|worker| worker.in_flight);
            counts.collect::<Vec<_>>()
        };
        assert_eq!(workers_of(&stage), [1, 0]);
        let limit = Instant::now() + Duration::from_secs(10);
        while workers_of(&stage) != [0, 1] {
            assert!(Instant::now() < limit, "it stays: {:?}", workers_of(&stage));
            tokio::task::yield_now().await;
        }
        // Nor does the stopped one get the next, though it has less to do.
        let _next = stage.submit("/next", LONG);
        assert_eq!(workers_of(&stage), [0, 2]);
        drop(ticket);
    });
}

#[test]
fn a_retired_worker_gives_back_what_it_has_not_begun() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut old = stage.worker().await;
        let mut running = stage.submit("/running", LONG);
        let request = old.start().unwrap();
        let mut waiting = stage.submit("/waiting", LONG);
        stage.dispatch.retire(WorkerId(1));
        assert!(old.start().is_none());
        let mut new = stage.worker().await;
        let moved = new.start().unwrap();
        new.answer(moved);
        assert_eq!(failure_of(&answer_of(&mut waiting).await), None);
        old.answer(request);
        assert_eq!(failure_of(&answer_of(&mut running).await), None);
    });
}

/// The place that a worker was told.
fn place_of(worker: &Played) -> u16 {
    loop {
        let mut bytes = [0; 64];
        let (len, _) = fds::receive(&worker.control, &mut bytes).unwrap();
        if let Ok(Control::Place(place)) = Control::read(&bytes[..len]) {
            return place;
        }
    }
}

#[test]
fn workers_have_places_side_by_side_and_who_is_replaced_leaves_its_own() {
    run(async || {
        let mut stage = Stage::new(10);
        let first = stage.worker().await;
        let second = stage.worker().await;
        let third = stage.worker().await;
        let place = place_of(&first);
        assert_eq!(place_of(&second), place.wrapping_add(1));
        assert_eq!(place_of(&third), place.wrapping_add(2));
        stage.dispatch.replace(WorkerId(2), Reason::MaxRequests);
        assert_eq!(place_of(&stage.worker().await), place.wrapping_add(1));
    });
}

#[test]
fn who_is_being_replaced_stands_behind_others_that_have_as_little_to_do() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut old = stage.worker().await;
        stage.dispatch.replace(WorkerId(1), Reason::MaxRequests);
        let mut new = stage.worker().await;
        let _ticket = stage.submit("/", LONG);
        assert!(old.start().is_none());
        assert!(new.start().is_some());
    });
}
