//! .xz streams and sections of nbdiff patches around given data.

use crc::Crc;
use lzma_rust2::{Lzma2Options, Lzma2Writer};
use std::io::Write;

/// Their tables are made once.
static CRC32: Crc<u32> = Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
static CRC16: Crc<u16> = Crc::<u16>::new(&crc::CRC_16_XMODEM);

/// CRC-32 by the `crc` crate.
pub fn crc32(bytes: &[u8]) -> u32 {
    CRC32.checksum(bytes)
}

/// CRC-16/XMODEM by the `crc` crate.
pub fn crc16(bytes: &[u8]) -> u16 {
    CRC16.checksum(bytes)
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value > 0x7F {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A .xz stream of one block around LZMA2 `data` that decodes to `plain`;
/// the block asks for a dictionary of 4 KiB.
pub fn xz(data: &[u8], plain: &[u8], check: bool) -> Vec<u8> {
    let flags = [0, u8::from(check)];
    let mut out = vec![0xFD, b'7', b'z', b'X', b'Z', 0];
    out.extend(flags);
    out.extend(crc32(&flags).to_le_bytes());
    let block = [2, 0, 0x21, 1, 0, 0, 0, 0];
    out.extend(block);
    out.extend(crc32(&block).to_le_bytes());
    out.extend(data);
    while out.len() % 4 != 0 {
        out.push(0);
    }
    if check {
        out.extend(crc32(plain).to_le_bytes());
    }
    let mut index = vec![0, 1];
    varint(&mut index, 12 + data.len() + if check { 4 } else { 0 });
    varint(&mut index, plain.len());
    while index.len() % 4 != 0 {
        index.push(0);
    }
    let mut footer = (index.len() as u32 / 4).to_le_bytes().to_vec();
    footer.extend(flags);
    out.extend(&index);
    out.extend(crc32(&index).to_le_bytes());
    out.extend(crc32(&footer).to_le_bytes());
    out.extend(footer);
    out.extend(b"YZ");
    out
}

/// `plain` in LZMA2, with a dictionary of 4 KiB.
pub fn lzma2(plain: &[u8]) -> Vec<u8> {
    let mut options = Lzma2Options::with_preset(1);
    options.lzma_options.dict_size = 4096;
    let mut writer = Lzma2Writer::new(Vec::new(), options);
    writer.write_all(plain).expect("memory takes it");
    writer.finish().expect("memory takes it")
}

/// `plain` in LZMA2 as it is: compressing takes long.
pub fn stored(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    for (n, chunk) in plain.chunks(1 << 16).enumerate() {
        out.push(if n == 0 { 1 } else { 2 });
        out.extend(((chunk.len() - 1) as u16).to_be_bytes());
        out.extend(chunk);
    }
    out.push(0);
    out
}

/// `plain` as a .xz stream.
pub fn pack(plain: &[u8], compress: bool) -> Vec<u8> {
    let data = if compress {
        lzma2(plain)
    } else {
        stored(plain)
    };
    xz(&data, plain, plain.len() % 2 == 1)
}

fn number(value: i32) -> [u8; 8] {
    let mut out = u64::from(value.unsigned_abs()).to_le_bytes();
    out[7] |= if value < 0 { 0x80 } else { 0 };
    out
}

/// A section of an nbdiff patch that makes `new_len` bytes with this CRC.
pub fn section(
    triples: &[[i32; 3]],
    diff: &[u8],
    extra: &[u8],
    new_len: usize,
    crc: u16,
    compress: bool,
) -> Vec<u8> {
    let control: Vec<u8> = triples.iter().flatten().flat_map(|v| number(*v)).collect();
    let streams = [&control, diff, extra].map(|plain| pack(plain, compress));
    let mut out = b"BSDIFF40".to_vec();
    for stream in &streams {
        out.extend(number(stream.len() as i32));
    }
    out.extend(number(new_len as i32));
    out.extend(number(i32::from(crc)));
    out.extend(streams.concat());
    out
}
