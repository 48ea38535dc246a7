//! Ten thousand random steps against a model: G3, G6.

use tokio::task::JoinHandle;

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

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }
}

const CAP: u32 = 5;

/// Three pools of one host and what the test holds of them.
struct Churn {
    world: Rc<World>,
    random: Random,
    parts: Vec<(Rc<Pool<Fake>>, Attached<Fake>)>,
    waits: Vec<JoinHandle<()>>,
    leases: Rc<RefCell<Vec<Lease>>>,
    /// Waits that must end, and those that have.
    asked: u32,
    got: Rc<Cell<u32>>,
}

impl Churn {
    fn new(seed: u64, world: Rc<World>, pools: &Pools<Fake>) -> Self {
        Self {
            world,
            random: Random(seed),
            parts: ["a", "b", "c"].map(|name| pool(pools, name)).into(),
            waits: Vec::new(),
            leases: Rc::default(),
            asked: 0,
            got: Rc::default(),
        }
    }

    async fn step(&mut self) {
        match self.random.below(12) {
            0..=3 => self.ask(),
            4..=6 => self.give_back(),
            7 => drop(self.leases.borrow_mut().pop()),
            8 => self.leave().await,
            9 => self.refuse(),
            10 => self.order(),
            _ => sleep(MS * u32::try_from(self.random.below(40)).unwrap()).await,
        }
    }

    fn one(&mut self) -> Rc<Pool<Fake>> {
        let at = self.random.index(self.parts.len());
        Rc::clone(&self.parts[at].0)
    }

    fn ask(&mut self) {
        self.asked += 1;
        let (one, leases, got) = (self.one(), Rc::clone(&self.leases), Rc::clone(&self.got));
        self.waits.push(spawn_local(async move {
            let end = lease(&one).await;
            got.set(got.get() + 1);
            leases.borrow_mut().extend(end.ok());
        }));
    }

    fn give_back(&self) {
        let any = self.leases.borrow_mut().pop();
        any.into_iter().for_each(Lease::give_back);
    }

    /// A client leaves while it waits, or when it has its server already.
    async fn leave(&mut self) {
        if self.waits.is_empty() {
            return;
        }
        let at = self.random.index(self.waits.len());
        let wait = self.waits.swap_remove(at);
        wait.abort();
        if wait.await.is_err_and(|end| end.is_cancelled()) {
            self.asked -= 1;
        }
    }

    fn refuse(&mut self) {
        self.world.refuse.replace(match self.random.below(4) {
            0 => Some(refusal(Why::Unreachable, "57P03")),
            1 => Some(refusal(Why::Full, "53300")),
            _ => None,
        });
    }

    fn order(&mut self) {
        let one = self.one();
        match self.random.below(6) {
            0 => one.reconnect(),
            1 => one.pause(),
            2 => one.resume(),
            3 => one.host.size.look(None),
            4 => one.make_way(),
            _ => {
                if let Some(lease) = self.leases.borrow().last() {
                    lease.dead.set(true);
                }
            }
        }
    }

    /// Everything that was asked for is had in the end: nobody is stranded.
    async fn finish(&mut self) {
        self.world.refuse.replace(None);
        for (one, _) in &self.parts {
            one.resume();
            one.host.size.look(None);
        }
        for _ in 0..20_000 {
            if self.got.get() == self.asked {
                break;
            }
            self.give_back();
            sleep(MS).await;
        }
        assert_eq!(self.got.get(), self.asked, "a waiter was stranded");
        self.leases.borrow_mut().clear();
        for (one, _) in &self.parts {
            one.reconnect();
        }
        sleep(SECOND).await;
        let (open, host) = (self.world.open.get(), &self.parts[0].0.host);
        assert_eq!(
            (open, host.open(), host.closing(), host.waiting()),
            (0, 0, 0, 0)
        );
    }
}

#[test]
fn g6_ten_thousand_random_steps_never_exceed_the_cap_nor_lose_a_permit() {
    for seed in 1..=8 {
        run(async {
            let world = world();
            let never = Settings {
                wait_timeout: 3600 * SECOND,
                ..settings(CAP)
            };
            let pools = pools(&world, never);
            let mut churn = Churn::new(seed, Rc::clone(&world), &pools);
            for _ in 0..10_000 {
                churn.step().await;
                assert!(
                    world.open.get() <= CAP,
                    "seed {seed}: {} servers",
                    world.open.get()
                );
            }
            churn.finish().await;
            assert!(world.most_open.get() <= CAP, "seed {seed}");
        });
    }
}
