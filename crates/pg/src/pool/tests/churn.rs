//! Ten thousand random steps against a model: G3, G6.

use super::*;

/// A generator that gives the same numbers for the same seed; splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }
}

const CAP: u32 = 5;

async fn churn(seed: u64) {
    let world = world();
    let pools = pools(&world, Settings { wait_timeout: 3600 * SECOND, ..settings(CAP) });
    let parts: Vec<_> = ["a", "b", "c"].iter().map(|name| pool(&pools, name)).collect();
    let mut random = Random(seed);
    let mut waits = Vec::new();
    let leases: Rc<RefCell<Vec<Lease>>> = Rc::default();
    let (asked, got) = (Rc::new(Cell::new(0_u32)), Rc::new(Cell::new(0_u32)));
    for _ in 0..10_000 {
        let at = usize::try_from(random.below(3)).unwrap();
        let (one, _) = &parts[at];
        match random.below(12) {
            0..=3 => {
                asked.set(asked.get() + 1);
                let (one, leases, got) = (Rc::clone(one), Rc::clone(&leases), Rc::clone(&got));
                waits.push(spawn_local(async move {
                    // A password that is refused ends the wait with an error: also an end.
                    let end = lease(&one).await;
                    got.set(got.get() + 1);
                    leases.borrow_mut().extend(end.ok());
                }));
            }
            4..=6 => {
                let any = leases.borrow_mut().pop();
                any.map(Lease::give_back);
            }
            7 => drop(leases.borrow_mut().pop()),
            8 => {
                if !waits.is_empty() {
                    let at = usize::try_from(random.below(waits.len() as u64)).unwrap();
                    let wait = waits.swap_remove(at);
                    wait.abort();
                    if wait.await.is_err_and(|end| end.is_cancelled()) {
                        asked.set(asked.get() - 1);
                    }
                }
            }
            9 => world.refuse.replace(match random.below(4) {
                0 => Some(refusal(Why::Unreachable, "57P03")),
                1 => Some(refusal(Why::Full, "53300")),
                _ => None,
            })
            .map_or((), drop),
            10 => match random.below(6) {
                0 => one.reconnect(),
                1 => one.pause(),
                2 => one.resume(),
                3 => one.host.size.look(None),
                4 => one.fail_since(Instant::now(), 3600 * SECOND),
                _ => {
                    if let Some(lease) = leases.borrow().last() {
                        lease.dead.set(true);
                    }
                }
            },
            _ => sleep(MS * u32::try_from(random.below(40)).unwrap()).await,
        }
        assert!(world.open.get() <= CAP, "{} server processes", world.open.get());
    }
    // Everything that was asked for is had in the end: nobody is stranded.
    world.refuse.replace(None);
    for (one, _) in &parts {
        one.resume();
        one.host.size.look(None);
    }
    for _ in 0..20_000 {
        if got.get() == asked.get() {
            break;
        }
        let any = leases.borrow_mut().pop();
        any.map(Lease::give_back);
        sleep(MS).await;
    }
    assert_eq!(got.get(), asked.get(), "seed {seed}: a waiter was stranded");
    leases.borrow_mut().clear();
    for (one, _) in &parts {
        one.reconnect();
    }
    sleep(SECOND).await;
    let host = &parts[0].0.host;
    assert_eq!((world.open.get(), host.open(), host.closing(), host.waiting()), (0, 0, 0, 0));
    assert!(world.most_open.get() <= CAP);
}

#[test]
fn g6_ten_thousand_random_steps_never_exceed_the_cap_nor_lose_a_permit() {
    for seed in 1..=8 {
        run(churn(seed));
    }
}
