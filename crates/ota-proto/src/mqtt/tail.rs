//! The tail of the receive buffer, while its owner keeps a text there.
//!
//! ```text
//!   | packets ...  free | lent | kept |
//! ```
//!
//! A device that was offered a package needs the URL until the package is there,
//! and the long messages that need the whole buffer are offers. So the URL may
//! stay where it came in, which spares a second buffer of its length.

use super::Client;

impl Client<'_> {
    /// Room that is left for packets whatever is kept. Bytes.
    pub const LEAST_RX: usize = 256;
    /// Most bytes to read into [`Client::rx_space`] at a time while
    /// [`Client::lend`] is used: so many stay free behind what was received.
    pub const LEND_GAP: usize = 64;

    /// Longest packet that fits now.
    pub(super) const fn limit(&self) -> usize {
        self.rx.len().saturating_sub(self.kept)
    }

    /// End of the room for packets now.
    pub(super) const fn room_end(&self) -> usize {
        self.limit().saturating_sub(self.lent)
    }

    /// Longest text that can be kept.
    #[must_use]
    pub const fn keep_max(&self) -> usize {
        self.rx.len().saturating_sub(Self::LEAST_RX)
    }

    /// Longest packet that fits while nothing is kept.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.rx.len()
    }

    /// Keeps a part of the message that was just polled: `len` bytes that begin
    /// `behind` bytes before the end of its payload. `edit` may shorten them and
    /// gives their new length. What was kept before is replaced; longer packets
    /// than [`Event::Oversized`](super::Event::Oversized) says are read past
    /// until [`Client::forget`].
    ///
    /// False if the text is longer than [`Client::keep_max`] or no part of the
    /// message, or if `edit` gave `None`: what was kept before then stays.
    pub fn keep(
        &mut self,
        behind: usize,
        len: usize,
        edit: impl FnOnce(&mut [u8]) -> Option<usize>,
    ) -> bool {
        let taken = self.taken;
        let Some(start) = taken.checked_sub(behind) else {
            return false;
        };
        let rest = self.rx_len.saturating_sub(taken);
        if start.saturating_add(len) > taken || taken + rest > self.rx.len() {
            return false;
        }
        self.rx.copy_within(start..start + len, 0);
        let edited = self.rx.get_mut(..len).and_then(edit);
        let Some(n) = edited.filter(|n| *n <= len && *n <= self.keep_max()) else {
            return false;
        };
        // What came in behind the message goes to the front, the text to the end.
        self.rx.copy_within(taken..taken + rest, n);
        if let Some(both) = self.rx.get_mut(..n + rest) {
            both.rotate_left(n);
        }
        let tail = self.rx.len() - n;
        self.rx.copy_within(rest..rest + n, tail);
        self.taken = 0;
        self.rx_len = rest;
        self.kept = n;
        self.lent = 0;
        true
    }

    /// What is kept; empty if nothing is.
    #[must_use]
    pub fn kept(&self) -> &[u8] {
        self.rx.get(self.limit()..).unwrap_or_default()
    }

    /// Keeps nothing any more.
    pub const fn forget(&mut self) {
        self.kept = 0;
        self.lent = 0;
    }

    /// Room in front of what is kept. It stays the same, and no packet is read
    /// into it, until [`Client::give_back`].
    pub fn lend(&mut self) -> &mut [u8] {
        let end = self.limit();
        if self.lent == 0 {
            self.lent = end.saturating_sub(self.rx_len + Self::LEND_GAP);
        }
        self.rx.get_mut(end - self.lent..end).unwrap_or_default()
    }

    /// Ends [`Client::lend`].
    pub const fn give_back(&mut self) {
        self.lent = 0;
    }

    /// Replaces what is kept by a text made from it: `make` gets what is kept and
    /// the room of [`Client::lend`], at whose front it leaves the new text, and
    /// gives its length. Ends the lending.
    ///
    /// # Errors
    /// That of `make`; what was kept then stays.
    pub fn replace_kept<E>(
        &mut self,
        make: impl FnOnce(&[u8], &mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let lent = self.lend().len();
        let limit = self.limit();
        let from = limit - lent;
        self.lent = 0;
        let Some((front, kept)) = self.rx.split_at_mut_checked(limit) else {
            return Ok(());
        };
        let room = front.get_mut(from..).unwrap_or_default();
        let n = make(kept, room)?.min(lent);
        let tail = self.rx.len() - n;
        self.rx.copy_within(from..from + n, tail);
        self.kept = n;
        Ok(())
    }
}
