//! The search over simulated servers: what it chooses against the whole grid.

use super::*;
use crate::measured::Walls;
use crate::simulated::{Simulated, Site};
use std::time::Duration;

const CPU: Site = Site {
    cores: 2.0,
    cpu: 0.01,
    wait: 0.0,
    connections: 0.0,
    friction: 0.0,
    noise: 0.06,
    soft: 0.0,
};
const API: Site = Site {
    cores: 2.0,
    cpu: 0.001,
    wait: 0.2,
    connections: 0.0,
    friction: 0.0,
    noise: 0.06,
    soft: 0.0,
};
const DATABASE: Site = Site {
    cores: 2.0,
    cpu: 0.002,
    wait: 0.05,
    connections: 20.0,
    friction: 0.0,
    noise: 0.06,
    soft: 0.0,
};
const ONE_CORE: Site = Site {
    cores: 1.0,
    friction: 0.001,
    ..CPU
};

/// A bit of all: the limits are reached little by little, and each thread costs the others something.
const MIXED: Site = Site {
    cores: 2.0,
    cpu: 0.004,
    wait: 0.03,
    connections: 0.0,
    friction: 0.003,
    noise: 0.06,
    soft: 0.25,
};

fn space() -> Space {
    Space {
        cores: 2,
        most_workers: 8,
        most_threads: 1000,
        automatic: Setting::new(2, 1000),
        users: None,
    }
}

fn wish(seed: u64) -> Wish {
    Wish {
        walls: Walls {
            errors: 0.01,
            ..Walls::default()
        },
        tolerance: 0.03,
        seed,
        level: Some(64.0),
        kind: Kind::Users,
        most_level: 512.0,
    }
}

fn search(site: Site, wish: &Wish) -> (Found, u32) {
    let mut bench = Simulated::new(site, wish.seed);
    let found = find(&mut bench, space(), wish).unwrap();
    (found, bench.loads)
}

/// The most answers of any configuration of the grid, and the least memory with which it has them.
fn grid(site: &Site, users: f64) -> (f64, f64) {
    let all =
        (1..=8).flat_map(|workers| (0..=10).map(move |power| Setting::new(workers, 1 << power)));
    let all: Vec<Setting> = all.collect();
    let rates = all.iter().map(|setting| site.rate(*setting, users));
    let best = rates.fold(0.0, f64::max);
    let equal = all
        .iter()
        .filter(|setting| site.rate(**setting, users) > best * (1.0 - 1e-9));
    let memory = equal.map(|setting| Site::memory(*setting));
    (best, memory.fold(f64::MAX, f64::min))
}

/// Of sixty searches, how many chose what gives 3 % less than the best of the grid, and how many what needs more
/// memory than that.
fn misses(site: &Site) -> (u32, u32) {
    let (best, memory) = grid(site, 64.0);
    let (mut slower, mut larger) = (0, 0);
    for seed in 0..60 {
        let (found, loads) = search(*site, &wish(seed));
        let chosen = found.chosen().unwrap().setting;
        slower += u32::from(site.rate(chosen, 64.0) < best * 0.97);
        larger += u32::from(Site::memory(chosen) > memory);
        assert!(loads < 200, "{loads} measurements");
    }
    (slower, larger)
}

#[test]
fn b2_the_choice_is_within_3_percent_of_the_grids_best_and_needs_no_more_memory() {
    for site in [CPU, API, DATABASE, ONE_CORE] {
        assert_eq!(
            misses(&site),
            (0, 0),
            "cpu {}, wait {}",
            site.cpu,
            site.wait
        );
    }
}

/// Where one is 2.4 % below the best and the noise is 3 %, chance has a part in a few of sixty.
#[test]
fn b2_where_limits_are_soft_the_choice_is_still_within_3_percent() {
    let (slower, larger) = misses(&MIXED);
    assert!(
        slower <= 2 && larger <= 2,
        "{slower} slower, {larger} larger"
    );
}

#[test]
fn b2_every_finalist_is_measured_three_times_in_another_order() {
    let (found, _) = search(API, &wish(3));
    let finalists = found
        .trials
        .iter()
        .filter(|trial| trial.against_best.is_some());
    assert!(finalists.filter(|trial| trial.runs.len() >= 3).count() >= 2);
    assert!(found.best().unwrap().runs.len() >= 3);
    let again = search(API, &wish(3)).0;
    assert_eq!(
        again.chosen().map(|trial| trial.setting),
        found.chosen().map(|trial| trial.setting)
    );
}

#[test]
fn b3_memory_is_a_wall_and_what_is_larger_is_not_tried() {
    let mut untried = 0;
    for seed in 0..10 {
        let mut wish = wish(seed);
        wish.walls.memory = Some(105_000_000);
        let (found, _) = search(CPU, &wish);
        assert_eq!(found.chosen().unwrap().setting.workers, 2);
        let four = found
            .trials
            .iter()
            .filter(|trial| trial.setting.workers == 4);
        for trial in four {
            let broken = trial.broken.as_ref().unwrap();
            assert_eq!(broken.wall, Wall::Memory);
            untried += usize::from(broken.how.starts_with("not tried") && trial.runs.is_empty());
        }
    }
    assert!(untried > 0);
}

#[test]
fn b3_database_connections_are_a_wall() {
    let mut wish = wish(1);
    wish.walls.connections = Some(20);
    let (found, _) = search(DATABASE, &wish);
    let chosen = found.chosen().unwrap().setting;
    assert!(chosen.workers * chosen.threads <= 20, "{chosen:?}");
    assert!(found.trials.iter().any(|trial| {
        trial
            .broken
            .as_ref()
            .is_some_and(|broken| broken.wall == Wall::Connections)
    }));
}

#[test]
fn memory_below_one_worker_is_refused_with_both_numbers() {
    let mut wish = wish(1);
    wish.walls.memory = Some(50_000_000);
    let fault = find(&mut Simulated::new(CPU, 1), space(), &wish).unwrap_err();
    assert!(
        fault.what.contains("70.0 MB") && fault.what.contains("50.0 MB"),
        "{}",
        fault.what
    );
}

#[test]
fn the_load_is_found_where_more_users_bring_nothing() {
    let mut wish = wish(5);
    wish.level = None;
    let (found, _) = search(CPU, &wish);
    assert!((2.0..=8.0).contains(&found.level), "{}", found.level);
    wish.walls.p95 = Some(Duration::from_millis(300));
    let (found, _) = search(API, &wish);
    assert!(found.level >= 64.0, "{}", found.level);
    assert!(found.climb.len() >= 7);
}

#[test]
fn b2_the_last_that_passes_and_the_first_that_fails_are_told() {
    let mut wish = wish(5);
    wish.walls.p95 = Some(Duration::from_millis(700));
    let (found, _) = search(CPU, &wish);
    let fails = found.steps.last().unwrap();
    assert_eq!(
        fails.broken.as_ref().map(|broken| broken.wall),
        Some(Wall::Latency)
    );
    assert!(found.steps.len() >= 6 && found.steps[found.steps.len() - 2].broken.is_none());
}

#[test]
fn ended_by_hand_gives_what_is_known_so_far() {
    for after in [1, 7, 30] {
        let mut bench = Simulated::new(CPU, 1);
        bench.stop_after = Some(after);
        let found = find(&mut bench, space(), &wish(1)).unwrap();
        assert_eq!(found.ended.as_deref(), Some("ended by hand"));
        assert_eq!(found.choice.is_some(), after > 1, "{after}");
        assert!(!found.sure || after == 30);
    }
}

#[test]
fn a_small_budget_ends_in_time_with_a_choice() {
    let mut bench = Simulated::new(API, 1);
    bench.budget = 60.0;
    let found = find(&mut bench, space(), &wish(1)).unwrap();
    assert!(bench.seconds < 75.0, "{}", bench.seconds);
    assert!(found.choice.is_some());
}

#[test]
fn time_that_is_too_short_for_all_is_given_to_finding_one_that_holds() {
    for seed in 0..40 {
        let mut wish = wish(seed);
        wish.walls.p95 = Some(Duration::from_millis(300));
        let mut bench = Simulated::new(API, seed);
        bench.budget = 20.0;
        let found = find(&mut bench, space(), &wish).unwrap();
        assert!(found.choice.is_some(), "seed {seed}: {} loads", bench.loads);
        assert!(bench.seconds < 30.0, "{}", bench.seconds);
    }
}

#[test]
fn nothing_that_holds_is_no_choice() {
    let mut wish = wish(1);
    wish.walls.p95 = Some(Duration::from_millis(1));
    let (found, _) = search(API, &wish);
    assert_eq!((found.choice, found.best), (None, None));
    assert!(
        found
            .trials
            .iter()
            .all(|trial| trial.broken.is_some() || trial.runs.is_empty())
    );
}

#[test]
fn a_server_that_dies_while_the_load_is_sought_has_shown_where_it_breaks() {
    let wish = Wish {
        level: None,
        ..wish(5)
    };
    let mut bench = Simulated::new(API, 5);
    bench.dies_above = 20.0;
    let found = find(&mut bench, space(), &wish).unwrap();
    let last = found.climb.last().unwrap();
    let broken = last.broken.as_ref().unwrap();
    assert_eq!((last.level, broken.wall), (32.0, Wall::Died));
    assert_eq!(broken.how, "the server died: Killed");
    assert!(found.level <= 16.0 && found.chosen().is_some());
    assert_eq!(found.steps.last().map(|step| step.level), Some(32.0));
}

#[test]
fn a_server_that_dies_at_the_first_request_is_not_one_that_does_not_start() {
    let mut bench = Simulated::new(API, 5);
    bench.dies_above = 0.0;
    let fault = find(&mut bench, space(), &wish(5)).unwrap_err();
    assert!(
        fault
            .what
            .starts_with("the server starts, and ends when it is asked")
    );
    assert!(fault.what.contains("MemoryError") && fault.hint.is_some());
}
