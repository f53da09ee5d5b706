//! SLIP (RFC 1055), the host's side of the line.

const END: u8 = 0xC0;
const ESC: u8 = 0xDB;
const ESC_END: u8 = 0xDC;
const ESC_ESC: u8 = 0xDD;

/// A frame around `packet`.
pub fn encode(packet: &[u8], line: &mut Vec<u8>) {
    line.push(END);
    for byte in packet {
        match *byte {
            END => line.extend([ESC, ESC_END]),
            ESC => line.extend([ESC, ESC_ESC]),
            byte => line.push(byte),
        }
    }
    line.push(END);
}

/// Finds frames in what the board sends.
#[derive(Default)]
pub struct Decoder {
    frame: Vec<u8>,
    escaped: bool,
}

/// Longer frames are dropped.
const LONGEST: usize = 2048;

impl Decoder {
    /// Takes a byte; a frame when it is complete.
    pub fn feed(&mut self, byte: u8) -> Option<Vec<u8>> {
        let escaped = std::mem::take(&mut self.escaped);
        let byte = match (escaped, byte) {
            (_, END) => {
                let frame = std::mem::take(&mut self.frame);
                return (!frame.is_empty() && frame.len() <= LONGEST).then_some(frame);
            }
            (false, ESC) => {
                self.escaped = true;
                return None;
            }
            (true, ESC_END) => END,
            (true, ESC_ESC) => ESC,
            (_, byte) => byte,
        };
        if self.frame.len() <= LONGEST {
            self.frame.push(byte);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_framed_is_found_again() {
        let packet: Vec<u8> = (0..=255).collect();
        let mut line = b"noise".to_vec();
        encode(&packet, &mut line);
        encode(b"next", &mut line);
        let mut decoder = Decoder::default();
        let frames: Vec<_> = line.iter().filter_map(|b| decoder.feed(*b)).collect();
        assert_eq!(frames, [b"noise".to_vec(), packet, b"next".to_vec()]);
    }
}
