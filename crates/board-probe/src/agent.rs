//! `ota-agent`, and the RAM a whole download takes on the board.

use crate::bare::{Flash, input, number, text};
use core::hint::black_box;
use core::pin::pin;
use core::task::{Context, Waker};
use embedded_io_async::{ErrorType, Read, Write};
use ota_agent::{
    Agent, BootJournal, Broker, Buffers, Clock, Connect, ConnectFailure, Control, ImageSlot, Parts,
    Rng, Security, Settings,
};
use ota_bootlib::Strategy;
use ota_proto::signon::Credentials;
use ota_verify::{Coding, Policy, Version};

/// The board: a handle each.
struct Board;

impl ErrorType for Board {
    type Error = core::convert::Infallible;
}

impl Read for Board {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        Ok(black_box(buf.len()))
    }
}

impl Write for Board {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        Ok(black_box(buf.len()))
    }
    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

impl Connect for Board {
    type Stream<'a> = Board;
    async fn connect(&self, host: &str, _: u16, _: Security) -> Result<Board, ConnectFailure> {
        black_box(host);
        Ok(Board)
    }
    fn has_tls(&self) -> bool {
        black_box(false)
    }
}

impl Clock for Board {
    fn now_ms(&self) -> u64 {
        u64::from(number())
    }
    async fn sleep_until(&self, deadline: u64) {
        black_box(deadline);
    }
}

impl Rng for Board {
    fn next_u32(&mut self) -> u32 {
        number()
    }
}

type Device<'a> = Agent<'a, Board, Board, Board, ImageSlot<'a, Flash, 32>, BootJournal<Flash>, ()>;

const fn future_size<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
    size_of::<F>()
}

/// Their sizes in the symbol table are the figures.
#[unsafe(no_mangle)]
static RAM_FUTURE: [u8; future_size::<&'static mut Device<'static>, Buffers<'static>, _>(
    Device::run,
)] = [0; _];
#[unsafe(no_mangle)]
static RAM_AGENT: [u8; size_of::<Device<'static>>()] = [0; _];

pub fn probe() {
    black_box((&RAM_FUTURE, &RAM_AGENT));
    let Ok(credentials) = Credentials::new(text(), text(), text(), text()) else {
        return;
    };
    let broker = Broker {
        host: text(),
        port: number() as u16,
        security: Security::Plain,
    };
    let Ok(version) = Version::new(text()) else {
        return;
    };
    let policy = Policy::DEFAULT;
    let settings = Settings::new(credentials, broker, version, &policy, &[]);
    let Ok(boot) = BootJournal::open(Flash, Strategy::Swap, ()) else {
        return;
    };
    let control = Control::new();
    let parts = Parts {
        net: &Board,
        clock: &Board,
        rng: Board,
        sink: ImageSlot::<_, 32>::new(Flash, number(), &policy, &[], Coding::Plain),
        boot,
        observer: (),
    };
    let (mut rx, mut tx, mut body) = ([0; 64], [0; 64], [0; 64]);
    rx.copy_from_slice(&input()[..64]);
    let buffers = Buffers {
        rx: &mut rx,
        tx: &mut tx,
        body: &mut body,
    };
    let mut agent = Agent::new(settings, parts, &control);
    let mut future = pin!(agent.run(buffers));
    let mut context = Context::from_waker(Waker::noop());
    black_box(future.as_mut().poll(&mut context).is_ready());
    control.cancel();
    control.check();
    control.stop();
}
