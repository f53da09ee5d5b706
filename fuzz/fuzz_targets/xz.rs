//! .xz and LZMA2, against `lzma-rust2`.
//!
//! * Raw LZMA2 data in a good container: taken by both or by neither, with the
//!   same bytes (but for options we refuse).
//! * Any damaged stream: what we take, they take, with the same bytes.
//! * The sizes of the pieces change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lzma_rust2::{Lzma2Reader, XzReader};
use ota_delta::xz::{XzDecoder, XzError};
use std::io::Read;
use std::sync::LazyLock;
use uota_fuzz::{Input, damage, noise, packages};

const DICT: usize = 4096;
/// Longest output looked at: LZMA makes much of little.
const MAX: usize = 1 << 16;

fn ours(mut stream: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, XzError> {
    let mut d = Box::new(XzDecoder::<DICT>::new());
    let mut out = vec![];
    while !stream.is_empty() {
        let (mut now, later) = stream.split_at(piece.min(stream.len()));
        stream = later;
        loop {
            let mut buf = vec![0; room];
            let n = d.decode(&mut now, &mut buf)?;
            out.extend(&buf[..n]);
            if out.len() > MAX {
                return Ok(out);
            }
            if now.is_empty() && n < room {
                break;
            }
        }
    }
    d.finish()?;
    Ok(out)
}

fn theirs(stream: &[u8]) -> Option<Vec<u8>> {
    let mut out = vec![];
    let mut reader = XzReader::new(stream, false);
    (&mut reader)
        .take(MAX as u64 + 1)
        .read_to_end(&mut out)
        .ok()?;
    Some(out)
}

/// Decodes raw LZMA2; what it makes and how much of it was used.
fn lzma2(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut reader = Lzma2Reader::new(data, DICT as u32, None);
    let mut out = vec![];
    (&mut reader)
        .take(MAX as u64 + 1)
        .read_to_end(&mut out)
        .ok()?;
    (out.len() <= MAX).then_some((out, data.len() - reader.into_inner().len()))
}

/// Compressing takes long: these are made once.
static RAW: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let text = b"some text, 0123456789, and some more. ".repeat(9);
    [
        noise(1, 300),
        text.clone(),
        [noise(2, 90), text, vec![7; 500]].concat(),
        [noise(3, 30), vec![0; 9000], noise(3, 30)].concat(),
        vec![1],
        vec![],
    ]
    .map(|plain| packages::lzma2(&plain))
    .into()
});

fuzz_target!(init: { LazyLock::force(&RAW); }, |data: &[u8]| {
    let mut input = Input::new(data);
    // Few inputs compress, and the fuzzer cannot make more of them.
    let rare = packages::crc32(data) % 256 == 5;
    let (mode, piece) = (input.u8(), usize::from(input.u8()).max(1));
    let room = usize::from(input.u16()).max(1);
    let stream = match mode % 4 {
        0 | 1 => {
            let mut raw;
            let data = if mode % 4 == 0 {
                input.rest()
            } else {
                raw = if rare {
                    let mut plain = noise(input.u16().into(), usize::from(input.u8()));
                    plain.extend(input.bytes(64).repeat(1 + usize::from(input.u8())));
                    packages::lzma2(&plain)
                } else {
                    RAW[input.below(RAW.len())].clone()
                };
                damage(&mut input, &mut raw);
                &raw
            };
            let reference = lzma2(data);
            let (plain, used) = reference.clone().unwrap_or((vec![], data.len()));
            let stream = packages::xz(&data[..used], &plain, mode & 4 != 0);
            match ours(&stream, piece, room) {
                Ok(out) if out.len() > MAX => return,
                Ok(out) => assert_eq!(Some(out), reference.map(|(plain, _)| plain)),
                Err(XzError::Options) => {}
                Err(e) => assert!(reference.is_none(), "refused: {e:?}"),
            }
            stream
        }
        2 => {
            let len = usize::from(input.u16()) % 2000;
            let mut stream = packages::pack(&noise(input.u8().into(), len), rare);
            damage(&mut input, &mut stream);
            stream
        }
        _ => input.rest().to_vec(),
    };
    let whole = ours(&stream, stream.len().max(1), MAX);
    let parts = ours(&stream, piece, room);
    match (&whole, &parts) {
        (Ok(a), Ok(b)) if a.len().max(b.len()) > MAX => {}
        _ => assert_eq!(whole, parts),
    }
    if let Ok(out) = whole
        && out.len() <= MAX
    {
        assert_eq!(Some(out), theirs(&stream));
    }
});
