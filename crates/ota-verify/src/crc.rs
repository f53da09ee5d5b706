//! CRC-32 and CRC-16/XMODEM for every format of the workspace.
//!
//! Small rather than fast, for the boot loader's sake: no tables, unless the
//! feature `fast-crc` asks for one of 64 bytes. Both are `const fn`, so that a
//! descriptor can be made at compile time.

static NIBBLES: [u32; 16] = nibbles();

const fn nibbles() -> [u32; 16] {
    let mut table = [0; 16];
    let mut i = 0;
    while i < 16 {
        table[i] = shifted(i as u32, 4);
        i += 1;
    }
    table
}

/// `crc` after `bits` more zero bits.
#[inline(always)]
const fn shifted(mut crc: u32, bits: u32) -> u32 {
    let mut bit = 0;
    while bit < bits {
        let odd = crc & 1 != 0;
        crc >>= 1;
        if odd {
            crc ^= 0xEDB8_8320;
        }
        bit += 1;
    }
    crc
}

/// `crc` after eight more zero bits, by the table.
const fn by_nibbles(crc: u32) -> u32 {
    let crc = NIBBLES[(crc & 15) as usize] ^ (crc >> 4);
    NIBBLES[(crc & 15) as usize] ^ (crc >> 4)
}

/// A running [`crc32`].
///
/// ```
/// let mut crc = ota_verify::Crc32::new();
/// crc.update(b"1234");
/// crc.update(b"56789");
/// assert_eq!(crc.value(), 0xCBF4_3926);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// Holds what `value` says: one not yet used is all zeros, which a static needs no
// flash for.
pub struct Crc32(u32);

impl Crc32 {
    /// The CRC of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// Takes in one byte.
    #[inline]
    pub const fn byte(&mut self, byte: u8) {
        self.0 = !step(!self.0, byte);
    }

    /// Takes in `bytes`.
    pub const fn update(&mut self, bytes: &[u8]) {
        self.0 = !run(!self.0, bytes);
    }

    /// The CRC of all bytes so far.
    #[must_use]
    pub const fn value(&self) -> u32 {
        self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC-32 as in zlib, .xz and Ethernet (reflected polynomial `0xEDB88320`, start
/// and final value all ones).
///
/// ```
/// assert_eq!(ota_verify::crc32(b"123456789"), 0xCBF4_3926);
/// ```
#[must_use]
pub const fn crc32(bytes: &[u8]) -> u32 {
    !run(!0, bytes)
}

/// The register, all ones at the start, behind one more byte.
#[inline(always)]
const fn step(crc: u32, byte: u8) -> u32 {
    let crc = crc ^ byte as u32;
    if cfg!(feature = "fast-crc") {
        by_nibbles(crc)
    } else {
        shifted(crc, 8)
    }
}

#[inline(never)]
const fn run(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        crc = step(crc, *first);
        rest = tail;
    }
    crc
}

/// CRC-16/XMODEM (polynomial `0x1021`, start 0), which AliOS uses for
/// differential sections, boot parameters and ymodem.
///
/// ```
/// assert_eq!(ota_verify::crc16_xmodem(0, b"123456789"), 0x31C3);
/// ```
///
/// `crc` is 0 for the first piece and the last result for the next one.
#[must_use]
#[inline(never)]
pub const fn crc16_xmodem(mut crc: u16, bytes: &[u8]) -> u16 {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        // A byte a step without a table: the polynomial is sparse enough.
        let mut x = (crc >> 8) ^ *first as u16;
        x ^= x >> 4;
        crc = (crc << 8) ^ (x << 12) ^ (x << 5) ^ x;
        rest = tail;
    }
    crc
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_table_says_the_same() {
        for crc in (0..0xFFFF).map(|x: u32| x.wrapping_mul(0x9E37_79B1)) {
            assert_eq!(super::by_nibbles(crc), super::shifted(crc, 8));
        }
    }
}
