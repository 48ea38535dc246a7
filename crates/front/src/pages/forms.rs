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
pub(super) struct UnderWay(RefCell<Vec<(Which, Vec<oneshot::Sender<Body>>)>>);

/// The task of making a form; where this goes before it is done, one of those who wait has it.
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
        loop {
            if let Some(body) = self.made(handle, coding) {
                return Ok(body);
            }
            let Some(told) = self.0.forms.join((handle, coding)) else {
                return Err(making(Some((handle, coding))));
            };
            // Whoever makes it may leave, or fail: one of those who have waited is the next.
            if let Ok(body) = told.await {
                return Ok(body);
            }
        }
    }

    fn made(&self, handle: Handle, coding: Coding) -> Option<Body> {
        let found = self.0.store.borrow().get(handle)?;
        found.entry.content(coding).cloned()
    }
}

impl Making {
    /// Keeps the form with its page, where that is stored still, and hands it to those who wait.
    pub(crate) fn done(self, body: &Body) {
        let Some((handle, coding)) = self.which else {
            return;
        };
        let mut store = self.pages.0.store.borrow_mut();
        store.add_form(handle, coding, body.clone());
        drop(store);
        for waiting in self.pages.0.forms.leave((handle, coding)) {
            // Whoever waited may have left.
            let _ = waiting.send(body.clone());
        }
    }
}

impl UnderWay {
    /// Waits with whoever makes it; None for the first, who does.
    fn join(&self, which: Which) -> Option<oneshot::Receiver<Body>> {
        let mut all = self.0.borrow_mut();
        if let Some((_, waiting)) = all.iter_mut().find(|(own, _)| *own == which) {
            let (tell, told) = oneshot::channel();
            waiting.push(tell);
            return Some(told);
        }
        all.push((which, Vec::new()));
        None
    }

    /// Nobody makes it any more; those who have waited for it.
    fn leave(&self, which: Which) -> Vec<oneshot::Sender<Body>> {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|(own, _)| *own == which);
        at.map(|at| all.swap_remove(at).1).unwrap_or_default()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Some(which) = self.which {
            // They are woken, and one of them makes it.
            drop(self.pages.0.forms.leave(which));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use canter_cache::store::Limits;
    use canter_cache::wire::Stored;
    use canter_cache::{Key, Scheme, Store, Time, wire};

    use super::*;

    fn stored() -> Stored {
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
        wire::read(&bytes, Time::from_seconds(1)).unwrap()
    }

    fn put(store: &mut Store) -> Handle {
        let (stored, mark) = (stored(), store.mark());
        store.put(stored.entry, stored.life, 0, 0, mark).unwrap()
    }

    /// A cache, and a page in it.
    fn page() -> (Pages, Page) {
        let pages = Pages::new(true, 1 << 20, &[]);
        let handle = put(&mut pages.0.store.borrow_mut());
        let Stored { entry, life, .. } = stored();
        let page = Page {
            entry: entry.into(),
            life,
            handle: Some(handle),
            browser_ttl: None,
        };
        (pages, page)
    }

    #[test]
    fn one_of_those_who_wait_makes_the_form_where_whoever_made_it_has_failed() {
        let (pages, page) = page();
        let mut cx = Context::from_waker(Waker::noop());
        let [mut first, mut second, mut third] =
            [(); 3].map(|()| Box::pin(pages.form(&page, Coding::Gzip)));
        let Poll::Ready(Err(failing)) = first.as_mut().poll(&mut cx) else {
            panic!("the first makes it")
        };
        assert!(second.as_mut().poll(&mut cx).is_pending());
        assert!(third.as_mut().poll(&mut cx).is_pending());
        drop(failing);
        let Poll::Ready(Err(making)) = second.as_mut().poll(&mut cx) else {
            panic!("the second makes it in its place")
        };
        assert!(third.as_mut().poll(&mut cx).is_pending());
        making.done(&Body::new(b"x".to_vec()));
        assert!(matches!(third.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
        let mut later = pin!(pages.form(&page, Coding::Gzip));
        assert!(matches!(later.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }

    #[test]
    fn a_form_of_a_page_that_has_gone_is_made_once_for_all_who_wait() {
        let (pages, page) = page();
        let mut cx = Context::from_waker(Waker::noop());
        let [mut first, mut second] = [(); 2].map(|()| Box::pin(pages.form(&page, Coding::Gzip)));
        let Poll::Ready(Err(making)) = first.as_mut().poll(&mut cx) else {
            panic!("the first makes it")
        };
        assert!(second.as_mut().poll(&mut cx).is_pending());
        let mut store = pages.0.store.borrow_mut();
        store.drop_entry(page.handle.unwrap());
        drop(store);
        making.done(&Body::new(b"x".to_vec()));
        assert!(matches!(second.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    }

    #[test]
    fn the_first_makes_a_form_and_the_others_are_told_when_that_has_ended() {
        let all = UnderWay::default();
        let which = (put(&mut Store::new(Limits::default())), Coding::Brotli);
        assert!(all.join(which).is_none());
        let mut waiting: Vec<_> = (0..500).filter_map(|_| all.join(which)).collect();
        assert_eq!(waiting.len(), 500);
        assert!(all.join((which.0, Coding::Gzip)).is_none());
        let is_open = |told: &mut oneshot::Receiver<Body>| {
            told.try_recv().err() == Some(oneshot::error::TryRecvError::Empty)
        };
        assert!(waiting.iter_mut().all(is_open));
        assert_eq!(all.leave(which).len(), 500);
        assert!(!waiting.iter_mut().any(is_open));
        assert!(all.join(which).is_none());
    }
}
