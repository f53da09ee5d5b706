//! Runs one future in virtual time: when nothing can go on, the clock jumps.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ota_agent::Clock;

/// Milliseconds that pass only when everybody waits.
#[derive(Default)]
pub struct Time {
    now: Cell<u64>,
    /// The earliest time somebody waits for, as of the last poll.
    next: Cell<Option<u64>>,
    /// Waits in a row that were over at once, at this time.
    idle: Cell<u32>,
}

impl Time {
    /// Somebody keeps the processor busy.
    pub fn pass(&self, ms: u64) {
        self.now.set(self.now.get() + ms);
    }
}

impl Clock for Time {
    fn now_ms(&self) -> u64 {
        self.now.get()
    }

    async fn sleep_until(&self, deadline: u64) {
        poll_fn(|_| {
            if self.now.get() >= deadline {
                self.idle.set(self.idle.get() + 1);
                assert!(self.idle.get() < 100_000, "spins on a time that is over");
                return Poll::Ready(());
            }
            let next = self.next.get().map_or(deadline, |n| n.min(deadline));
            self.next.set(Some(next));
            Poll::Pending
        })
        .await
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the rest of the world does while the device waits.
pub trait Rest {
    /// Acts as far as it can at `now`; gives when it wants to act again.
    fn step(&self, now: u64) -> Option<u64>;
    /// Whether the device is switched off now.
    fn off(&self) -> bool;
}

/// Polls without any progress of time after which something spins.
const SPINS: u32 = 3_000_000;

/// Runs `future` until it is ready, the power goes (`None`), or the clock
/// reaches `limit` (`None`).
pub fn run<F: Future>(future: F, time: &Time, rest: &dyn Rest, limit: u64) -> Option<F::Output> {
    let mut future = pin!(future);
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(flag.clone());
    let mut context = Context::from_waker(&waker);
    let mut spins = 0;
    loop {
        if flag.0.swap(false, Ordering::Relaxed) {
            time.next.set(None);
            let polled = future.as_mut().poll(&mut context);
            if rest.off() {
                return None;
            }
            if let Poll::Ready(value) = polled {
                rest.step(time.now.get());
                return Some(value);
            }
            spins += 1;
            assert!(spins < SPINS, "busy at {} ms", time.now.get());
        }
        let now = time.now.get();
        let wanted = rest.step(now);
        if flag.0.load(Ordering::Relaxed) {
            continue;
        }
        let timer = time.next.get();
        let next = [wanted, timer].into_iter().flatten().min().unwrap_or(limit);
        // While the processor was busy, a time may have passed.
        let next = next.max(now);
        if next >= limit {
            time.now.set(limit);
            return None;
        }
        if next > now {
            spins = 0;
        }
        time.now.set(next);
        time.idle.set(0);
        if timer == Some(next) {
            flag.0.store(true, Ordering::Relaxed);
        }
    }
}
