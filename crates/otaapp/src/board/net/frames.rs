//! Frames of a link as smoltcp's device.

use crate::board::link::{FRAME, Link, MTU};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Packets since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// From the link.
    pub incoming: u32,
    /// To the link.
    pub outgoing: u32,
}

/// Frames of a link for the stack, one at a time.
pub(super) struct Frames<L> {
    pub(super) link: L,
    incoming: [u8; FRAME],
    outgoing: [u8; FRAME],
    pub(super) counts: Counts,
}

impl<L> Frames<L> {
    /// No frame in hand.
    pub(super) fn new(link: L) -> Self {
        Self {
            link,
            incoming: [0; FRAME],
            outgoing: [0; FRAME],
            counts: Counts::default(),
        }
    }
}

pub(super) struct Incoming<'f>(&'f [u8]);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

pub(super) struct Outgoing<'f, L> {
    link: &'f mut L,
    room: &'f mut [u8; FRAME],
    count: &'f mut u32,
}

impl<L: Link> phy::TxToken for Outgoing<'_, L> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The stack keeps to the MTU it was told.
        let frame = self.room.get_mut(..len).unwrap_or_default();
        let result = f(frame);
        if self.link.send(frame) {
            *self.count = self.count.wrapping_add(1);
        }
        result
    }
}

impl<L: Link> Device for Frames<L> {
    type RxToken<'t>
        = Incoming<'t>
    where
        L: 't;
    type TxToken<'t>
        = Outgoing<'t, L>
    where
        L: 't;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_, L>)> {
        let len = self.link.receive(&mut self.incoming)?;
        self.counts.incoming = self.counts.incoming.wrapping_add(1);
        let incoming = Incoming(self.incoming.get(..len)?);
        let outgoing = Outgoing {
            link: &mut self.link,
            room: &mut self.outgoing,
            count: &mut self.counts.outgoing,
        };
        Some((incoming, outgoing))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, L>> {
        Some(Outgoing {
            link: &mut self.link,
            room: &mut self.outgoing,
            count: &mut self.counts.outgoing,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) =
            match self.link.hardware_address() {
                #[cfg(feature = "vendor-link")]
                Some(_) => (Medium::Ethernet, FRAME),
                _ => (Medium::Ip, MTU),
            };
        capabilities
    }
}
