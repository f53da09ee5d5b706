//! 34/32 line coding seen through: positions in the image as stored and as decoded.
//! A line is 32 bytes and their CRC-16 (0x8005, start 0xFFFF, unreflected, big endian).

/// Decoded bytes of a line, and with its CRC.
pub(crate) const LINE: u32 = 32;
pub(crate) const CODED: u32 = 34;

/// The coded part of an image; none when `count` is 0.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub start: u32,
    pub count: u32,
}

impl Lines {
    /// Length of the decoded image.
    pub fn decoded_len(&self, stored: u32) -> u32 {
        stored - 2 * self.count
    }

    /// Where decoded byte `p` is stored.
    pub fn stored(&self, p: u32) -> u32 {
        let q = p.saturating_sub(self.start);
        if p < self.start {
            p
        } else if q < LINE * self.count {
            self.start + (q >> 5) * CODED + (q & 31)
        } else {
            p + 2 * self.count
        }
    }

    /// The first decoded byte that is stored at `x` or behind.
    pub fn decoded(&self, x: u32) -> u32 {
        let q = x.saturating_sub(self.start);
        if x < self.start {
            x
        } else if q < CODED * self.count {
            self.start + q / CODED * LINE + (q % CODED).min(LINE)
        } else {
            x - 2 * self.count
        }
    }

    /// Decoded bytes from `p` on that are stored without a gap, at most `max`.
    pub fn run(&self, p: u32, max: u32) -> u32 {
        let q = p.wrapping_sub(self.start);
        if p < self.start {
            max.min(self.start - p)
        } else if q < LINE * self.count {
            max.min(LINE - (q & 31))
        } else {
            max
        }
    }

    /// Decoded bytes before `p` that are stored right before it, without a gap; some of
    /// them where there are many.
    pub fn back(&self, p: u32) -> u32 {
        let q = p.wrapping_sub(self.start);
        if p < self.start || self.count == 0 {
            p
        } else if q < LINE * self.count {
            q & 31
        } else {
            q - LINE * self.count
        }
    }

    /// Place of decoded byte `p` in its line, if it is in one.
    #[inline]
    pub fn column(&self, p: u32) -> Option<u32> {
        let q = p.wrapping_sub(self.start);
        (q < LINE * self.count).then_some(q & (LINE - 1))
    }

    /// Offset of stored byte `x` in its line, if it is in one.
    pub fn in_line(&self, x: u32) -> Option<u32> {
        let q = x.wrapping_sub(self.start);
        (x >= self.start && q < CODED * self.count).then_some(q % CODED)
    }
}

/// What four bits at the top of the register become.
static CRC: [u16; 16] = {
    let mut t = [0; 16];
    let mut i = 0;
    while i < 16 {
        let (mut c, mut n) = ((i as u16) << 12, 0);
        while n < 4 {
            c = c << 1 ^ if c & 0x8000 != 0 { 0x8005 } else { 0 };
            n += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
};

/// Continues a line's CRC.
pub(crate) fn line_crc(crc: u16, b: u8) -> u16 {
    let nibble = |c: u16| c << 4 ^ CRC.get(usize::from(c >> 12)).copied().unwrap_or(0);
    nibble(nibble(crc ^ u16::from(b) << 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_vectors() {
        let crc = |data: &[u8]| data.iter().fold(0xFFFF, |c, b| line_crc(c, *b));
        assert_eq!(crc(&[0xFF; 32]), 0x000C);
        assert_eq!(crc(&[0; 32]), 0x8029);
        let count: std::vec::Vec<u8> = (0..64).collect();
        assert_eq!((crc(&count[..32]), crc(&count[32..])), (0x259D, 0x51E5));
    }

    #[test]
    fn positions_agree() {
        let l = Lines {
            start: 28,
            count: 5,
        };
        for p in 0..300 {
            assert_eq!(l.decoded(l.stored(p)), p);
            assert_eq!(l.stored(p - l.back(p)), l.stored(p) - l.back(p));
            assert_eq!(
                l.stored(p + l.run(p, 10) - 1),
                l.stored(p) + l.run(p, 10) - 1
            );
        }
        for x in 0..300 {
            assert!(l.stored(l.decoded(x)) >= x);
            assert!(l.decoded(x) == 0 || l.stored(l.decoded(x) - 1) < x);
        }
    }
}
