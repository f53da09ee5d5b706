//! What happened, in order.

use crate::report::ResetCause;
use crate::time::Time;

/// Something worth a line in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The chip was reset.
    Reset(ResetCause),
    /// A sector at this flash offset was erased.
    Erase(u32),
    /// A unit at this flash offset was programmed.
    Program(u32),
    /// The flash chip's status register was written.
    WriteStatus(u16),
    /// UART 1 or 2 sent a byte.
    Sent(u8, u8),
    /// UART 1 or 2 received a byte.
    Received(u8, u8),
    /// UART 1 or 2 lost a byte because its receive FIFO was full.
    Lost(u8, u8),
}

impl core::fmt::Display for Event {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Reset(cause) => write!(f, "reset ({cause:?})"),
            Self::Erase(at) => write!(f, "flash erase {at:#08x}"),
            Self::Program(at) => write!(f, "flash program {at:#08x}"),
            Self::WriteStatus(status) => write!(f, "flash status {status:#06x}"),
            Self::Sent(uart, byte) => write!(f, "uart{uart} > {byte:02x}"),
            Self::Received(uart, byte) => write!(f, "uart{uart} < {byte:02x}"),
            Self::Lost(uart, byte) => write!(f, "uart{uart} lost {byte:02x}"),
        }
    }
}

/// A record of events; off until asked for.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    events: Option<Vec<(Time, Event)>>,
}

impl Trace {
    /// Records from now on.
    pub fn start(&mut self) {
        self.events.get_or_insert_default();
    }

    /// Takes what was recorded and goes on recording.
    pub fn take(&mut self) -> Vec<(Time, Event)> {
        self.events
            .as_mut()
            .map(core::mem::take)
            .unwrap_or_default()
    }

    #[inline]
    pub(crate) fn push(&mut self, now: Time, event: Event) {
        if let Some(events) = &mut self.events {
            events.push((now, event));
        }
    }
}
