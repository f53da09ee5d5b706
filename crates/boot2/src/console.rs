//! The loader's console on UART1: what is installed, why the last update
//! failed, reboot.

use crate::board::{CHECK, Slots, VERSION};
use hal_mk3060::Window;
use hal_mk3060::regs::Mmio;
use hal_mk3060::timer::Tick;
use hal_mk3060::uart::{Port, Uart};
use hal_mk3060::watchdog::Watchdog;
use ota_bootlib::{Image, Journal, RecoveryReason, Verify, VersionText};

const BAUD: u32 = 921_600;
/// How long a start waits for the key.
const WAIT_MS: u32 = 100;
const KEY: u8 = b'w';

/// Announces the key and waits for it.
#[inline(never)]
pub fn key_pressed() -> bool {
    let uart = Uart::new(Mmio, Port::Uart1, BAUD);
    uart.send_all(b"\r\nboot2: press w for the console\r\n");
    let tick = Tick::start(Mmio, 0);
    let mut left = WAIT_MS;
    let mut pressed = false;
    while left > 0 && !pressed {
        if tick.take() {
            left -= 1;
        }
        pressed = uart.poll() == Some(KEY);
    }
    tick.stop();
    pressed
}

/// Serves the console until the reboot. `reason` says why nothing was started.
pub fn run(slots: &mut Slots, reason: Option<RecoveryReason>, buf: &mut [u8]) -> ! {
    let mut watchdog = Watchdog::new(Mmio);
    watchdog.stop();
    let uart = Uart::new(Mmio, Port::Uart1, BAUD);
    if let Some(reason) = reason {
        line(&uart, b"nothing to start: ", reason.name());
    }
    loop {
        uart.send_all(b"boot2# ");
        let key = loop {
            match uart.poll() {
                None | Some(KEY) => {}
                Some(key) => break key,
            }
        };
        uart.send(key);
        uart.send_all(b"\r\n");
        match key {
            b'i' => info(&uart, slots, buf),
            b'r' => {
                uart.wait_sent();
                watchdog.reset()
            }
            b'\r' | b'\n' => {}
            _ => uart.send_all(b"i info, r reboot\r\n"),
        }
    }
}

fn info(uart: &Uart<Mmio>, slots: &mut Slots, buf: &mut [u8]) {
    line(uart, b"loader ", VERSION.as_bytes());
    image(uart, b"active ", &mut slots.active, buf);
    image(uart, b"update ", &mut slots.update, buf);
    if let Ok(journal) = Journal::open(&mut slots.journal) {
        let state = journal.state();
        if let Some(phase) = state.phase() {
            line(uart, b"phase  ", &[b'0' + phase as u8]);
        }
        if let Some(failure) = state.failure() {
            line(uart, b"failed ", failure.code.name());
        }
    }
}

fn image(uart: &Uart<Mmio>, name: &[u8], slot: &mut Window<Mmio>, buf: &mut [u8]) {
    let mut image = Image::NONE;
    match { CHECK }.verify_into(slot, None, &VersionText::NONE, buf, &mut (), &mut image) {
        Ok(()) => {
            line(uart, name, image.version.as_bytes());
            uart.send_all(b"sha256 ");
            for i in 0..64 {
                let byte = image.sha256.get(i / 2).map_or(0, |b| b << (i % 2 * 4));
                let digit = byte >> 4;
                uart.send(digit + if digit < 10 { b'0' } else { b'a' - 10 });
            }
            uart.send_all(b"\r\n");
        }
        Err(refused) => line(uart, name, refused.code.name()),
    }
}

fn line(uart: &Uart<Mmio>, name: &[u8], value: &[u8]) {
    uart.send_all(name);
    uart.send_all(value);
    uart.send_all(b"\r\n");
}
