//! A board with its cables plugged in.

use super::{FlashFile, Net};
use crate::machine::{Limit, Machine};
use crate::report::{Fault, Stop};
use crate::time::Time;
use std::io;
use std::time::{Duration, Instant};

/// How much virtual time passes between two looks at the cables.
const SLICE: Time = Time::micros(250);
/// The same while the core sleeps and nobody is expected to say anything.
const IDLE_SLICE: Time = Time::millis(5);

/// A running board, the network behind its UART2, and the file behind its flash.
pub struct Session {
    /// The board.
    pub machine: Machine,
    net: Option<Net>,
    file: Option<FlashFile>,
    resets: u64,
    /// Somebody may type: idle time passes as slowly as on a wall clock.
    pub interactive: bool,
}

impl Session {
    /// Plugs the cables in.
    #[must_use]
    pub fn new(machine: Machine, net: Option<Net>, file: Option<FlashFile>) -> Self {
        Self {
            resets: machine.resets(),
            machine,
            net,
            file,
            interactive: false,
        }
    }

    /// Switches power on (off first, if it was on).
    ///
    /// # Errors
    /// When the first stage does not start the loader.
    pub fn power_on(&mut self) -> Result<(), Fault> {
        if let Some(net) = &mut self.net {
            net.board_was_reset();
        }
        self.machine.power_on()
    }

    /// Lets the board run for a moment. While it waits for somebody outside,
    /// virtual time does not run ahead of the wall clock.
    ///
    /// # Errors
    /// When the flash file cannot be written.
    pub fn step(&mut self) -> io::Result<Option<Stop>> {
        let wall = Instant::now();
        let begin = self.machine.board.now();
        let waits = self.interactive || self.net.as_ref().is_some_and(Net::is_active);
        let slice = if waits || !self.machine.is_idle() {
            SLICE
        } else {
            IDLE_SLICE
        };
        let stop = self.machine.run(Limit::until(begin + slice));
        let resets = self.machine.resets();
        let board = &mut self.machine.board;
        if let Some(file) = &mut self.file
            && !board.flash.dirty.is_empty()
        {
            file.save(&mut board.flash)?;
        }
        if let Some(net) = &mut self.net {
            if self.resets != resets {
                self.resets = resets;
                net.board_was_reset();
            }
            let sent = board.uarts[1].take_from_board();
            let back = net.exchange(board.now(), &sent);
            board.send(2, &back);
        }
        let waits = self.interactive || self.net.as_ref().is_some_and(Net::is_active);
        if waits && self.machine.is_idle() {
            let passed = self.machine.board.now().since(begin).as_micros();
            let spare = Duration::from_micros(passed).saturating_sub(wall.elapsed());
            std::thread::sleep(spare);
        }
        Ok((stop != Stop::Limit).then_some(stop))
    }

    /// Types on the console.
    pub fn type_in(&mut self, bytes: &[u8]) {
        self.machine.board.send(1, bytes);
    }

    /// What the console has shown since the last call.
    pub fn console(&mut self) -> Vec<u8> {
        self.machine.board.uarts[0].take_from_board()
    }
}
