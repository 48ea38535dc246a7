//! Several clients over fewer servers, all at random: what they say, how it is cut, when it is
//! answered, who cancels, dies or leaves in the midst of what. Each hears what PostgreSQL would say to
//! it alone (`hearing`), no server sees two clients at a time, and each that goes back is clean.
//!
//! Owns the pool and the sockets between, as the session's loop has them. `CANTER_MODEL_SEEDS` asks for
//! more runs, `CANTER_MODEL_FROM` for others; each is the same on every machine.

pub(crate) mod hearing;
mod house;
mod leaving;
pub(crate) mod postgres;
mod prepared;
mod settings;
pub(crate) mod talk;

pub(crate) use super::driver::{random, random_part};

use self::house::Crowd;

pub(crate) fn asked(name: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(name).ok();
    asked
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

#[test]
fn b7_e3_each_of_a_crowd_hears_what_a_server_of_its_own_would_say() {
    let from = asked("CANTER_MODEL_FROM", 0);
    let (mut closed, mut lost) = (0, 0);
    for seed in from..from + asked("CANTER_MODEL_SEEDS", 2000) {
        // In a thread of its own nothing is left of the seeds before.
        let run = std::thread::spawn(move || {
            let mut crowd = Crowd::new(seed);
            crowd.run();
            (crowd.closed, crowd.losses())
        });
        let run = run.join().unwrap_or_else(|_| panic!("seed {seed}"));
        (closed, lost) = (closed + run.0, lost + run.1);
    }
    println!("servers closed: {closed}, errors of lost servers: {lost}");
}
