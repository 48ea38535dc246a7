//! Owns the rules by which the statements of one request are a finding. Nothing is counted across
//! requests: what several requests do once each is nobody's fault.
//! Leaves what becomes of findings to `findings`.

use crate::observation::{Group, Observation, Repeat};
use crate::phases::Phase;
use crate::statement::Traits;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// One statement for each row of another.
    NPlusOne,
    /// The same question again, with nothing written since.
    Redundant,
    /// A statement that takes long.
    Slow,
    /// A transaction stays open while no statement runs.
    Holding,
    /// A request asks for much more than any did before the app was loaded anew.
    More,
    /// One write for each of many rows that could be written at once.
    WriteLoop,
}

impl Rule {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NPlusOne => "n_plus_one",
            Self::Redundant => "redundant",
            Self::Slow => "slow",
            Self::Holding => "holding",
            Self::More => "more_queries",
            Self::WriteLoop => "write_loop",
        }
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NPlusOne => "one query for each row",
            Self::Redundant => "the same query again",
            Self::Slow => "a slow query",
            Self::Holding => "a transaction held open without querying",
            Self::More => "more queries than before the reload",
            Self::WriteLoop => "one write for each row",
        }
    }

    /// What helps whatever the app is made with; None where that is not known without looking.
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Self::NPlusOne => Some(
                "ask once for all rows: join the table, or give the keys as one list (column = ANY(...), column IN (...))",
            ),
            Self::Redundant => Some("keep the first answer for the rest of the request"),
            Self::Slow | Self::Holding | Self::More | Self::WriteLoop => None,
        }
    }

    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NPlusOne,
        Self::Redundant,
        Self::Slow,
        Self::Holding,
        Self::More,
        Self::WriteLoop,
    ];
}

/// From how many on a repeat is a finding.
pub const MANY: u32 = 5;
/// From how many rows on, written one by one, that is a finding: who saves the lines of an order or the forms of a
/// page has fewer.
pub const MANY_WRITES: u32 = 20;
/// From how many on it is a bad one.
pub const CRITICAL: u32 = 10;
/// Or from how much time on.
pub const CRITICAL_US: u64 = 50_000;
/// A single statement this long is slow.
pub const SLOW_US: u64 = 500_000;
/// A transaction held this long without a statement.
pub const HELD_US: u64 = 50_000;

/// What a rule says of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which rule.
    pub rule: Rule,
    /// Whether it is a bad one.
    pub critical: bool,
    /// What could be saved, in microseconds.
    pub lost_us: u64,
}

/// What is to be said of a group. Where it follows a relation from row to row, several rows may have it with one:
/// their values repeat.
pub fn judge(group: &Group, traits: Traits, repeat: Repeat) -> Option<Verdict> {
    let verdict = |rule, lost_us| {
        Some(Verdict {
            rule,
            critical: group.count >= CRITICAL || group.price_us >= CRITICAL_US,
            lost_us,
        })
    };
    // Writing in a loop, locking rows in batches and going through a result in pieces are what a
    // program does that knows what it does. Where a key stands beside the piece, `distinct` counts
    // the keys: another key each time is another row's question.
    let is_read = traits.reads && !traits.writes && !traits.locks;
    let may_repeat = !is_read || (traits.pages || traits.batches) && !traits.keyed;
    let count = u64::from(group.count.max(1));
    if repeat == Repeat::Write && traits.writes && group.distinct >= MANY_WRITES {
        let lost_us = group.price_us - group.price_us / count;
        return Some(Verdict {
            rule: Rule::WriteLoop,
            // The rows are to be written in any case.
            critical: false,
            lost_us,
        });
    }
    let rows = if repeat == Repeat::Relation {
        group.distinct.saturating_add(group.repeats)
    } else {
        group.distinct
    };
    if !may_repeat && group.count >= MANY && rows >= MANY {
        return verdict(Rule::NPlusOne, group.price_us - group.price_us / count);
    }
    if is_read && !traits.volatile && group.repeats >= 1 {
        let lost = group.price_us / count * u64::from(group.repeats);
        return verdict(Rule::Redundant, lost);
    }
    if group.max_us >= SLOW_US {
        return verdict(Rule::Slow, group.total_us);
    }
    None
}

/// What is to be said of the request as a whole.
pub fn judge_request(observation: &Observation<'_>) -> Option<Verdict> {
    (observation.held_us >= HELD_US).then_some(Verdict {
        rule: Rule::Holding,
        critical: observation.held_us >= 10 * HELD_US,
        lost_us: observation.held_us,
    })
}

/// What is to be said of a request that asked for more than any did before a release.
pub fn judge_growth(observation: &Observation<'_>, before: u32) -> Verdict {
    let (now, before) = (u64::from(observation.queries), u64::from(before));
    let sql_us = observation.phases.get(Phase::Sql);
    Verdict {
        rule: Rule::More,
        critical: now >= before + u64::from(CRITICAL),
        lost_us: sql_us.saturating_mul(now - before.min(now)) / now.max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Traits = Traits {
        reads: true,
        writes: false,
        locks: false,
        pages: false,
        batches: false,
        keyed: false,
        volatile: false,
    };

    fn group(count: u32, distinct: u32, repeats: u32) -> Group {
        Group {
            count,
            distinct,
            repeats,
            total_us: 100 * u64::from(count),
            max_us: 100,
            price_us: 200 * u64::from(count),
            ..Group::default()
        }
    }

    fn rule(group: Group, traits: Traits) -> Option<Rule> {
        judge(&group, traits, Repeat::Unknown).map(|verdict| verdict.rule)
    }

    #[test]
    fn c3_five_questions_with_five_values_at_one_place_are_one_for_each_row() {
        assert_eq!(rule(group(5, 5, 0), READ), Some(Rule::NPlusOne));
        assert_eq!(rule(group(4, 4, 0), READ), None);
        assert_eq!(rule(group(9, 4, 0), READ), None);
        // The rows share some of what they refer to.
        let verdict = judge(&group(20, 8, 12), READ, Repeat::Unknown).unwrap();
        assert_eq!((verdict.rule, verdict.critical), (Rule::NPlusOne, true));
        assert_eq!(verdict.lost_us, 3800);
        assert!(
            !judge(&group(9, 9, 0), READ, Repeat::Unknown)
                .unwrap()
                .critical
        );
    }

    #[test]
    fn c3_a_relation_that_rows_share_is_followed_for_each_of_them_all_the_same() {
        let of = |group, repeat| judge(&group, READ, repeat).map(|it| it.rule);
        let (unknown, relation) = (Repeat::Unknown, Repeat::Relation);
        assert_eq!(of(group(100, 3, 97), unknown), Some(Rule::Redundant));
        assert_eq!(of(group(100, 3, 97), relation), Some(Rule::NPlusOne));
        assert_eq!(of(group(4, 2, 2), relation), Some(Rule::Redundant));
        // Nothing was told of its values, or it was asked again after something was written.
        assert_eq!(of(group(100, 0, 0), relation), None);
        assert_eq!(of(group(100, 1, 0), relation), None);
    }

    #[test]
    fn c2_what_legitimately_repeats_is_no_finding() {
        let traits = [
            Traits {
                pages: true,
                ..READ
            },
            Traits {
                batches: true,
                ..READ
            },
            Traits {
                locks: true,
                ..READ
            },
            Traits {
                reads: false,
                writes: true,
                ..READ
            },
            Traits {
                reads: false,
                ..READ
            },
        ];
        for traits in traits {
            assert_eq!(rule(group(50, 50, 0), traits), None, "{traits:?}");
        }
        // Batches of rows that are locked, and savepoints, ask the same words again.
        assert_eq!(
            rule(
                group(50, 1, 49),
                Traits {
                    locks: true,
                    ..READ
                }
            ),
            None
        );
        assert_eq!(
            rule(
                group(50, 1, 49),
                Traits {
                    reads: false,
                    ..READ
                }
            ),
            None
        );
    }

    #[test]
    fn c2_many_rows_that_are_written_one_by_one_are_told_mildly_and_only_where_the_orm_says_so() {
        let writes = Traits {
            reads: false,
            writes: true,
            ..READ
        };
        let of = |distinct, repeat| judge(&group(400, distinct, 0), writes, repeat);
        let verdict = of(MANY_WRITES, Repeat::Write).unwrap();
        assert_eq!(
            (verdict.rule, verdict.critical, verdict.lost_us),
            (Rule::WriteLoop, false, 400 * 200 - 200)
        );
        assert_eq!(of(MANY_WRITES - 1, Repeat::Write), None);
        assert_eq!(of(64, Repeat::Unknown), None);
        // What is asked is no write, whoever says so.
        let read = judge(&group(20, 20, 0), READ, Repeat::Write).unwrap();
        assert_eq!(read.rule, Rule::NPlusOne);
    }

    #[test]
    fn c3_a_list_or_an_order_beside_a_key_hides_no_loop() {
        for traits in [
            Traits {
                batches: true,
                keyed: true,
                ..READ
            },
            Traits {
                pages: true,
                keyed: true,
                ..READ
            },
        ] {
            assert_eq!(rule(group(20, 20, 0), traits), Some(Rule::NPlusOne));
            // Chunks of what belongs to one key.
            assert_eq!(rule(group(20, 1, 0), traits), None);
        }
    }

    #[test]
    fn c2_what_answers_differently_each_time_is_asked_again_for_good_reason() {
        let traits = Traits {
            volatile: true,
            ..READ
        };
        assert_eq!(rule(group(3, 1, 2), traits), None);
        assert_eq!(rule(group(5, 5, 0), traits), Some(Rule::NPlusOne));
    }

    #[test]
    fn c3_the_same_question_twice_is_redundant_and_a_long_one_slow() {
        let verdict = judge(&group(2, 1, 1), READ, Repeat::Unknown).unwrap();
        assert_eq!((verdict.rule, verdict.lost_us), (Rule::Redundant, 200));
        let long = Group {
            max_us: SLOW_US,
            ..group(1, 1, 0)
        };
        assert_eq!(rule(long, READ), Some(Rule::Slow));
        let held = Observation {
            held_us: HELD_US,
            ..Observation::default()
        };
        assert_eq!(judge_request(&held).unwrap().rule, Rule::Holding);
        assert_eq!(judge_request(&Observation::default()), None);
    }
}
