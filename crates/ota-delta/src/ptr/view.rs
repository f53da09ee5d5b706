//! Calls by where they go: new code and matches are coded with the targets of calls
//! absolute, so that calls of one function look alike wherever they are.
//! `docs/delta-format.md`, section 7.6.

use super::header::Arch;

/// Bytes of which a decoder cannot yet say whether they begin a call.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    bytes: u32,
    count: u32,
}

fn opens(half: u32) -> bool {
    half & 0xF800 == 0xF000
}

fn is_call(arch: Arch, w: u32) -> bool {
    match arch {
        Arch::Thumb => opens(w & 0xFFFF) && w >> 27 == 0x1F,
        Arch::Arm => w >> 24 == 0xEB,
        Arch::A64 => w >> 26 == 0x25,
        Arch::None | Arch::Xtensa => false,
    }
}

/// The call `w` with `by` added to its distance.
fn shifted(arch: Arch, w: u32, by: u32) -> u32 {
    match arch {
        Arch::Thumb => {
            let off = ((w & 0x7FF) << 11 | w >> 16 & 0x7FF).wrapping_add(by >> 1);
            0xF800_F000 | off >> 11 & 0x7FF | (off & 0x7FF) << 16
        }
        Arch::Arm => w & 0xFF00_0000 | w.wrapping_add(by >> 2) & 0xFF_FFFF,
        _ => w & 0xFC00_0000 | w.wrapping_add(by >> 2) & 0x3FF_FFFF,
    }
}

/// The call in which a halfword lies, or the halfword itself, at an even position.
#[inline]
fn around(
    start: u32,
    fits: impl Fn(u32, u32) -> bool,
    mut half: impl FnMut(u32) -> u32,
) -> (u32, u32) {
    let this = half(start);
    if opens(this) && fits(start, 4) {
        (start, this | half(start + 2) << 16)
    } else if this >> 11 == 0x1F && start >= 2 && fits(start - 2, 4) {
        (start - 2, half(start - 2) | this << 16)
    } else {
        (start, this)
    }
}

/// Byte `at` with calls absolute. Calls lie in `[lo, hi)` as a whole; `byte` gives bytes
/// of that range and `at`.
#[inline]
pub(crate) fn seen(
    arch: Arch,
    at: u32,
    (lo, hi): (u32, u32),
    mut byte: impl FnMut(u32) -> u8,
) -> u8 {
    let fits = |from: u32, len: u32| from >= lo && from.checked_add(len).is_some_and(|e| e <= hi);
    let (start, least) = match arch {
        Arch::None | Arch::Xtensa => return byte(at),
        Arch::Thumb => (at & !1, 2),
        Arch::Arm | Arch::A64 => (at & !3, 4),
    };
    if !fits(start, least) {
        return byte(at);
    }
    let mut half = |from: u32| u32::from(byte(from)) | u32::from(byte(from + 1)) << 8;
    let (from, word) = if arch == Arch::Thumb {
        around(start, fits, half)
    } else {
        (start, half(start) | half(start + 2) << 16)
    };
    (absolute(arch, from, word) >> (8 * (at - from))) as u8
}

/// A halfword of Thumb code with calls absolute, well within bytes that `half` gives.
#[inline]
pub(crate) fn seen_half(start: u32, half: impl FnMut(u32) -> u32) -> u32 {
    let (from, word) = around(start, |_, _| true, half);
    absolute(Arch::Thumb, from, word) >> (8 * (start - from)) & 0xFFFF
}

fn absolute(arch: Arch, from: u32, word: u32) -> u32 {
    if is_call(arch, word) {
        shifted(arch, word, from)
    } else {
        word
    }
}

impl Held {
    pub const NONE: Self = Held { bytes: 0, count: 0 };

    /// Takes the byte before position `end`, calls absolute; gives bytes as they are.
    #[inline]
    pub fn push(&mut self, arch: Arch, b: u8, end: u32, put: impl FnMut(u8)) {
        if arch == Arch::Thumb && self.count == 0 && end & 1 != 0 {
            // What half of the bytes are: the first of a halfword.
            *self = Held {
                bytes: b.into(),
                count: 1,
            };
        } else {
            self.decide(arch, b, end, put);
        }
    }

    #[inline(never)]
    fn decide(&mut self, arch: Arch, b: u8, end: u32, mut put: impl FnMut(u8)) {
        if matches!(arch, Arch::None | Arch::Xtensa) {
            put(b);
            return;
        }
        if arch == Arch::Thumb && end & 1 == 0 && self.count == 1 {
            // What most others are: the end of a halfword that begins no call.
            let half = self.bytes | u32::from(b) << 8;
            if !opens(half) {
                put(half as u8);
                put(b);
                *self = Self::NONE;
                return;
            }
        }
        self.bytes |= u32::from(b) << (8 * self.count);
        self.count += 1;
        while self.count != 0 {
            let start = end - self.count;
            // How many of them are known to be a call or none.
            let known = if arch != Arch::Thumb {
                match (start & 3, self.count) {
                    (0, 4) => 4,
                    (0, _) => return,
                    _ => 1,
                }
            } else if start & 1 != 0 {
                1
            } else if self.count < 2 {
                return;
            } else if !opens(self.bytes & 0xFFFF) {
                2
            } else if self.count < 4 {
                return;
            } else if is_call(arch, self.bytes) {
                4
            } else {
                2
            };
            if known == 4 && is_call(arch, self.bytes) {
                self.bytes = shifted(arch, self.bytes, start.wrapping_neg());
            }
            self.emit(known, &mut put);
        }
    }

    /// What is held is no call.
    pub fn flush(&mut self, mut put: impl FnMut(u8)) {
        self.emit(self.count, &mut put);
    }

    fn emit(&mut self, n: u32, put: &mut impl FnMut(u8)) {
        for _ in 0..n {
            put(self.bytes as u8);
            self.bytes >>= 8;
        }
        self.count -= n;
    }
}
