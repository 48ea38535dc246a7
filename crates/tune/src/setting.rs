//! Owns what is varied: workers, the cap on their threads, preload; and which of it to try.
//! Leaves the order of trying to `search`. Canter has one kind of worker, so a cap of one thread is what
//! other servers call a sync worker, and a high cap stands for their evented ones.

/// One configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Processes.
    pub workers: u32,
    /// Most threads in each.
    pub threads: u32,
    /// Whether the app is imported once, before the workers are forked.
    pub preload: bool,
}

impl Setting {
    /// With preload.
    pub fn new(workers: u32, threads: u32) -> Self {
        Self {
            workers,
            threads,
            preload: true,
        }
    }

    /// What orders configurations: processes cost the most memory, an import of one's own comes next,
    /// and a cap on threads costs only what is used of it.
    pub fn size(self) -> (u32, bool, u32) {
        (self.workers, !self.preload, self.threads)
    }

    /// `2 workers, up to 16 threads each`.
    pub fn words(self) -> String {
        format!(
            "{} worker{}, up to {} thread{} each{}",
            self.workers,
            if self.workers == 1 { "" } else { "s" },
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            if self.preload {
                ""
            } else {
                ", without preload"
            },
        )
    }

    /// As words of the command line.
    pub fn flags(self) -> Vec<String> {
        let preload = if self.preload { "auto" } else { "off" };
        vec![
            format!("--workers={}", self.workers),
            format!("--threads={}", self.threads),
            format!("--preload={preload}"),
        ]
    }
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug)]
pub struct Space {
    /// Cores that may be used.
    pub cores: u32,
    /// Most workers tried.
    pub most_workers: u32,
    /// Most threads tried.
    pub most_threads: u32,
    /// What `canter serve` would take by itself.
    pub automatic: Setting,
    /// How many requests can be under way at once, where that is known: more threads have nothing to do.
    pub users: Option<u32>,
}

impl Space {
    /// The first round: few workers and many, one thread and many.
    pub fn coarse(&self) -> Vec<Setting> {
        let mut workers = vec![1, self.cores, self.cores * 2];
        if self.cores >= 4 {
            workers.push(self.cores / 2);
        }
        let mut found = Vec::new();
        for workers in workers {
            for threads in [1, 4, 16, 64] {
                self.add(&mut found, Setting::new(workers, threads));
            }
        }
        self.add(&mut found, self.automatic);
        found.sort_by_key(|setting| setting.size());
        found
    }

    /// What lies beside one: a worker more or less, half or twice the threads, without preload.
    pub fn neighbours(&self, of: Setting) -> Vec<Setting> {
        let mut found = self.smaller(of);
        self.add(
            &mut found,
            Setting {
                workers: of.workers + 1,
                ..of
            },
        );
        self.add(
            &mut found,
            Setting {
                threads: of.threads.saturating_mul(2),
                ..of
            },
        );
        self.add(
            &mut found,
            Setting {
                preload: !of.preload,
                ..of
            },
        );
        found.retain(|setting| *setting != of);
        found
    }

    /// The next smaller ones: a worker less, with as many threads each or as many in all; fewer threads.
    pub fn smaller(&self, of: Setting) -> Vec<Setting> {
        let mut found = Vec::new();
        if of.workers > 1 {
            self.add(
                &mut found,
                Setting {
                    workers: of.workers - 1,
                    ..of
                },
            );
            self.add(
                &mut found,
                Setting {
                    workers: of.workers - 1,
                    threads: of
                        .threads
                        .saturating_mul(of.workers)
                        .div_ceil(of.workers - 1),
                    ..of
                },
            );
        }
        if of.threads > 1 {
            self.add(
                &mut found,
                Setting {
                    threads: of.threads / 2,
                    ..of
                },
            );
        }
        if of.threads > 8 {
            self.add(
                &mut found,
                Setting {
                    threads: of.threads * 3 / 4,
                    ..of
                },
            );
        }
        found.retain(|setting| *setting != of);
        found
    }

    fn add(&self, found: &mut Vec<Setting>, setting: Setting) {
        let idle = self.users.map_or(u32::MAX, |users| users.max(1));
        let setting = Setting {
            workers: setting.workers.clamp(1, self.most_workers.max(1)),
            threads: setting.threads.clamp(1, self.most_threads.min(idle).max(1)),
            ..setting
        };
        if !found.contains(&setting) {
            found.push(setting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(cores: u32, users: Option<u32>) -> Space {
        Space {
            cores,
            most_workers: 16,
            most_threads: 1000,
            automatic: Setting::new(cores, 1000),
            users,
        }
    }

    #[test]
    fn the_first_round_is_small_and_has_both_ends() {
        let all = space(2, Some(32)).coarse();
        assert!(all.len() <= 12, "{all:?}");
        assert!(all.contains(&Setting::new(1, 1)) && all.contains(&Setting::new(4, 32)));
        assert!(all.iter().all(|setting| setting.threads <= 32), "{all:?}");
    }

    #[test]
    fn what_lies_beside_one_is_in_bounds_and_not_itself() {
        let space = space(1, Some(1));
        let one = Setting::new(1, 1);
        assert_eq!(
            space.neighbours(one),
            [
                Setting::new(2, 1),
                Setting {
                    preload: false,
                    ..one
                }
            ]
        );
        assert!(space.smaller(one).is_empty());
    }

    #[test]
    fn size_orders_by_what_costs_memory() {
        let mut all = [
            Setting::new(2, 1),
            Setting {
                preload: false,
                ..Setting::new(1, 1)
            },
            Setting::new(1, 64),
        ];
        all.sort_by_key(|setting| setting.size());
        assert_eq!(all[0], Setting::new(1, 64));
        assert_eq!(all[2], Setting::new(2, 1));
    }
}
