//! Owns which configuration is measured when. Leaves measuring to a [`Bench`], which one is chosen to `choose`, and
//! the statistics to `judge`.
//!
//! One worker with one thread is probed; users are added to what Canter would run by itself until it
//! answers no more (that is the load); a coarse round measures both ends of everything once; what is far
//! behind is dropped; what lies beside the best is added; the rest is measured in blocks, each in random
//! order, until every configuration is clearly as good as the best or clearly not, or the time is over.
//! Then load is added to the chosen one until it breaks.

use std::cmp::Reverse;

use canter_base::{Exit, Fault};
use canter_load::Random;
use canter_load::report::bytes;

use crate::choose::NEAR;
pub use crate::found::{Found, Kind, Step, Trial, Wish};
use crate::judge::Standing;
use crate::measured::{Broken, Measured, Wall};
use crate::setting::{Setting, Space};

/// Shares of the time budget after which no new measurement of a kind is begun.
const FOR_COARSE: f64 = 0.55;
const FOR_BLOCKS: f64 = 0.85;
/// More than this, and more users were worth while.
const GAIN: f64 = 1.05;
/// Fewest blocks of a round.
const FEWEST: u32 = 3;
/// Most blocks of a round.
const MOST_BLOCKS: u32 = 8;
/// Pairs below which only what is far behind is dropped: so few may look alike by chance.
const FEW: usize = 5;
/// Rounds for what is still open when there is nothing new to try.
const MORE_ROUNDS: u32 = 3;
/// Configurations that go into the blocks.
const MOST_ALIVE: usize = 6;

/// How long one measurement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// To see roughly where something lies.
    Short,
    /// To compare.
    Full,
}

/// Why there is no measurement.
#[derive(Debug)]
pub enum Trouble {
    /// Ended by hand.
    Stopped,
    /// The server did not start.
    Server(String),
    /// The server started and died while it was asked.
    Died(String),
    /// Something that ends everything.
    Fault(Fault),
}

/// What measures: a real server, or a simulated one.
pub trait Bench {
    /// Starts a server; an earlier one is stopped.
    fn start(&mut self, setting: Setting) -> Result<(), Trouble>;
    /// Asks each request once.
    fn probe(&mut self) -> Result<Measured, Trouble>;
    /// Loads the server.
    fn load(&mut self, level: f64, length: Length) -> Result<Measured, Trouble>;
    /// Stops the server.
    fn stop(&mut self);
    /// The share of the time budget that is over.
    fn spent(&self) -> f64;
    /// Hears what happens.
    fn say(&mut self, what: &str);
}

/// Searches.
pub fn find(bench: &mut dyn Bench, space: Space, wish: &Wish) -> Result<Found, Fault> {
    let mut search = Search {
        bench,
        space,
        wish,
        found: Found::default(),
        random: Random::new(wish.seed),
        block: 0,
    };
    let end = search.all();
    search.bench.stop();
    search.judge();
    match end {
        Ok(()) => {}
        Err(Trouble::Stopped) => search.found.ended = Some("ended by hand".to_owned()),
        Err(Trouble::Server(why)) => return Err(not_started(&why)),
        Err(Trouble::Died(why)) => return Err(died(&why)),
        Err(Trouble::Fault(fault)) => return Err(fault),
    }
    Ok(search.found)
}

fn died(why: &str) -> Fault {
    let what = format!("the server starts, and ends when it is asked:\n{why}");
    Fault::new(Exit::App, what).hint(
        "`canter serve` with the same words and a browser show the same; what it said last is above. Without \
         a word the kernel may have ended it for want of memory (`dmesg`)",
    )
}

/// What a server said last, in one line.
fn last_line(why: &str) -> String {
    why.lines().last().unwrap_or("no word").trim().to_owned()
}

fn not_started(why: &str) -> Fault {
    Fault::new(Exit::App, format!("the app does not start:\n{why}"))
        .hint("`canter serve` with the same words has to work first; what it said is above")
}

struct Search<'a> {
    bench: &'a mut dyn Bench,
    space: Space,
    wish: &'a Wish,
    found: Found,
    random: Random,
    block: u32,
}

impl Search<'_> {
    fn all(&mut self) -> Result<(), Trouble> {
        self.probe()?;
        self.find_level()?;
        self.coarse()?;
        self.beside_the_best()?;
        self.blocks()?;
        self.until_it_breaks()
    }

    fn probe(&mut self) -> Result<(), Trouble> {
        self.bench.say("probing one worker with one thread");
        self.bench.start(Setting::new(1, 1))?;
        let measured = self.bench.probe()?;
        let Some(limit) = self
            .wish
            .walls
            .memory
            .filter(|limit| measured.memory > *limit)
        else {
            return Ok(());
        };
        let what = format!(
            "one worker with one thread needs {} of memory, and `--memory` is {}",
            bytes(measured.memory),
            bytes(limit)
        );
        Err(Trouble::Fault(Fault::new(Exit::Verdict, what).hint(
            "give more memory, or make the app smaller: no configuration of any server fits",
        )))
    }

    /// Adds users to what Canter would run by itself.
    fn find_level(&mut self) -> Result<(), Trouble> {
        if let Some(level) = self.wish.level {
            self.found.level = level;
        } else {
            self.bench
                .say("finding the load: users are added to what Canter runs by itself");
            self.bench.start(self.space.automatic)?;
            let mut climb = Vec::new();
            // One that brings nothing may be a bad moment of the machine.
            let end = self.climb(1.0, 0.3, 2, &mut climb);
            self.found.level = level_of(&climb);
            self.found.climb = climb;
            end?;
        }
        if self.wish.kind == Kind::Users {
            self.space.users = Some(self.found.level as u32);
        }
        let load = self.wish.kind.words(self.found.level);
        self.bench.say(&format!("the load is {load}"));
        Ok(())
    }

    /// Doubles the load until something breaks or `patience` doublings in a row bring nothing.
    fn climb(
        &mut self,
        from: f64,
        until_spent: f64,
        patience: u32,
        steps: &mut Vec<Step>,
    ) -> Result<(), Trouble> {
        let (mut level, mut most, mut without_gain) = (from, 0.0_f64, 0);
        while level <= self.wish.most_level && self.bench.spent() < until_spent {
            let (measured, broken) = match self.bench.load(level, Length::Short) {
                Ok(measured) => {
                    let broken = self.wish.walls.broken(&measured);
                    (measured, broken)
                }
                // A server that dies of its load has been brought to its end; one that dies of the least
                // there is has none.
                Err(Trouble::Died(why)) if !steps.is_empty() => {
                    (Measured::default(), Some(Broken::died(&last_line(&why))))
                }
                Err(trouble) => return Err(trouble),
            };
            self.found.measurements += 1;
            let said = broken
                .as_ref()
                .map_or_else(String::new, |broken| format!(", breaks: {}", broken.how));
            let words = self.wish.kind.words(level);
            self.bench.say(&format!(
                "  {words}: {:.1} answers a second{said}",
                measured.rate
            ));
            without_gain = if measured.rate > most * GAIN {
                0
            } else {
                without_gain + 1
            };
            most = most.max(measured.rate);
            let ends = broken.is_some() || measured.generator.is_some();
            steps.push(Step {
                level,
                measured,
                broken,
            });
            if ends || without_gain >= patience {
                return Ok(());
            }
            level *= 2.0;
        }
        Ok(())
    }

    fn coarse(&mut self) -> Result<(), Trouble> {
        let settings = self.space.coarse();
        self.bench
            .say(&format!("coarse round: {} configurations", settings.len()));
        let added = self.add(settings);
        self.block(&added, Length::Short, FOR_COARSE)?;
        self.until_one_holds(added)
    }

    /// Where the time for the first round was too short for any that holds, the others are tried one by one: first
    /// as many workers as Canter runs by itself, and the most threads.
    fn until_one_holds(&mut self, mut rest: Vec<usize>) -> Result<(), Trouble> {
        let usual = self.space.automatic.workers;
        let trials = &self.found.trials;
        rest.sort_by_key(|index| {
            let setting = trials.get(*index).map(|trial| trial.setting);
            setting.map(|it| (it.workers != usual, Reverse(it.threads)))
        });
        for index in rest {
            let trials = &self.found.trials;
            if trials.iter().any(Trial::holds) {
                return Ok(());
            }
            let trial = trials.get(index);
            if trial.is_some_and(|trial| trial.runs.is_empty() && trial.broken.is_none()) {
                self.block(&[index], Length::Short, FOR_BLOCKS)?;
            }
        }
        Ok(())
    }

    fn beside_the_best(&mut self) -> Result<(), Trouble> {
        self.judge();
        let Some(best) = self.found.best() else {
            return Ok(());
        };
        let settings = self.space.neighbours(best.setting);
        self.bench
            .say(&format!("beside the best: {}", best.setting.words()));
        let added = self.add(settings);
        self.block(&added, Length::Short, FOR_COARSE)
    }

    /// Pairs, until what is alive is clear; then the same for what is smaller than the choice, and again for what is
    /// still open between the best, the choice and the smaller ones.
    fn blocks(&mut self) -> Result<(), Trouble> {
        let (mut alive, mut again) = (self.promising(), MORE_ROUNDS);
        loop {
            for count in 1..=MOST_BLOCKS {
                if self.bench.spent() > FOR_BLOCKS || alive.is_empty() {
                    return Ok(());
                }
                self.bench.say(&format!(
                    "block {} of {} configurations",
                    self.block + 1,
                    alive.len()
                ));
                self.block(&alive, Length::Full, 1.0)?;
                self.judge();
                if count >= FEWEST && self.prune(&mut alive) {
                    break;
                }
            }
            let (Some(choice), Some(best)) = (self.found.choice, self.found.best) else {
                return Ok(());
            };
            let setting = self.found.trials.get(choice).map(|trial| trial.setting);
            let smaller = setting.map(|setting| self.space.smaller(setting));
            let mut smaller = self.add(smaller.unwrap_or_default());
            if smaller.is_empty() {
                if self.found.sure || again == 0 {
                    return Ok(());
                }
                again -= 1;
                smaller = self.open_below(choice);
            }
            alive = vec![best, choice];
            alive.dedup();
            alive.extend(smaller);
        }
    }

    /// What is smaller than the choice and not clearly worse, as far as it was measured.
    fn open_below(&self, choice: usize) -> Vec<usize> {
        let trials = &self.found.trials;
        let size = trials.get(choice).map(|trial| trial.setting.size());
        let most = self.found.best().map_or(0.0, |best| best.together().rate);
        let open = |trial: &Trial| {
            let near = || trial.together().rate >= most * NEAR;
            let standing = trial
                .against_best
                .map(|it| it.standing(self.wish.tolerance));
            let open = standing.map_or_else(near, |it| it != Standing::Worse);
            trial.holds() && open && Some(trial.setting.size()) < size
        };
        let open = trials.iter().enumerate().filter(|(_, trial)| open(trial));
        open.map(|(index, _)| index).take(MOST_ALIVE).collect()
    }

    /// What is left after the rounds of single measurements.
    fn promising(&mut self) -> Vec<usize> {
        self.judge();
        let Some(most) = self.found.best().map(|best| best.together().rate) else {
            return Vec::new();
        };
        let near = |share: f64| {
            let trials = self.found.trials.iter().enumerate();
            trials
                .filter(move |(_, trial)| trial.holds() && trial.together().rate >= most * share)
                .map(|(index, _)| index)
        };
        let mut alive: Vec<usize> = near(NEAR).collect();
        let rate = |index: &usize| {
            self.found
                .trials
                .get(*index)
                .map_or(0.0, |trial| trial.together().rate)
        };
        alive.sort_by(|one, two| rate(two).total_cmp(&rate(one)));
        alive.truncate(MOST_ALIVE);
        // The smallest that may be as good is what is looked for, however noisy its one measurement was.
        let size = |index: &usize| {
            self.found
                .trials
                .get(*index)
                .map(|trial| trial.setting.size())
        };
        if let Some(smallest) = near(NEAR).min_by_key(size)
            && !alive.contains(&smallest)
        {
            alive.push(smallest);
        }
        alive
    }

    /// Drops what is clearly worse, and what is larger than the choice and clearly not better than the best: neither
    /// can become the choice. True when nothing is open any more.
    fn prune(&mut self, alive: &mut Vec<usize>) -> bool {
        let tolerance = self.wish.tolerance;
        let chosen = self.found.chosen().map(|trial| trial.setting.size());
        let (best, choice) = (self.found.best, self.found.choice);
        let trials = &self.found.trials;
        let interval = |index: &usize| {
            let trial = trials.get(*index)?;
            trial.holds().then_some(trial.against_best?)
        };
        let has_a_part = |index: &usize| {
            let Some(it) = interval(index) else {
                return false;
            };
            let larger = trials.get(*index).map(|trial| trial.setting.size()) > chosen;
            match it.standing(tolerance) {
                Standing::Worse => it.pairs < FEW && it.mean > -3.0 * tolerance,
                _ => !larger || it.high > tolerance,
            }
        };
        alive.retain(|index| Some(*index) == best || Some(*index) == choice || has_a_part(index));
        let clear = |index: &usize| {
            let standing = interval(index).map(|it| it.standing(tolerance));
            Some(*index) == best || standing == Some(Standing::AsGood)
        };
        alive.iter().all(clear)
    }

    /// New trials for those that have none, unless a smaller one has already broken what they would.
    fn add(&mut self, settings: Vec<Setting>) -> Vec<usize> {
        let mut added = Vec::new();
        for setting in settings {
            if self
                .found
                .trials
                .iter()
                .any(|trial| trial.setting == setting)
            {
                continue;
            }
            added.push(self.found.trials.len());
            self.found.trials.push(Trial {
                setting,
                runs: Vec::new(),
                broken: None,
                against_best: None,
            });
        }
        added
    }

    /// Measures each once, in random order.
    fn block(&mut self, which: &[usize], length: Length, until_spent: f64) -> Result<(), Trouble> {
        let mut order = which.to_vec();
        self.random.shuffle(&mut order);
        self.block += 1;
        for index in order {
            if self.bench.spent() > until_spent {
                return Ok(());
            }
            let Some(setting) = self.found.trials.get(index).map(|trial| trial.setting) else {
                continue;
            };
            if let Some(broken) = self.broken_by_smaller(setting) {
                if let Some(trial) = self.found.trials.get_mut(index) {
                    trial.broken = Some(broken);
                }
                continue;
            }
            let measured = match self.bench.start(setting) {
                Ok(()) => self.bench.load(self.found.level, length),
                Err(trouble) => Err(trouble),
            };
            self.found.measurements += 1;
            let words = setting.words();
            let Some(trial) = self.found.trials.get_mut(index) else {
                continue;
            };
            match measured {
                Ok(measured) => {
                    let rate = measured.rate;
                    trial.runs.push((self.block, measured));
                    trial.broken = self.wish.walls.broken(&trial.together());
                    let said = trial
                        .broken
                        .as_ref()
                        .map_or_else(String::new, |it| format!(", breaks: {}", it.how));
                    self.bench
                        .say(&format!("  {words}: {rate:.1} answers a second{said}"));
                }
                Err(Trouble::Died(how)) => {
                    let broken = Broken::died(&last_line(&how));
                    self.bench.say(&format!("  {words}: {}", broken.how));
                    trial.broken = Some(broken);
                }
                Err(Trouble::Server(how)) => {
                    let last = last_line(&how);
                    self.bench.say(&format!("  {words}: did not start: {last}"));
                    trial.broken = Some(Broken {
                        wall: Wall::Start,
                        how: last,
                    });
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Memory and connections only grow: what a smaller configuration breaks, this one breaks.
    fn broken_by_smaller(&self, setting: Setting) -> Option<Broken> {
        let smaller = |trial: &&Trial| {
            let it = trial.setting;
            it != setting
                && it.workers <= setting.workers
                && it.threads <= setting.threads
                && it.preload >= setting.preload
        };
        let breaks = |trial: &&Trial| {
            trial
                .broken
                .as_ref()
                .is_some_and(|it| it.wall.grows_with_size())
        };
        let found = self.found.trials.iter().filter(smaller).find(breaks)?;
        let broken = found.broken.as_ref()?;
        Some(Broken {
            wall: broken.wall,
            how: format!(
                "not tried: {} already has {}",
                found.setting.words(),
                broken.how
            ),
        })
    }

    fn judge(&mut self) {
        self.found.choose(self.wish);
    }

    /// Adds load to the chosen one.
    fn until_it_breaks(&mut self) -> Result<(), Trouble> {
        self.judge();
        let Some(setting) = self.found.chosen().map(|trial| trial.setting) else {
            return Ok(());
        };
        self.bench.say(&format!(
            "adding load to {} until it breaks",
            setting.words()
        ));
        self.bench.start(setting)?;
        let from = match self.wish.kind {
            Kind::Users => 1.0,
            Kind::Rate | Kind::Speed => self.found.level / 4.0,
        };
        // With a limit on latency, or arrivals that wait for nobody, more load breaks it some day;
        // otherwise it only brings longer waits.
        let breaks = self.wish.walls.p95.is_some() || self.wish.kind != Kind::Users;
        let mut steps = Vec::new();
        let end = self.climb(from, 1.15, if breaks { u32::MAX } else { 3 }, &mut steps);
        self.found.steps = steps;
        match end {
            // It has been measured under more than this: the choice stands.
            Err(Trouble::Died(_)) => Ok(()),
            other => other,
        }
    }
}

/// The level behind the first that gave about as much as any, if it broke nothing: everything is in use
/// there, and more only waits. 1 when all broke something.
fn level_of(climb: &[Step]) -> f64 {
    let sound: Vec<&Step> = climb.iter().filter(|step| step.broken.is_none()).collect();
    let rates = sound.iter().map(|step| step.measured.rate);
    let most = rates.fold(0.0, f64::max);
    let enough = sound
        .iter()
        .position(|step| step.measured.rate * GAIN >= most);
    let level = enough.and_then(|at| sound.get(at + 1).or_else(|| sound.get(at)));
    level.map_or(1.0, |step| step.level)
}

#[cfg(test)]
mod tests;
