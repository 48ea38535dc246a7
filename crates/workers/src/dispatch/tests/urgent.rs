//! Owns the tests of what goes ahead of what.

use super::*;

/// Starts what the worker was offered, in its order, and answers it at once; their paths.
pub(super) async fn served(
    worker: &mut Played,
    names: &mut Vec<(u64, String)>,
    count: usize,
) -> Vec<String> {
    let mut order = Vec::new();
    while order.len() < count {
        let Some(request) = worker.start() else {
            tokio::task::yield_now().await;
            before_sleep();
            continue;
        };
        let at = names
            .iter()
            .position(|(number, _)| *number == request.number);
        order.push(names.remove(at.unwrap()).1);
        worker.answer(request);
    }
    order
}

#[test]
fn l7_an_urgent_request_goes_ahead_of_all_that_were_not_offered() {
    run(async || {
        let mut stage = Stage::with(100, true);
        let mut worker = stage.worker().await;
        let mut tickets = Vec::new();
        let mut names = Vec::new();
        let paths = (0..20).map(|number| format!("/{number}"));
        for path in paths.chain(["/urgent/1".into(), "/urgent/2".into()]) {
            let ticket = stage.submit(&path, LONG);
            names.push((ticket.number().unwrap(), path));
            tickets.push(ticket);
        }
        let order = served(&mut worker, &mut names, 22).await;
        let at = |path: &str| order.iter().position(|one| one == path).unwrap();
        let offered = SHALLOW as usize;
        assert_eq!((at("/urgent/1"), at("/urgent/2")), (offered, offered + 1));
        assert!(at("/7") < at("/8") && at("/18") < at("/19"));
    });
}

#[test]
fn l7_a_full_queue_refuses_its_last_for_an_urgent_one() {
    run(async || {
        let stage = Stage::with(3, true);
        let _first = stage.submit("/1", LONG);
        let _second = stage.submit("/2", LONG);
        let mut last = stage.submit("/3", LONG);
        let mut refused = stage.submit("/4", LONG);
        // No worker has come yet.
        let full = Some(Failure::Loading);
        assert_eq!(failure_of(&answer_of(&mut refused).await), full);
        let urgent: Vec<_> = (0..3).map(|_| stage.submit("/urgent", LONG)).collect();
        assert_eq!(failure_of(&answer_of(&mut last).await), full);
        assert!(urgent.iter().all(Ticket::is_queued));
        let mut one_more = stage.submit("/urgent", LONG);
        assert_eq!(failure_of(&answer_of(&mut one_more).await), full);
        assert_eq!(stage.dispatch.load(), (3, 0));
    });
}

#[test]
fn l7_an_urgent_request_does_not_wait_behind_one_whose_client_has_left() {
    run(async || {
        let mut stage = Stage::with(1000, true);
        let mut worker = stage.worker().await;
        let held: Vec<_> = (0..DEPTH).map(|_| stage.submit("/urgent", LONG)).collect();
        let left = stage.submit("/urgent/left", LONG);
        assert!(left.is_queued());
        drop(left);
        let mut ended = 0;
        while ended < held.len() {
            if let Some(request) = worker.start() {
                worker.answer(request);
                ended += 1;
            } else {
                tokio::task::yield_now().await;
                before_sleep();
            }
        }
        drop(held);
        let next = stage.submit("/urgent/next", LONG);
        let begun = worker.start().map(|request| request.number);
        assert_eq!(begun, next.number(), "an idle worker is not asked");
    });
}
