//! Rolled loops: a quarter of the code of unrolled ones, for boot loaders. With
//! feature `unrolled` the loop of SHA-256 is written out.
//!
//! Both digests share the block buffer and the Merkle-Damgard padding; only the
//! byte order and the compression function differ.

/// State, length and block of either digest (MD5 uses half of the state). One copy of
/// the code serves both. In this order: short offsets make short code.
#[derive(Clone)]
#[repr(C)]
struct Running {
    state: [u32; 8],
    /// Bytes so far: up to 4 GiB, as far as a [`ReadAt`](crate::ReadAt) goes.
    len: u32,
    tape: Tape,
}

/// Which digest. The methods of [`Running`] are told and it keeps nothing of that, so
/// that the compiler sees when a program has one of the two only.
#[derive(Clone, Copy)]
enum Kind {
    Md5,
    Sha256,
}

impl Kind {
    /// Byte `i` of the message is byte `i ^ flip` of the little-endian words that the
    /// rolled functions take and that make the state.
    fn flip(self) -> usize {
        match self {
            Self::Md5 => 0,
            Self::Sha256 => 3,
        }
    }

    fn compress(self, state: &mut [u32; 8], tape: &mut Tape) {
        match self {
            Self::Md5 => md5_compress(state, tape),
            Self::Sha256 => sha256_block(state, tape),
        }
    }
}

/// The 16 words of a block, low byte first, one load each, with room around them for
/// what the rolled SHA-256 makes of them.
#[derive(Clone)]
#[repr(C, align(4))]
struct Tape([u8; 4 * WORDS]);

/// Words of a tape.
const WORDS: usize = 88;
/// The word at which the block begins, and where its 64 bytes lie.
const FIRST: usize = 8;
const BLOCK: core::ops::Range<usize> = 4 * FIRST..4 * FIRST + 64;

impl Tape {
    const BLANK: Self = Self([0; 4 * WORDS]);
}

impl Running {
    #[inline(never)]
    fn new(state: &[u32; 8]) -> Self {
        Self {
            state: *state,
            len: 0,
            tape: Tape::BLANK,
        }
    }

    #[inline(never)]
    fn update(&mut self, kind: Kind, mut bytes: &[u8]) {
        let mut at = (self.len % 64) as usize;
        self.len = self.len.wrapping_add(bytes.len() as u32);
        // Whole blocks at once, where speed is worth the code.
        if cfg!(any(feature = "unrolled", test)) {
            let begun = (64 - at) % 64;
            let (head, tail) = bytes.split_at_checked(begun).unwrap_or((bytes, &[]));
            at = self.bytewise(kind, at, head);
            bytes = tail;
            while let Some((head, tail)) = bytes.split_first_chunk::<64>() {
                match kind {
                    Kind::Md5 => {
                        self.tape.0[BLOCK].copy_from_slice(head);
                        md5_compress(&mut self.state, &mut self.tape);
                    }
                    Kind::Sha256 => sha256_whole(&mut self.state, head),
                }
                bytes = tail;
            }
        }
        self.bytewise(kind, at, bytes);
    }

    /// Takes bytes in from `at` in the block; where it then is.
    #[inline(always)]
    fn bytewise(&mut self, kind: Kind, mut at: usize, bytes: &[u8]) -> usize {
        for byte in bytes {
            let turned = at ^ (kind.flip() & TURNED);
            if let Some(b) = self.tape.0.get_mut(BLOCK.start + turned) {
                *b = *byte;
            }
            at += 1;
            if at == 64 {
                at = 0;
                kind.compress(&mut self.state, &mut self.tape);
            }
        }
        at
    }

    /// Pads with 0x80, zeros and the length in bits, compresses what is left and
    /// writes the state.
    #[inline(never)]
    fn finish(&mut self, kind: Kind, out: &mut [u8]) {
        let (low, high) = (self.len << 3, self.len >> 29);
        let mut padding = 0x80;
        loop {
            self.update(kind, &[padding]);
            padding = 0;
            if self.len % 64 == 56 {
                break;
            }
        }
        // Words of the block: as the machine has them, or as they come.
        let (first, second) = match kind {
            Kind::Md5 => (low, high),
            Kind::Sha256 if TURNED == 0 => (high.swap_bytes(), low.swap_bytes()),
            Kind::Sha256 => (high, low),
        };
        self.tape.0[BLOCK.end - 8..BLOCK.end - 4].copy_from_slice(&first.to_le_bytes());
        self.tape.0[BLOCK.end - 4..BLOCK.end].copy_from_slice(&second.to_le_bytes());
        kind.compress(&mut self.state, &mut self.tape);
        for (i, to) in out.iter_mut().enumerate() {
            let i = (i % 32) ^ kind.flip();
            *to = (self.state[i / 4] >> (i % 4 * 8)) as u8;
        }
    }
}

/// Streaming MD5 (RFC 1321).
#[derive(Clone)]
pub struct Md5(Running);

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl Md5 {
    /// Starts.
    #[must_use]
    pub fn new() -> Self {
        Self(Running::new(&MD5_INIT))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(Kind::Md5, bytes);
    }

    /// Ends.
    #[must_use]
    pub fn finish(mut self) -> [u8; 16] {
        let mut out = [0; 16];
        self.0.finish(Kind::Md5, &mut out);
        out
    }
}

/// Streaming SHA-256 (FIPS 180-4).
#[derive(Clone)]
pub struct Sha256(Running);

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Starts.
    #[must_use]
    pub fn new() -> Self {
        Self(Running::new(&SHA256_INIT))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(Kind::Sha256, bytes);
    }

    /// Ends.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        let mut out = [0; 32];
        self.0.finish(Kind::Sha256, &mut out);
        out
    }

    /// Ends, and writes the digest there. Of no use after that.
    pub fn finish_into(&mut self, out: &mut [u8; 32]) {
        self.0.finish(Kind::Sha256, out);
    }
}

static MD5_INIT: [u32; 8] = [
    0x6745_2301,
    0xEFCD_AB89,
    0x98BA_DCFE,
    0x1032_5476,
    0,
    0,
    0,
    0,
];

/// floor(2^32 * |sin(i + 1)|), i = 0..64.
static MD5_K: [u32; 64] = [
    0xD76AA478, 0xE8C7B756, 0x242070DB, 0xC1BDCEEE, 0xF57C0FAF, 0x4787C62A, 0xA8304613, 0xFD469501,
    0x698098D8, 0x8B44F7AF, 0xFFFF5BB1, 0x895CD7BE, 0x6B901122, 0xFD987193, 0xA679438E, 0x49B40821,
    0xF61E2562, 0xC040B340, 0x265E5A51, 0xE9B6C7AA, 0xD62F105D, 0x02441453, 0xD8A1E681, 0xE7D3FBC8,
    0x21E1CDE6, 0xC33707D6, 0xF4D50D87, 0x455A14ED, 0xA9E3E905, 0xFCEFA3F8, 0x676F02D9, 0x8D2A4C8A,
    0xFFFA3942, 0x8771F681, 0x6D9D6122, 0xFDE5380C, 0xA4BEEA44, 0x4BDECFA9, 0xF6BB4B60, 0xBEBFBC70,
    0x289B7EC6, 0xEAA127FA, 0xD4EF3085, 0x04881D05, 0xD9D4D039, 0xE6DB99E5, 0x1FA27CF8, 0xC4AC5665,
    0xF4292244, 0x432AFF97, 0xAB9423A7, 0xFC93A039, 0x655B59C3, 0x8F0CCC92, 0xFFEFF47D, 0x85845DD1,
    0x6FA87E4F, 0xFE2CE6E0, 0xA3014314, 0x4E0811A1, 0xF7537E82, 0xBD3AF235, 0x2AD7D2BB, 0xEB86D391,
];

/// Rotations, four a round.
static MD5_R: [[u8; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

// With `arm-state` the two compression functions are ARM code in a Thumb program
// too: half the instructions. Nothing is inlined from one set into the other, so they use
// operators, intrinsics and plain loops only, no iterators and no helpers; all
// indices are below the length by a mask or the loop's bound.

/// Word `$i` of a tape, or that word set.
macro_rules! word {
    ($tape:expr, $i:expr) => {
        $tape.0[4 * ($i)] as u32
            | ($tape.0[4 * ($i) + 1] as u32) << 8
            | ($tape.0[4 * ($i) + 2] as u32) << 16
            | ($tape.0[4 * ($i) + 3] as u32) << 24
    };
    ($tape:expr, $i:expr, $word:expr) => {
        let (word, at): (u32, usize) = ($word, 4 * ($i));
        $tape.0[at] = word as u8;
        $tape.0[at + 1] = (word >> 8) as u8;
        $tape.0[at + 2] = (word >> 16) as u8;
        $tape.0[at + 3] = (word >> 24) as u8;
    };
}

#[allow(clippy::manual_rotate)] // a method would be a call
#[cfg_attr(
    all(feature = "arm-state", target_arch = "arm"),
    instruction_set(arm::a32)
)]
fn md5_compress(state: &mut [u32; 8], tape: &mut Tape) {
    let [mut a, mut b, mut c, mut d, ..] = *state;
    let mut i = 0;
    while i < 64 {
        let (f, g) = match i / 16 {
            0 => (d ^ (b & (c ^ d)), i),
            1 => (c ^ (d & (b ^ c)), 5 * i + 1),
            2 => (b ^ c ^ d, 3 * i + 5),
            _ => (c ^ (b | !d), 7 * i),
        };
        let sum = a
            .wrapping_add(f)
            .wrapping_add(MD5_K[i])
            .wrapping_add(word!(tape, FIRST + g % 16));
        let turn = MD5_R[i / 16][i % 4] as u32;
        let turned = (sum << turn) | (sum >> (32 - turn));
        (a, d, c, b) = (d, c, b, b.wrapping_add(turned));
        i += 1;
    }
    state[0] = state[0].wrapping_add(a);
    state[1] = state[1].wrapping_add(b);
    state[2] = state[2].wrapping_add(c);
    state[3] = state[3].wrapping_add(d);
}

static SHA256_INIT: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// First 32 bits of the fractional parts of the cube roots of the first 64 primes.
pub(super) static SHA256_K: [u32; 64] = [
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
];

/// A rotation that is one operand of an ARM instruction.
macro_rules! ror {
    ($x:expr, $n:literal) => {
        (($x >> $n) | ($x << (32 - $n)))
    };
}

/// Where SHA-256 is written out it takes a block as it comes.
#[cfg(all(feature = "unrolled", not(any(feature = "fast", test))))]
mod blocks {
    pub(super) use crate::hash::unrolled::sha256_compress as sha256_whole;

    /// Bits of [`Kind::flip`](super::Kind) that count in a block.
    pub(super) const TURNED: usize = 0;

    pub(super) fn sha256_block(state: &mut [u32; 8], tape: &mut super::Tape) {
        if let Some(block) = tape.0[super::BLOCK].first_chunk() {
            sha256_whole(state, block);
        }
    }
}

#[cfg(any(not(feature = "unrolled"), feature = "fast", test))]
mod blocks {
    pub(super) use super::sha256_compress as sha256_block;

    /// Bits of [`Kind::flip`](super::Kind) that count in a block.
    pub(super) const TURNED: usize = !0;

    pub(super) fn sha256_whole(state: &mut [u32; 8], bytes: &[u8; 64]) {
        let mut tape = super::Tape::BLANK;
        let words = tape.0[super::BLOCK].as_chunks_mut().0;
        for (to, &[a, b, c, d]) in words.iter_mut().zip(bytes.as_chunks().0) {
            *to = [d, c, b, a];
        }
        sha256_block(state, &mut tape);
    }
}

use blocks::{TURNED, sha256_block, sha256_whole};

/// Also what computes a key's identity, in the compiler.
///
/// On the tape lie `h` to `a`, then the block, which grows to the message schedule. A
/// round begins a word further on than the one before, and so each variable takes the
/// next one's name without being moved: only `d` becomes the new `e`, and the word of
/// the schedule, which nobody needs again, the new `a`.
#[allow(clippy::manual_rotate)] // a method would be a call, see above
#[cfg_attr(
    all(feature = "arm-state", target_arch = "arm"),
    instruction_set(arm::a32)
)]
const fn sha256_compress(state: &mut [u32; 8], tape: &mut Tape) {
    let mut i = 0;
    while i < 8 {
        word!(tape, i, state[7 - i]);
        i += 1;
    }
    i = 0;
    while i < 64 {
        let (w, w15, w2) = (word!(tape, i + 8), word!(tape, i + 9), word!(tape, i + 22));
        let s0 = ror!(w15, 7) ^ ror!(w15, 18) ^ (w15 >> 3);
        let s1 = ror!(w2, 17) ^ ror!(w2, 19) ^ (w2 >> 10);
        let next = w
            .wrapping_add(s0)
            .wrapping_add(word!(tape, i + 17))
            .wrapping_add(s1);
        word!(tape, i + 24, next);

        // A rotation of a sum with a rotation takes an instruction less than three.
        let (g, f, e) = (word!(tape, i + 1), word!(tape, i + 2), word!(tape, i + 3));
        let turned = e ^ ror!(e, 14);
        let turned = e ^ ror!(turned, 5);
        let s1 = ror!(turned, 6);
        let ch = g ^ (e & (f ^ g));
        let t1 = word!(tape, i)
            .wrapping_add(s1)
            .wrapping_add(ch)
            .wrapping_add(SHA256_K[i])
            .wrapping_add(w);
        word!(tape, i + 4, t1.wrapping_add(word!(tape, i + 4)));

        let (c, b, a) = (word!(tape, i + 5), word!(tape, i + 6), word!(tape, i + 7));
        let turned = a ^ ror!(a, 9);
        let turned = a ^ ror!(turned, 11);
        let s0 = ror!(turned, 2);
        let maj = (a & b) ^ (c & (a ^ b));
        word!(tape, i + 8, t1.wrapping_add(s0).wrapping_add(maj));
        i += 1;
    }
    i = 0;
    while i < 8 {
        state[7 - i] = state[7 - i].wrapping_add(word!(tape, i + 64));
        i += 1;
    }
}

/// SHA-256 of numbers written big-endian, `words` of them, a multiple of 16;
/// the first two words. For the compiler: all of it is `const`.
pub(crate) const fn sha256_of_words(numbers: &[u32], words: usize) -> [u32; 2] {
    let mut state = SHA256_INIT;
    let mut left = words;
    loop {
        // Behind the last number comes a block of padding and nothing else.
        let padding = left == 0;
        let mut tape = Tape::BLANK;
        let mut i = 0;
        while i < 16 {
            let word = if !padding {
                left -= 1;
                numbers[left]
            } else if i == 0 {
                0x8000_0000
            } else if i == 15 {
                words as u32 * 32
            } else {
                0
            };
            let bytes = word.to_le_bytes();
            let mut k = 0;
            while k < 4 {
                tape.0[BLOCK.start + 4 * i + k] = bytes[k];
                k += 1;
            }
            i += 1;
        }
        sha256_compress(&mut state, &mut tape);
        if padding {
            return [state[0], state[1]];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    proptest! {
        /// Any cut of any bytes: the same digests as RustCrypto's.
        #[test]
        fn equals_rustcrypto(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            let (mut md5, mut sha256) = (super::Md5::new(), super::Sha256::new());
            for part in [a, b] {
                md5.update(part);
                sha256.update(part);
            }
            prop_assert_eq!(md5.finish(), <[u8; 16]>::from(md5::Md5::digest(&bytes)));
            prop_assert_eq!(sha256.finish(), <[u8; 32]>::from(sha2::Sha256::digest(&bytes)));
        }
    }

    /// Every length around the block and padding boundaries, byte by byte.
    #[test]
    fn every_length() {
        let bytes: [u8; 200] = core::array::from_fn(|i| (i * 7) as u8);
        for len in 0..bytes.len() {
            let (mut md5, mut sha256) = (super::Md5::new(), super::Sha256::new());
            for byte in bytes[..len].chunks(1) {
                md5.update(byte);
                sha256.update(byte);
            }
            assert_eq!(
                md5.finish(),
                <[u8; 16]>::from(md5::Md5::digest(&bytes[..len]))
            );
            assert_eq!(
                sha256.finish(),
                <[u8; 32]>::from(sha2::Sha256::digest(&bytes[..len]))
            );
        }
    }
}
