//! How much a worker is given that takes nothing, and what is refused for want of room.

use canter_channel::MOST_RECORD;

use super::*;

#[test]
fn what_was_taken_back_fills_a_ring_until_its_worker_has_come_past_it() {
    run(async || {
        let mut stage = Stage::new(200);
        let still = stage.worker().await;
        let gone: Vec<_> = (0..DEPTH).map(|_| stage.submit("/gone", LONG)).collect();
        drop(gone);
        let _ticket = stage.submit("/", LONG);
        let in_flight = |stage: &Stage| stage.dispatch.0.borrow().workers[0].in_flight;
        assert_eq!(
            in_flight(&stage),
            0,
            "it waits where another worker can take it"
        );
        let mut other = stage.worker().await;
        assert!(other.start().is_some());
        drop(still);
    });
}

#[test]
fn what_is_longer_than_a_record_is_refused_and_the_rest_is_served() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let mut long = stage.submit(&"/".repeat(MOST_RECORD / 2), LONG);
        assert_eq!(
            failure_of(&answer_of(&mut long).await),
            Some(Failure::TooLong)
        );
        let mut short = stage.submit("/", LONG);
        let request = worker.start().unwrap();
        worker.answer(request);
        assert!(matches!(
            answer_of(&mut short).await,
            Answer::Head { last: true, .. }
        ));
    });
}

#[test]
fn a_full_queue_refuses() {
    run(async || {
        let mut stage = Stage::new(2);
        let _worker = stage.worker().await;
        let _first = stage.submit("/", LONG);
        assert!(!stage.dispatch.is_full());
        let _second = stage.submit("/", LONG);
        assert!(stage.dispatch.is_full());
        let mut third = stage.submit("/", LONG);
        assert_eq!(
            failure_of(&answer_of(&mut third).await),
            Some(Failure::QueueFull)
        );
    });
}
