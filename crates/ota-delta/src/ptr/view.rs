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

/// Byte `at` with calls absolute. Calls lie in `[lo, hi)` as a whole; `byte` gives bytes
/// of that range and `at`.
pub(crate) fn seen(
    arch: Arch,
    at: u32,
    (lo, hi): (u32, u32),
    byte: &mut dyn FnMut(u32) -> u8,
) -> u8 {
    let start = match arch {
        Arch::None | Arch::Xtensa => return byte(at),
        Arch::Thumb => at & !1,
        _ => at & !3,
    };
    let mut word = |from: u32| {
        let fits = from >= lo && from.checked_add(4).is_some_and(|end| end <= hi);
        fits.then(|| (0..4).fold(0, |w, i| w | u32::from(byte(from + i)) << (8 * i)))
    };
    let mut found = word(start)
        .filter(|w| is_call(arch, *w))
        .map(|w| (start, w));
    if arch == Arch::Thumb && found.is_none() && start >= 2 {
        found = word(start - 2)
            .filter(|w| is_call(arch, *w))
            .map(|w| (start - 2, w));
    }
    match found {
        Some((from, w)) => (shifted(arch, w, from) >> (8 * (at - from))) as u8,
        None => byte(at),
    }
}

impl Held {
    pub const NONE: Self = Held { bytes: 0, count: 0 };

    /// Takes the byte before position `end`, calls absolute; gives bytes as they are.
    pub fn push(&mut self, arch: Arch, b: u8, end: u32, put: &mut dyn FnMut(u8)) {
        if matches!(arch, Arch::None | Arch::Xtensa) {
            put(b);
            return;
        }
        self.bytes |= u32::from(b) << (8 * self.count);
        self.count += 1;
        while self.count != 0 {
            let start = end - self.count;
            if arch == Arch::Thumb {
                if start & 1 != 0 {
                    self.emit(1, put);
                } else if self.count < 2 {
                    return;
                } else if !opens(self.bytes & 0xFFFF) {
                    self.emit(2, put);
                } else if self.count < 4 {
                    return;
                } else if is_call(arch, self.bytes) {
                    self.bytes = shifted(arch, self.bytes, start.wrapping_neg());
                    self.emit(4, put);
                } else {
                    self.emit(2, put);
                }
            } else if start & 3 != 0 {
                self.emit(1, put);
            } else if self.count < 4 {
                return;
            } else {
                if is_call(arch, self.bytes) {
                    self.bytes = shifted(arch, self.bytes, start.wrapping_neg());
                }
                self.emit(4, put);
            }
        }
    }

    /// What is held is no call.
    pub fn flush(&mut self, put: &mut dyn FnMut(u8)) {
        self.emit(self.count, put);
    }

    fn emit(&mut self, n: u32, put: &mut dyn FnMut(u8)) {
        for _ in 0..n {
            put(self.bytes as u8);
            self.bytes >>= 8;
        }
        self.count -= n;
    }
}
