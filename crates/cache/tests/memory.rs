//! The bound in bytes against what the system says the process has: owns that comparison, alone in
//! its process.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use canter_cache::store::{Limits, Store};
use canter_cache::{Body, Field, Key, Scheme};
use canter_http::check::Xorshift;
use common::{Case, NOW};

/// Bytes of memory this process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn key(number: usize) -> Key {
    let path = format!("/articles/{number}/some-title-of-a-page-{}", number % 97);
    Key::new(Scheme::Https, b"www.example.com", path.as_bytes(), None)
}

const BOUND: usize = 32 << 20;

#[test]
fn c4_a_million_distinct_urls_stay_within_a_tenth_of_the_bound_and_leave_the_hot_set() {
    let before = resident();
    pass(before, 1_000_000);
}

fn pass(before: usize, count: usize) {
    let response = [
        ("Cache-Control", "max-age=60"),
        ("Content-Type", "text/html; charset=utf-8"),
        ("X-Frame-Options", "DENY"),
    ];
    let case = Case::answering(&response);
    let plan = case.plan().unwrap();
    let nothing: [Field<'_>; 0] = [];
    let mut store = Store::new(Limits {
        bytes: BOUND,
        ..Limits::default()
    });
    let mut random = Xorshift::new(1);
    let mut put = |store: &mut Store, number: usize| {
        let key = key(number);
        // Of a hundred bytes to some kilobytes, as pages are once they are compressed.
        let size = 100 + random.below(60) * random.below(60) * 4;
        let body = Body::new(vec![b'x'; size]);
        let entry = plan.clone().into_entry(&key, body).unwrap();
        let mark = store.mark();
        store.put(entry, plan.life, 0, 0, mark).unwrap();
    };
    let hot = (count / 2000).max(5);
    for number in 0..hot {
        put(&mut store, number);
    }
    let (mut asked, mut found, mut most) = (0_u32, 0_u32, 0);
    for number in hot..count {
        put(&mut store, number);
        if number % 4 == 0 {
            let wanted = (number * 7919) % hot;
            asked += 1;
            if store.find(&key(wanted), &nothing).is_some() {
                found += 1;
            } else {
                put(&mut store, wanted);
            }
        }
        if number % 100 == 0 {
            assert!(store.stats().bytes <= BOUND);
            most = most.max(resident().saturating_sub(before));
        }
    }
    let rate = f64::from(found) / f64::from(asked);
    let share = most as f64 / BOUND as f64;
    let stats = store.stats();
    println!("{stats:?}: resident {share:.3} of the bound, hot set hit {rate:.4}");
    assert!(share < 1.10, "resident {share}");
    assert!(share > 0.80, "the bound is not used: {share}");
    assert!(rate > 0.98, "the hot set is not kept: {rate}");
    assert!(NOW >= plan.life.received);
}
