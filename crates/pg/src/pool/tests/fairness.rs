//! Who gets which server: G1, G2, G3, G6.

use super::*;

#[test]
fn g1_an_idle_server_that_was_used_last_is_taken_first() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(3));
        let (pool, _client) = pool(&pools, "shop");
        let (a, b, c) = (must(&pool).await, must(&pool).await, must(&pool).await);
        let last = b.number;
        a.give_back();
        c.give_back();
        b.give_back();
        for _ in 0..5 {
            let lease = must(&pool).await;
            assert_eq!(lease.number, last);
            lease.give_back();
        }
    });
}

#[test]
fn g1_a_server_with_the_right_settings_is_preferred() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(3));
        let (pool, _client) = pool(&pools, "shop");
        let (mut a, b) = (must(&pool).await, must(&pool).await);
        let label = Label::new([("timezone", "UTC")]);
        a.label = Rc::clone(&label);
        let number = a.number;
        a.give_back();
        b.give_back();
        // Equal by value is as good as the same.
        let want = Label::new([("timezone", "UTC")]);
        assert_eq!(pool.lease(&want, &who()).await.unwrap().number, number);
    });
}

#[test]
fn g1_waiters_are_served_in_the_order_they_came() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let held = [must(&pool).await, must(&pool).await];
        let order = Rc::new(RefCell::new(Vec::new()));
        for number in 0..20 {
            let (pool, order) = (Rc::clone(&pool), Rc::clone(&order));
            spawn_local(async move {
                let lease = must(&pool).await;
                order.borrow_mut().push(number);
                sleep(MS).await;
                lease.give_back();
            });
            settle().await;
        }
        held.into_iter().for_each(Lease::give_back);
        sleep(SECOND).await;
        assert_eq!(*order.borrow(), (0..20).collect::<Vec<_>>());
        assert_eq!(world.opened.get(), 2);
    });
}

#[test]
fn g1_nobody_passes_a_waiter_when_a_server_comes_back() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let first = must(&pool).await;
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { must(&pool).await }
        });
        settle().await;
        first.give_back();
        // Already the waiter's, although it has not run yet.
        assert!(pool.try_lease(&Label::empty(), &who()).is_none());
        waiting.await.unwrap().give_back();
        assert!(pool.try_lease(&Label::empty(), &who()).is_some());
    });
}

#[test]
fn g1_no_pool_of_a_host_starves_another() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (busy, _client) = pool(&pools, "busy");
        let (other, _other_client) = pool(&pools, "other");
        let stop = Rc::new(Cell::new(false));
        for _ in 0..40 {
            let (busy, stop) = (Rc::clone(&busy), Rc::clone(&stop));
            spawn_local(async move {
                while !stop.get() {
                    let lease = must(&busy).await;
                    sleep(3 * MS).await;
                    lease.give_back();
                }
            });
        }
        sleep(SECOND).await;
        for _ in 0..10 {
            let since = Instant::now();
            let lease = must(&other).await;
            // The first turn costs a close and a connect.
            assert!(since.elapsed() < 200 * MS, "waited {:?}", since.elapsed());
            sleep(MS).await;
            lease.give_back();
            sleep(10 * MS).await;
        }
        stop.set(true);
        assert!(world.most_open.get() <= 4);
    });
}

#[test]
fn g1_an_idle_server_of_another_database_makes_way() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (a, _a) = pool(&pools, "a");
        let (b, _b) = pool(&pools, "b");
        let (first, second) = (must(&a).await, must(&a).await);
        let first_number = first.number;
        first.give_back();
        sleep(MS).await;
        second.give_back();
        let lease = must(&b).await;
        assert_eq!(world.most_open.get(), 2);
        // The one idle for longest went.
        assert_ne!(must(&a).await.number, first_number);
        drop(lease);
    });
}

#[test]
fn g2_a_pool_opens_two_at_once_and_takes_a_returning_server_first() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(10));
        let (pool, _client) = pool(&pools, "shop");
        let first = must(&pool).await;
        world.connect_takes.set(SECOND);
        let got = Rc::new(Cell::new(0));
        for _ in 0..8 {
            let (pool, got) = (Rc::clone(&pool), Rc::clone(&got));
            spawn_local(async move {
                let lease = must(&pool).await;
                got.set(got.get() + 1);
                lease.give_back();
            });
        }
        settle().await;
        assert_eq!((pool.connecting.get(), world.open.get()), (2, 3));
        first.give_back();
        settle().await;
        assert_eq!(got.get(), 8, "all were served by the server that came back");
    });
}

#[test]
fn g3_a_wait_dropped_at_any_point_leaks_nothing() {
    // Dropped after so many steps of the test's clock: before the connect, during it, when a
    // server was just handed over but not yet taken, and after.
    for steps in 0..30 {
        run(async {
            let world = world();
            let pools = pools(&world, settings(1));
            let (pool, _client) = pool(&pools, "shop");
            let waiting = spawn_local({
                let pool = Rc::clone(&pool);
                async move { lease(&pool).await.map(Lease::give_back) }
            });
            for _ in 0..steps {
                tokio::task::yield_now().await;
                if steps % 3 == 0 {
                    sleep(MS).await;
                }
            }
            waiting.abort();
            let lease = must(&pool).await;
            assert_eq!(
                (pool.waiting(), pool.servers(), world.open.get()),
                (0, 1, 1)
            );
            drop(lease);
            sleep(SECOND).await;
            assert_eq!((world.open.get(), pool.host.open()), (0, 0));
        });
    }
}

#[test]
fn g3_a_server_handed_to_a_waiter_that_has_left_goes_to_the_next() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let held = must(&pool).await;
        let mut first = Box::pin(lease(&pool));
        assert!(futures_pending(&mut first).await);
        let mut second = Box::pin(lease(&pool));
        assert!(futures_pending(&mut second).await);
        held.give_back();
        drop(first);
        assert!(second.await.is_ok());
        assert_eq!(world.opened.get(), 1);
    });
}

/// Polls once; whether it waits.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
    })
    .await
}

#[test]
fn g6_a_closing_connection_is_counted_until_the_server_has_closed_it() {
    run(async {
        let world = world();
        world.close_takes.set(SECOND);
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        drop(must(&pool).await);
        let since = Instant::now();
        let lease = must(&pool).await;
        assert!(since.elapsed() >= SECOND);
        assert_eq!((world.most_open.get(), lease.number), (1, 2));
    });
}

#[test]
fn a_panic_of_a_session_costs_its_server_and_no_more() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let session = spawn_local({
            let pool = Rc::clone(&pool);
            async move {
                let _lease = must(&pool).await;
                panic!("a fault of ours, in a test");
            }
        });
        assert!(session.await.unwrap_err().is_panic());
        assert_eq!(must(&pool).await.number, 2);
        assert_eq!(world.most_open.get(), 1);
    });
}
