//! CRC-32 and CRC-16/XMODEM, bit by bit.
//!
//! They guard headers of a few dozen bytes, where a table costs more flash than
//! the loop costs time. Both are `const fn`, so that a descriptor can be made at
//! compile time.

/// CRC-32 as in zlib and Ethernet (reflected polynomial `0xEDB88320`, start and
/// final value all ones).
///
/// ```
/// assert_eq!(ota_verify::crc32(b"123456789"), 0xCBF4_3926);
/// ```
#[must_use]
pub const fn crc32(bytes: &[u8]) -> u32 {
    !crc32_update(!0, bytes)
}

/// One step of [`crc32`] without start and final inversion: start with `!0`,
/// pass the result of one call to the next, invert the last.
#[must_use]
pub const fn crc32_update(mut crc: u32, bytes: &[u8]) -> u32 {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        crc ^= *first as u32;
        let mut bit = 0;
        while bit < 8 {
            let mask = 0u32.wrapping_sub(crc & 1);
            crc = (crc >> 1) ^ (0xEDB8_8320 & mask);
            bit += 1;
        }
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
pub const fn crc16_xmodem(mut crc: u16, bytes: &[u8]) -> u16 {
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        crc ^= (*first as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let mask = 0u16.wrapping_sub(crc >> 15);
            crc = (crc << 1) ^ (0x1021 & mask);
            bit += 1;
        }
        rest = tail;
    }
    crc
}
