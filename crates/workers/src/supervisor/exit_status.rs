//! Owns how the end of a process is told to people. Leaves who has ended to the callers.

use std::fmt;

use rustix::process::WaitStatus;

/// Signals that end a process, as people know them (signal(7)).
const SIGNALS: &[(i32, &str, &str)] = &[
    (1, "SIGHUP", ""),
    (2, "SIGINT", ""),
    (3, "SIGQUIT", ""),
    (
        4,
        "SIGILL",
        "illegal instruction: a library was built for another processor",
    ),
    (6, "SIGABRT", "a library called abort()"),
    (
        7,
        "SIGBUS",
        "bus error: often a full disk or a file cut short under a mapping",
    ),
    (8, "SIGFPE", "arithmetic error in a native library"),
    (
        9,
        "SIGKILL",
        "killed from outside; if nobody did, the system was out of memory: see `dmesg`",
    ),
    (11, "SIGSEGV", "invalid memory access in a native library"),
    (13, "SIGPIPE", ""),
    (14, "SIGALRM", ""),
    (15, "SIGTERM", ""),
    (24, "SIGXCPU", "over its limit of CPU time"),
    (31, "SIGSYS", "a system call was not allowed"),
];

/// How a process ended. In words: `exit code 3`, or `SIGSEGV: invalid memory access in a native
/// library`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<WaitStatus> for ExitStatus {
    fn from(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(status.exit_status().unwrap_or(0)),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = match *self {
            Self::Code(code) => return write!(formatter, "exit code {code}"),
            Self::Signal(number) => number,
        };
        match SIGNALS.iter().find(|(signal, _, _)| *signal == number) {
            Some((_, name, "")) => formatter.write_str(name),
            Some((_, name, meaning)) => write!(formatter, "{name}: {meaning}"),
            None => write!(formatter, "signal {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(ExitStatus::Code(3).to_string(), "exit code 3");
        assert_eq!(ExitStatus::Signal(15).to_string(), "SIGTERM");
        assert!(ExitStatus::Signal(9).to_string().contains("out of memory"));
        assert!(ExitStatus::Signal(11).to_string().starts_with("SIGSEGV"));
        assert_eq!(ExitStatus::Signal(40).to_string(), "signal 40");
    }
}
