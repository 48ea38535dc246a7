//! How long servers live, the console's orders, pins: D14, G5.

use super::*;

/// So many that their ages, drawn at random in steps of 36 s, are as good as never in one step.
async fn eight(pool: &Rc<Pool<Fake>>) -> Vec<Lease> {
    let mut leases = Vec::new();
    for _ in 0..8 {
        leases.push(must(pool).await);
    }
    leases
}

#[test]
fn g5_servers_retire_at_different_ages_and_are_replaced_before() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(16));
        let (pool, _client) = pool(&pools, "shop");
        let leases = eight(&pool).await;
        leases.into_iter().for_each(Lease::give_back);
        let mut retired = Vec::new();
        let (born, mut opened) = (Instant::now(), world.opened.get());
        let mut least = u32::MAX;
        while born.elapsed() < 4000 * SECOND {
            // In use all the time, so that none is closed for being idle.
            let leases = eight(&pool).await;
            leases.into_iter().for_each(Lease::give_back);
            sleep(SECOND).await;
            least = least.min(world.open.get());
            while world.opened.get() != opened {
                opened += 1;
                retired.push(born.elapsed().as_secs());
            }
        }
        assert_eq!(retired.len(), 8, "{retired:?}");
        assert!(
            retired.iter().all(|age| (3050..=3970).contains(age)),
            "{retired:?}"
        );
        let spread = retired.last().unwrap() - retired.first().unwrap();
        assert!(spread > 60, "{retired:?}");
        assert_eq!(least, 8, "a replacement was there before");
        assert!(world.most_open.get() <= 9);
    });
}

#[test]
fn g5_a_server_in_use_for_longer_than_its_life_is_closed_when_it_comes_back() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let lease = must(&pool).await;
        sleep(4000 * SECOND).await;
        lease.give_back();
        assert_eq!(must(&pool).await.number, 2);
    });
}

#[test]
fn idle_servers_are_closed_after_the_idle_timeout() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        let leases = [must(&pool).await, must(&pool).await];
        leases.into_iter().for_each(Lease::give_back);
        for _ in 0..60 {
            sleep(10 * SECOND).await;
            must(&pool).await.give_back();
        }
        sleep(SECOND).await;
        assert_eq!(world.open.get(), 1, "the one in use stays");
        sleep(601 * SECOND).await;
        assert_eq!(world.open.get(), 0);
    });
}

#[test]
fn a_database_without_clients_is_left_soon_but_not_at_once() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, client) = pool(&pools, "shop");
        must(&pool).await.give_back();
        drop(client);
        for _ in 0..10 {
            sleep(SECOND).await;
            let client = pool.attach();
            must(&pool).await.give_back();
            drop(client);
        }
        assert_eq!(
            world.opened.get(),
            1,
            "clients that reconnect find their server"
        );
        sleep(3 * SECOND).await;
        assert_eq!(world.open.get(), 0, "DROP DATABASE waits for 5 s");
    });
}

#[test]
fn servers_make_way_for_create_and_drop_database_at_once() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (shop, _shop) = pool(&pools, "shop");
        let (admin, _admin) = pool(&pools, "postgres");
        must(&shop).await.give_back();
        let lease = must(&admin).await;
        admin.make_way();
        sleep(3 * MS).await;
        assert_eq!(
            (shop.servers(), admin.servers(), world.open.get()),
            (0, 1, 1)
        );
        drop(lease);
    });
}

#[test]
fn reconnect_replaces_idle_servers_now_and_others_when_they_come_back() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let (held, idle) = (must(&pool).await, must(&pool).await);
        idle.give_back();
        pools.reconnect(Some("shop"));
        held.give_back();
        assert_eq!(must(&pool).await.number, 3);
    });
}

#[test]
fn a_paused_pool_holds_its_clients_and_serves_them_when_resumed() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        must(&pool).await.give_back();
        pools.pause(None);
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { lease(&pool).await.map(Lease::give_back) }
        });
        sleep(5 * SECOND).await;
        assert!(!waiting.is_finished());
        assert_eq!(world.open.get(), 0);
        pools.resume(None);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        pool.disable();
        assert_eq!(
            lease(&pool).await.map(drop).unwrap_err().code_str(),
            "57P03"
        );
    });
}

#[test]
fn kill_fails_who_waits_and_replaces_every_server() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let held = must(&pool).await;
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { lease(&pool).await.map(Lease::give_back) }
        });
        settle().await;
        pools.kill(None);
        assert_eq!(waiting.await.unwrap().unwrap_err().code_str(), "57P01");
        held.give_back();
        assert_eq!(must(&pool).await.number, 2);
    });
}

#[test]
fn d14_pins_are_counted_shown_and_bounded() {
    run(async {
        let world = world();
        let mut settings = settings(4);
        settings.pin_cap = Some(2);
        let pools = pools(&world, settings);
        let (pool, _client) = pool(&pools, "shop");
        let (a, b, c) = (must(&pool).await, must(&pool).await, must(&pool).await);
        assert_eq!(
            a.pin("advisory lock", b"SELECT\n pg_advisory_lock(1)"),
            Ok(())
        );
        assert_eq!(a.pin("temporary table", b"CREATE TEMP TABLE t ()"), Ok(()));
        assert_eq!(b.pin("LISTEN", b"LISTEN x"), Ok(()));
        assert_eq!(c.pin("LISTEN", b"LISTEN x").unwrap_err().cap, 2);
        let pins = &pools.stats()[0].pins;
        assert_eq!(pins.len(), 2);
        assert!(
            pins.iter()
                .any(|pin| pin.reasons == "advisory lock, temporary table"
                    && pin.text == "SELECT pg_advisory_lock(1)")
        );
        b.give_back();
        assert_eq!(c.pin("LISTEN", b"LISTEN x"), Ok(()));
        drop(c);
        a.give_back();
        assert!(pools.stats()[0].pins.is_empty());
    });
}

#[test]
fn statistics_count_what_happened() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let first = must(&pool).await;
        sleep(3 * MS).await;
        first.answered();
        sleep(SECOND).await;
        first.working();
        sleep(90 * SECOND).await;
        first.answered();
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { must(&pool).await.give_back() }
        });
        sleep(20 * MS).await;
        assert_eq!(pools.stats()[0].waiting, 1);
        first.give_back();
        waiting.await.unwrap();
        let stats = &pools.stats()[0];
        assert_eq!(
            (stats.leases, stats.waits, stats.queries, stats.idle),
            (2, 2, 3, 1)
        );
        assert_eq!(
            stats.wait_time.count(),
            2,
            "the first one waited for its connection"
        );
        assert_eq!(stats.query_time.counts[5], 1, "2.5 to 5 ms");
        assert_eq!(
            stats.query_time.counts.last(),
            Some(&1),
            "more than a minute"
        );
    });
}

#[test]
fn g_min_servers_are_opened_before_anybody_needs_them_and_stay() {
    run(async {
        let world = world();
        let set = Settings {
            min_connections: 3,
            ..settings(5)
        };
        let pools = pools(&world, set);
        let target = Target::from_url("postgres://u@db.example.com/shop").unwrap();
        let id = pools.register(target).unwrap();
        pools.keep(id);
        sleep(SECOND).await;
        assert_eq!(world.open.get(), 3, "opened without a client");
        let (shop, client) = pool(&pools, "shop");
        let leases = [
            must(&shop).await,
            must(&shop).await,
            must(&shop).await,
            must(&shop).await,
        ];
        leases.into_iter().for_each(Lease::give_back);
        sleep(SECOND).await;
        assert_eq!(world.open.get(), 4);
        drop(client);
        sleep(4 * SECOND).await;
        assert_eq!(
            world.open.get(),
            3,
            "the one too many goes with the last client"
        );
        sleep(1000 * SECOND).await;
        assert_eq!(world.open.get(), 3, "the idle timeout leaves them alone");
        sleep(4000 * SECOND).await;
        assert_eq!(world.open.get(), 3, "replaced at the end of their lives");
        assert!(world.opened.get() >= 7);
        shop.reconnect();
        sleep(SECOND).await;
        assert_eq!(world.open.get(), 3, "opened again");
    });
}

#[test]
fn g_min_servers_make_way_and_do_not_knock_at_a_door_that_refuses_them() {
    run(async {
        let world = world();
        let set = Settings {
            min_connections: 2,
            ..settings(2)
        };
        let pools = pools(&world, set);
        let target = Target::from_url("postgres://u@db.example.com/shop").unwrap();
        let id = pools.register(target).unwrap();
        world.refuse.replace(Some(refusal(Why::Password, "28P01")));
        pools.keep(id);
        sleep(60 * SECOND).await;
        assert!(
            (2..=6).contains(&world.attempts.get()),
            "{}",
            world.attempts.get()
        );
        world.refuse.replace(None);
        pools.retry();
        sleep(SECOND).await;
        assert_eq!(world.open.get(), 2);
        let (admin, _admin) = pool(&pools, "postgres");
        let lease = must(&admin).await;
        let (shop, _shop) = pool(&pools, "shop");
        assert_eq!(shop.servers(), 1, "one of the two made way");
        admin.make_way();
        sleep(5 * SECOND).await;
        assert_eq!(
            shop.servers(),
            0,
            "CREATE DATABASE waits 5 s for others to leave"
        );
        sleep(10 * SECOND).await;
        assert_eq!(shop.servers(), 1);
        assert!(world.most_open.get() <= 2);
        lease.give_back();
        shop.pause();
        sleep(10 * SECOND).await;
        assert_eq!(shop.servers(), 0, "a pause opens nothing");
    });
}
