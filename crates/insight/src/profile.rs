//! Owns a profile: time by stack, merged from all workers, as collapsed stacks and for speedscope.
//! Leaves drawing it to `flame`, and sampling to the workers. A profile is bounded.

pub mod flame;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::show::json::Json;

/// Different stacks that are kept.
const MOST_STACKS: usize = 50_000;
/// Frames of a stack; a deeper one is no stack of a worker.
const MOST_DEPTH: usize = 500;
/// Bytes of their names.
const MOST_BYTES: usize = 16 << 20;

/// Microseconds by stack: `route;outer;…;inner`.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    stacks: BTreeMap<String, u64>,
    bytes: usize,
    /// Microseconds of what did not fit.
    left_out_us: u64,
}

impl Profile {
    /// Adds what a worker told: lines of a stack, a blank and microseconds. What is no such line is
    /// passed over. With `route`, only stacks below it count.
    pub fn add(&mut self, text: &str, route: Option<&str>) {
        let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
        for (stack, us) in lines {
            let Ok(us) = us.parse::<u64>() else { continue };
            let first = stack.split(';').next().unwrap_or_default();
            if stack.is_empty()
                || us == 0
                || stack.matches(';').count() >= MOST_DEPTH
                || route.is_some_and(|route| route != first)
            {
                continue;
            }
            let stack: String = stack.chars().filter(|c| !c.is_control()).collect();
            if let Some(sum) = self.stacks.get_mut(&stack) {
                *sum = sum.saturating_add(us);
            } else if self.stacks.len() < MOST_STACKS && self.bytes + stack.len() <= MOST_BYTES {
                self.bytes += stack.len();
                self.stacks.insert(stack, us);
            } else {
                self.left_out_us = self.left_out_us.saturating_add(us);
            }
        }
    }

    /// The stacks by name.
    pub fn stacks(&self) -> impl Iterator<Item = (&str, u64)> {
        self.stacks.iter().map(|(stack, us)| (stack.as_str(), *us))
    }

    /// All microseconds that are kept.
    pub fn total_us(&self) -> u64 {
        self.stacks
            .values()
            .fold(0, |sum, us| sum.saturating_add(*us))
    }

    /// One line for each stack, as other tools read it.
    pub fn collapsed(&self) -> String {
        let mut out = String::with_capacity(self.bytes + 12 * self.stacks.len());
        for (stack, us) in &self.stacks {
            let _ = writeln!(out, "{stack} {us}");
        }
        if self.left_out_us > 0 {
            let _ = writeln!(out, "(stacks beyond the bound) {}", self.left_out_us);
        }
        out
    }

    /// For <https://www.speedscope.app/file-format-schema.json>.
    pub fn speedscope(&self, name: &str) -> String {
        let mut frames: BTreeMap<&str, usize> = BTreeMap::new();
        let mut names = Vec::new();
        let mut samples = Vec::with_capacity(self.stacks.len());
        for stack in self.stacks.keys() {
            let ids = stack.split(';').map(|frame| {
                *frames.entry(frame).or_insert_with(|| {
                    names.push(frame);
                    names.len() - 1
                })
            });
            samples.push(ids.collect::<Vec<_>>());
        }
        let mut json = Json::default();
        json.object(|json| {
            json.text(
                "$schema",
                "https://www.speedscope.app/file-format-schema.json",
            );
            json.text("exporter", "canter").text("name", name);
            json.key("shared", |json| {
                json.object(|json| {
                    json.list("frames", |json| {
                        for name in &names {
                            json.object(|json| {
                                json.text("name", name);
                            });
                        }
                    });
                });
            });
            json.list("profiles", |json| {
                json.object(|json| {
                    json.text("type", "sampled").text("name", name);
                    json.text("unit", "microseconds");
                    json.number("startValue", 0)
                        .number("endValue", self.total_us());
                    json.list("samples", |json| {
                        for sample in &samples {
                            json.elements(|json| {
                                for frame in sample {
                                    json.element(frame);
                                }
                            });
                        }
                    });
                    json.list("weights", |json| {
                        for us in self.stacks.values() {
                            json.element(us);
                        }
                    });
                });
            });
        });
        json.into_text()
    }

    /// The functions that the time was spent in itself, the dearest first.
    pub fn dearest(&self, most: usize) -> Vec<(&str, u64)> {
        let mut own: BTreeMap<&str, u64> = BTreeMap::new();
        for (stack, us) in &self.stacks {
            let inner = stack.rsplit(';').next().unwrap_or_default();
            *own.entry(inner).or_default() += us;
        }
        let mut own: Vec<_> = own.into_iter().collect();
        own.sort_by_key(|(name, us)| (std::cmp::Reverse(*us), *name));
        own.truncate(most);
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d9_stacks_of_several_workers_are_added_up_and_nonsense_is_passed_over() {
        let mut profile = Profile::default();
        profile.add(
            "/a/;view (v.py:4) 100\n/b/;other 7\nnonsense\n 5\n/a/;x -4\n",
            None,
        );
        profile.add("/a/;view (v.py:4) 20\n", None);
        assert_eq!(profile.collapsed(), "/a/;view (v.py:4) 120\n/b/;other 7\n");
        assert_eq!(profile.dearest(1), [("view (v.py:4)", 120)]);
        let mut one = Profile::default();
        one.add(&profile.collapsed(), Some("/b/"));
        assert_eq!(one.collapsed(), "/b/;other 7\n");
    }

    #[test]
    fn d9_a_profile_is_bounded_and_says_what_it_left_out() {
        let mut profile = Profile::default();
        for number in 0..MOST_STACKS + 10 {
            profile.add(&format!("/;f{number} 2\n"), None);
        }
        assert_eq!(profile.stacks().count(), MOST_STACKS);
        assert!(
            profile
                .collapsed()
                .ends_with("(stacks beyond the bound) 20\n")
        );
        let mut wide = Profile::default();
        let long = "x".repeat(1 << 20);
        for number in 0..20 {
            wide.add(&format!("{number}{long} 1\n"), None);
        }
        assert_eq!(wide.stacks().count(), 15);
    }

    #[test]
    fn d9_speedscope_gets_frames_samples_and_weights_of_one_length() {
        let mut profile = Profile::default();
        profile.add("/;a;b 3\n/;a;\"c\" 4\n", None);
        let text = profile.speedscope("x");
        assert!(text.contains(r#""samples":[[0,1,2],[0,1,3]]"#), "{text}");
        assert!(text.contains(r#""weights":[4,3]"#), "{text}");
        assert!(text.contains(r#"{"name":"\"c\""}"#), "{text}");
    }
}
