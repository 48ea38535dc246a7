//! What a server is asked about itself, how its answer reads, and which of its errors the primary
//! would not have made.

use std::time::Duration;

use super::Lsn;

/// What one server said of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Whether it is a replica.
    pub in_recovery: bool,
    /// How far it has replayed the log; on a primary, where it writes next. `None`: it would not
    /// tell (Aurora).
    pub lsn: Option<Lsn>,
    /// How long ago the last transaction it has replayed was committed, by the clocks of servers.
    pub age: Option<Duration>,
}

/// Which question was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Everything.
    All,
    /// Only its role: for servers that refuse the rest.
    Role,
}

impl Asked {
    /// The question.
    pub fn query(self) -> &'static str {
        match self {
            Self::All => {
                "SELECT pg_catalog.pg_is_in_recovery(), \
                 CASE WHEN pg_catalog.pg_is_in_recovery() \
                 THEN pg_catalog.pg_last_wal_replay_lsn() \
                 ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
                 extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) \
                 pg_catalog.pg_last_xact_replay_timestamp())"
            }
            Self::Role => "SELECT pg_catalog.pg_is_in_recovery()",
        }
    }
}

impl Sample {
    /// Reads the row of an answer.
    pub fn of_row(row: &[Option<String>]) -> Option<Self> {
        let text = |at: usize| row.get(at).and_then(Option::as_deref);
        let in_recovery = match text(0)? {
            "t" => true,
            "f" => false,
            _ => return None,
        };
        let age = text(2).and_then(|text| text.parse::<f64>().ok());
        Some(Self {
            in_recovery,
            lsn: text(1).and_then(|text| text.parse().ok()),
            // Clocks differ: what is from the future is from now.
            age: age.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
        })
    }
}

/// Whether a replica's error may not happen on the primary: it cannot write (25006), its recovery
/// stands in the way of the query (40001, 40P01), or it goes away (57P01 to 57P03, 08xxx).
pub fn is_healed_by_primary(code: &[u8]) -> bool {
    matches!(
        code,
        b"25006" | b"40001" | b"40P01" | b"57P01" | b"57P02" | b"57P03" | [b'0', b'8', ..]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&str>]) -> Option<Sample> {
        let cells: Vec<_> = cells.iter().map(|cell| cell.map(str::to_owned)).collect();
        Sample::of_row(&cells)
    }

    #[test]
    fn h3_an_answer_reads_as_a_sample() {
        let replica = row(&[Some("t"), Some("0/5"), Some("1.5")]).unwrap();
        assert!(replica.in_recovery);
        assert_eq!(replica.lsn, Some(Lsn(5)));
        assert_eq!(replica.age, Some(Duration::from_millis(1500)));
        let primary = row(&[Some("f"), Some("1/0"), None]).unwrap();
        assert_eq!((primary.in_recovery, primary.age), (false, None));
    }

    #[test]
    fn h3_aurora_tells_its_role_only() {
        for cells in [
            &[Some("t")][..],
            &[Some("t"), None, None],
            &[Some("t"), Some(""), Some("x")],
        ] {
            let sample = row(cells).unwrap();
            assert_eq!(
                sample,
                Sample {
                    in_recovery: true,
                    lsn: None,
                    age: None
                }
            );
        }
    }

    #[test]
    fn h3_nonsense_is_no_sample_and_no_panic() {
        for cells in [&[][..], &[None], &[Some("")], &[Some("true")]] {
            assert_eq!(row(cells), None);
        }
        for age in ["-5", "NaN", "inf", "1e300", "-inf"] {
            let sample = row(&[Some("t"), None, Some(age)]).unwrap();
            assert!(sample.age.is_none_or(|age| age.is_zero()), "{age}");
        }
    }

    #[test]
    fn h6_errors_of_a_replica_that_the_primary_would_not_make() {
        for code in ["25006", "40001", "57P01", "57P03", "08006"] {
            assert!(is_healed_by_primary(code.as_bytes()), "{code}");
        }
        for code in [
            "", "08", "42P01", "57014", "22012", "XX000", "25001", "0A000",
        ] {
            assert_eq!(
                is_healed_by_primary(code.as_bytes()),
                code == "08",
                "{code}"
            );
        }
    }
}
