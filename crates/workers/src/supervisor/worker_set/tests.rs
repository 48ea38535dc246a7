//! Tests of the rule: what is started, retired and put off, as a supervisor would see it.

use super::*;

const LIMITS: Limits = Limits {
    start: Duration::from_secs(30),
    finish: Duration::from_secs(20),
};

fn pid(number: u32) -> Pid {
    Pid::from_raw(1000 + i32::try_from(number).unwrap()).unwrap()
}

/// A set with a clock, whose workers start and become ready when told.
struct Scene {
    set: WorkerSet,
    now: Instant,
}

impl Scene {
    fn new(wanted: usize) -> Self {
        let mut set = WorkerSet::new(wanted, LIMITS);
        set.open();
        Self {
            set,
            now: Instant::now(),
        }
    }

    fn tick(&mut self) -> Vec<Order> {
        self.set.tick(self.now)
    }

    /// Forks and readies every worker asked for until nothing more is asked; answers who was
    /// retired on the way.
    fn run_all(&mut self, orders: Vec<Order>) -> Vec<WorkerId> {
        let mut orders = std::collections::VecDeque::from(orders);
        let mut retired = Vec::new();
        while let Some(order) = orders.pop_front() {
            match order {
                Order::Start(id) => {
                    orders.extend(self.set.handle(id, Event::Forked(pid(id.0)), self.now));
                }
                Order::Adopt(id, _) => orders.extend(self.set.handle(id, Event::Ready, self.now)),
                Order::Retire(id) => retired.push(id),
                Order::Kill(_) | Order::Say(..) => {}
            }
            assert!(self.live() <= self.set.wanted + 1, "one too many at most");
        }
        retired
    }

    fn started(wanted: usize) -> Self {
        let mut scene = Self::new(wanted);
        let orders = scene.tick();
        assert_eq!(orders.len(), wanted);
        assert!(scene.run_all(orders).is_empty());
        scene.now += SHORT_LIFE;
        scene
    }

    fn live(&self) -> usize {
        let live = |worker: &&Worker| worker.state.is_live();
        self.set.workers.values().filter(live).count()
    }

    fn die(&mut self, id: u32) -> Vec<Order> {
        self.set.exited(pid(id), self.now).unwrap().1
    }
}

#[test]
fn nobody_is_started_before_the_app_is_loaded() {
    let mut set = WorkerSet::new(2, LIMITS);
    assert!(set.tick(Instant::now()).is_empty());
}

#[test]
fn a_dead_worker_is_replaced_at_once() {
    let mut scene = Scene::started(2);
    assert_eq!(scene.die(1), [Order::Start(WorkerId(3))]);
}

#[test]
fn a_surprise_is_told_from_an_end_that_was_asked_for() {
    let mut scene = Scene::started(2);
    scene.set.want(-1);
    assert_eq!(scene.tick(), [Order::Retire(WorkerId(1))]);
    let (end, _) = scene.set.exited(pid(1), scene.now).unwrap();
    assert!(!end.surprise);
    let (end, _) = scene.set.exited(pid(2), scene.now).unwrap();
    assert!(end.surprise);
    assert!(scene.set.exited(pid(99), scene.now).is_none());
}

#[test]
fn a_death_that_the_front_saw_first_is_a_surprise_too() {
    let mut scene = Scene::started(1);
    let orders = scene.set.handle(WorkerId(1), Event::Settled, scene.now);
    assert_eq!(orders, [Order::Start(WorkerId(2))]);
    let (end, _) = scene.set.exited(pid(1), scene.now).unwrap();
    assert!(end.surprise);
}

#[test]
fn workers_that_die_young_are_put_off() {
    let mut scene = Scene::new(1);
    let orders = scene.tick();
    scene.run_all(orders);
    assert!(scene.die(1).is_empty());
    assert_eq!(scene.set.failures(), 1);
    scene.now = scene.set.next_deadline().unwrap();
    assert_eq!(scene.tick(), [Order::Start(WorkerId(2))]);
}

#[test]
fn workers_that_die_before_they_are_ready_are_counted() {
    let mut scene = Scene::new(1);
    for round in 1..=5 {
        if let Some(until) = scene.set.backoff.until() {
            scene.now = until;
        }
        let orders = scene.tick();
        assert_eq!(orders, [Order::Start(WorkerId(round))]);
        scene
            .set
            .handle(WorkerId(round), Event::Forked(pid(round)), scene.now);
        scene.now += Duration::from_secs(5);
        scene.die(round);
        assert_eq!(scene.set.failures(), round);
    }
    assert!(!scene.set.was_ever_ready());
}

#[test]
fn a_worker_that_worked_for_a_while_clears_the_count() {
    let mut scene = Scene::new(1);
    let orders = scene.tick();
    scene.run_all(orders);
    scene.die(1);
    scene.now = scene.set.next_deadline().unwrap();
    let orders = scene.tick();
    scene.run_all(orders);
    scene.now += SHORT_LIFE;
    assert_eq!(scene.die(2), [Order::Start(WorkerId(3))]);
    assert_eq!(scene.set.failures(), 0);
}

#[test]
fn a_reload_replaces_all_workers_one_by_one() {
    let mut scene = Scene::started(3);
    scene.set.renew();
    let orders = scene.tick();
    assert_eq!(orders, [Order::Start(WorkerId(4))]);
    let retired = scene.run_all(orders);
    assert_eq!(retired, [WorkerId(1), WorkerId(2), WorkerId(3)]);
    assert_eq!(scene.live(), 3);
    assert!(scene.tick().is_empty());
}

#[test]
fn workers_that_are_replaced_without_a_reload_run_the_same_release() {
    let mut scene = Scene::started(2);
    scene.set.refresh();
    let orders = scene.tick();
    assert_eq!(scene.run_all(orders), [WorkerId(1), WorkerId(2)]);
    assert_eq!(scene.set.reloads_before(WorkerId(4)), Some(0));
    scene.set.renew();
    let orders = scene.tick();
    assert_eq!(scene.run_all(orders), [WorkerId(3), WorkerId(4)]);
    assert_eq!(scene.set.reloads_before(WorkerId(6)), Some(1));
}

#[test]
fn new_workers_that_fail_leave_the_old_ones_in_place() {
    let mut scene = Scene::started(2);
    scene.set.renew();
    assert_eq!(scene.tick(), [Order::Start(WorkerId(3))]);
    scene
        .set
        .handle(WorkerId(3), Event::Forked(pid(3)), scene.now);
    assert!(scene.die(3).is_empty());
    assert_eq!(scene.live(), 2);
    scene.now = scene.set.next_deadline().unwrap();
    assert_eq!(scene.tick(), [Order::Start(WorkerId(4))]);
}

#[test]
fn a_replaced_worker_goes_when_its_successor_takes_requests() {
    let mut scene = Scene::started(1);
    let orders = scene.set.replace(WorkerId(1), Reason::Stuck, scene.now);
    let said = Order::Say(WorkerId(1), Said::Replacing(Reason::Stuck));
    assert_eq!(orders, [said, Order::Start(WorkerId(2))]);
    let again = scene.set.replace(WorkerId(1), Reason::Stuck, scene.now);
    assert!(again.is_empty());
    assert_eq!(scene.run_all(orders), [WorkerId(1)]);
}

#[test]
fn workers_that_are_all_too_large_are_replaced_one_by_one_and_never_fewer_run() {
    let mut scene = Scene::started(2);
    let mut orders = scene.set.replace(WorkerId(1), Reason::Large, scene.now);
    orders.extend(scene.set.replace(WorkerId(2), Reason::Large, scene.now));
    let starts = |orders: &[Order]| {
        let is_start = |order: &&Order| matches!(order, Order::Start(_));
        orders.iter().filter(is_start).count()
    };
    assert_eq!(starts(&orders), 1);
    for (old, new) in [(1, 3), (2, 4)] {
        assert_eq!(scene.live(), 3);
        assert!(!orders.contains(&Order::Retire(WorkerId(old))));
        scene
            .set
            .handle(WorkerId(new), Event::Forked(pid(new)), scene.now);
        orders = scene.set.handle(WorkerId(new), Event::Ready, scene.now);
        assert!(orders.contains(&Order::Retire(WorkerId(old))));
    }
    assert_eq!((scene.live(), starts(&orders)), (2, 0));
}

#[test]
fn a_broken_worker_is_killed_before_its_successor_is_there() {
    let mut scene = Scene::started(1);
    let orders = scene.set.replace(WorkerId(1), Reason::Broken, scene.now);
    assert!(orders.contains(&Order::Kill(pid(1))));
    assert!(orders.contains(&Order::Start(WorkerId(2))));
}

#[test]
fn the_number_of_workers_can_grow_and_shrink_to_one() {
    let mut scene = Scene::started(2);
    assert_eq!(scene.set.want(1), 3);
    let orders = scene.tick();
    assert_eq!(orders, [Order::Start(WorkerId(3))]);
    scene.run_all(orders);
    assert_eq!(scene.set.want(-9), 1);
    assert_eq!(
        scene.tick(),
        [Order::Retire(WorkerId(1)), Order::Retire(WorkerId(2))]
    );
}

#[test]
fn a_lost_front_gets_new_workers_while_the_old_ones_finish() {
    let mut scene = Scene::started(2);
    let orders = scene.set.handle_all(Event::FrontLost, scene.now);
    assert_eq!(
        orders,
        [Order::Start(WorkerId(3)), Order::Start(WorkerId(4))]
    );
    assert_eq!(scene.set.workers.len(), 4);
}

#[test]
fn after_closing_nobody_is_started() {
    let mut scene = Scene::started(2);
    scene.set.close();
    assert!(scene.set.handle_all(Event::Stop, scene.now).is_empty());
    assert!(scene.die(1).is_empty() && scene.die(2).is_empty());
    assert!(scene.set.is_empty());
}

#[test]
fn a_worker_forked_after_it_was_given_up_is_killed() {
    let mut scene = Scene::new(1);
    assert_eq!(scene.tick(), [Order::Start(WorkerId(1))]);
    scene.now += LIMITS.start;
    scene.tick();
    let orders = scene
        .set
        .handle(WorkerId(1), Event::Forked(pid(1)), scene.now);
    assert!(orders.contains(&Order::Kill(pid(1))));
}
