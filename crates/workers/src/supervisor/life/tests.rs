//! Tests of the table: walks over all of it, and the ways a person would tell of.

use std::collections::HashSet;
use std::mem::discriminant;

use super::*;

const LIMITS: Limits = Limits {
    start: Duration::from_secs(30),
    finish: Duration::from_secs(20),
};

fn pid() -> Pid {
    Pid::from_raw(77).unwrap()
}

fn events() -> [Event; 10] {
    [
        Event::Forked(pid()),
        Event::NotForked,
        Event::Ready,
        Event::Exited,
        Event::Retire,
        Event::Settled,
        Event::FrontLost,
        Event::Stop,
        Event::Kill,
        Event::Expired,
    ]
}

/// Every state that can be reached from the first one.
fn reachable(now: Instant) -> Vec<State> {
    let mut found = vec![State::asked(now, &LIMITS)];
    let mut kinds = HashSet::from([discriminant(&found[0])]);
    let mut next = 0;
    while let Some(&state) = found.get(next) {
        next += 1;
        for event in events() {
            let (to, _) = state.step(event, now, &LIMITS);
            if kinds.insert(discriminant(&to)) {
                found.push(to);
            }
        }
    }
    found
}

fn walk(events: &[Event]) -> (State, Vec<Action>) {
    let now = Instant::now();
    let mut all = Vec::new();
    let mut state = State::asked(now, &LIMITS);
    for &event in events {
        let (next, actions) = state.step(event, now, &LIMITS);
        state = next;
        all.extend(actions);
    }
    (state, all)
}

#[test]
fn every_state_can_be_reached() {
    assert_eq!(reachable(Instant::now()).len(), 7);
}

#[test]
fn every_process_can_end_at_any_time() {
    for state in reachable(Instant::now()) {
        if state.pid().is_some() {
            let (to, actions) = state.step(Event::Exited, Instant::now(), &LIMITS);
            assert_eq!((to, actions), (State::Gone, vec![]), "{state:?}");
        }
    }
}

#[test]
fn every_state_leads_to_an_end_on_stop_even_if_the_process_never_ends_by_itself() {
    let now = Instant::now();
    for state in reachable(now) {
        let (stopped, mut actions) = state.step(Event::Stop, now, &LIMITS);
        let (ended, more) = stopped.step(Event::Expired, now, &LIMITS);
        actions.extend(more);
        match ended {
            State::Gone => {}
            State::Killed { pid } => {
                let killed_before = matches!(state, State::Killed { .. });
                assert!(killed_before || actions.contains(&Action::Kill(pid)));
            }
            other => panic!("{state:?} stays {other:?}"),
        }
    }
}

#[test]
fn kill_is_sent_once() {
    for state in reachable(Instant::now()) {
        let (killed, _) = state.step(Event::Kill, Instant::now(), &LIMITS);
        let (_, actions) = killed.step(Event::Kill, Instant::now(), &LIMITS);
        assert!(actions.is_empty(), "{state:?}");
    }
}

#[test]
fn a_worker_is_adopted_takes_requests_retires_and_ends() {
    let (state, actions) = walk(&[
        Event::Forked(pid()),
        Event::Ready,
        Event::Retire,
        Event::Settled,
        Event::Exited,
    ]);
    assert_eq!(state, State::Gone);
    assert_eq!(
        actions,
        [Action::Adopt(pid()), Action::TellReady, Action::TellRetire]
    );
}

#[test]
fn a_worker_that_never_becomes_ready_is_killed() {
    let (state, actions) = walk(&[Event::Forked(pid()), Event::Expired]);
    assert_eq!(state, State::Killed { pid: pid() });
    assert_eq!(actions[1..], [Action::TellSlowStart, Action::Kill(pid())]);
}

#[test]
fn a_worker_that_still_imports_its_app_holds_up_no_stop() {
    let (state, actions) = walk(&[Event::Forked(pid()), Event::Stop]);
    assert_eq!(state, State::Killed { pid: pid() });
    assert_eq!(actions[1..], [Action::Kill(pid())]);
}

#[test]
fn a_worker_forked_after_it_was_given_up_is_killed() {
    let (state, actions) = walk(&[Event::Stop, Event::Forked(pid())]);
    assert_eq!(state, State::Killed { pid: pid() });
    assert_eq!(actions, [Action::Kill(pid())]);
}

#[test]
fn a_worker_whose_front_died_is_given_the_time_to_finish() {
    let now = Instant::now();
    let running = State::Running { pid: pid() };
    let (state, actions) = running.step(Event::FrontLost, now, &LIMITS);
    assert_eq!(state.until(), Some(now + LIMITS.finish));
    assert!(actions.is_empty());
}

#[test]
fn a_worker_not_yet_handed_over_survives_the_front() {
    let (state, actions) = walk(&[Event::FrontLost, Event::Forked(pid())]);
    assert!(matches!(state, State::Starting { .. }));
    assert_eq!(actions, [Action::Adopt(pid())]);
}

#[test]
fn a_later_stop_only_shortens_the_time_to_finish() {
    let now = Instant::now();
    let soon = now + Duration::from_secs(1);
    let stopping = State::Stopping {
        pid: pid(),
        until: soon,
    };
    let (state, _) = stopping.step(Event::Stop, now, &LIMITS);
    assert_eq!(state.until(), Some(soon));
}
