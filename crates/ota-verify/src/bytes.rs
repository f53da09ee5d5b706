//! Bounded access to byte slices: nothing here can panic.

/// `N` bytes at `at`.
pub(crate) fn get<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

/// Little-endian u32 at `at`; 0 where `bytes` ends before. Callers have checked
/// the length. Not inlined: a byte-wise load is longer than a call.
#[inline(never)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    get(bytes, at).map_or(0, u32::from_le_bytes)
}

/// Compares without a branch on the content.
#[inline(never)]
pub(crate) fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut diff = 0u8;
    for (x, y) in a.iter().zip(b) {
        diff |= x ^ y;
    }
    core::hint::black_box(diff) == 0
}

/// Bytes that begin at a multiple of four, so that a little-endian word in them
/// is one load and no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(4))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Aligned<N> {
    /// Little-endian u32 at `at`, 0 where the bytes end before.
    #[inline(always)]
    pub(crate) fn word(&self, at: usize) -> u32 {
        get(&self.0, at).map_or(0, u32::from_le_bytes)
    }
}
