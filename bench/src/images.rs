//! Pairs of images made by dice: the same number gives the same pair.

/// SplitMix64.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x5EED_D1CE)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// 0 to `n` - 1; 0 if there is nothing to choose.
    pub fn below(&mut self, n: usize) -> usize {
        (self.roll() % n.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.roll() as u8).collect()
    }
}

/// How a new image differs from the old one, or what is special about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A few bytes changed.
    Edits,
    /// A function more or less; all branches and pointers follow.
    Relinked,
    /// Functions in another order.
    Moved,
    /// Blocks put in and taken out anywhere, without a thought for alignment.
    Blocks,
    /// `Relinked`, both images in 34/32 line coding, with pad and trailer.
    Coded,
    /// `Coded`, and some line CRCs are wrong or the trailer is cut into.
    BadlyCoded,
    /// One image coded, the other plain.
    CodedOnce,
    /// Nothing in common.
    Unrelated,
    /// The old image is empty.
    FromNothing,
    /// The new image is empty: must be refused.
    ToNothing,
    /// One to 64 bytes.
    Tiny,
    /// Within two bytes of a multiple of a slice.
    SliceBorder,
    /// Not changed at all.
    Same,
    /// Runs of one byte, short periods.
    Repetitive,
    /// Much longer or shorter than before.
    Resized,
    /// Text and tables rather than code.
    Text,
}

pub const KINDS: [Kind; 16] = [
    Kind::Edits,
    Kind::Relinked,
    Kind::Moved,
    Kind::Blocks,
    Kind::Coded,
    Kind::BadlyCoded,
    Kind::CodedOnce,
    Kind::Unrelated,
    Kind::FromNothing,
    Kind::ToNothing,
    Kind::Tiny,
    Kind::SliceBorder,
    Kind::Same,
    Kind::Repetitive,
    Kind::Resized,
    Kind::Text,
];

/// Old and new image.
pub fn pair(kind: Kind, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    // Small images mostly, so that many can be tried; some of 64 KiB and more.
    let most = 4 + dice.below(400);
    let functions = 4 + dice.below(most);
    let program = Program::new(dice, functions);
    let old = program.link();
    match kind {
        Kind::Edits => {
            let mut new = old.clone();
            for _ in 0..1 + dice.below(20) {
                let at = dice.below(new.len());
                new[at] = dice.roll() as u8;
            }
            (old, new)
        }
        Kind::Relinked => (old, program.changed(dice).link()),
        Kind::Moved => {
            let mut moved = program.clone();
            for _ in 0..1 + dice.below(8) {
                let from = dice.below(moved.functions.len());
                let function = moved.functions.remove(from);
                let to = dice.below(moved.functions.len() + 1);
                moved.functions.insert(to, function);
            }
            (old, moved.link())
        }
        Kind::Blocks => {
            let new = blocks(&old, dice);
            (old, new)
        }
        Kind::Coded => {
            let pad = dice.below(34);
            let new = coded(&program.changed(dice).link(), pad, dice);
            (coded(&old, pad, dice), new)
        }
        Kind::BadlyCoded => {
            let pad = dice.below(34);
            let (mut old, mut new) = (
                coded(&old, pad, dice),
                coded(&program.changed(dice).link(), dice.below(34), dice),
            );
            for _ in 0..1 + dice.below(5) {
                let (a, b) = (dice.below(old.len()), dice.below(new.len()));
                old[a] ^= 1 << dice.below(8);
                new[b] ^= 1 << dice.below(8);
            }
            new.truncate(new.len() - dice.below(60).min(new.len() - 1));
            (old, new)
        }
        Kind::CodedOnce => {
            let plain = program.changed(dice).link();
            let (a, b) = (coded(&old, dice.below(34), dice), plain);
            if dice.below(2) == 0 { (a, b) } else { (b, a) }
        }
        Kind::Unrelated => {
            let most = 1 + dice.below(100_000);
            let len = 1 + dice.below(most);
            let new = if dice.below(2) == 0 {
                dice.bytes(len)
            } else {
                Program::new(dice, 300).link()
            };
            (old, new)
        }
        Kind::FromNothing => (Vec::new(), old),
        Kind::ToNothing => (old, Vec::new()),
        Kind::Tiny => {
            let tiny = |dice: &mut Dice, of: &[u8]| {
                let len = 1 + dice.below(64);
                let at = dice.below(of.len() - len);
                of[at..at + len].to_vec()
            };
            match dice.below(3) {
                0 => (tiny(dice, &old), tiny(dice, &old)),
                1 => (tiny(dice, &old), old),
                _ => {
                    let new = tiny(dice, &old);
                    (old, new)
                }
            }
        }
        Kind::SliceBorder => {
            let slice = [0x1000, 0x4000, 0x1_0000][dice.below(3)];
            let len = slice * (1 + dice.below(2)) + dice.below(5) - 2;
            let mut new = blocks(&old, dice);
            while new.len() < len {
                new.extend_from_slice(&old);
            }
            new.truncate(len);
            (old, new)
        }
        Kind::Same => (old.clone(), old),
        Kind::Repetitive => {
            let make = |dice: &mut Dice| {
                let mut out = Vec::new();
                for _ in 0..1 + dice.below(12) {
                    let period = 1 + dice.below(40);
                    let piece = dice.bytes(period);
                    out.extend(piece.iter().cycle().take(dice.below(12_000)));
                }
                out.push(0);
                out
            };
            let old = make(dice);
            let new = if dice.below(2) == 0 {
                make(dice)
            } else {
                blocks(&old, dice)
            };
            (old, new)
        }
        Kind::Resized => {
            let part = old.len() / (2 + dice.below(8));
            let from = dice.below(old.len() - part);
            let new = old[from..from + part].to_vec();
            if dice.below(2) == 0 {
                (old, new)
            } else {
                (new, old)
            }
        }
        Kind::Text => {
            let old = text(dice, 500 + dice_len(functions));
            let new = blocks(&old, dice);
            (old, new)
        }
    }
}

fn dice_len(functions: usize) -> usize {
    functions * 100
}

/// Words with a grammar of sorts.
fn text(dice: &mut Dice, len: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..200)
        .map(|_| {
            let n = 2 + dice.below(9);
            (0..n).map(|_| b'a' + dice.below(26) as u8).collect()
        })
        .collect();
    let mut out = Vec::new();
    while out.len() < len {
        let pick = dice.below(words.len()).min(dice.below(words.len()));
        out.extend_from_slice(&words[pick]);
        out.push(if dice.below(12) == 0 { 0 } else { b' ' });
    }
    out
}

/// Blocks put in, taken out and copied.
fn blocks(old: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut new = old.to_vec();
    for _ in 0..1 + dice.below(6) {
        let at = dice.below(new.len());
        let len = 1 + dice.below(3000);
        match dice.below(3) {
            0 => drop(new.drain(at..(at + len).min(new.len()))),
            1 => {
                let noise = dice.bytes(len);
                new.splice(at..at, noise);
            }
            _ => {
                let from = dice.below(new.len());
                let piece = new[from..(from + len).min(new.len())].to_vec();
                new.splice(at..at, piece);
            }
        }
        if new.is_empty() {
            new.push(0);
        }
    }
    new
}

/// 34/32 line coding behind a pad, and a trailer that is not coded.
fn coded(plain: &[u8], pad: usize, dice: &mut Dice) -> Vec<u8> {
    let mut out = vec![0xFF; pad];
    for line in plain.chunks(32) {
        let mut whole = [0xFF; 32];
        whole[..line.len()].copy_from_slice(line);
        let mut crc = 0xFFFF_u16;
        for byte in whole {
            for bit in (0..8).rev() {
                let feedback = (crc >> 15) ^ u16::from(byte >> bit & 1);
                crc = (crc << 1) ^ (feedback * 0x8005);
            }
        }
        out.extend_from_slice(&whole);
        out.extend_from_slice(&crc.to_be_bytes());
    }
    let trailer = dice.below(80);
    out.extend(dice.bytes(trailer));
    out
}

/// Which code a program is made of.
#[derive(Clone, Copy)]
enum Arch {
    Thumb,
    Arm,
    A64,
}

#[derive(Clone)]
struct Function {
    /// Who it is, to those that call it.
    id: usize,
    /// What its body is made from.
    seed: u64,
    words: usize,
}

/// Functions that call each other by identity: linked anew, all addresses follow.
#[derive(Clone)]
struct Program {
    arch: Arch,
    base: u32,
    functions: Vec<Function>,
}

impl Program {
    fn new(dice: &mut Dice, functions: usize) -> Self {
        let function = |id| Function {
            id,
            seed: dice.roll(),
            words: 4 + dice.below(120),
        };
        let functions = (0..functions).map(function).collect();
        let base = [0, 0x1_0000, 0x0800_4000, 0x0002_8000][dice.below(4)];
        let arch = [Arch::Thumb, Arch::Thumb, Arch::Arm, Arch::A64][dice.below(4)];
        Self {
            arch,
            base,
            functions,
        }
    }

    /// Some functions changed, added or removed.
    fn changed(&self, dice: &mut Dice) -> Self {
        let mut new = self.clone();
        for _ in 0..1 + dice.below(5) {
            let at = dice.below(new.functions.len());
            match dice.below(3) {
                0 => new.functions[at].seed ^= dice.roll(),
                1 if new.functions.len() > 2 => drop(new.functions.remove(at)),
                _ => {
                    let function = Function {
                        id: self.functions.len() + dice.below(1000),
                        seed: dice.roll(),
                        words: 1 + dice.below(200),
                    };
                    new.functions.insert(at, function);
                }
            }
        }
        new
    }

    fn link(&self) -> Vec<u8> {
        let mut starts = std::collections::HashMap::new();
        let mut at = 64u32;
        let ids = self.functions.len() + 1000;
        for f in &self.functions {
            starts.insert(f.id, at);
            at += f.words as u32 * 4;
        }
        let mut out = vec![0xFF; 64];
        for f in &self.functions {
            let mut dice = Dice::new(f.seed);
            for _ in 0..f.words {
                let here = out.len() as u32;
                // Whoever is not there any more is replaced by the first.
                let target = *starts.get(&dice.below(ids)).unwrap_or(&64);
                let word = match dice.below(10) {
                    0 | 1 => self.call(here, target),
                    2 => self.base + target + u32::from(matches!(self.arch, Arch::Thumb)),
                    3 => 0x2000_0000 + (target & 0xFFF8),
                    // A handful of common words, and others.
                    4..=7 => (dice.below(24) as u32).wrapping_mul(0x9E37_79B1),
                    _ => dice.roll() as u32,
                };
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
        out
    }

    fn call(&self, here: u32, target: u32) -> u32 {
        match self.arch {
            Arch::Thumb => {
                let off = target.wrapping_sub(here + 4);
                (0xF000 | off >> 12 & 0x7FF) | (0xF800 | off >> 1 & 0x7FF) << 16
            }
            Arch::Arm => 0xEB00_0000 | target.wrapping_sub(here + 8) >> 2 & 0xFF_FFFF,
            Arch::A64 => 0x9400_0000 | target.wrapping_sub(here) >> 2 & 0x3FF_FFFF,
        }
    }
}
