//! Owns the terminal while `canter top` has it: taking it, keys, its size, and giving it back on
//! every way out, a panic and a signal among them. Leaves what is shown to `view`.
//!
//! The sequences are those of ECMA-48 and, for the alternate screen, of xterm; every terminal of
//! today knows them. A library for this would bring more code than this file is long.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// The alternate screen, no cursor, no wrapping of long lines.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const GIVE_BACK: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was before; None while nobody has it.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Up,
    Down,
    PageUp,
    PageDown,
    Sort,
    Quit,
}

/// The terminal, ours until this is dropped.
pub(super) struct Screen {
    over: Arc<AtomicBool>,
    shown: Vec<String>,
    size: (usize, usize),
    /// The begin of a key whose end has not come yet.
    begun: Vec<u8>,
}

impl Screen {
    /// Takes the terminal of standard input and output.
    pub(super) fn take() -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&over))?;
        }
        give_back_before_a_panic_is_told();
        let before = tcgetattr(io::stdin())?;
        let mut ours = before.clone();
        // Keys at once and unseen. Ctrl-C stays a signal; Ctrl-Z would leave the terminal as it is.
        ours.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        ours.special_codes[SpecialCodeIndex::VSUSP] = 0;
        ours.special_codes[SpecialCodeIndex::VMIN] = 1;
        ours.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Now, &ours)?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let screen = Self {
            over,
            shown: Vec::new(),
            size: (0, 0),
            begun: Vec::new(),
        };
        write(TAKE)?;
        Ok(screen)
    }

    /// Whether a signal has asked for the end.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Columns and rows; a terminal that does not say has 80 and 24.
    pub(super) fn size() -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => (80, 24),
        }
    }

    /// Shows lines; those that are as before are not sent again.
    pub(super) fn show(&mut self, lines: &[String]) -> io::Result<()> {
        let size = Self::size();
        let mut out = String::new();
        if size != self.size {
            self.size = size;
            self.shown.clear();
            out += "\x1b[2J";
        }
        for row in 0..lines.len().max(self.shown.len()).min(size.1) {
            let line = lines.get(row).map_or("", String::as_str);
            if self.shown.get(row).is_none_or(|before| before != line) {
                let _ = write!(out, "\x1b[{};1H{line}\x1b[0m\x1b[K", row + 1);
            }
        }
        self.shown = lines.to_vec();
        if out.is_empty() { Ok(()) } else { write(&out) }
    }

    /// Keys that were pressed; waits for one no longer than this.
    pub(super) fn keys(&mut self, patience: Duration) -> io::Result<Vec<Key>> {
        let stdin = io::stdin();
        let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 256];
        match rustix::io::read(&stdin, &mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.begun
                    .extend_from_slice(bytes.get(..len).unwrap_or_default());
                Ok(keys(&mut self.begun))
            }
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// As it was before, once.
fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        // Nothing is left to be done where this fails: the terminal has gone.
        let _ = write(GIVE_BACK);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Else the words would go to the alternate screen, and vanish with it.
fn give_back_before_a_panic_is_told() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            tell(panic);
        }));
    });
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Takes whole keys off the front of `bytes`.
fn keys(bytes: &mut Vec<u8>) -> Vec<Key> {
    let mut found = Vec::new();
    while let Some((key, len)) = first(bytes) {
        bytes.drain(..len);
        found.extend(key);
    }
    found
}

/// The first key and how many bytes it is; None when its end has not come yet.
fn first(bytes: &[u8]) -> Option<(Option<Key>, usize)> {
    let key = match bytes {
        [] | [0x1b] | [0x1b, b'[' | b'O'] => return None,
        [0x1b, b'[' | b'O', rest @ ..] => {
            // Parameters, then one byte that says which (ECMA-48, 5.4).
            let len = rest.iter().position(|byte| (0x40..0x7f).contains(byte));
            let Some(len) = len else {
                // No key is so long.
                return (rest.len() > 16).then_some((None, bytes.len()));
            };
            let key = match (rest.get(len), rest.get(..len)) {
                (Some(b'A'), _) => Some(Key::Up),
                (Some(b'B'), _) => Some(Key::Down),
                (Some(b'~'), Some(b"5")) => Some(Key::PageUp),
                (Some(b'~'), Some(b"6")) => Some(Key::PageDown),
                _ => None,
            };
            return Some((key, len + 3));
        }
        [b'q' | b'Q', ..] => Some(Key::Quit),
        [b's' | b'S', ..] => Some(Key::Sort),
        [b'k', ..] => Some(Key::Up),
        [b'j', ..] => Some(Key::Down),
        _ => None,
    };
    Some((key, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d5_keys_are_read_whole_and_in_pieces() {
        let all = b"sjk\x1b[A\x1bOB\x1b[5~\x1b[6~\x1b[1;5A\x1b[15~x\x1bq\xff\x00q";
        let wanted = [
            Key::Sort,
            Key::Down,
            Key::Up,
            Key::Up,
            Key::Down,
            Key::PageUp,
            Key::PageDown,
            Key::Up,
            Key::Quit,
            Key::Quit,
        ];
        assert_eq!(keys(&mut all.to_vec()), wanted);
        let (mut begun, mut found) = (Vec::new(), Vec::new());
        for byte in all {
            begun.push(*byte);
            found.extend(keys(&mut begun));
        }
        assert_eq!(found, wanted);
        let mut endless = [b"\x1b[".as_slice(), &[b'1'; 100], b"q"].concat();
        assert!(keys(&mut endless).len() <= 1);
    }
}
