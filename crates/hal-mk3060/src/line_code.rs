//! The 34/32 line coding of executable flash.
//!
//! The CPU does not see flash bytes one to one. Executable flash is a sequence
//! of 34-byte lines counted from flash offset 0: 32 bytes of code, then a
//! big-endian CRC-16 of them. Logical (CPU) address `L` lies at flash offset
//! `(L / 32) * 34 + L % 32`. Data partitions are read and written through the
//! flash controller and carry no line CRCs.
//!
//! The CRC is CRC-16/CMS: polynomial 0x8005, start value 0xFFFF, no
//! reflection, no final XOR. An erased line (34 x 0xFF) is *not* valid: the
//! CRC of 32 x 0xFF is 0x000C.
//!
//! Pure and `no_std`; the board's packer and the emulator use the same code.

/// Code bytes in a line.
pub const LINE: usize = 32;
/// Flash bytes of a line: the code bytes and their CRC.
pub const CODED_LINE: usize = 34;

/// CRC-16/CMS of `bytes`.
#[must_use]
pub const fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0xFFFF_u16;
    let mut rest = bytes;
    while let [byte, tail @ ..] = rest {
        crc ^= (*byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                (crc << 1) ^ 0x8005
            } else {
                crc << 1
            };
            bit += 1;
        }
        rest = tail;
    }
    crc
}

/// Flash offset of logical address `logical`, or `None` if it does not fit 32 bits.
#[must_use]
pub const fn flash_offset(logical: u32) -> Option<u32> {
    match (logical / LINE as u32).checked_mul(CODED_LINE as u32) {
        Some(line) => line.checked_add(logical % LINE as u32),
        None => None,
    }
}

/// Logical address of flash offset `offset`, or `None` if a line CRC lies there.
#[must_use]
pub const fn logical_address(offset: u32) -> Option<u32> {
    let within = offset % CODED_LINE as u32;
    if within < LINE as u32 {
        Some(offset / CODED_LINE as u32 * LINE as u32 + within)
    } else {
        None
    }
}

/// Bytes of padding between a partition that starts at flash offset `start`
/// and the first line that lies wholly inside it (0 to 33).
#[must_use]
pub const fn padding(start: u32) -> u32 {
    (CODED_LINE as u32 - start % CODED_LINE as u32) % CODED_LINE as u32
}

/// Length of `len` plain bytes once coded, or `None` if it does not fit.
/// The last line is filled up, so the result is a multiple of [`CODED_LINE`].
#[must_use]
pub const fn coded_len(len: usize) -> Option<usize> {
    len.div_ceil(LINE).checked_mul(CODED_LINE)
}

/// Codes one line.
#[must_use]
pub fn encode_line(plain: &[u8; LINE]) -> [u8; CODED_LINE] {
    let mut coded = [0; CODED_LINE];
    let (code, crc) = coded.split_at_mut(LINE);
    code.copy_from_slice(plain);
    crc.copy_from_slice(&crc16(plain).to_be_bytes());
    coded
}

/// The code of one line, or `None` if its CRC does not match.
#[must_use]
pub fn decode_line(coded: &[u8; CODED_LINE]) -> Option<[u8; LINE]> {
    let (code, crc) = coded.split_first_chunk::<LINE>()?;
    (crc16(code).to_be_bytes() == *crc).then_some(*code)
}

/// The coded lines of `plain`; a last partial line is filled up with 0xFF.
///
/// Collect with `flatten`: each item is one line of flash.
pub fn encode(plain: &[u8]) -> impl ExactSizeIterator<Item = [u8; CODED_LINE]> + '_ {
    plain.chunks(LINE).map(|chunk| {
        let mut line = [0xFF; LINE];
        for (to, from) in line.iter_mut().zip(chunk) {
            *to = *from;
        }
        encode_line(&line)
    })
}

/// The decoded lines of `coded`: `Err(n)` for line `n` when its CRC is wrong
/// or it is cut short.
pub fn decode(coded: &[u8]) -> impl ExactSizeIterator<Item = Result<[u8; LINE], usize>> + '_ {
    coded.chunks(CODED_LINE).enumerate().map(|(n, line)| {
        <&[u8; CODED_LINE]>::try_from(line)
            .ok()
            .and_then(decode_line)
            .ok_or(n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_vectors() {
        assert_eq!(crc16(b"123456789"), 0xAEE7);
        assert_eq!(crc16(&[0xFF; 32]), 0x000C);
        assert_eq!(crc16(&[0x00; 32]), 0x8029);
    }

    #[test]
    fn addresses() {
        for (logical, offset) in [
            (0, 0),
            (31, 31),
            (32, 34),
            (0x1_0000, 0x1_1000),
            (0x1_2000, 0x1_3200),
            (0x1_6C00, 0x1_82C0),
            (0x1_A5C0, 0x1_C01C),
        ] {
            assert_eq!(flash_offset(logical), Some(offset));
            assert_eq!(logical_address(offset), Some(logical));
        }
        assert_eq!(logical_address(32), None);
        assert_eq!(logical_address(33), None);
        assert_eq!(flash_offset(u32::MAX), None);
        for (start, pad) in [
            (0x1_C000, 28),
            (0x1_B000, 10),
            (0x1_3000, 2),
            (0x10_1000, 2),
            (0x1_8000, 24),
            (0x1_3200, 0),
        ] {
            assert_eq!(padding(start), pad);
        }
    }

    #[test]
    fn lengths() {
        assert_eq!(coded_len(0), Some(0));
        assert_eq!(coded_len(1), Some(34));
        assert_eq!(coded_len(32), Some(34));
        assert_eq!(coded_len(33), Some(68));
        assert_eq!(coded_len(usize::MAX), None);
    }

    #[test]
    fn a_partial_line_is_filled_with_ff() {
        let mut lines = encode(b"123456789");
        assert_eq!(lines.len(), 1);
        let line = lines.next().unwrap();
        assert!(line.starts_with(b"123456789\xFF"));
        let plain = decode_line(&line).unwrap();
        assert_eq!(&plain[9..], &[0xFF; 23]);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let line = encode_line(&core::array::from_fn(|i| i as u8));
        for bit in 0..CODED_LINE * 8 {
            let mut bad = line;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_line(&bad), None, "bit {bit}");
        }
        // An erased line does not pass for code.
        assert_eq!(decode_line(&[0xFF; CODED_LINE]), None);
    }

    #[test]
    fn decode_names_the_bad_line() {
        let mut coded = [0; CODED_LINE * 3];
        for (to, line) in coded.chunks_mut(CODED_LINE).zip(encode(&[7; 96])) {
            to.copy_from_slice(&line);
        }
        assert!(decode(&coded).all(|line| line == Ok([7; LINE])));
        coded[CODED_LINE + 3] ^= 0x10;
        assert_eq!(decode(&coded).nth(1), Some(Err(1)));
        assert_eq!(decode(&coded[..40]).nth(1), Some(Err(1)));
    }
}
