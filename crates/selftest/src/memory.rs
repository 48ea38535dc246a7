//! Owns measuring the memory of a server: what its processes hold, shared pages counted once (PSS,
//! `proc_pid_smaps(5)`).
//! Leaves which process it is to the caller.

use std::fs;

/// Kilobytes of a process and everything it started; None where the system does not say.
pub(crate) fn of_tree(process: u32) -> Option<u64> {
    let mut sum = of_one(process)?;
    let mut ahead = children(process);
    while let Some(child) = ahead.pop() {
        // One that has ended meanwhile holds nothing.
        sum += of_one(child).unwrap_or(0);
        ahead.extend(children(child));
    }
    Some(sum)
}

fn of_one(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn children(process: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return Vec::new();
    };
    let lists =
        tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| {
            let ids = list.split_whitespace().filter_map(|id| id.parse().ok());
            ids.collect::<Vec<u32>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_holds_something_and_none_that_is_not_there() {
        assert!(of_tree(std::process::id()).is_some_and(|kilobytes| kilobytes > 100));
        assert_eq!(of_tree(u32::MAX), None);
    }
}
