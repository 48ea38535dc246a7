//! Owns where this process's threads go: each follows when it comes to the ring, and is free when it starts another
//! process.
//! Leaves when they are held to `policy`.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use canter_sys::affinity::Cpus;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::failure;

/// What every thread of the process follows; see [`Home`].
static HOME: AtomicU32 = AtomicU32::new(0);

/// What the process may run on, as of the last time that threads came together.
static ALL: Mutex<Option<Cpus>> = Mutex::new(None);

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

/// Followed by nobody: the thread asks anew.
const UNKNOWN: Home = Home(u32::MAX);

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

pub(super) fn all() -> Option<Cpus> {
    // Held for the copy.
    ALL.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

pub(super) fn set_all(all: Option<Cpus>) {
    *ALL.lock().unwrap_or_else(PoisonError::into_inner) = all;
}

/// The calling thread comes to the ring: it goes where all go.
pub(crate) fn follow(py: Python<'_>) {
    let home = Home::now();
    if FOLLOWED.get() != home {
        go(py, home);
    }
}

#[cold]
fn go(py: Python<'_>, mut home: Home) {
    let before = FOLLOWED.replace(home);
    let (Some(all), Some(now)) = (all(), Cpus::allowed()) else {
        return;
    };
    // One that was started by another begins where that was.
    if now != all && !before.is_last(&now) && !home.is_last(&now) {
        // The app has put this thread somewhere.
        return;
    }
    loop {
        match home.cpu().filter(|_| are_children_free(py)) {
            None => all.hold_this_thread(),
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

/// Whether the interpreter tells of programs that the app starts, which inherit where their parent may run.
fn are_children_free(py: Python<'_>) -> bool {
    static TOLD: PyOnceLock<bool> = PyOnceLock::new();
    // Added twice, where two threads ask at the same time, it does the same.
    *TOLD.get_or_init(py, || {
        let added = pyo3::wrap_pyfunction!(before_child, py).and_then(|hook| {
            let sys = py.import("sys")?;
            sys.call_method1("addaudithook", (hook,))?;
            // A hook of the app's may have refused it, of which nobody is told.
            sys.call_method1("audit", (PROBE,))
        });
        if let Err(error) = &added {
            failure::log_error(py, "threads cannot be held on one CPU", error);
        }
        added.is_ok() && HEARD.load(Ordering::Relaxed)
    })
}

/// An event of our own, and whether it was heard.
const PROBE: &str = "canter.one_cpu";
static HEARD: AtomicBool = AtomicBool::new(false);

/// An audit hook (PEP 578): the calling thread may run everywhere when it starts another process. It
/// goes back when it next comes to the ring.
#[pyfunction]
#[pyo3(signature = (event, _arguments, /))]
fn before_child(event: &Bound<'_, PyString>, _arguments: &Bound<'_, PyAny>) {
    match event.to_str() {
        Ok(
            "subprocess.Popen" | "os.fork" | "os.forkpty" | "os.posix_spawn" | "os.spawn"
            | "os.system" | "os.exec",
        ) => {}
        Ok(PROBE) => return HEARD.store(true, Ordering::Relaxed),
        _ => return,
    }
    let is_held = |now: Cpus| Home::now().is_last(&now) || FOLLOWED.get().is_last(&now);
    if let Some(all) = all()
        && Cpus::allowed().is_some_and(is_held)
    {
        all.hold_this_thread();
        FOLLOWED.set(UNKNOWN);
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
        // Each is another than the one before, also when it is the same CPU, and none is unknown.
        let mut home = Home(u32::MAX << 16);
        for _ in 0..3 {
            let next = home.on(3);
            assert!(next != home && next != UNKNOWN && next.apart() != next);
            home = next.apart();
        }
    }
}
