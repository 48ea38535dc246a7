//! Owns what can be asked of the workers while they serve: how many, with how many threads, and whether
//! new ones take the place of those that run.
//! Leaves who may ask to `conn/act`, and doing it to the composition in `canter`.

use std::cell::RefCell;

/// Most workers.
const MOST_WORKERS: u16 = 1024;
/// Most threads in each.
const MOST_THREADS: u16 = 1000;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// So many workers; None for as many as there are.
    pub workers: Option<u16>,
    /// Up to so many threads in each; None for as before.
    pub threads: Option<u16>,
    /// Workers that run now are replaced, and nothing of what was kept for them stays: pages of the
    /// cache, connections of the pool that nobody uses.
    pub fresh: bool,
}

impl Scale {
    /// Reads `workers=2&threads=16&fresh=1`; None when it asks for nothing or for what cannot be.
    pub(crate) fn read(query: &[u8]) -> Option<Self> {
        let mut asked = Self::default();
        for pair in std::str::from_utf8(query).ok()?.split('&') {
            let (name, value) = pair.split_once('=')?;
            let number: u16 = value.parse().ok()?;
            match name {
                "workers" if (1..=MOST_WORKERS).contains(&number) => asked.workers = Some(number),
                "threads" if (1..=MOST_THREADS).contains(&number) => asked.threads = Some(number),
                "fresh" if number == 1 => asked.fresh = true,
                _ => return None,
            }
        }
        Some(asked)
    }
}

type Change = Box<dyn Fn(Scale)>;

/// Who does it.
#[derive(Default)]
pub(super) struct Scaler(RefCell<Option<Change>>);

impl Scaler {
    pub fn connect(&self, change: impl Fn(Scale) + 'static) {
        *self.0.borrow_mut() = Some(Box::new(change));
    }

    pub fn change(&self, asked: Scale) {
        if let Some(change) = self.0.borrow().as_ref() {
            change(asked);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_the_impossible_refused() {
        let asked = Scale::read(b"workers=2&threads=16&fresh=1").unwrap();
        assert_eq!((asked.workers, asked.threads), (Some(2), Some(16)));
        assert!(asked.fresh);
        assert_eq!(Scale::read(b"threads=1").unwrap().workers, None);
        for wrong in [
            &b""[..],
            b"workers=0",
            b"workers=1025",
            b"threads=1001",
            b"threads=-1",
            b"fresh=0",
            b"workers",
            b"sites=2",
            b"workers=2&",
            b"\xff=1",
        ] {
            assert_eq!(Scale::read(wrong), None, "{}", wrong.escape_ascii());
        }
    }
}
