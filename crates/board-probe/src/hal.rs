//! `hal-mk3060`.

use crate::bare::{input, number};
use core::hint::black_box;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use hal_mk3060::flash::Flash;
use hal_mk3060::gpio::{Input, Output};
use hal_mk3060::line_code;
use hal_mk3060::regs::{Mmio, uart};
use hal_mk3060::timer::Tick;
use hal_mk3060::uart::{Port, Ring, Uart};
use hal_mk3060::watchdog::Watchdog;

pub fn probe() {
    let mut flash = Flash::new(Mmio);
    black_box(flash.read(number(), &mut [0; 64]).is_ok());
    black_box(flash.write(number(), input()).is_ok());
    black_box(flash.erase(number(), number()).is_ok());
    let mut watchdog = Watchdog::new(Mmio);
    watchdog.start(number());
    watchdog.feed();
    let console = Uart::new(Mmio, Port::Uart1, number());
    let ring = Ring::<64>::new();
    console.drain(&ring);
    console.send_all(input());
    black_box((console.poll(), ring.pop(), ring.lost()));
    let tick = Tick::start(Mmio, number());
    black_box(tick.take());
    black_box(Output::new(Mmio, number()));
    black_box(Input::new(Mmio, number(), true));
    black_box(uart::CLOCK_HZ);
    let mut line = [0; 32];
    line.copy_from_slice(&input()[..32]);
    black_box(line_code::encode_line(&line));
    black_box(line_code::flash_offset(number()));
}
