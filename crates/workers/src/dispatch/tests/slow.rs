//! Owns the tests of what is told of requests that are slow, and of those that are given up.

use super::super::slow::AHEAD;
use super::*;

/// What a played worker is asked next about a request; words of other kinds are passed over.
async fn asked(worker: &Played) -> u64 {
    loop {
        let mut bytes = [0; 64];
        if let Ok((len, _)) = fds::receive(&worker.control, &mut bytes)
            && let Ok(Control::Dump { number, .. }) = Control::read(&bytes[..len])
        {
            return number;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn d4_a_running_request_is_told_at_each_age_and_shown_to_whoever_watches() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let flags = rustix::fs::fcntl_getfl(&worker.control).unwrap();
        rustix::fs::fcntl_setfl(&worker.control, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let _ticket = stage.submit("/slow?key=hunter2", LONG);
        let request = worker.start().unwrap();
        assert_eq!(asked(&worker).await, request.number);
        let sample = |sql: &str| StackSample {
            route: "/slow".to_owned(),
            sql: sql.to_owned(),
            stack: "in view".to_owned(),
        };
        let say = |sql| Event::Stack {
            number: request.number,
            sample: sample(sql),
        };
        worker.say(&say("SELECT 1"));
        stage
            .until(|told| told.iter().any(|one| matches!(one, Notice::Slow { .. })))
            .await;
        {
            let told = stage.notices.borrow();
            let slow = told.iter().find_map(|one| match one {
                Notice::Slow {
                    request,
                    after,
                    sample,
                    ..
                } => Some((request, *after, sample)),
                _ => None,
            });
            let (named, after, seen) = slow.unwrap();
            assert_eq!(
                (named.method.as_str(), named.path.as_str()),
                ("GET", "/slow")
            );
            assert!(after >= Duration::from_millis(60));
            assert_eq!(*seen, sample("SELECT 1"));
        }
        // A watcher has it asked anew, and no line is logged for that.
        let watch = || stage.dispatch.slow(Duration::ZERO, 10, true);
        while !worker_was_asked(&worker, &watch) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        worker.say(&say("SELECT 2"));
        while watch()[0].sample.sql != "SELECT 2" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let slow = |one: &&Notice| matches!(one, Notice::Slow { .. });
        assert_eq!(stage.notices.borrow().iter().filter(slow).count(), 1);
    });
}

/// Whether a watcher has made the dispatch ask.
fn worker_was_asked(worker: &Played, watch: &dyn Fn() -> Vec<Slow>) -> bool {
    watch();
    was_asked(worker)
}

/// Whether the next word of the dispatch asks what a request does.
fn was_asked(worker: &Played) -> bool {
    let mut bytes = [0; 64];
    let heard = fds::receive(&worker.control, &mut bytes);
    heard.is_ok_and(|(len, _)| matches!(Control::read(&bytes[..len]), Ok(Control::Dump { .. })))
}

#[test]
fn d4_whoever_gives_a_request_up_says_what_it_was_doing() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let flags = rustix::fs::fcntl_getfl(&worker.control).unwrap();
        rustix::fs::fcntl_setfl(&worker.control, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let doing = |sql: &str| StackSample {
            route: "/slow".to_owned(),
            sql: sql.to_owned(),
            stack: "in view".to_owned(),
        };
        // The router goes first, then our own deadline; the test says what time it is.
        let (ours, routers) = (LONG, LONG / 2);
        let mut ticket = stage.submit_wanted("/slow", ours, Some(routers));
        let request = worker.start().unwrap();
        stage.dispatch.0.borrow_mut().settings.slow_after.clear();
        for (limit, sql) in [(routers, "SELECT 1"), (ours, "SELECT 2")] {
            let mut inner = stage.dispatch.0.borrow_mut();
            let end = inner
                .entries
                .iter()
                .next()
                .and_then(|(_, entry)| entry.end());
            let before_end = |time| end.unwrap().checked_sub(time).unwrap();
            inner.sweep(before_end(AHEAD * 2));
            assert!(!was_asked(&worker), "long before {limit:?}");
            inner.sweep(before_end(AHEAD));
            assert!(was_asked(&worker), "ahead of {limit:?}");
            let number = request.number;
            inner.stack_came(WorkerId(1), number, doing(sql), before_end(AHEAD));
            inner.sweep(before_end(Duration::ZERO));
            let told = stage.notices.borrow();
            let is_told = told.iter().any(|one| match one {
                Notice::RouterGaveUp { sample, .. } => limit == routers && *sample == doing(sql),
                Notice::TimedOut { sample, .. } => limit == ours && *sample == doing(sql),
                _ => false,
            });
            assert!(is_told, "{told:?}");
        }
        assert_eq!(
            failure_of(&answer_of(&mut ticket).await),
            Some(Failure::Unwanted)
        );
    });
}
