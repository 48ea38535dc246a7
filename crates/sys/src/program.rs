//! Owns giving back the pages of the running program that starting needed and serving does not.
//! Leaves when that is to the processes.
//!
//! They are pages of a file, so nothing is lost and the next use brings one back. But as long as
//! a process maps them they are counted as its memory, and of a program that is also a load tester,
//! a database pooler and an ACME client most is used once or never.

use std::fs;

/// Forgets the pages of this program's code. What runs on comes back with its first use, sixteen
/// pages at a time. A system without `/proc` keeps them.
pub fn forget_code() {
    let (Ok(maps), Ok(program)) = (
        fs::read_to_string("/proc/self/maps"),
        fs::read_link("/proc/self/exe"),
    ) else {
        return;
    };
    let Some(program) = program.to_str() else {
        return;
    };
    for (start, len) in maps.lines().filter_map(|line| code(line, program)) {
        // SAFETY: the range is a mapping of the program's file that may be read and executed but not
        // written to, as the system listed it just now: a linker puts nothing into it that is changed
        // while the program is loaded, so the file has all of it, and a page that is used again
        // is read from there. Nothing unmaps the program.
        let _ = unsafe {
            rustix::mm::madvise(
                std::ptr::without_provenance_mut(start),
                len,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
    }
}

/// Start and length of a line of `/proc/PID/maps` (proc(5)) that is code of this file.
fn code(line: &str, program: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with("r-xp ") || !rest.ends_with(program) {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_code_of_the_program_is_meant() {
        let rows = [
            (
                "1000-3000 r-xp 00001000 fe:00 99   /a/canter",
                Some((0x1000, 0x2000)),
            ),
            ("1000-3000 r--p 00001000 fe:00 99   /a/canter", None),
            ("1000-3000 rwxp 00001000 fe:00 99   /a/canter", None),
            ("1000-3000 r-xp 00001000 fe:00 99   /a/libc.so.6", None),
            ("1000-3000 r-xp 00000000 00:00 0    [vdso]", None),
            ("3000-1000 r-xp 00000000 fe:00 99   /a/canter", None),
            ("", None),
        ];
        for (line, expected) in rows {
            assert_eq!(code(line, "/a/canter"), expected, "{line}");
        }
    }

    #[test]
    fn a_program_runs_on_without_its_pages() {
        let resident = || -> u64 {
            let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
            let program = fs::read_link("/proc/self/exe").unwrap_or_default();
            let mut is_code = false;
            let mut total = 0;
            for line in maps.lines() {
                if line.contains('-') && line.contains(" r-xp ") {
                    is_code = line.ends_with(&*program.to_string_lossy());
                } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_code) {
                    total += size
                        .trim_end_matches("kB")
                        .trim()
                        .parse::<u64>()
                        .unwrap_or(0);
                }
            }
            total
        };
        let before = resident();
        forget_code();
        let after = resident();
        assert!(
            before == 0 || after < before,
            "{before} kB, then {after} kB"
        );
    }
}
