//! Owns closing large files without a name. The system frees their pages when the last descriptor goes:
//! two milliseconds for 5 MB, and clients that are cut may be thousands at once, while others wait for
//! the front's only thread. So a thread of its own closes them.
//! Leaves making such files to `spool` and to the workers.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use crate::helper::{Helper, Promise};

/// Bytes from which on handing a file over is less work than closing it.
const LARGE: u64 = 256 * 1024;

thread_local! {
    static CLOSER: Helper = Helper::default();
}

/// Closes the file, elsewhere if that takes long: then it promises to.
pub(crate) fn close(file: File) -> Option<Promise<()>> {
    let takes_long = |file: &File| {
        file.metadata()
            .is_ok_and(|meta| meta.nlink() == 0 && meta.len() >= LARGE)
    };
    if !takes_long(&file) {
        return None;
    }
    Some(CLOSER.with(|closer| closer.run(move || drop(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s4_a_large_file_without_a_name_is_closed_by_another_thread() {
        let dir = std::env::temp_dir();
        let of = |len| {
            let file = canter_sys::temp::unlinked(&dir).unwrap();
            file.set_len(len).unwrap();
            file
        };
        assert!(close(of(LARGE - 1)).is_none());
        let promise = close(of(LARGE)).expect("a promise");
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        assert_eq!(runtime.unwrap().block_on(promise), Some(()));
        let named = File::open("/proc/self/exe").unwrap();
        assert!(named.metadata().unwrap().len() >= LARGE && close(named).is_none());
    }
}
