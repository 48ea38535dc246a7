//! Owns the tests of what is cheap and what is dear.

use std::collections::VecDeque;

use canter_channel::trace;

use super::urgent::served;
use super::*;

impl Stage {
    /// Such requests have cost so much of late.
    fn teach(&self, path: &str, us: u32) {
        let costs = &mut self.dispatch.0.borrow_mut().costs;
        let kind = costs.kind(path.as_bytes(), b"192.0.2.1");
        costs.learn(kind, us);
    }

    fn class(&self, path: &str) -> usize {
        let costs = &self.dispatch.0.borrow().costs;
        costs
            .class(costs.kind(path.as_bytes(), b"192.0.2.1"))
            .index()
    }

    /// How many stand in the line before one more of these.
    fn before(&self, path: &str) -> usize {
        let inner = self.dispatch.0.borrow();
        let kind = inner.costs.kind(path.as_bytes(), b"192.0.2.1");
        inner.line.before(line::Rank::Of(inner.costs.class(kind)))
    }

    fn keys_in_line(&self) -> usize {
        self.dispatch.0.borrow().line.keys()
    }

    fn offered(&self) -> usize {
        let inner = self.dispatch.0.borrow();
        inner
            .workers
            .iter()
            .map(|worker| worker.offered.len())
            .sum()
    }

    /// Hands so many of the same in, and notes their numbers.
    fn submit_all(&self, path: &str, count: usize, names: &mut Vec<(u64, String)>) -> Vec<Ticket> {
        let tickets: Vec<_> = (0..count).map(|_| self.submit(path, LONG)).collect();
        let numbers = tickets.iter().filter_map(Ticket::number);
        names.extend(numbers.map(|number| (number, path.to_owned())));
        tickets
    }
}

#[test]
fn s4_a_visitor_waits_behind_no_large_response_that_has_not_begun() {
    run(async || {
        let mut stage = Stage::new(3000);
        let (mut first, mut second) = (stage.worker().await, stage.worker().await);
        stage.teach("/big", 8000);
        stage.teach("/", 200);
        let mut names = Vec::new();
        // More than both rings take, and all from the same address.
        let _big = stage.submit_all("/big", 2000, &mut names);
        let running = [first.start(), second.start()].map(Option::unwrap);
        let _visits = stage.submit_all("/", 4, &mut names);
        for (worker, request) in [(&mut first, running[0]), (&mut second, running[1])] {
            names.retain(|(number, _)| *number != request.number);
            worker.answer(request);
        }
        let mut order = served(&mut first, &mut names, 2).await;
        order.extend(served(&mut second, &mut names, 2).await);
        assert_eq!(order, ["/", "/", "/", "/"]);
        // Nothing is lost, and nothing comes twice.
        while !names.is_empty() {
            for worker in [&mut first, &mut second] {
                let Some(request) = worker.start() else {
                    tokio::task::yield_now().await;
                    before_sleep();
                    continue;
                };
                let at = |(number, _): &(u64, String)| *number == request.number;
                names.swap_remove(names.iter().position(at).unwrap());
                worker.answer(request);
            }
        }
        assert_eq!(stage.dispatch.load().0, 0);
    });
}

#[test]
fn s4_a_full_queue_refuses_a_large_response_for_a_visitor() {
    run(async || {
        let stage = Stage::new(3);
        stage.teach("/big", 8000);
        stage.teach("/", 200);
        let mut names = Vec::new();
        let mut big = stage.submit_all("/big", 3, &mut names);
        let visit = stage.submit("/", LONG);
        // No worker has come yet.
        let full = Some(Failure::Loading);
        assert!(visit.is_queued());
        assert_eq!(failure_of(&answer_of(&mut big[2]).await), full);
        let mut one_more = stage.submit("/big", LONG);
        assert_eq!(failure_of(&answer_of(&mut one_more).await), full);
        assert_eq!(stage.dispatch.load(), (3, 0));
    });
}

#[test]
fn what_a_request_costs_is_learned_from_the_time_it_runs() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let mut least = Duration::ZERO;
        for path in ["/", "/big"] {
            let mut ticket = stage.submit(path, LONG);
            let before = Instant::now();
            let request = worker.start().unwrap();
            let began = Instant::now();
            while began.elapsed() < least {
                std::hint::spin_loop();
            }
            worker.answer(request);
            answer_of(&mut ticket).await;
            // However long a busy machine took for the first: four times that is two classes more.
            least = (4 * before.elapsed()).max(Duration::from_millis(9));
        }
        assert!(stage.class("/big") >= 4);
        assert!(stage.class("/") < stage.class("/big"));
    });
}

#[test]
fn s4_what_is_dear_has_its_turns_beside_visits_without_end() {
    run(async || {
        let mut stage = Stage::new(3000);
        let mut worker = stage.worker().await;
        stage.teach("/big", 8000);
        stage.teach("/", 200);
        let mut names = Vec::new();
        let mut visits = stage.submit_all("/", 4, &mut names);
        let mut big = stage.submit_all("/big", 3, &mut names);
        let mut order = Vec::new();
        // Whoever is answered asks at once again, so that there is always a visit.
        while big.iter().any(|ticket| !order.contains(&ticket.number())) && order.len() < 400 {
            let Some(request) = worker.start() else {
                tokio::task::yield_now().await;
                before_sleep();
                continue;
            };
            order.push(Some(request.number));
            worker.answer(request);
            if let Some(at) = visits
                .iter()
                .position(|visit| visit.number() == Some(request.number))
            {
                answer_of(&mut visits[at]).await;
                visits[at] = stage.submit("/", LONG);
            }
        }
        // Each takes the time of sixteen visits, and waits for about as many.
        assert!(
            order.len() < 100,
            "{} before the last large one",
            order.len()
        );
        big.clear();
    });
}

#[test]
fn who_has_left_stands_before_nobody() {
    run(async || {
        let mut stage = Stage::new(3000);
        let mut worker = stage.worker().await;
        let mut names = Vec::new();
        // More than the ring takes: most wait in the line.
        let first = stage.submit_all("/", 2, &mut names);
        let mut gone = stage.submit_all("/", 1000, &mut names);
        assert!(stage.before("/") > 500);
        let last = gone.pop();
        drop(gone);
        assert_eq!((stage.before("/"), stage.dispatch.load().0), (1, 3));
        assert!(stage.keys_in_line() < 200, "they are swept");
        drop((first, last));
        assert_eq!((stage.before("/"), stage.dispatch.load().0), (0, 0));
        assert!(worker.start().is_none());
    });
}

#[test]
fn what_has_begun_is_not_remembered_as_offered() {
    run(async || {
        let mut stage = Stage::new(3000);
        let mut worker = stage.worker().await;
        let mut names = Vec::new();
        let mut waiting = VecDeque::from(stage.submit_all("/", 8, &mut names));
        // The ring never runs empty.
        for _ in 0..2000 {
            let request = worker.start().unwrap();
            worker.answer(request);
            answer_of(&mut waiting.pop_front().unwrap()).await;
            waiting.push_back(stage.submit("/", LONG));
        }
        assert!(stage.offered() < 200, "{}", stage.offered());
    });
}

#[test]
fn what_waits_is_as_cheap_as_what_it_computes() {
    run(async || {
        let mut stage = Stage::new(3000);
        let mut worker = stage.worker().await;
        // A worker may lie, too.
        for (path, told, at_least) in [
            ("/", None, 2),
            ("/waits", Some(300), 0),
            ("/lies", Some(u32::MAX - 1), 2),
        ] {
            let mut ticket = stage.submit(path, LONG);
            let request = worker.start().unwrap();
            let since = trace::now_us();
            while trace::now_us().wrapping_sub(since) < 3000 {
                std::hint::spin_loop();
            }
            if let Some(us) = told {
                // In two parts.
                worker.end.watch.note_computed(request.slot, us);
                worker.end.watch.note_computed(request.slot, us);
            }
            worker.answer(request);
            answer_of(&mut ticket).await;
            let class = stage.class(path);
            assert!(
                class >= at_least && (class == 0) == (at_least == 0),
                "{path}: {class}"
            );
            assert!(class < 9, "{path}");
        }
    });
}
