//! Why the emulator stopped.

use crate::time::Time;

/// Something a board would not do, or not survive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// An access to an address where nothing is.
    #[error("{access} at {address:#010x}: nothing is mapped there")]
    Unmapped {
        /// What was tried.
        access: Access,
        /// Bus address.
        address: u32,
    },
    /// An access to a peripheral that is not a whole aligned word.
    #[error("{access} of {bytes} bytes at register {address:#010x}: registers are 32 bits wide")]
    Width {
        /// What was tried.
        access: Access,
        /// Bus address.
        address: u32,
        /// Bytes.
        bytes: u32,
    },
    /// A write to flash through the code window.
    #[error("write at {address:#010x}: flash is read only there, use the flash controller")]
    FlashWindow {
        /// Logical address.
        address: u32,
    },
    /// A line whose CRC is wrong was fetched or read.
    #[error(
        "fetch at {address:#010x}: the line at flash {offset:#08x} has a wrong CRC{}",
        if *blank { " (it is erased)" } else { "" }
    )]
    LineCrc {
        /// Logical address.
        address: u32,
        /// Flash offset of the line.
        offset: u32,
        /// The line is all 0xFF.
        blank: bool,
    },
    /// The program jumped into the area of the first stage.
    #[error("jump to {address:#010x}: that is the first stage{}", if *address == 0 { " (a null function pointer?)" } else { "" })]
    FirstStage {
        /// Logical address.
        address: u32,
    },
    /// An instruction the core does not have.
    #[error("undefined instruction at {address:#010x}")]
    Undefined {
        /// Where.
        address: u32,
    },
    /// A coprocessor access other than wait-for-interrupt.
    #[error(
        "coprocessor access {instruction:#010x} at {address:#010x}: only wait-for-interrupt is known"
    )]
    Coprocessor {
        /// Where.
        address: u32,
        /// What.
        instruction: u32,
    },
    /// The CPU model could not go on (mode bits or operands a core would not
    /// accept).
    #[error("unpredictable instruction near {address:#010x}: {what}")]
    Unpredictable {
        /// Where.
        address: u32,
        /// Message of the model.
        what: String,
    },
    /// A command of the flash controller that a board would not carry out.
    #[error("flash {command} at {offset:#08x}: {why}")]
    FlashCommand {
        /// Which.
        command: &'static str,
        /// Flash offset.
        offset: u32,
        /// Why not.
        why: &'static str,
    },
    /// A byte was written to a full transmit FIFO.
    #[error("UART{uart}: a byte was written to the full transmit FIFO")]
    TransmitOverrun {
        /// 1 or 2.
        uart: u8,
    },
    /// Nothing can wake the core.
    #[error("the core waits for an interrupt that cannot come")]
    Deadlock,
    /// The first stage acts on what it finds and does not start the loader.
    #[error("first stage: {0}")]
    FirstStageActs(&'static str),
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Instruction fetch.
    Fetch,
    /// Load.
    Read,
    /// Store.
    Write,
}

impl core::fmt::Display for Access {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Fetch => "fetch",
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// Why the chip was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCause {
    /// Power came up.
    PowerOn,
    /// The watchdog ran out (also how software resets).
    Watchdog,
    /// The reset line was pulled.
    Line,
}

/// Why [`Machine::run`](crate::Machine::run) returned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// The limit was reached.
    Limit,
    /// Power failed as planned.
    PowerCut,
    /// The next instruction has a breakpoint.
    Breakpoint {
        /// Its address.
        address: u32,
    },
    /// A watchpoint was hit by the instruction before.
    Watchpoint {
        /// Bus address, or flash offset of the sector or unit that changed.
        address: u32,
    },
    /// The chip was reset (only when asked to stop there).
    Reset(ResetCause),
    /// A board would have gone wrong.
    Fault(Box<FaultReport>),
}

/// A fault with its circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultReport {
    /// What.
    pub fault: Fault,
    /// Address of the instruction.
    pub pc: u32,
    /// Registers r0 to r15.
    pub registers: [u32; 16],
    /// Status register.
    pub cpsr: u32,
    /// When.
    pub time: Time,
    /// Instructions since power-on.
    pub instructions: u64,
}

impl core::fmt::Display for FaultReport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        writeln!(f, "{}", self.fault)?;
        writeln!(
            f,
            "  at {}, instruction {}, pc {:#010x}, cpsr {:#010x}",
            self.time, self.instructions, self.pc, self.cpsr
        )?;
        for (row, registers) in self.registers.chunks(4).enumerate() {
            f.write_str(" ")?;
            for (column, value) in registers.iter().enumerate() {
                write!(f, " r{:<2} {value:08x}", row * 4 + column)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
