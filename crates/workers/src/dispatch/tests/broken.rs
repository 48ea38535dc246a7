//! Owns the tests of workers that write nonsense into the shared memory, or end while their sockets
//! live on.

use std::fs::File;
use std::os::unix::fs::FileExt;

use canter_channel::{ANSWERS_AT, ANSWERS_HEAD_AT};

use super::*;

#[test]
fn a_worker_that_writes_nonsense_is_to_be_replaced() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let _ticket = stage.submit("/", LONG);
        let request = worker.start().unwrap();
        // A file record without its file.
        let head = RecordHead {
            kind: Kind::File,
            last: true,
            ..request
        };
        worker.end.answers.push(head, &[b""]).unwrap();
        worker.end.watch.wake_front();
        let replaced = Notice::Replace(WorkerId(1), Reason::Broken);
        stage.until(|notices| notices.contains(&replaced)).await;
    });
}

/// Writes into the shared memory as an app can that has lost its way.
fn scribble(worker: &Played, at: usize, bytes: &[u8]) {
    let memory = File::from(worker.memory.try_clone().unwrap());
    memory.write_all_at(bytes, at as u64).unwrap();
}

/// A head of the ring of answers that no record can have led to, and a record of no known kind.
fn nonsense() -> [Vec<(usize, Vec<u8>)>; 2] {
    let head = |head: u64| (ANSWERS_HEAD_AT, head.to_le_bytes().to_vec());
    [vec![head(3)], vec![(ANSWERS_AT, vec![0xEE; 64]), head(64)]]
}

#[test]
fn nonsense_in_a_ring_costs_its_own_worker_only_and_lets_the_front_sleep() {
    for nonsense in nonsense() {
        run(async || {
            let mut stage = Stage::new(10);
            let mut broken = stage.worker().await;
            let mut lost = stage.submit("/lost", LONG);
            assert!(broken.start().is_some());
            for (at, bytes) in &nonsense {
                scribble(&broken, *at, bytes);
            }
            // Comes back, though the ring is never empty again.
            before_sleep();
            before_sleep();
            let replaced = Notice::Replace(WorkerId(1), Reason::Broken);
            let told = |stage: &Stage| {
                let notices = stage.notices.borrow();
                notices.iter().filter(|one| **one == replaced).count()
            };
            assert_eq!(told(&stage), 1);
            // It gets nothing more; the next worker does.
            let mut next = stage.submit("/next", LONG);
            assert!(broken.start().is_none());
            let mut worker = stage.worker().await;
            let request = worker.start().unwrap();
            worker.answer(request);
            assert_eq!(failure_of(&answer_of(&mut next).await), None);
            drop(broken);
            assert_eq!(
                failure_of(&answer_of(&mut lost).await),
                Some(Failure::WorkerDied)
            );
            assert_eq!(told(&stage), 1);
        });
    }
}

#[test]
fn a_worker_that_is_being_replaced_and_then_breaks_is_told_as_broken() {
    run(async || {
        let mut stage = Stage::new(10);
        let worker = stage.worker().await;
        stage.dispatch.replace(WorkerId(1), Reason::MaxRequests);
        scribble(&worker, ANSWERS_HEAD_AT, &[3]);
        before_sleep();
        // Said once each, and nothing less after it.
        stage.dispatch.replace(WorkerId(1), Reason::Leaving);
        let replaced = |reason| Notice::Replace(WorkerId(1), reason);
        let told = stage.notices.borrow();
        let told: Vec<_> = told
            .iter()
            .filter(|one| matches!(one, Notice::Replace(..)))
            .collect();
        assert_eq!(
            told,
            [&replaced(Reason::MaxRequests), &replaced(Reason::Broken)]
        );
    });
}

#[test]
fn a_slot_in_an_impossible_state_counts_as_begun() {
    run(async || {
        let mut stage = Stage::new(10);
        let broken = stage.worker().await;
        let mut lost = stage.submit("/lost", LONG);
        // Everything but the number of the layout.
        scribble(&broken, 64, &vec![0x55; ANSWERS_AT - 64]);
        before_sleep();
        drop(broken);
        let failure = failure_of(&answer_of(&mut lost).await);
        assert_eq!(failure, Some(Failure::WorkerDied));
    });
}

#[test]
fn when_a_worker_ended_whose_socket_lives_on_what_it_ran_is_lost_at_once() {
    run(async || {
        let mut stage = Stage::new(10);
        let mut worker = stage.worker().await;
        let mut answered = stage.submit("/answered", LONG);
        let mut lost = stage.submit("/lost", LONG);
        let request = worker.start().unwrap();
        assert!(worker.start().is_some());
        let mut waiting = stage.submit("/waiting", LONG);
        // Lies in the ring when the word comes.
        worker.answer(request);
        stage.dispatch.ended(WorkerId(1));
        assert_eq!(failure_of(&answer_of(&mut answered).await), None);
        assert_eq!(
            failure_of(&answer_of(&mut lost).await),
            Some(Failure::WorkerDied)
        );
        let gone = Notice::Gone {
            worker: WorkerId(1),
            lost: vec!["GET /lost (request id)".to_owned()],
        };
        assert!(stage.notices.borrow().contains(&gone));
        let mut next = stage.worker().await;
        let request = next.start().unwrap();
        next.answer(request);
        assert_eq!(failure_of(&answer_of(&mut waiting).await), None);
        // Its socket ends at last: nothing is left to settle, and nothing is told twice.
        stage.notices.borrow_mut().clear();
        drop(worker);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(stage.notices.borrow().is_empty());
    });
}
