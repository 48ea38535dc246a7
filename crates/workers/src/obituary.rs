//! Owns how the end of a process is told to people. Leaves who has ended to the callers.

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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl From<WaitStatus> for Ended {
    fn from(status: WaitStatus) -> Self {
        match status.terminating_signal() {
            Some(signal) => Self::Signal(signal),
            None => Self::Code(status.exit_status().unwrap_or(0)),
        }
    }
}

/// In words: `exit code 3`, or `SIGSEGV: invalid memory access in a native library`.
pub fn words(ended: Ended) -> String {
    let number = match ended {
        Ended::Code(code) => return format!("exit code {code}"),
        Ended::Signal(number) => number,
    };
    match SIGNALS.iter().find(|(signal, _, _)| *signal == number) {
        Some((_, name, "")) => (*name).to_owned(),
        Some((_, name, meaning)) => format!("{name}: {meaning}"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(words(Ended::Code(3)), "exit code 3");
        assert_eq!(words(Ended::Signal(15)), "SIGTERM");
        assert!(words(Ended::Signal(9)).contains("out of memory"));
        assert!(words(Ended::Signal(11)).starts_with("SIGSEGV"));
        assert_eq!(words(Ended::Signal(40)), "signal 40");
    }
}
