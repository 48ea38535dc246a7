//! Owns where this process's threads go: each follows when it comes to the ring; and that what they started meanwhile is
//! free again.
//! Leaves when they are held to `policy`.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use canter_sys::affinity::Cpus;

/// What every thread of the process follows; see [`Home`].
static HOME: AtomicU32 = AtomicU32::new(0);

/// What the process may run on, as of the last time that threads came together.
static ALL: Mutex<Option<All>> = Mutex::new(None);

thread_local! {
    /// What this thread has followed last.
    static FOLLOWED: Cell<Home> = const { Cell::new(Home(0)) };
}

/// Where threads shall run: a count of changes in the upper half; in the lower one more than the number of the CPU
/// that they are held on, or were, and [`APART`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home(u32);

/// They were held there, and are no more.
const APART: u32 = 1 << 15;

impl Home {
    pub(super) fn now() -> Self {
        Self(HOME.load(Ordering::Relaxed))
    }

    /// The CPU that threads are held on.
    pub(super) fn cpu(self) -> Option<usize> {
        (self.0 & APART == 0).then(|| self.last()).flatten()
    }

    /// That, or the one that they were held on last.
    fn last(self) -> Option<usize> {
        let number = self.0 & 0xFFFF & !APART;
        (number as usize).checked_sub(1)
    }

    pub(super) fn on(self, cpu: usize) -> Self {
        self.changed(cpu as u32 + 1)
    }

    pub(super) fn apart(self) -> Self {
        self.changed(self.0 & 0xFFFF | APART)
    }

    /// All threads follow this from now on.
    pub(super) fn set(self) {
        HOME.store(self.0, Ordering::Relaxed);
    }

    fn changed(self, lower: u32) -> Self {
        Self((self.0 >> 16).wrapping_add(1) << 16 | lower & 0xFFFF)
    }

    fn is_last(self, cpus: &Cpus) -> bool {
        self.last().is_some_and(|cpu| *cpus == Cpus::only(cpu))
    }
}

/// What the process may run on.
#[derive(Clone)]
pub(super) struct All {
    /// As the system tells it.
    pub cpus: Cpus,
    /// As a thread has to ask for it: where nobody has restricted the process but its control group, for every
    /// CPU there can be, so that it follows when the group gets more.
    wide: Cpus,
}

impl All {
    /// Of the calling thread, if there are several. None where the system does not tell.
    pub(super) fn of_this_thread() -> Option<Self> {
        let cpus = Cpus::allowed().filter(|cpus| cpus.count() > 1)?;
        let every = Cpus::every();
        let is_free = every.hold_this_thread() && Cpus::allowed().as_ref() == Some(&cpus);
        if !is_free {
            cpus.hold_this_thread();
        }
        let wide = if is_free { every } else { cpus.clone() };
        Some(Self { cpus, wide })
    }

    /// Of this process's threads and of all that descends from it, lets those that are on this CPU alone run
    /// everywhere.
    pub(super) fn free(&self, cpu: usize) {
        let only = Cpus::only(cpu);
        // One that is freed may have started another before.
        for _ in 0..3 {
            if !only.widen(&self.wide) {
                break;
            }
        }
        self.free_children(cpu);
    }

    pub(super) fn free_children(&self, cpu: usize) {
        Cpus::only(cpu).widen_children(&self.wide);
    }
}

pub(super) fn all() -> Option<All> {
    // Held for the copy.
    ALL.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(super) fn set_all(all: Option<All>) {
    *ALL.lock().unwrap_or_else(PoisonError::into_inner) = all;
}

/// The calling thread comes to the ring: it goes where all go.
pub(crate) fn follow() {
    let home = Home::now();
    if FOLLOWED.get() != home {
        go(home);
    }
}

#[cold]
fn go(mut home: Home) {
    let before = FOLLOWED.replace(home);
    let (Some(all), Some(now)) = (all(), Cpus::allowed()) else {
        return;
    };
    // One that was started by another begins where that was.
    if now != all.cpus && !before.is_last(&now) && !home.is_last(&now) {
        // The app has put this thread somewhere.
        return;
    }
    loop {
        match home.cpu() {
            None => all.wide.hold_this_thread(),
            Some(cpu) => Cpus::only(cpu).hold_this_thread(),
        };
        // The main thread may have let the others go meanwhile.
        let later = Home::now();
        if later == home {
            return;
        }
        home = later;
        FOLLOWED.set(home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_says_where_threads_are_held_and_where_they_were() {
        let home = Home(0);
        assert_eq!((home.cpu(), home.last()), (None, None));
        let held = home.on(0);
        assert_eq!((held.cpu(), held.last()), (Some(0), Some(0)));
        let apart = held.apart();
        assert_eq!((apart.cpu(), apart.last()), (None, Some(0)));
        let again = apart.on(1023);
        assert_eq!(
            (again.cpu(), again.apart().last()),
            (Some(1023), Some(1023))
        );
        // Each is another than the one before, also when it is the same CPU.
        let mut home = Home(u32::MAX << 16);
        for _ in 0..3 {
            let next = home.on(3);
            assert!(next != home && next.apart() != next);
            home = next.apart();
        }
    }

    #[test]
    fn a_thread_follows_unless_the_app_has_put_it_somewhere() {
        let Some(all) = All::of_this_thread() else {
            // One CPU.
            return;
        };
        let (one, other) = (all.cpus.at(0).unwrap(), all.cpus.at(1).unwrap());
        set_all(Some(all.clone()));
        let follows = |first: Option<usize>| {
            let start = move || {
                if let Some(cpu) = first {
                    Cpus::only(cpu).hold_this_thread();
                }
                follow();
                Cpus::allowed().unwrap()
            };
            std::thread::spawn(start).join().unwrap()
        };
        Home::now().on(one).set();
        assert_eq!(follows(None), Cpus::only(one));
        assert_eq!(follows(Some(other)), Cpus::only(other));
        // As one that a held thread has started.
        let both = std::thread::spawn(move || {
            Cpus::only(one).hold_this_thread();
            follow();
            Home::now().apart().set();
            follow();
            Cpus::allowed().unwrap()
        });
        assert_eq!(both.join().unwrap(), all.cpus);
        assert_eq!(follows(Some(one)), all.cpus);
        assert_eq!(follows(Some(other)), Cpus::only(other));
    }
}
