//! Owns one thread beside the front's, for what takes longer than other clients should wait: a long
//! body through a coding. It is started when it is first needed. What it does is given and taken back
//! whole, so nothing is shared. Leaves what that is to the callers, each of whom has one piece of work
//! under way at a time: that bounds its queue.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

type Work = Box<dyn FnOnce() + Send>;

/// The thread, for whoever has work for it.
#[derive(Default)]
pub(crate) struct Helper {
    queue: RefCell<Option<Sender<Work>>>,
}

impl Helper {
    /// Has `work` done. Where no thread can be started it is done here and now.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Promise<T> {
        let desk = Arc::new(Mutex::new(Desk::default()));
        let promise = Promise(Arc::clone(&desk));
        let delivery = Delivery(desk);
        let work: Work = Box::new(move || delivery.deliver(work()));
        if let Err(work) = self.send(work) {
            work();
        }
        promise
    }

    fn send(&self, work: Work) -> Result<(), Work> {
        let mut queue = self.queue.borrow_mut();
        let work = match &*queue {
            Some(sender) => match sender.send(work) {
                Ok(()) => return Ok(()),
                // It has panicked: the next one may do better.
                Err(refused) => refused.0,
            },
            None => work,
        };
        let (sender, works) = channel::<Work>();
        let thread = std::thread::Builder::new().name("canter-helper".to_owned());
        let started = thread.spawn(move || {
            for work in works {
                work();
            }
        });
        if started.is_err() {
            return Err(work);
        }
        let sent = sender.send(work).map_err(|refused| refused.0);
        *queue = Some(sender);
        sent
    }
}

/// What one piece of work comes to.
struct Desk<T> {
    result: Option<T>,
    is_lost: bool,
    waker: Option<Waker>,
}

impl<T> Default for Desk<T> {
    fn default() -> Self {
        Self {
            result: None,
            is_lost: false,
            waker: None,
        }
    }
}

fn lock<T>(desk: &Mutex<Desk<T>>) -> MutexGuard<'_, Desk<T>> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held by the work: dropped without a result, it says that there will be none.
struct Delivery<T>(Arc<Mutex<Desk<T>>>);

impl<T> Delivery<T> {
    fn deliver(self, result: T) {
        lock(&self.0).result = Some(result);
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        let waker = {
            let mut desk = lock(&self.0);
            desk.is_lost = desk.result.is_none();
            desk.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The result, once it is there; None when the work has panicked.
pub(crate) struct Promise<T>(Arc<Mutex<Desk<T>>>);

impl<T> Future for Promise<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut desk = lock(&self.0);
        if let Some(result) = desk.result.take() {
            return Poll::Ready(Some(result));
        }
        if desk.is_lost {
            return Poll::Ready(None);
        }
        desk.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait<T>(promise: Promise<T>) -> Option<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(promise)
    }

    #[test]
    fn work_is_done_on_another_thread_in_order() {
        let helper = Helper::default();
        let promises: Vec<_> = (0..50)
            .map(|number| helper.run(move || (number, std::thread::current().id())))
            .collect();
        let here = std::thread::current().id();
        for (number, promise) in promises.into_iter().enumerate() {
            let (found, thread) = wait(promise).unwrap();
            assert!(found == number && thread != here);
        }
    }

    #[test]
    fn work_that_panics_is_lost_and_the_next_is_done() {
        let helper = Helper::default();
        assert_eq!(wait(helper.run(|| panic!("of the test"))), None::<()>);
        // The thread may be on its way out still: then this one is lost with it.
        let found = (0..1000).find_map(|_| wait(helper.run(|| 7)));
        assert_eq!(found, Some(7));
    }
}
