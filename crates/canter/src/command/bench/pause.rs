//! Owns a pause by Ctrl-C where somebody sits at a terminal: the report so far, and a key that says how it
//! goes on. Leaves holding the load itself to `canter_load`.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// How often it is looked whether a signal came.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Whether there is a keyboard to go on with, and a screen that says so.
pub(super) fn is_possible(quiet: bool) -> bool {
    !quiet && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Shows the report so far and waits for a key; whether the run goes on. Ctrl-C, `q` and the end of the terminal end it.
pub(super) fn goes_on(report: &str, interrupted: &AtomicBool, stop: &AtomicBool) -> bool {
    // The line of progress goes away first.
    let _ = std::io::stderr().lock().write_all(b"\r\x1b[K");
    super::print(report);
    let _ = std::io::stderr()
        .lock()
        .write_all(b"paused; any key: go on, q or Ctrl-C: end\n");
    let _keys = Keys::take();
    let mut stdin = std::io::stdin();
    loop {
        if interrupted.swap(false, Ordering::Relaxed) || stop.load(Ordering::Relaxed) {
            return false;
        }
        let ready = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&LOOK));
        if !matches!(ready, Ok(1..)) {
            continue;
        }
        let mut key = [0; 64];
        return match stdin.read(&mut key) {
            Ok(0) | Err(_) => false,
            Ok(_) => !matches!(key[0], b'q' | b'Q'),
        };
    }
}

/// Keys at once and unseen, until this is dropped.
struct Keys(Option<Termios>);

impl Keys {
    fn take() -> Self {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok();
        if let Some(before) = &before {
            let mut ours = before.clone();
            ours.local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(&stdin, OptionalActions::Now, &ours);
        }
        Self(before)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Ctrl-C asks for a pause; a second one before that is heard ends the program.
pub(super) fn on_ctrl_c() -> Result<Arc<AtomicBool>, canter_base::Fault> {
    let wanted = Arc::new(AtomicBool::new(false));
    super::on_signal(signal_hook::consts::SIGINT, &wanted)?;
    Ok(wanted)
}
