//! Owns the tests of the time in which no worker takes requests.

use super::*;

/// What was told of such a time: whether a worker had been open before.
fn told(stage: &Stage) -> Vec<bool> {
    let notices = stage.notices.borrow();
    let closed = notices.iter().filter_map(|notice| match notice {
        Notice::Closed { was_open, .. } => Some(*was_open),
        _ => None,
    });
    closed.collect()
}

const SHORT: Duration = Duration::from_millis(1);

#[test]
fn who_cannot_wait_for_the_app_to_be_loaded_is_told_so_and_so_is_the_log_once() {
    run(async || {
        let mut stage = Stage::new(2);
        assert!(stage.dispatch.is_loading());
        let mut late = [stage.submit("/a", SHORT), stage.submit("/b", SHORT)];
        // The queue is full, which is no fault of the load.
        let mut third = stage.submit("/c", LONG);
        let failure = failure_of(&answer_of(&mut third).await);
        assert_eq!(failure, Some(Failure::Loading));
        for ticket in &mut late {
            let failure = failure_of(&answer_of(ticket).await);
            assert_eq!(failure, Some(Failure::Loading));
        }
        assert_eq!(told(&stage), [false]);
        let _worker = stage.worker().await;
        assert!(!stage.dispatch.is_loading());
    });
}

#[test]
fn nobody_waits_for_an_app_that_cannot_be_imported_until_another_import_begins() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut waiting = stage.submit("/before", LONG);
        stage.dispatch.import(true);
        let mut late = stage.submit("/after", LONG);
        for ticket in [&mut waiting, &mut late] {
            let failure = failure_of(&answer_of(ticket).await);
            assert_eq!(failure, Some(Failure::NotImported));
        }
        assert!(stage.dispatch.is_import_broken());
        assert_eq!(stage.dispatch.load(), (0, 0));
        // The supervisor has told the log.
        assert_eq!(told(&stage), []);
        stage.dispatch.import(false);
        let mut queued = stage.submit("/", SHORT);
        let failure = failure_of(&answer_of(&mut queued).await);
        assert_eq!(failure, Some(Failure::Loading));
        let _worker = stage.worker().await;
        // Who has served goes on serving.
        stage.dispatch.import(true);
        assert!(!stage.dispatch.is_import_broken());
    });
}

#[test]
fn where_the_last_worker_has_gone_the_app_is_not_said_to_be_loaded() {
    run(async || {
        let mut stage = Stage::new(10);
        let worker = stage.worker().await;
        drop(worker);
        let has_gone = |notices: &[Notice]| {
            let mut notices = notices.iter();
            notices.any(|notice| matches!(notice, Notice::Gone { .. }))
        };
        stage.until(has_gone).await;
        let mut queued = stage.submit("/", SHORT);
        let failure = failure_of(&answer_of(&mut queued).await);
        assert_eq!(failure, Some(Failure::NoWorker));
        assert_eq!(told(&stage), [true]);
        // Each such time is told of.
        drop(stage.worker().await);
        stage
            .until(|notices| {
                let gone = notices.iter();
                gone.filter(|notice| matches!(notice, Notice::Gone { .. }))
                    .count()
                    == 2
            })
            .await;
        let mut queued = stage.submit("/", SHORT);
        answer_of(&mut queued).await;
        assert_eq!(told(&stage), [true, true]);
    });
}

#[test]
fn a_server_that_stops_is_not_said_to_load() {
    run(async || {
        let stage = Stage::new(10);
        let mut queued = stage.submit("/", SHORT);
        stage.dispatch.stop();
        let failure = failure_of(&answer_of(&mut queued).await);
        assert_eq!(failure, Some(Failure::QueuedTooLong));
        assert_eq!(told(&stage), []);
    });
}

#[test]
fn who_has_waited_for_the_app_to_be_loaded_has_all_its_time_when_it_is() {
    run(async || {
        let mut stage = Stage::new(10);
        let limit = Duration::from_secs(30);
        let ticket = stage.submit("/", limit);
        let wanted = stage.submit_wanted("/routed", LONG, Some(limit));
        let opened = Instant::now() + Duration::from_secs(29);
        stage.dispatch.0.borrow_mut().opens(opened);
        let deadlines = |stage: &Stage| {
            let inner = stage.dispatch.0.borrow();
            let entries = inner.entries.iter();
            let ends = entries.map(|(_, entry)| (entry.deadline, entry.wanted_until));
            ends.collect::<Vec<_>>()
        };
        let ends = deadlines(&stage);
        // To the nanosecond: what was left then was moved by what had passed.
        assert_eq!(ends[0].0, Some(opened + limit));
        // How long a router waits does not change.
        assert!(ends[1].1.is_some_and(|at| at < opened + limit));
        // A later worker gives nobody more time.
        let later = opened + Duration::from_secs(20);
        stage.dispatch.0.borrow_mut().opens(later);
        assert_eq!(deadlines(&stage), ends);
        let _worker = stage.worker().await;
        drop((ticket, wanted));
    });
}
