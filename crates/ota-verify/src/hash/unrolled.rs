//! SHA-256's compression with sixteen rounds written out: no value moves from
//! one variable to the next. ARM code in a Thumb program, as in `small`, and
//! with the same rules: operators, intrinsics and plain loops only. A block is
//! taken from where it lies, byte by byte: ARMv4T loads no word from any address.

use super::small::SHA256_K as K;

/// A rotation that is one operand of an ARM instruction.
macro_rules! ror {
    ($x:expr, $n:literal) => {
        (($x >> $n) | ($x << (32 - $n)))
    };
}

/// One round: `h` becomes the new `a`, `d` the new `e`. Rotations of rotations
/// are operands of two instructions, where a sum of three takes three.
macro_rules! round {
    ($bc:ident: $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident,
     $input:expr) => {
        let turned = $e ^ ror!($e, 14);
        let turned = $e ^ ror!(turned, 5);
        $h = $h
            .wrapping_add($input)
            .wrapping_add($g ^ ($e & ($f ^ $g)))
            .wrapping_add(ror!(turned, 6));
        $d = $d.wrapping_add($h);
        let turned = $a ^ ror!($a, 9);
        let turned = $a ^ ror!(turned, 11);
        // Where `b` and `c` are the same, that is the majority. What `a` and `b`
        // differ in is asked for again in the next round.
        let ab = $a ^ $b;
        $h = $h
            .wrapping_add($b ^ (ab & $bc))
            .wrapping_add(ror!(turned, 2));
        $bc = ab;
    };
}

/// A word of the message schedule takes the place of the one it replaces.
macro_rules! schedule {
    ($w:ident, $i:literal) => {{
        let (w15, w2) = ($w[($i + 1) % 16], $w[($i + 14) % 16]);
        let s0 = ror!(w15, 7) ^ ror!(w15, 18) ^ (w15 >> 3);
        let s1 = ror!(w2, 17) ^ ror!(w2, 19) ^ (w2 >> 10);
        $w[$i] = $w[$i]
            .wrapping_add(s0)
            .wrapping_add($w[($i + 9) % 16])
            .wrapping_add(s1);
        $w[$i]
    }};
}

macro_rules! first {
    ($w:ident, $block:ident, $i:literal) => {{
        $w[$i] = ($block[4 * $i] as u32) << 24
            | ($block[4 * $i + 1] as u32) << 16
            | ($block[4 * $i + 2] as u32) << 8
            | $block[4 * $i + 3] as u32;
        $w[$i]
    }};
}

/// Sixteen rounds on what `$word` makes of the message.
macro_rules! sixteen {
    ($bc:ident: $a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident,
     $at:expr, $word:ident!($($of:ident),*)) => {
        round!($bc: $a $b $c $d $e $f $g $h, K[$at + 0].wrapping_add($word!($($of,)* 0)));
        round!($bc: $h $a $b $c $d $e $f $g, K[$at + 1].wrapping_add($word!($($of,)* 1)));
        round!($bc: $g $h $a $b $c $d $e $f, K[$at + 2].wrapping_add($word!($($of,)* 2)));
        round!($bc: $f $g $h $a $b $c $d $e, K[$at + 3].wrapping_add($word!($($of,)* 3)));
        round!($bc: $e $f $g $h $a $b $c $d, K[$at + 4].wrapping_add($word!($($of,)* 4)));
        round!($bc: $d $e $f $g $h $a $b $c, K[$at + 5].wrapping_add($word!($($of,)* 5)));
        round!($bc: $c $d $e $f $g $h $a $b, K[$at + 6].wrapping_add($word!($($of,)* 6)));
        round!($bc: $b $c $d $e $f $g $h $a, K[$at + 7].wrapping_add($word!($($of,)* 7)));
        round!($bc: $a $b $c $d $e $f $g $h, K[$at + 8].wrapping_add($word!($($of,)* 8)));
        round!($bc: $h $a $b $c $d $e $f $g, K[$at + 9].wrapping_add($word!($($of,)* 9)));
        round!($bc: $g $h $a $b $c $d $e $f, K[$at + 10].wrapping_add($word!($($of,)* 10)));
        round!($bc: $f $g $h $a $b $c $d $e, K[$at + 11].wrapping_add($word!($($of,)* 11)));
        round!($bc: $e $f $g $h $a $b $c $d, K[$at + 12].wrapping_add($word!($($of,)* 12)));
        round!($bc: $d $e $f $g $h $a $b $c, K[$at + 13].wrapping_add($word!($($of,)* 13)));
        round!($bc: $c $d $e $f $g $h $a $b, K[$at + 14].wrapping_add($word!($($of,)* 14)));
        round!($bc: $b $c $d $e $f $g $h $a, K[$at + 15].wrapping_add($word!($($of,)* 15)));
    };
}

#[allow(clippy::manual_rotate)] // a method would be a call
#[cfg_attr(
    all(feature = "arm-state", target_arch = "arm"),
    instruction_set(arm::a32)
)]
pub(super) fn sha256_compress(state: &mut [u32; 8], block: &[u8; 64]) {
    let mut w = [0u32; 16];
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    let mut bc = b ^ c;
    sixteen!(bc: a b c d e f g h, 0, first!(w, block));
    let mut at = 16;
    while at < 64 {
        sixteen!(bc: a b c d e f g h, at, schedule!(w));
        at += 16;
    }
    state[0] = state[0].wrapping_add(a);
    state[1] = state[1].wrapping_add(b);
    state[2] = state[2].wrapping_add(c);
    state[3] = state[3].wrapping_add(d);
    state[4] = state[4].wrapping_add(e);
    state[5] = state[5].wrapping_add(f);
    state[6] = state[6].wrapping_add(g);
    state[7] = state[7].wrapping_add(h);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::Digest as _;

    proptest! {
        /// One block of anything: RustCrypto's state.
        #[test]
        fn equals_rustcrypto(block: [u8; 32], more: [u8; 23]) {
            let mut padded = [0; 64];
            padded[..32].copy_from_slice(&block);
            padded[32..55].copy_from_slice(&more);
            padded[55] = 0x80;
            padded[62..].copy_from_slice(&(55u16 * 8).to_be_bytes());
            let mut state = [
                0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A,
                0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
            ];
            super::sha256_compress(&mut state, &padded);
            let words = state.map(u32::to_be_bytes);
            let want: [u8; 32] = sha2::Sha256::digest(&padded[..55]).into();
            prop_assert_eq!(words.as_flattened(), want);
        }
    }
}
