//! Encoded forms of stored pages: owns that each is made once, however many want it at the same time.
//! Leaves making them to `conn::encode`.

use std::cell::RefCell;

use canter_cache::{Body, Handle};
use canter_http::coding::Coding;
use tokio::sync::oneshot;

use super::{Page, Pages};

type Which = (Handle, Coding);

/// Forms that are being made, each with those who wait for it.
#[derive(Default)]
pub(super) struct UnderWay(RefCell<Vec<(Which, Vec<oneshot::Sender<()>>)>>);

/// The task of making a form; whoever waits for it is woken when this goes.
pub(crate) struct Making {
    pages: Pages,
    which: Option<Which>,
}

impl Pages {
    /// A form of a page that is there, or that somebody is making; else it is the caller's to make.
    pub(crate) async fn form(&self, page: &Page, coding: Coding) -> Result<Body, Making> {
        let making = |which| Making {
            pages: self.clone(),
            which,
        };
        let Some(handle) = page.handle else {
            return Err(making(None));
        };
        if let Some(body) = self.made(handle, coding) {
            return Ok(body);
        }
        let Some(told) = self.0.forms.join((handle, coding)) else {
            return Err(making(Some((handle, coding))));
        };
        // Whoever makes it may leave, or fail.
        let _ = told.await;
        self.made(handle, coding).ok_or_else(|| making(None))
    }

    fn made(&self, handle: Handle, coding: Coding) -> Option<Body> {
        let found = self.0.store.borrow().get(handle)?;
        found.entry.content(coding).cloned()
    }

    /// Keeps an encoded form of a stored page.
    pub(crate) fn add_form(&self, page: &Page, coding: Coding, body: &Body) {
        if let Some(handle) = page.handle {
            let mut store = self.0.store.borrow_mut();
            store.add_form(handle, coding, body.clone());
        }
    }
}

impl UnderWay {
    /// Waits with whoever makes it; None for the first, who does.
    fn join(&self, which: Which) -> Option<oneshot::Receiver<()>> {
        let mut all = self.0.borrow_mut();
        if let Some((_, waiting)) = all.iter_mut().find(|(own, _)| *own == which) {
            let (tell, told) = oneshot::channel();
            waiting.push(tell);
            return Some(told);
        }
        all.push((which, Vec::new()));
        None
    }

    fn leave(&self, which: Which) {
        self.0.borrow_mut().retain(|(own, _)| *own != which);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(which) = self.which {
            self.pages.0.forms.leave(which);
        }
    }
}

#[cfg(test)]
mod tests {
    use canter_cache::store::Limits;
    use canter_cache::{Key, Scheme, Store, Time, wire};

    use super::*;

    /// A handle of some entry.
    fn handle() -> Handle {
        let key = Key::new(Scheme::Http, b"a", b"/", None);
        let mut bytes = b"canter\0\x01".to_vec();
        bytes.resize(bytes.len() + 8 + 4 + 25, 0);
        bytes.extend_from_slice(&200_u16.to_le_bytes());
        bytes.push(0);
        let block: &[u8] = b"HTTP/1.1 200 OK\r\n";
        for part in [key.url(), b"", b"", b"", b"", b"", b"", block] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        wire::seal(&mut bytes);
        let stored = wire::read(&bytes, Time::from_seconds(1)).unwrap();
        let mut store = Store::new(Limits::default());
        let mark = store.mark();
        store.put(stored.entry, stored.life, 0, 0, mark).unwrap()
    }

    #[test]
    fn the_first_makes_a_form_and_the_others_are_told_when_that_has_ended() {
        let all = UnderWay::default();
        let which = (handle(), Coding::Brotli);
        assert!(all.join(which).is_none());
        let mut waiting: Vec<_> = (0..500).filter_map(|_| all.join(which)).collect();
        assert_eq!(waiting.len(), 500);
        assert!(all.join((which.0, Coding::Gzip)).is_none());
        let is_open = |told: &mut oneshot::Receiver<()>| {
            told.try_recv() == Err(oneshot::error::TryRecvError::Empty)
        };
        assert!(waiting.iter_mut().all(is_open));
        all.leave(which);
        assert!(!waiting.iter_mut().any(is_open));
        assert!(all.join(which).is_none());
    }
}
