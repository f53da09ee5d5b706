//! Wishes from outside the agent's future, and wake-ups inside it.

use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// A flag that somebody waits for. One waiter, one thread.
#[derive(Default)]
pub(crate) struct Notify {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Notify {
    pub(crate) fn notify(&self) {
        self.set.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn clear(&self) {
        self.set.set(false);
    }

    /// Waits until it is set, and clears it.
    pub(crate) async fn wait(&self) {
        poll_fn(|cx| {
            if self.set.take() {
                return Poll::Ready(());
            }
            self.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Wishes {
    pub cancel: bool,
    pub check: bool,
    pub stop: bool,
}

/// Tells a running agent what its user wants. Shared by reference on the
/// thread that runs the agent.
#[derive(Default)]
pub struct Control {
    wishes: Cell<Wishes>,
    pub(crate) notify: Notify,
}

impl Control {
    /// No wish yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn wish(&self, set: impl FnOnce(&mut Wishes)) {
        let mut wishes = self.wishes.get();
        set(&mut wishes);
        self.wishes.set(wishes);
        self.notify.notify();
    }

    /// Cancel the update in hand, if it can still be cancelled.
    pub fn cancel(&self) {
        self.wish(|w| w.cancel = true);
    }

    /// Ask the cloud whether there is something to install.
    pub fn check(&self) {
        self.wish(|w| w.check = true);
    }

    /// End [`Agent::run`](crate::Agent::run). A download can go on in the next run.
    pub fn stop(&self) {
        self.wish(|w| w.stop = true);
    }

    pub(crate) fn take(&self) -> Wishes {
        self.wishes.take()
    }
}
