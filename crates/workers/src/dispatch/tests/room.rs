//! How much a worker is given that takes nothing.

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
