//! How many connections: A12 and section 10 of the rules of the pool.

use super::super::size::Size;
use super::*;

const PLAN: Limits = Limits {
    server: 97,
    server_others: 10,
    role: 20,
    role_others: 5,
    database: -1,
    database_others: 0,
};

#[test]
fn what_is_left_is_the_smallest_limit_less_others_and_a_margin() {
    assert_eq!(PLAN.cap(), 12, "the role's");
    assert_eq!(
        Limits { role: -1, ..PLAN }.cap(),
        64,
        "more makes a server slower"
    );
    assert_eq!(Limits { server: 20, ..PLAN }.cap(), 7, "the server's");
    assert_eq!(
        Limits {
            database: 9,
            database_others: 2,
            ..PLAN
        }
        .cap(),
        4,
        "the database's"
    );
    assert_eq!(
        Limits {
            server_others: 500,
            ..PLAN
        }
        .cap(),
        1,
        "never none"
    );
}

#[test]
fn a_number_that_was_told_is_the_most_whatever_the_server_says() {
    let size = Size::new(Some(12));
    size.look(Some(PLAN));
    assert_eq!(size.cap(), 12);
    size.shrink(4);
    assert_eq!(size.cap(), 4);
    size.look(None);
    assert_eq!(size.cap(), 12);
}

#[test]
fn the_first_connection_asks_what_is_left_and_then_the_rest_is_opened() {
    run(async {
        let world = world();
        world.limits.set(Some(PLAN));
        let pools = pools(
            &world,
            Settings {
                connections: None,
                ..Settings::default()
            },
        );
        let (pool, _client) = pool(&pools, "shop");
        let waits: Vec<_> = (0..30)
            .map(|_| {
                let pool = Rc::clone(&pool);
                spawn_local(async move {
                    let lease = must(&pool).await;
                    sleep(SECOND).await;
                    lease.give_back();
                })
            })
            .collect();
        sleep(500 * MS).await;
        assert_eq!((world.open.get(), world.looks.get()), (12, 1));
        for wait in waits {
            wait.await.unwrap();
        }
        assert_eq!(world.most_open.get(), 12);
    });
}

#[test]
fn every_half_minute_the_server_is_asked_again_also_under_load() {
    run(async {
        let world = world();
        world.limits.set(Some(PLAN));
        let pools = pools(
            &world,
            Settings {
                connections: None,
                ..Settings::default()
            },
        );
        let (pool, _client) = pool(&pools, "shop");
        let stop = Rc::new(Cell::new(false));
        for _ in 0..20 {
            let (pool, stop) = (Rc::clone(&pool), Rc::clone(&stop));
            spawn_local(async move {
                while !stop.get() {
                    let lease = must(&pool).await;
                    sleep(10 * MS).await;
                    lease.give_back();
                }
            });
        }
        sleep(10 * SECOND).await;
        assert_eq!(world.open.get(), 12);
        // Another release starts and takes its part.
        world.limits.set(Some(Limits {
            role_others: 11,
            ..PLAN
        }));
        sleep(25 * SECOND).await;
        assert_eq!((world.open.get(), pool.host.size.cap()), (6, 6));
        stop.set(true);
        sleep(SECOND).await;
        world.limits.set(Some(PLAN));
        sleep(61 * SECOND).await;
        assert_eq!(pool.host.size.cap(), 12, "idle servers are asked too");
    });
}

#[test]
fn a_server_that_will_not_say_gets_a_modest_number() {
    run(async {
        let world = world();
        let pools = pools(
            &world,
            Settings {
                connections: None,
                ..Settings::default()
            },
        );
        let (pool, _client) = pool(&pools, "shop");
        let _lease = must(&pool).await;
        assert_eq!(pool.host.size.cap(), 8);
    });
}
