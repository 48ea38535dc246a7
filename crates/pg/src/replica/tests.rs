//! Which read goes where, by the ids of the acceptance list.

use std::time::{Duration, Instant};

use super::{Choice, Replicas, Why};
use crate::replica::{Floor, Lsn, Rules, Sample};
use crate::sql::scan;

struct Case {
    replicas: Replicas,
    now: Instant,
}

const SECOND: Duration = Duration::from_secs(1);

impl Case {
    /// Two replicas which have everything the primary has.
    fn new(rules: Rules) -> Self {
        let mut case = Self {
            replicas: Replicas::new(2, rules),
            now: Instant::now(),
        };
        case.primary(1000);
        case.replica(0, 1000);
        case.replica(1, 1000);
        case
    }

    fn primary(&mut self, lsn: u64) {
        let sample = Sample {
            in_recovery: false,
            lsn: Some(Lsn(lsn)),
            age: None,
        };
        self.replicas.primary_says(sample, self.now, self.now);
    }

    fn replica(&mut self, at: usize, lsn: u64) {
        let age = Some(3600 * SECOND);
        self.replicas.replica_says(
            at,
            Sample {
                in_recovery: true,
                lsn: Some(Lsn(lsn)),
                age,
            },
            self.now,
        );
    }

    fn route(&mut self, text: &str) -> Choice {
        self.route_for(text, &mut Floor::default())
    }

    fn route_for(&mut self, text: &str, floor: &mut Floor) -> Choice {
        let seen = scan(text.as_bytes(), true);
        self.replicas
            .choose((text.as_bytes(), &seen), false, floor, self.now)
    }

    fn bound(&mut self, text: &str) -> Choice {
        let seen = scan(text.as_bytes(), true);
        self.replicas.choose(
            (text.as_bytes(), &seen),
            true,
            &mut Floor::default(),
            self.now,
        )
    }
}

fn to_replica(choice: Choice) -> bool {
    matches!(choice, Choice::Replica(_))
}

#[test]
fn h1_only_lone_reads_and_read_only_transactions_leave_the_primary() {
    let mut case = Case::new(Rules::default());
    for text in [
        "SELECT 1",
        "TABLE t",
        "SHOW search_path",
        "BEGIN READ ONLY",
        "EXPLAIN SELECT 1",
    ] {
        assert!(to_replica(case.route(text)), "{text}");
        assert_eq!(case.bound(text), Choice::Primary(Why::Bound), "{text}");
    }
    for text in [
        "",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "UPDATE t SET a = 1",
        "SET a.b = 1",
        "COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "SELECT set_config('a.b', 'c', false)",
    ] {
        assert_eq!(case.route(text), Choice::Primary(Why::NoRead), "{text}");
    }
}

#[test]
fn h2_reads_that_lock_or_write_stay_on_the_primary() {
    let mut case = Case::new(Rules::default());
    for text in [
        "SELECT 1 FROM t FOR UPDATE",
        "SELECT 1 FROM t FOR KEY SHARE",
        "SELECT 1 INTO t",
        "WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a",
        "SELECT nextval('s')",
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_notify('a', 'b')",
        "LOCK TABLE t",
        "EXPLAIN ANALYZE DELETE FROM t",
        "COPY t FROM STDIN",
        "SELECT my_function(1)",
    ] {
        assert_eq!(case.route(text), Choice::Primary(Why::NoRead), "{text}");
    }
}

#[test]
fn h2_a_function_that_failed_on_a_replica_is_not_tried_there_again() {
    let mut case = Case::new(Rules {
        unknown_functions: true,
        ..Rules::default()
    });
    assert!(to_replica(case.route("SELECT my_function(1)")));
    case.replicas.learn(b"SELECT my_function(1)");
    assert_eq!(
        case.route("SELECT my_function(2)"),
        Choice::Primary(Why::Learned)
    );
    assert!(to_replica(case.route("SELECT another(1)")));
    assert_eq!(case.replicas.learned(), 1);
}

#[test]
fn h3_a_replica_that_falls_behind_gets_no_reads_until_it_is_near_again() {
    let mut case = Case::new(Rules::default());
    for step in 1..=30 {
        case.now += SECOND;
        case.primary(1000 + step);
        case.replica(1, 1000 + step);
    }
    // Replica 0 is where the primary was 30 s ago.
    assert_eq!(case.replicas.lag(0, case.now), Some(30 * SECOND));
    for _ in 0..4 {
        assert_eq!(case.route("SELECT 1"), Choice::Replica(1));
    }
    case.replica(0, 1025);
    let got: Vec<_> = (0..4).map(|_| case.route("SELECT 1")).collect();
    assert!(
        got.contains(&Choice::Replica(0)) && got.contains(&Choice::Replica(1)),
        "{got:?}"
    );
}

#[test]
fn h3_an_old_timestamp_does_not_matter_when_nothing_is_missing() {
    let mut case = Case::new(Rules::default());
    for _ in 0..1000 {
        case.now += SECOND;
        case.primary(1000);
        case.replica(0, 1000);
    }
    // It said that its last transaction is an hour old.
    assert!(to_replica(case.route("SELECT 1")));
    assert_eq!(case.replicas.lag(0, case.now), Some(Duration::ZERO));
}

#[test]
fn h3_without_a_history_the_servers_own_clocks_tell() {
    let mut case = Case::new(Rules::default());
    case.replica(0, 900);
    case.replica(1, 900);
    assert_eq!(case.replicas.lag(0, case.now), Some(3600 * SECOND));
    assert_eq!(case.route("SELECT 1"), Choice::Primary(Why::NoReplica));
}

#[test]
fn h3_a_replica_that_does_not_tell_gets_no_reads() {
    let mut case = Case::new(Rules::default());
    for at in 0..2 {
        let sample = Sample {
            in_recovery: true,
            lsn: None,
            age: None,
        };
        case.replicas.replica_says(at, sample, case.now);
    }
    assert_eq!(case.route("SELECT 1"), Choice::Primary(Why::NoReplica));
}

#[test]
fn h3_a_replica_that_says_nothing_gets_nothing() {
    let mut case = Case::new(Rules::default());
    case.now += Rules::default().longest_silence;
    case.replica(1, 1000);
    assert_eq!(case.replicas.lag(0, case.now), Some(Duration::ZERO));
    case.now += SECOND;
    for _ in 0..3 {
        assert_eq!(case.route("SELECT 1"), Choice::Replica(1));
    }
}

#[test]
fn h4_a_visitor_sees_what_it_wrote() {
    let mut case = Case::new(Rules::default());
    let mut floor = Floor::default();
    floor.wrote(case.now);
    assert_eq!(
        case.route_for("SELECT 1", &mut floor),
        Choice::Primary(Why::Fresh)
    );
    case.now += SECOND;
    case.primary(1500);
    assert_eq!(
        case.route_for("SELECT 1", &mut floor),
        Choice::Primary(Why::Fresh)
    );
    case.replica(1, 1500);
    assert_eq!(case.route_for("SELECT 1", &mut floor), Choice::Replica(1));
    // Everybody else may read an older state meanwhile.
    assert!((0..2).any(|_| case.route("SELECT 1") == Choice::Replica(0)));
}

#[test]
fn h4_the_position_of_the_last_request_counts_in_the_next() {
    let mut case = Case::new(Rules::default());
    let mut floor = Floor::at("0/7D0".parse().unwrap());
    assert_eq!(
        case.route_for("SELECT 1", &mut floor),
        Choice::Primary(Why::Fresh)
    );
    case.replica(0, 2000);
    assert_eq!(case.route_for("SELECT 1", &mut floor), Choice::Replica(0));
}

#[test]
fn h5_with_every_replica_banned_reads_go_to_the_primary_and_come_back() {
    let mut case = Case::new(Rules::default());
    case.replicas.replica_failed(0, case.now);
    assert_eq!(case.route("SELECT 1"), Choice::Replica(1));
    case.replicas.replica_failed(1, case.now);
    assert_eq!(case.route("SELECT 1"), Choice::Primary(Why::NoReplica));
    // It answers, but its ban is not over.
    case.replica(0, 1000);
    assert_eq!(case.route("SELECT 1"), Choice::Primary(Why::NoReplica));
    case.now += Rules::default().first_ban;
    assert_eq!(case.route("SELECT 1"), Choice::Replica(0));
}

#[test]
fn h5_a_replica_that_was_promoted_is_none_any_more() {
    let mut case = Case::new(Rules::default());
    let promoted = Sample {
        in_recovery: false,
        lsn: Some(Lsn(5000)),
        age: None,
    };
    case.replicas.replica_says(0, promoted, case.now);
    for _ in 0..3 {
        assert_eq!(case.route("SELECT 1"), Choice::Replica(1));
    }
    // The old primary is one no more: nobody knows how far behind anybody is.
    let demoted = Sample {
        in_recovery: true,
        lsn: Some(Lsn(1000)),
        age: None,
    };
    case.replicas.primary_says(demoted, case.now, case.now);
    let mut floor = Floor::default();
    floor.wrote(case.now);
    assert_eq!(
        case.route_for("SELECT 1", &mut floor),
        Choice::Primary(Why::Fresh)
    );
}

#[test]
fn reads_go_to_the_replica_with_the_fewest_and_in_turn_among_equals() {
    let mut case = Case::new(Rules::default());
    let first = case.route("SELECT 1");
    assert_ne!(first, case.route("SELECT 1"));
    case.replicas.began(0);
    for _ in 0..3 {
        assert_eq!(case.route("SELECT 1"), Choice::Replica(1));
    }
    case.replicas.ended(0);
    case.replicas.ended(0);
    case.replicas.began(1);
    assert_eq!(case.route("SELECT 1"), Choice::Replica(0));
}

#[test]
fn without_replicas_and_before_the_first_sample_everything_is_the_primarys() {
    for count in [0, 1] {
        let replicas = Replicas::new(count, Rules::default());
        assert_eq!((replicas.len(), replicas.is_empty()), (count, count == 0));
        let mut case = Case {
            replicas,
            now: Instant::now(),
        };
        assert_eq!(case.route("SELECT 1"), Choice::Primary(Why::NoReplica));
        case.replicas.replica_failed(7, case.now);
        case.replicas.began(7);
    }
}
