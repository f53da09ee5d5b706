//! SLIP (RFC 1055): packets on a serial line.

/// Ends a packet.
pub const END: u8 = 0xC0;
const ESC: u8 = 0xDB;
const ESC_END: u8 = 0xDC;
const ESC_ESC: u8 = 0xDD;

/// Sends `packet` as one frame. It begins with an END too, so that noise on the
/// line before it becomes a frame of its own.
pub fn encode(packet: &[u8], mut send: impl FnMut(u8)) {
    send(END);
    for &byte in packet {
        match byte {
            END => {
                send(ESC);
                send(ESC_END);
            }
            ESC => {
                send(ESC);
                send(ESC_ESC);
            }
            _ => send(byte),
        }
    }
    send(END);
}

/// Puts packets of at most `N` bytes together. Longer ones, and frames with a
/// wrong escape, are dropped and counted; IP's checksums find the rest.
pub struct Decoder<const N: usize> {
    bytes: [u8; N],
    len: usize,
    escaped: bool,
    bad: bool,
    dropped: u32,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// Between two packets.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            escaped: false,
            bad: false,
            dropped: 0,
        }
    }

    /// Takes a byte; the packet that it completes, if it does.
    pub fn feed(&mut self, byte: u8) -> Option<&[u8]> {
        if byte == END {
            let len = core::mem::take(&mut self.len);
            let bad = core::mem::take(&mut self.bad) || self.escaped;
            self.escaped = false;
            if bad {
                self.dropped = self.dropped.saturating_add(1);
                return None;
            }
            return self.bytes.get(..len).filter(|packet| !packet.is_empty());
        }
        let byte = match (core::mem::take(&mut self.escaped), byte) {
            (false, ESC) => {
                self.escaped = true;
                return None;
            }
            (false, byte) => byte,
            (true, ESC_END) => END,
            (true, ESC_ESC) => ESC,
            (true, _) => {
                self.bad = true;
                return None;
            }
        };
        match self.bytes.get_mut(self.len) {
            Some(place) => {
                *place = byte;
                self.len += 1;
            }
            None => self.bad = true,
        }
        None
    }

    /// Frames that were dropped.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode<const N: usize>(decoder: &mut Decoder<N>, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for &byte in bytes {
            packets.extend(decoder.feed(byte).map(<[u8]>::to_vec));
        }
        packets
    }

    #[test]
    fn bytes_of_the_rfc() {
        let mut line = Vec::new();
        encode(&[0x45, 0xC0, 0xDB, 0x00], |b| line.push(b));
        assert_eq!(line, [0xC0, 0x45, 0xDB, 0xDC, 0xDB, 0xDD, 0x00, 0xC0]);
        let mut decoder = Decoder::<8>::new();
        assert_eq!(decode(&mut decoder, &line), [[0x45, 0xC0, 0xDB, 0x00]]);
    }

    #[test]
    fn bad_frames_are_dropped_and_the_next_is_whole() {
        let mut decoder = Decoder::<4>::new();
        let line = [
            1, 2, 3, 4, 5, END, // too long
            ESC, 7, 1, END, // wrong escape
            1, ESC, END, // cut behind an escape
            END, END, // empty: no packet, no error
            9, 8, END,
        ];
        assert_eq!(decode(&mut decoder, &line), [[9, 8]]);
        assert_eq!(decoder.dropped(), 3);
    }

    proptest::proptest! {
        #[test]
        fn what_is_sent_arrives(packets in proptest::collection::vec(
            proptest::collection::vec(proptest::prelude::any::<u8>(), 1..64), 0..8),
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        ) {
            let mut decoder = Decoder::<64>::new();
            // Whatever stood on the line before, the first END ends it.
            decode(&mut decoder, &noise);
            let mut line = Vec::new();
            for packet in &packets {
                encode(packet, |b| line.push(b));
            }
            let mut got = decode(&mut decoder, &line);
            if got.len() > packets.len() {
                got.remove(0);
            }
            proptest::prop_assert_eq!(got, packets);
        }
    }
}
