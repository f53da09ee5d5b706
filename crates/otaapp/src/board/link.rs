//! What carries packets: SLIP on a serial line, or a vendor's Wi-Fi library.

use super::slip::{self, Decoder};

/// Longest IP packet.
pub const MTU: usize = 1500;
/// Longest frame: an IP packet and an Ethernet header.
pub const FRAME: usize = MTU + 14;

/// A way to send and receive packets. No call waits for the other side.
pub trait Link {
    /// The hardware address, when frames are Ethernet frames and addresses come
    /// by DHCP. `None`: frames are bare IP packets, and the addresses are
    /// those in [`address`].
    fn hardware_address(&self) -> Option<[u8; 6]>;

    /// Starts to join a network; `false` when that is refused at once.
    fn connect(&mut self, ssid: &str, password: &str) -> bool;

    /// Leaves the network.
    fn disconnect(&mut self);

    /// Whether frames can be exchanged.
    fn is_up(&mut self) -> bool;

    /// Sends a frame; `false` when it was dropped.
    fn send(&mut self, frame: &[u8]) -> bool;

    /// Takes a frame that came in into `frame` ([`FRAME`] bytes); its length.
    fn receive(&mut self, frame: &mut [u8]) -> Option<usize>;
}

/// Addresses on a link without DHCP. They are those of QEMU's user network, so
/// that they look familiar: the other end of the line answers for the gateway,
/// for the host it runs on and for the name server.
pub mod address {
    use smoltcp::wire::Ipv4Address;

    /// The device.
    pub const DEVICE: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
    /// Gateway, and the host at the other end of the line.
    pub const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
    /// Name server.
    pub const NAME_SERVER: Ipv4Address = Ipv4Address::new(10, 0, 2, 3);
    /// Bits of the network's mask.
    pub const PREFIX: u8 = 24;
}

/// A serial line, byte by byte.
pub trait Serial {
    /// A byte that came in.
    fn pop(&mut self) -> Option<u8>;
    /// Sends a byte.
    fn push(&mut self, byte: u8);
}

/// IP packets over a serial line. The line is silent until [`Link::connect`],
/// and what comes in before that is dropped.
pub struct SlipLink<S> {
    line: S,
    decoder: Decoder<MTU>,
    up: bool,
}

impl<S: Serial> SlipLink<S> {
    /// A link that is down.
    pub const fn new(line: S) -> Self {
        Self {
            line,
            decoder: Decoder::new(),
            up: false,
        }
    }
}

impl<S: Serial> Link for SlipLink<S> {
    fn hardware_address(&self) -> Option<[u8; 6]> {
        None
    }

    fn connect(&mut self, _ssid: &str, _password: &str) -> bool {
        while self.line.pop().is_some() {}
        // Says that the device is there, and ends whatever was cut by a reset.
        self.line.push(slip::END);
        self.up = true;
        true
    }

    fn disconnect(&mut self) {
        self.up = false;
    }

    fn is_up(&mut self) -> bool {
        self.up
    }

    fn send(&mut self, frame: &[u8]) -> bool {
        if self.up {
            let line = &mut self.line;
            slip::encode(frame, |byte| line.push(byte));
        }
        self.up
    }

    fn receive(&mut self, frame: &mut [u8]) -> Option<usize> {
        while let Some(byte) = self.line.pop() {
            if !self.up {
                continue;
            }
            if let Some(packet) = self.decoder.feed(byte)
                && let Some(to) = frame.get_mut(..packet.len())
            {
                to.copy_from_slice(packet);
                return Some(packet.len());
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[derive(Default)]
    struct Line {
        incoming: VecDeque<u8>,
        sent: Vec<u8>,
    }

    impl Serial for Line {
        fn pop(&mut self) -> Option<u8> {
            self.incoming.pop_front()
        }
        fn push(&mut self, byte: u8) {
            self.sent.push(byte);
        }
    }

    #[test]
    fn silent_until_connected() {
        let mut link = SlipLink::new(Line::default());
        let mut frame = [0; FRAME];
        link.line.incoming.extend([0xC0, 1, 2, 0xC0]);
        assert_eq!(link.receive(&mut frame), None);
        assert!(!link.send(&[1, 2, 3]));
        assert!(link.line.sent.is_empty());

        // Half a packet from before does not get into the first one.
        link.line.incoming.extend([7, 7]);
        assert!(link.connect("any", ""));
        assert_eq!(link.line.sent, [0xC0]);
        link.line.incoming.extend([1, 2, 0xC0, 3, 0xC0]);
        assert_eq!(link.receive(&mut frame), Some(2));
        assert_eq!(frame[..2], [1, 2]);
        assert_eq!(link.receive(&mut frame), Some(1));
        assert!(link.send(&[9]));
        assert_eq!(link.line.sent, [0xC0, 0xC0, 9, 0xC0]);
        link.disconnect();
        assert!(!link.is_up());
    }
}
