//! Owns the tests of the ring: order, wrapping, and a peer that lies.
//! Leaves the messages to their own tests.

use std::os::fd::OwnedFd;

use canter_sys::memory::Mapping;

use super::*;
use crate::layout::SHARED_BYTES;

fn shared() -> (OwnedFd, Shared) {
    let (fd, mapping) = Mapping::create("test", SHARED_BYTES).unwrap();
    (fd, Shared::new(mapping))
}

fn ends() -> (Producer, Consumer, Shared) {
    let (_fd, shared) = shared();
    (
        Producer::new(shared.clone(), Direction::Answers),
        Consumer::new(shared.clone(), Direction::Answers),
        shared,
    )
}

fn head(number: u64) -> RecordHead {
    RecordHead {
        kind: Kind::Chunk,
        last: number.is_multiple_of(2),
        slot: SlotId::ZERO,
        number,
    }
}

#[test]
fn records_of_all_lengths_arrive_in_order_around_the_end_many_times() {
    let (mut producer, mut consumer, _shared) = ends();
    let bytes: Vec<u8> = (0..MOST_RECORD).map(|i| i as u8).collect();
    let (mut sent, mut received) = (0_u64, 0_u64);
    let mut random = 12_345_u64;
    let mut lens = std::collections::VecDeque::new();
    let mut out = Vec::new();
    while received < 20_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let len = if random.is_multiple_of(50) {
            (random >> 8) as usize % MOST_RECORD
        } else {
            (random >> 8) as usize % 900
        };
        if random & 64 == 0
            && producer
                .push(head(sent), &[&bytes[..len / 2], &bytes[len / 2..len]])
                .is_ok()
        {
            lens.push_back(len);
            sent += 1;
        } else if let Some(got) = consumer.take(&mut out).unwrap() {
            let len = lens.pop_front().unwrap();
            assert_eq!((got, &out[..]), (head(received), &bytes[..len]));
            received += 1;
        }
    }
}

#[test]
fn a_full_ring_says_so_and_works_on_after_room_is_made() {
    let (mut producer, mut consumer, _shared) = ends();
    let payload = vec![7; 1000];
    let mut pushed = 0;
    while producer.push(head(pushed), &[&payload]).is_ok() {
        pushed += 1;
    }
    assert!(pushed > 1000);
    let mut out = Vec::new();
    assert!(consumer.take(&mut out).unwrap().is_some());
    assert!(consumer.take(&mut out).unwrap().is_some());
    assert_eq!(producer.push(head(pushed), &[&payload]), Ok(()));
}

#[test]
fn a_ring_that_is_always_full_loses_nothing_though_its_tail_is_read_seldom() {
    let (mut producer, mut consumer, _shared) = ends();
    let (mut sent, mut received, mut out) = (0_u64, 0_u64, Vec::new());
    while received < 40_000 {
        let len = 200 + sent as usize * 37 % 900;
        if producer.push(head(sent), &[&vec![sent as u8; len]]).is_ok() {
            sent += 1;
            continue;
        }
        // Room for a few only, so that the next lap begins close behind what is not taken yet.
        for _ in 0..=received % 3 {
            let got = consumer.take(&mut out).unwrap().unwrap();
            assert_eq!(got, head(received));
            assert!(out.iter().all(|&byte| byte == received as u8));
            received += 1;
        }
    }
}

#[test]
fn light_traffic_stays_in_the_first_pages() {
    let (mut producer, mut consumer, _shared) = ends();
    let mut out = Vec::new();
    for number in 0..10_000 {
        producer.push(head(number), &[&[1; 500]]).unwrap();
        consumer.take(&mut out).unwrap().unwrap();
        assert!(producer.head % SIZE <= REWIND_AFTER + 1024);
    }
}

#[test]
fn a_producer_that_writes_nonsense_is_found_out_without_a_panic() {
    let mut random = 1_u64;
    for _ in 0..2_000 {
        let (mut producer, mut consumer, shared) = ends();
        for number in 0..3 {
            producer.push(head(number), &[&[1; 40]]).unwrap();
        }
        for _ in 0..3 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let place = (random >> 33) % 200;
            producer.write(place, &[(random >> 12) as u8]);
        }
        if random & 1024 == 0 {
            shared
                .header()
                .answers
                .head
                .0
                .store(random, Ordering::Release);
        }
        let mut out = Vec::new();
        for _ in 0..10_000 {
            match consumer.take(&mut out) {
                Ok(Some(_)) => assert!(out.len() <= MOST_RECORD),
                Ok(None) | Err(Broken(_)) => break,
            }
        }
    }
}
