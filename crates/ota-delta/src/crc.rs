//! CRC-32 (IEEE 802.3, as in .xz) and CRC-16/XMODEM (as in nbdiff), four bits a step:
//! small tables rather than fast ones, for the boot loader's sake.

const fn table32() -> [u32; 16] {
    let mut t = [0u32; 16];
    let mut i = 0;
    while i < 16 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 4 {
            c = if c & 1 != 0 {
                (c >> 1) ^ 0xEDB8_8320
            } else {
                c >> 1
            };
            k += 1;
        }
        t[i] = c;
        i += 1;
    }
    t
}
static T32: [u32; 16] = table32();

/// A running CRC-32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crc32(u32);

impl Crc32 {
    /// The CRC of nothing.
    pub const fn new() -> Self {
        Crc32(!0)
    }
    /// Takes in one byte.
    #[inline]
    pub fn byte(&mut self, b: u8) {
        let mut c = self.0 ^ u32::from(b);
        c = T32[(c & 15) as usize] ^ (c >> 4);
        c = T32[(c & 15) as usize] ^ (c >> 4);
        self.0 = c;
    }
    /// Takes in `data`.
    #[inline(never)]
    pub fn update(&mut self, data: &[u8]) {
        for &b in data {
            self.byte(b);
        }
    }
    /// The CRC of all bytes so far.
    pub const fn value(&self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

/// CRC-32 of `data`.
pub fn crc32(data: &[u8]) -> u32 {
    let mut c = Crc32::new();
    c.update(data);
    c.value()
}

/// Continues a CRC-16/XMODEM (polynomial 0x1021, start 0, unreflected) over `data`.
#[inline(never)]
pub fn crc16_xmodem(mut crc: u16, data: &[u8]) -> u16 {
    for &b in data {
        // One byte a step without a table: the polynomial is sparse enough.
        let mut x = (crc >> 8) ^ u16::from(b);
        x ^= x >> 4;
        crc = (crc << 8) ^ (x << 12) ^ (x << 5) ^ x;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc16_xmodem(0, b"123456789"), 0x31C3);
        assert_eq!(crc16_xmodem(crc16_xmodem(0, b"1234"), b"56789"), 0x31C3);
    }
}
