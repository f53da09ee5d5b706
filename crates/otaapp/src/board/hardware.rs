//! Interrupts, time, the waker and the console's wire.

use super::link::Serial;
use core::cell::Cell;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use hal_mk3060::interrupt;
use hal_mk3060::regs::{Mmio, icu};
use hal_mk3060::timer::Tick;
use hal_mk3060::uart::{Port, Ring, Uart};
use hal_mk3060::watchdog::Watchdog;
use ota_agent::Clock;

const BAUD: u32 = 921_600;
/// The timer channel that counts milliseconds.
const CHANNEL: u32 = 0;
/// Without a turn of the loop for so long the chip is reset. Longest turn:
/// verifying a whole slot, about a second.
const WATCHDOG_MS: u32 = 6000;

/// What has been typed.
static CONSOLE: Ring<256> = Ring::new();
/// What came in on the network's line: more than both connections may have on
/// the way, even when every byte is escaped.
static NETWORK: Ring<{ 4 * (super::net::RECEIVE + super::link::FRAME) }> = Ring::new();

/// A value that an interrupt handler and the program share.
struct Shared<T>(Cell<T>);

// SAFETY: one core, and every access happens with interrupts masked.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn get(&self) -> T {
        interrupt::free(|| self.0.get())
    }
    fn replace(&self, value: T) -> T {
        interrupt::free(|| self.0.replace(value))
    }
}

/// Milliseconds since start. Those that pass while interrupts are masked (flash
/// is busy) merge into one, so this clock is slow during an erase: what is timed
/// by it waits a little longer.
static NOW: Shared<u64> = Shared(Cell::new(0));
static WOKEN: Shared<bool> = Shared(Cell::new(true));
/// When the future is to be polled at the latest.
static DEADLINE: Shared<u64> = Shared(Cell::new(u64::MAX));

/// The IRQ handler.
pub fn on_interrupt() {
    let asks = icu::INT_STATUS.read(&Mmio);
    if asks.uart1() {
        console().drain(&CONSOLE);
    }
    if asks.uart2() {
        network().drain(&NETWORK);
    }
    if asks.pwm() && Tick::attach(Mmio, CHANNEL).take() {
        NOW.replace(NOW.get().wrapping_add(1));
    }
}

fn console() -> Uart<Mmio> {
    Uart::attach(Mmio, Port::Uart1)
}

fn network() -> Uart<Mmio> {
    Uart::attach(Mmio, Port::Uart2)
}

/// Sets up UARTs, tick and watchdog, and lets interrupts through.
pub fn start() {
    Watchdog::new(Mmio).start(WATCHDOG_MS);
    Uart::new(Mmio, Port::Uart1, BAUD).enable_receive_interrupt();
    Uart::new(Mmio, Port::Uart2, BAUD).enable_receive_interrupt();
    Tick::start(Mmio, CHANNEL);
    icu::INT_ENABLE.modify(&Mmio, |old| old.with_pwm(true));
    icu::GLOBAL_ENABLE.modify(&Mmio, |old| old.with_irq(true));
    // SAFETY: the start-up code has put the handlers in place.
    unsafe { interrupt::enable() };
}

/// Shows bytes on the console.
pub fn show(bytes: &[u8]) {
    console().send_all(bytes);
}

/// A byte that was typed.
pub fn typed() -> Option<u8> {
    CONSOLE.pop()
}

/// Bytes of the network's line that were lost since start.
pub fn lost() -> u32 {
    NETWORK.lost()
}

/// Resets the chip when everything is shown.
pub fn reset() -> ! {
    console().wait_sent();
    Watchdog::new(Mmio).reset()
}

/// The network's line.
pub struct Line;

impl Serial for Line {
    fn pop(&mut self) -> Option<u8> {
        NETWORK.pop()
    }
    fn push(&mut self, byte: u8) {
        network().send(byte);
    }
}

/// Milliseconds since start.
pub struct Millis;

impl Clock for Millis {
    fn now_ms(&self) -> u64 {
        NOW.get()
    }

    async fn sleep_until(&self, deadline: u64) {
        poll_fn(|_| {
            if self.now_ms() >= deadline {
                return Poll::Ready(());
            }
            DEADLINE.replace(DEADLINE.get().min(deadline));
            Poll::Pending
        })
        .await;
    }
}

/// Lets the future be polled again.
pub fn wake() {
    WOKEN.replace(true);
}

const VTABLE: RawWakerVTable = RawWakerVTable::new(|_| WAKER, |_| wake(), |_| wake(), |_| ());
const WAKER: RawWaker = RawWaker::new(core::ptr::null(), &VTABLE);

/// Whether bytes wait on the network's line.
pub fn incoming() -> bool {
    !NETWORK.is_empty()
}

/// Runs `future` to its end. Each turn of the loop calls `turn` (with whether the
/// future was polled since), which says when it is to be called again at the
/// latest, polls the future if it was woken or its time has come, and else
/// sleeps until there is something to do.
pub fn block_on<F: Future>(
    mut future: Pin<&mut F>,
    mut turn: impl FnMut(bool) -> u64,
) -> F::Output {
    // SAFETY: the functions of the table use the static flag only.
    let waker = unsafe { Waker::from_raw(WAKER) };
    let mut context = Context::from_waker(&waker);
    let mut polled = true;
    loop {
        Watchdog::new(Mmio).feed();
        let due = turn(polled);
        polled = WOKEN.replace(false) || NOW.get() >= DEADLINE.get();
        if polled {
            // Everybody who still sleeps says so again.
            DEADLINE.replace(u64::MAX);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        } else {
            sleep_until(due.min(DEADLINE.get()));
        }
    }
}

/// Sleeps until a byte comes in or `due`. A byte that comes in just before the
/// core stops is seen at the next tick.
fn sleep_until(due: u64) {
    while NETWORK.is_empty() && CONSOLE.is_empty() && NOW.get() < due {
        Watchdog::new(Mmio).feed();
        interrupt::wait();
    }
}
