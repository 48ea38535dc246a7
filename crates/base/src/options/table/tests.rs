//! Tests of the options table: every row is well formed and explained.

use std::collections::BTreeSet;

use super::*;
use crate::options::value::Shape;

#[test]
fn names_letters_and_aliases_are_distinct_and_well_formed() {
    let (mut names, mut letters) = (BTreeSet::new(), BTreeSet::new());
    for row in ROWS {
        let mut own = BTreeSet::from([row.name()]);
        own.extend(row.gunicorn.iter().map(|known| known.replace('_', "-")));
        own.extend(row.shorthand.iter().map(|(flag, _)| (*flag).to_owned()));
        if row.shape == Shape::Switch {
            own.insert(format!("no-{}", row.name()));
        }
        for name in own {
            assert!(
                name.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name}"
            );
            assert!(names.insert(name.clone()), "`{name}` is taken twice");
        }
        if let Some(letter) = row.short {
            assert!(letters.insert(letter), "`-{letter}` is taken twice");
            assert!(
                !"hVR".contains(letter),
                "`-{letter}` means something else everywhere"
            );
        }
    }
}

#[test]
fn every_default_and_example_is_a_value_of_its_type() {
    for row in ROWS {
        (row.check)(&[row.example.to_owned()]).unwrap_or_else(|_| panic!("{}", row.field));
        (row.check)(&row.default_texts()).unwrap_or_else(|_| panic!("{}", row.field));
        for (_, value) in row.shorthand {
            (row.check)(&[(*value).to_owned()]).unwrap_or_else(|_| panic!("{}", row.field));
        }
        assert_ne!(
            row.example, row.default,
            "{}: the example shows nothing",
            row.field
        );
    }
}

#[test]
fn every_option_has_a_default_or_says_what_happens_without() {
    for row in ROWS {
        assert!(
            row.default.is_empty() != row.unset.is_empty(),
            "{}",
            row.field
        );
    }
}

#[test]
fn every_option_has_a_one_line_help_and_a_manual_in_sentences() {
    for row in ROWS {
        let summary = row.summary();
        assert!(
            !summary.is_empty() && summary.len() <= 80,
            "{}: {summary}",
            row.field
        );
        assert!(!summary.ends_with('.'), "{}: {summary}", row.field);
        assert!(!row.manual().is_empty(), "{} has no manual", row.field);
        for paragraph in row.manual() {
            assert!(paragraph.ends_with('.'), "{}: {paragraph}", row.field);
        }
    }
}

#[test]
fn a_config_of_defaults_holds_what_the_table_says() {
    let config = crate::options::resolve::tests_support::defaults();
    assert_eq!(config.timeout, Duration::from_secs(30));
    assert_eq!(config.max_body, Size(100_000_000));
    assert_eq!(
        (config.workers, config.threads, config.threads_min),
        (None, None, 1)
    );
    assert!(config.forwarded_allow_ips.is_empty());
}
