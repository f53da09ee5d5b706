//! The two UARTs.

use crate::fingerprint::Fingerprint;
use crate::report::Fault;
use crate::time::Time;
use crate::trace::{Event, Trace};
use hal_mk3060::regs::uart::{Config, FifoConfig, FifoStatus, Interrupts, Port};
use std::collections::VecDeque;

/// Bytes in each FIFO (the fill counters have eight bits; the depth is not
/// confirmed).
pub const FIFO_LEN: usize = 128;
/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: u64 = 10;

/// One UART and both directions of its line.
#[derive(Clone)]
pub struct Uart {
    number: u8,
    /// Receive FIFO depth.
    pub fifo_len: usize,
    config: Config,
    fifo_config: FifoConfig,
    int_enable: Interrupts,
    latched: Interrupts,
    flow: u32,
    wake: u32,
    /// Bytes somebody outside has sent, and when the first of them is in.
    line_in: VecDeque<u8>,
    next_in: Time,
    rx: VecDeque<u8>,
    /// When the line has been silent long enough, if bytes wait.
    silence_at: Time,
    tx: VecDeque<u8>,
    next_out: Time,
    line_out: Vec<u8>,
    /// Bytes lost because the receive FIFO was full.
    pub lost: u64,
}

impl Uart {
    /// UART `number` (1 or 2), silent.
    pub fn new(number: u8) -> Self {
        Self {
            number,
            fifo_len: FIFO_LEN,
            config: Config::new(),
            fifo_config: FifoConfig::new(),
            int_enable: Interrupts::new(),
            latched: Interrupts::new(),
            flow: 0,
            wake: 0,
            line_in: VecDeque::new(),
            next_in: Time::NEVER,
            rx: VecDeque::new(),
            silence_at: Time::NEVER,
            tx: VecDeque::new(),
            next_out: Time::NEVER,
            line_out: Vec::new(),
            lost: 0,
        }
    }

    pub(crate) fn fingerprint(&self, print: &mut Fingerprint, now: Time) {
        for word in [
            u32::from(self.config),
            self.fifo_config.into(),
            self.int_enable.into(),
            self.latched.into(),
            self.flow,
            self.wake,
        ] {
            print.word(word.into());
        }
        for queue in [&self.line_in, &self.rx, &self.tx] {
            print.word(queue.len() as u64);
            for part in [queue.as_slices().0, queue.as_slices().1] {
                print.bytes(part);
            }
        }
        print.word(self.fifo_len as u64);
        for at in [self.next_in, self.silence_at, self.next_out] {
            print.span(at, now);
        }
    }

    /// The chip was reset. Bytes on their way to it stay on the line.
    pub fn reset(&mut self) {
        let old = std::mem::replace(self, Self::new(self.number));
        self.fifo_len = old.fifo_len;
        self.line_in = old.line_in;
        self.next_in = old.next_in;
        self.line_out = old.line_out;
        self.lost = old.lost;
    }

    /// Puts `bytes` on the line to the board, paced at the board's baud rate
    /// and behind what is already on it.
    pub fn send_to_board(&mut self, bytes: &[u8], now: Time) {
        if bytes.is_empty() {
            return;
        }
        if self.line_in.is_empty() {
            self.next_in = now + self.byte_time();
        }
        self.line_in.extend(bytes);
    }

    /// What is on the line to the board, the next byte first.
    pub(crate) fn line_in(&self) -> &VecDeque<u8> {
        &self.line_in
    }

    /// What the board has sent since the last call.
    pub fn take_from_board(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line_out)
    }

    /// Whether the board has sent something that was not taken yet.
    pub fn has_output(&self) -> bool {
        !self.line_out.is_empty()
    }

    fn byte_time(&self) -> Time {
        // Before the program sets a rate, the usual one.
        let baud = if self.config.divider() == 0 {
            921_600
        } else {
            self.config.baud()
        };
        Time::ticks(BITS_PER_BYTE, baud.into())
    }

    fn silence(&self) -> Time {
        let bits = 32_u64 << self.fifo_config.rx_stop();
        Time::ticks(bits, self.config.baud().max(1).into())
    }

    /// When something happens next by itself.
    pub fn next_event(&self) -> Time {
        self.next_in.min(self.next_out).min(self.silence_at)
    }

    /// Does what is due.
    pub fn advance(&mut self, now: Time, trace: &mut Trace) {
        while self.next_in <= now {
            let Some(byte) = self.line_in.pop_front() else {
                self.next_in = Time::NEVER;
                break;
            };
            let at = self.next_in;
            if self.config.rx_enable() {
                if self.rx.len() < self.fifo_len {
                    trace.push(at, Event::Received(self.number, byte));
                    self.rx.push_back(byte);
                } else {
                    trace.push(at, Event::Lost(self.number, byte));
                    self.lost += 1;
                    self.latched.set_rx_overflow(true);
                }
                self.silence_at = at + self.silence();
            }
            self.next_in = if self.line_in.is_empty() {
                Time::NEVER
            } else {
                at + self.byte_time()
            };
        }
        if self.silence_at <= now {
            self.silence_at = Time::NEVER;
            if !self.rx.is_empty() {
                self.latched.set_rx_end(true);
            }
        }
        while self.next_out <= now {
            let at = self.next_out;
            if let Some(byte) = self.tx.pop_front() {
                trace.push(at, Event::Sent(self.number, byte));
                self.line_out.push(byte);
            }
            self.next_out = if self.tx.is_empty() {
                self.latched.set_tx_end(true);
                Time::NEVER
            } else {
                at + self.byte_time()
            };
        }
    }

    fn interrupts(&self) -> Interrupts {
        let threshold = usize::from(self.fifo_config.rx_threshold());
        self.latched
            .with_rx_need_read(threshold > 0 && self.rx.len() >= threshold)
            .with_tx_need_write(self.tx.len() < usize::from(self.fifo_config.tx_threshold()))
    }

    /// Whether the interrupt line is up.
    pub fn asks(&self) -> bool {
        self.interrupts().into_bits() & self.int_enable.into_bits() & 0xFF != 0
    }

    /// Reads a register.
    pub fn read(&mut self, register: u32) -> Option<u32> {
        Some(match register {
            0x00 => self.config.into(),
            0x04 => self.fifo_config.into(),
            0x08 => FifoStatus::new()
                .with_tx_count(self.tx.len() as u8)
                .with_rx_count(self.rx.len() as u8)
                .with_tx_full(self.tx.len() >= FIFO_LEN)
                .with_tx_empty(self.tx.is_empty())
                .with_rx_full(self.rx.len() >= self.fifo_len)
                .with_rx_empty(self.rx.is_empty())
                .with_write_ready(self.tx.len() < FIFO_LEN)
                .with_read_ready(!self.rx.is_empty())
                .into(),
            0x0C => Port::new().with_rx(self.rx.pop_front().unwrap_or(0)).into(),
            0x10 => self.int_enable.into(),
            0x14 => self.interrupts().into(),
            0x18 => self.flow,
            0x1C => self.wake,
            _ => return None,
        })
    }

    /// Writes a register.
    pub fn write(&mut self, register: u32, value: u32, now: Time) -> Option<Result<(), Fault>> {
        match register {
            0x00 => self.config = Config::from_bits(value),
            0x04 => self.fifo_config = FifoConfig::from_bits(value),
            0x0C => {
                if self.tx.len() >= FIFO_LEN {
                    return Some(Err(Fault::TransmitOverrun { uart: self.number }));
                }
                if self.config.tx_enable() {
                    if self.tx.is_empty() {
                        self.next_out = now + self.byte_time();
                    }
                    self.tx.push_back(Port::from_bits(value).tx());
                }
            }
            0x10 => self.int_enable = Interrupts::from_bits(value),
            0x14 => {
                self.latched = Interrupts::from_bits(self.latched.into_bits() & !value);
            }
            0x18 => self.flow = value,
            0x1C => self.wake = value,
            _ => return None,
        }
        Some(Ok(()))
    }
}
