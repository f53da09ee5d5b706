//! What the old image says about the new one: branches and pointers follow the address
//! map, everything else stays. `docs/delta-format.md`, section 6.

use super::engine::{Engine, Env, Params};
use super::header::Arch;

/// Kinds of units in a copy.
pub(crate) mod kind {
    pub const PLAIN: u32 = 0;
    pub const BRANCH: u32 = 1;
    pub const BRANCH_GUESS: u32 = 2;
    pub const POINTER: u32 = 3;
    pub const POINTER_GUESS: u32 = 4;
    pub const RAM_KNOWN: u32 = 5;
    pub const RAM: u32 = 6;
    pub const KNOWN: u32 = 7;
    pub const OTHER: u32 = 8;
    pub const BRANCH_KNOWN: u32 = 9;
}

/// A predicted unit of a copy: one byte, or four that hold an address.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    pub kind: u32,
    pub len: u32,
    /// The old bytes.
    pub old: u32,
    /// Predictions in the order they are tried; the unused repeat earlier ones.
    pub guess: [u32; 4],
    /// What the prediction came from, for learning: old target or old word.
    pub key: u32,
    /// Index of the class statistics.
    pub class: u32,
}

impl Engine {
    fn branch(&self, par: &Params, old: u32, o: u32, p: u32) -> Unit {
        let t = branch_target(par.arch, old, o);
        let key = t | 0x8000_0000;
        let (nt, sure, other) = par.map.new_of(t);
        let (first, second, k) = match self.m.value(key) {
            Some(v) => (v, nt, kind::BRANCH_KNOWN),
            None => (
                nt,
                other,
                if sure {
                    kind::BRANCH
                } else {
                    kind::BRANCH_GUESS
                },
            ),
        };
        let enc = |t| branch_encode(par.arch, old, t, p);
        let guess = [
            enc(first),
            enc(second),
            enc(first.wrapping_add(self.w.fix[0])),
            old,
        ];
        Unit {
            kind: k,
            len: 4,
            old,
            guess,
            key,
            class: k << 1 | u32::from(guess[0] != old),
        }
    }

    /// Predicts the unit at `p`.
    pub(crate) fn predict<E: Env>(&self, e: &mut E, par: &Params, p: u32) -> Unit {
        let o = p.wrapping_add(self.w.disp);
        let left = self.w.copy_end - p;
        if left >= 4 {
            if par.arch == Arch::Thumb && o & 1 == 0 {
                let w = e.old32(o);
                if is_thumb_branch(w) {
                    return self.branch(par, w, o, p);
                }
            }
            if par.arch == Arch::Xtensa {
                let w = e.old32(o);
                if is_branch(par.arch, w) && branch_target(par.arch, w, o) < par.old_len {
                    return self.branch(par, w, o, p);
                }
            }
            if (o | p) & 3 == 0 {
                let w = e.old32(o);
                if par.arch != Arch::Xtensa && is_branch(par.arch, w) {
                    return self.branch(par, w, o, p);
                }
                let in_image = w.wrapping_sub(par.base) < par.old_len;
                let in_ram = w.wrapping_sub(par.ram.0) < par.ram.1;
                let known = self.m.value(w);
                let mut u = Unit {
                    kind: kind::OTHER,
                    len: 4,
                    old: w,
                    guess: [w; 4],
                    key: w,
                    class: 0,
                };
                if in_image {
                    let low = if par.arch == Arch::Thumb { w & 1 } else { 0 };
                    let t = (w - low).wrapping_sub(par.base);
                    let (nt, sure, other) = par.map.new_of(t);
                    let enc = |t: u32| t.wrapping_add(par.base) | low;
                    let (first, k) = match known {
                        Some(v) => (v, kind::KNOWN),
                        None => (
                            enc(nt),
                            if sure {
                                kind::POINTER
                            } else {
                                kind::POINTER_GUESS
                            },
                        ),
                    };
                    u.kind = k;
                    u.guess = [
                        first,
                        w,
                        enc(if known.is_some() { nt } else { other }),
                        first.wrapping_add(self.w.fix[1]),
                    ];
                    u.class = 32 + (k << 4 & 0x30 | u32::from(first != w) << 3 | (w >> 16 & 7));
                    return u;
                }
                if in_ram {
                    let moved = w.wrapping_add(self.m.shift(w));
                    let (first, k) = match known {
                        Some(v) => (v, kind::RAM_KNOWN),
                        None => (moved, kind::RAM),
                    };
                    u.kind = k;
                    u.guess = [first, w, moved, w.wrapping_add(self.w.fix[2])];
                    u.class = k << 1 | u32::from(first != w);
                    return u;
                }
                if let Some(v) = known {
                    u.guess[0] = v;
                    u.class = u.kind << 1 | u32::from(v != w);
                    return u;
                }
            }
        }
        let b = u32::from(e.old(o));
        Unit {
            kind: kind::PLAIN,
            len: 1,
            old: b,
            guess: [b; 4],
            key: 0,
            class: 0,
        }
    }
}

/// Target of a Thumb BL, BLX or B.W at offset `at`.
fn thumb_target(h1: u32, h2: u32, at: u32) -> u32 {
    let s = h1 >> 10 & 1;
    let i1 = !(h2 >> 13 ^ s) & 1;
    let i2 = !(h2 >> 11 ^ s) & 1;
    let off = s << 24 | i1 << 23 | i2 << 22 | (h1 & 0x3FF) << 12 | (h2 & 0x7FF) << 1;
    let off = ((off << 7) as i32 >> 7) as u32;
    at.wrapping_add(4).wrapping_add(off)
}

/// The branch with the operation bits of `h2` at `at` to `target`.
fn thumb_encode(h2: u32, target: u32, at: u32) -> u32 {
    let off = target.wrapping_sub(at).wrapping_sub(4);
    let s = off >> 24 & 1;
    let j1 = !(off >> 23 ^ s) & 1;
    let j2 = !(off >> 22 ^ s) & 1;
    let h1 = 0xF000 | s << 10 | off >> 12 & 0x3FF;
    let h2 = h2 & 0xD000 | j1 << 13 | j2 << 11 | off >> 1 & 0x7FF;
    h1 | h2 << 16
}

/// Whether `w` is a branch whose target is predicted.
pub(crate) fn is_branch(arch: Arch, w: u32) -> bool {
    match arch {
        Arch::Thumb => is_thumb_branch(w),
        Arch::Arm => w & 0x0E00_0000 == 0x0A00_0000,
        Arch::A64 => w & 0x7C00_0000 == 0x1400_0000,
        Arch::Xtensa => w & 0xF == 5,
        Arch::None => false,
    }
}

/// BL, BLX or B.W.
fn is_thumb_branch(w: u32) -> bool {
    let (h1, h2) = (w & 0xFFFF, w >> 16);
    h1 & 0xF800 == 0xF000
        && (h2 & 0xD000 == 0xD000 || h2 & 0xD001 == 0xC000 || h2 & 0xD000 == 0x9000)
}

pub(crate) fn branch_target(arch: Arch, w: u32, at: u32) -> u32 {
    match arch {
        Arch::Thumb => thumb_target(w & 0xFFFF, w >> 16, at),
        Arch::Arm => at
            .wrapping_add(8)
            .wrapping_add(((w << 8) as i32 >> 6) as u32),
        // Three bytes; the fourth is what follows and stays.
        Arch::Xtensa => (at & !3)
            .wrapping_add(4)
            .wrapping_add(((w << 8) as i32 >> 14 << 2) as u32),
        _ => at.wrapping_add(((w << 6) as i32 >> 4) as u32),
    }
}

fn branch_encode(arch: Arch, w: u32, target: u32, at: u32) -> u32 {
    match arch {
        Arch::Thumb => thumb_encode(w >> 16, target, at),
        Arch::Arm => w & 0xFF00_0000 | target.wrapping_sub(at).wrapping_sub(8) >> 2 & 0xFF_FFFF,
        Arch::Xtensa => {
            let off = target.wrapping_sub(at & !3).wrapping_sub(4);
            w & 0xFF00_003F | (off >> 2 & 0x3_FFFF) << 6
        }
        _ => w & 0xFC00_0000 | target.wrapping_sub(at) >> 2 & 0x3FF_FFFF,
    }
}
