//! A patch format for tests, of the same pattern as nbdiff: slice i is computed
//! from the new image in front of it and the old image from there on.
//!
//! Section: `"PCS1"`, length of the slice, length of what follows the header,
//! CRC-32 of the slice, offset; then runs of (count, byte), 16 and 8 bits, and
//! filling. The bytes of the slice are those from that offset on in the view, XOR
//! the byte of the run.

use ota_bootlib::{Patch, Section};
use ota_verify::{Crc32, ReadAt, crc32};

const HEADER: u32 = 20;

/// The decoder: where it is in its slice.
#[derive(Default)]
pub struct TestPatch {
    left: u32,
    crc: u32,
    from: u32,
    found: Crc32,
    at: u32,
    run: u32,
    xor: u8,
}

fn header(patch: &mut dyn ReadAt, at: u32) -> Option<[u32; 4]> {
    let mut b = [0; HEADER as usize];
    patch.read_at(at, &mut b).ok()?;
    let word = |i: usize| u32::from_le_bytes([b[i], b[i + 1], b[i + 2], b[i + 3]]);
    (b[..4] == *b"PCS1").then(|| [word(4), word(8), word(12), word(16)])
}

impl Patch for TestPatch {
    fn begin(
        &mut self,
        patch: &mut dyn ReadAt,
        at: u32,
        slice_len: u32,
        _old_len: u32,
    ) -> Option<Section> {
        let [left, body, crc, from] = header(patch, at)?;
        *self = TestPatch {
            left,
            crc,
            from,
            at: at + HEADER,
            ..TestPatch::default()
        };
        let len = body.checked_add(HEADER)?;
        let good = left > 0 && left <= slice_len && len <= patch.size() - at;
        good.then_some(Section { len, new_len: left })
    }

    fn read(&mut self, patch: &mut dyn ReadAt, old: &mut dyn ReadAt, out: &mut [u8]) -> Option<()> {
        let mut rest = out;
        while !rest.is_empty() {
            if self.run == 0 {
                let mut run = [0; 3];
                patch.read_at(self.at, &mut run).ok()?;
                self.at += 3;
                self.run = u32::from(u16::from_le_bytes([run[0], run[1]]));
                self.xor = run[2];
                continue;
            }
            let n = self.run.min(rest.len() as u32).min(37);
            let (piece, later) = rest.split_at_mut(n as usize);
            old.read_at(self.from, piece).ok()?;
            piece.iter_mut().for_each(|b| *b ^= self.xor);
            self.found.update(piece);
            self.from = self.from.checked_add(n)?;
            self.run -= n;
            self.left = self.left.checked_sub(n)?;
            rest = later;
        }
        (self.left > 0 || self.run == 0 && self.found.value() == self.crc).then_some(())
    }
}

/// A new image made from `old`, and the patch that says so. `fill` bytes of
/// filling in each section make the patch as long as a test wants it.
pub fn make(old: &[u8], new_len: u32, slice: u32, fill: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut new, mut patch) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < new_len {
        let len = slice.min(new_len - at);
        let k = at / slice;
        let distance = if k % 2 == 1 { slice } else { 0 };
        let mut view = new.clone();
        view.extend_from_slice(&old[view.len().min(old.len())..]);
        let mut runs = Vec::new();
        for from in (0..len).step_by(100) {
            let n = 100.min(len - from);
            let x = (k * 29 + from / 100 + 1) as u8 | 1;
            runs.extend_from_slice(&(n as u16).to_le_bytes());
            runs.push(x);
            for i in from..from + n {
                new.push(view[(at + i - distance) as usize] ^ x);
            }
        }
        runs.extend(std::iter::repeat_n(0xA5, fill as usize));
        let slice_bytes = &new[at as usize..];
        patch.extend_from_slice(b"PCS1");
        for word in [len, runs.len() as u32, crc32(slice_bytes), at - distance] {
            patch.extend_from_slice(&word.to_le_bytes());
        }
        patch.extend_from_slice(&runs);
        at += len;
    }
    (new, patch)
}
