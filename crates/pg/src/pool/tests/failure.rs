//! Servers that refuse, die or move: A11, A12, E5 to E8, F2, G4.

use super::*;

#[test]
fn g4_a_wait_that_is_too_long_ends_in_an_error_that_says_what_is_going_on() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let held = must(&pool).await;
        held.running(b"Q\0\0\0\x20SELECT pg_sleep(60)\n -- slow\0S\0\0\0\x04");
        let since = Instant::now();
        let error = lease(&pool).await.map(drop).unwrap_err();
        assert!(
            (30 * SECOND..31 * SECOND).contains(&since.elapsed()),
            "{:?}",
            since.elapsed()
        );
        assert!(!error.fatal);
        assert_eq!(error.code_str(), "53300");
        let detail = error.detail.unwrap();
        assert!(
            detail.starts_with("1 of 1 connections in use by pid 1 (test); longest"),
            "{detail}"
        );
        assert!(
            detail.contains(" in SELECT pg_sleep(60) -- slow; 1 waiting"),
            "{detail}"
        );
        held.give_back();
        assert!(lease(&pool).await.is_ok());
    });
}

#[test]
fn e5_a_server_that_died_while_idle_is_never_handed_out() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let (a, b) = (must(&pool).await, must(&pool).await);
        b.dead.set(true);
        let (dead, alive) = (b.number, a.number);
        let flag = Rc::clone(&a.dead);
        a.give_back();
        b.give_back();
        assert_eq!(must(&pool).await.number, alive);
        flag.set(true);
        let lease = must(&pool).await;
        assert!(lease.number != dead && lease.number != alive);
    });
}

#[test]
fn e5_dead_idle_servers_are_found_without_a_client() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let lease = must(&pool).await;
        let dead = Rc::clone(&lease.dead);
        lease.give_back();
        dead.set(true);
        sleep(SECOND).await;
        assert_eq!((world.open.get(), pool.counters.found_dead.get()), (0, 1));
    });
}

#[test]
fn e6_clients_are_held_while_the_server_starts_and_tried_again_with_pauses() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        drop(must(&pool).await);
        world
            .refuse
            .replace(Some(refusal(Why::Unreachable, "57P03")));
        let waits: Vec<_> = (0..10)
            .map(|_| {
                let pool = Rc::clone(&pool);
                spawn_local(async move { lease(&pool).await.map(Lease::give_back) })
            })
            .collect();
        let before = world.attempts.get();
        sleep(12 * SECOND).await;
        let attempts = world.attempts.get() - before;
        assert!((10..25).contains(&attempts), "{attempts} attempts in 12 s");
        world.refuse.replace(None);
        let since = Instant::now();
        for wait in waits {
            assert_eq!(wait.await.unwrap(), Ok(()));
        }
        assert!(since.elapsed() < 3 * SECOND / 2, "{:?}", since.elapsed());
    });
}

#[test]
fn a11_the_words_of_the_server_are_kept_when_holding_was_in_vain() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        drop(must(&pool).await);
        world
            .refuse
            .replace(Some(refusal(Why::Unreachable, "57P03")));
        let since = Instant::now();
        let error = lease(&pool).await.map(drop).unwrap_err();
        assert!(since.elapsed() >= 30 * SECOND);
        assert_eq!((error.code_str(), error.fatal), ("57P03", false));
        assert!(
            error.message.contains("the server said 57P03"),
            "{}",
            error.message
        );
    });
}

#[test]
fn a11_a_server_that_was_never_reached_is_told_soon() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        world
            .refuse
            .replace(Some(refusal(Why::Unreachable, "08001")));
        let since = Instant::now();
        assert!(lease(&pool).await.is_err());
        assert!(since.elapsed() < 6 * SECOND, "{:?}", since.elapsed());
    });
}

#[test]
fn a11_a_final_refusal_is_told_at_once_and_forgotten() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        world.refuse.replace(Some(refusal(Why::Final, "3D000")));
        let since = Instant::now();
        let error = lease(&pool).await.map(drop).unwrap_err();
        assert_eq!((error.code_str(), error.fatal), ("3D000", true));
        assert!(since.elapsed() < 20 * MS);
        // CREATE DATABASE may have followed.
        world.refuse.replace(None);
        assert!(lease(&pool).await.is_ok());
    });
}

#[test]
fn a12_a_full_server_makes_us_smaller_and_hurts_no_client() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(8));
        let (pool, _client) = pool(&pools, "shop");
        let held = [must(&pool).await, must(&pool).await, must(&pool).await];
        world.refuse.replace(Some(refusal(Why::Full, "53300")));
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { lease(&pool).await.map(Lease::give_back) }
        });
        sleep(SECOND).await;
        assert_eq!(pool.host.size.cap(), 3);
        assert!(!waiting.is_finished());
        held.into_iter().for_each(Lease::give_back);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        // The next look, 30 s later, allows more again.
        world.refuse.replace(None);
        sleep(35 * SECOND).await;
        assert_eq!(pool.host.size.cap(), 8);
    });
}

#[test]
fn a12_a_full_server_is_asked_again_when_we_have_no_connection_at_all() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(8));
        let (pool, _client) = pool(&pools, "shop");
        drop(must(&pool).await);
        world.refuse.replace(Some(refusal(Why::Full, "53300")));
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { lease(&pool).await.map(drop) }
        });
        sleep(5 * SECOND).await;
        assert_eq!(pool.host.size.cap(), 1);
        world.refuse.replace(None);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    });
}

#[test]
fn e7_servers_at_an_address_the_name_no_longer_has_are_replaced() {
    run(async {
        let world = world();
        let (old, new) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        world.address.set(Some(old));
        world.addresses.replace(Some(vec![old]));
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let (held, idle) = (must(&pool).await, must(&pool).await);
        idle.give_back();
        sleep(31 * SECOND).await;
        assert_eq!(world.open.get(), 2);
        world.addresses.replace(Some(vec![new]));
        world.address.set(Some(new));
        // Missing once may be another part of a longer list.
        sleep(30 * SECOND).await;
        assert_eq!(world.open.get(), 2);
        sleep(31 * SECOND).await;
        assert_eq!(world.open.get(), 1, "the idle one has gone");
        held.give_back();
        assert_eq!(must(&pool).await.address, Some(new));
    });
}

#[test]
fn e8_a_rotated_password_is_fetched_and_tried_at_once() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let rotated = Target::from_url("postgres://u:new@db.example.com/shop").ok();
        world.wanted.replace(rotated.clone());
        assert_eq!(
            lease(&pool).await.map(drop).unwrap_err().code_str(),
            "28P01"
        );
        world.refreshed.replace(rotated);
        assert!(lease(&pool).await.is_ok());
    });
}

#[test]
fn e8_a_later_registration_of_the_same_place_brings_its_password() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(2));
        let (pool, _client) = pool(&pools, "shop");
        let rotated = Target::clone(&pool.target.borrow());
        let rotated = Target {
            password: Target::from_url("postgres://u:new@h/d").unwrap().password,
            ..rotated
        };
        world.wanted.replace(Some(rotated.clone()));
        let elsewhere = Target {
            user: "other".to_owned(),
            ..rotated.clone()
        };
        pools.register(elsewhere).unwrap();
        assert_eq!(
            lease(&pool).await.map(drop).unwrap_err().code_str(),
            "28P01"
        );
        pools.register(rotated).unwrap();
        assert!(lease(&pool).await.is_ok());
    });
}

#[test]
fn f2_a_server_that_is_being_cancelled_reaches_nobody() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(1));
        let (pool, _client) = pool(&pools, "shop");
        let lease = must(&pool).await;
        let firing = Rc::clone(&lease.firing);
        firing.set(true);
        let waiting = spawn_local({
            let pool = Rc::clone(&pool);
            async move { must(&pool).await }
        });
        settle().await;
        lease.give_back();
        sleep(SECOND).await;
        assert!(!waiting.is_finished());
        firing.set(false);
        assert_eq!(waiting.await.unwrap().number, 1);
    });
}

#[test]
fn d7_a_database_that_fails_is_out_until_the_question_has_found_it_well() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let is_out = || pools.are_out(|_| false);
        assert!(!is_out(), "nothing was tried");
        let (pool, client) = pool(&pools, "shop");
        must(&pool).await.give_back();
        drop(client);
        assert!(!is_out());
        // Nobody uses it, so that its server goes; it is let sleep.
        sleep(5 * SECOND).await;
        assert!(!is_out());
        settle().await;
        assert_eq!((world.open.get(), world.attempts.get()), (0, 1));
        for why in [Why::Unreachable, Why::Full, Why::Password] {
            world.refuse.replace(Some(refusal(why, "08001")));
            assert!(lease(&pool).await.is_err());
            assert!(is_out(), "{why:?}");
            assert!(!pools.are_out(|id| id == pool.key.target), "a replica");
            world.refuse.replace(None);
            // Nobody but whoever asks tries again.
            sleep(20 * SECOND).await;
            assert!(is_out(), "{why:?}");
            sleep(SECOND).await;
            assert!(!is_out(), "{why:?}");
            sleep(5 * SECOND).await;
        }
    });
}

#[test]
fn d7_a_server_that_dies_idle_is_a_doubt_that_the_question_clears() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (pool, _client) = pool(&pools, "shop");
        let lease = must(&pool).await;
        let dead = Rc::clone(&lease.dead);
        lease.give_back();
        dead.set(true);
        sleep(SECOND).await;
        world
            .refuse
            .replace(Some(refusal(Why::Unreachable, "08001")));
        assert!(!pools.are_out(|_| false), "it may be well");
        sleep(SECOND).await;
        assert!(pools.are_out(|_| false), "it is not");
        pools.expect_well();
        assert!(!pools.are_out(|_| false), "it may have moved");
    });
}

#[test]
fn d7_one_database_of_two_is_enough_and_names_of_others_do_not_count() {
    run(async {
        let world = world();
        let pools = pools(&world, settings(4));
        let (well, _client) = pool(&pools, "shop");
        must(&well).await.give_back();
        let other = Target::from_url("postgres://u@other.example.com/stock").unwrap();
        let id = pools.register(other).unwrap();
        world
            .refuse
            .replace(Some(refusal(Why::Unreachable, "08001")));
        let stock = pools.pool(id, "stock", "u").unwrap();
        assert!(lease(&stock).await.is_err());
        assert!(!pools.are_out(|_| false));
        let (stranger, _client) = pool(&pools, "typo");
        assert!(lease(&stranger).await.is_err());
        assert!(!pools.are_out(|_| false));
    });
}
