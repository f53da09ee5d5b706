//! What waits to be sent, all in one caller-given buffer.
//!
//! ```text
//!   | kept packets, oldest first | queue: packets sent once | free |
//! ```
//!
//! Kept packets (QoS 1 PUBLISH, SUBSCRIBE) stay until they are acknowledged, so
//! that they can be sent again. The stream switches between the queue and a kept
//! packet only when the one in hand has gone out whole.

use super::wire::DUP;
use super::{PacketId, SendError};

/// Kept packets at most: two PUBLISH and one SUBSCRIBE.
const SLOTS: usize = 3;
/// Room that only acknowledgements and pings may use.
const RESERVE: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Publish,
    Subscribe,
}

#[derive(Clone, Copy)]
struct Slot {
    /// When to send it again (PUBLISH) or give up (SUBSCRIBE). Valid unless pending.
    due: u64,
    /// Length of the packet; 0 when the slot is free. Used slots come first.
    len: u16,
    /// How much of this transmission is out.
    sent: u16,
    packet_id: PacketId,
    kind: Kind,
    /// To be transmitted.
    pending: bool,
    /// Transmitted before, at least in part.
    repeated: bool,
    /// Acknowledged while it was on its way again: dropped when it is out.
    done: bool,
}

impl Slot {
    fn len(&self) -> usize {
        usize::from(self.len)
    }
}

const FREE: Slot = Slot {
    len: 0,
    sent: 0,
    packet_id: 0,
    kind: Kind::Publish,
    pending: false,
    repeated: false,
    done: false,
    due: 0,
};

pub(super) struct Outbox<'b> {
    buf: &'b mut [u8],
    slots: [Slot; SLOTS],
    queue_len: usize,
    queue_sent: usize,
    last_id: PacketId,
}

/// What goes out next.
enum Next {
    Nothing,
    Queue,
    Slot(usize),
}

impl<'b> Outbox<'b> {
    pub(super) const fn new(buf: &'b mut [u8]) -> Self {
        Self {
            buf,
            slots: [FREE; SLOTS],
            queue_len: 0,
            queue_sent: 0,
            last_id: 0,
        }
    }

    /// Where slot `index` begins; past the last slot, where the queue does.
    fn offset(&self, index: usize) -> usize {
        self.slots.iter().take(index).map(Slot::len).sum()
    }

    fn queue_at(&self) -> usize {
        self.offset(SLOTS)
    }

    pub(super) fn in_flight(&self, kind: Kind) -> usize {
        self.slots
            .iter()
            .filter(|s| s.len != 0 && s.kind == kind && !s.done)
            .count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue_len == 0 && self.slots.iter().all(|s| s.len == 0)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.slots = [FREE; SLOTS];
        self.queue_len = 0;
        self.queue_sent = 0;
    }

    /// Makes ready for a new connection: what was sent but not acknowledged goes out again.
    pub(super) fn restart(&mut self) {
        self.queue_len = 0;
        self.queue_sent = 0;
        let mut index = 0;
        while let Some(slot) = self.slots.get_mut(index) {
            slot.repeated |= slot.sent > 0;
            slot.sent = 0;
            if slot.len != 0 && (slot.done || slot.kind == Kind::Subscribe) {
                self.remove(index);
                continue;
            }
            self.repeat(index);
            index += 1;
        }
    }

    /// Marks a kept packet for transmission, as a duplicate if it was sent before.
    fn repeat(&mut self, index: usize) {
        let at = self.offset(index);
        if let Some(slot) = self.slots.get_mut(index)
            && slot.len != 0
        {
            slot.pending = true;
            if slot.repeated
                && slot.kind == Kind::Publish
                && let Some(first) = self.buf.get_mut(at)
            {
                *first |= DUP;
            }
        }
    }

    fn remove(&mut self, index: usize) {
        let at = self.offset(index);
        let end = self.queue_at() + self.queue_len;
        let len = self.slots.get(index).map_or(0, Slot::len);
        if at + len <= end && end <= self.buf.len() {
            self.buf.copy_within(at + len..end, at);
        }
        if let Some(rest) = self.slots.get_mut(index..) {
            rest.rotate_left(1);
        }
        if let Some(last) = self.slots.last_mut() {
            *last = FREE;
        }
    }

    fn close_gap(&mut self) {
        let at = self.queue_at();
        let (from, end) = (at + self.queue_sent, at + self.queue_len);
        if self.queue_sent > 0 && from <= end && end <= self.buf.len() {
            self.buf.copy_within(from..end, at);
            self.queue_len -= self.queue_sent;
            self.queue_sent = 0;
        }
    }

    /// Adds a packet, sent once. `reserved` lets it use the room kept for acknowledgements.
    pub(super) fn queue(
        &mut self,
        reserved: bool,
        encode: &mut dyn FnMut(&mut [u8]) -> Result<usize, SendError>,
    ) -> Result<(), SendError> {
        let len = self.append(reserved, encode)?;
        self.queue_len += len;
        Ok(())
    }

    fn append(
        &mut self,
        reserved: bool,
        encode: &mut dyn FnMut(&mut [u8]) -> Result<usize, SendError>,
    ) -> Result<usize, SendError> {
        // A queue in mid-packet may move: only its unsent rest matters.
        self.close_gap();
        let at = self.queue_at() + self.queue_len;
        let end = self
            .buf
            .len()
            .saturating_sub(if reserved { 0 } else { RESERVE });
        let empty = self.is_empty();
        let room = self.buf.get_mut(at..end).unwrap_or_default();
        match encode(room) {
            Err(SendError::NoRoom) if empty => Err(SendError::TooLong),
            other => other,
        }
    }

    /// Adds a packet that is kept until acknowledged; its identifier.
    #[allow(clippy::type_complexity)]
    pub(super) fn keep(
        &mut self,
        kind: Kind,
        encode: &mut dyn FnMut(&mut [u8], PacketId) -> Result<usize, SendError>,
    ) -> Result<PacketId, SendError> {
        let limit = if kind == Kind::Publish { 2 } else { 1 };
        if self
            .slots
            .iter()
            .filter(|s| s.len != 0 && s.kind == kind)
            .count()
            >= limit
        {
            return Err(SendError::InFlight);
        }
        let free = self
            .slots
            .iter()
            .position(|s| s.len == 0)
            .ok_or(SendError::InFlight)?;
        let packet_id = self.next_id();
        let len = self.append(false, &mut |room| encode(room, packet_id))?;
        let short = u16::try_from(len).map_err(|_| SendError::TooLong)?;
        // It was written behind the queue and belongs in front of it.
        let at = self.queue_at();
        if let Some(both) = self.buf.get_mut(at..at + self.queue_len + len) {
            both.rotate_right(len);
        }
        if let Some(slot) = self.slots.get_mut(free) {
            *slot = Slot {
                len: short,
                packet_id,
                kind,
                pending: true,
                ..FREE
            };
        }
        self.last_id = packet_id;
        Ok(packet_id)
    }

    fn next_id(&self) -> PacketId {
        let mut id = self.last_id;
        loop {
            id = id.checked_add(1).unwrap_or(1);
            if !self.slots.iter().any(|s| s.len != 0 && s.packet_id == id) {
                return id;
            }
        }
    }

    /// The first kept packet of this kind and identifier that was sent on this connection or before.
    pub(super) fn find(&self, kind: Kind, packet_id: PacketId) -> Option<usize> {
        self.slots.iter().position(|s| {
            s.len != 0
                && s.kind == kind
                && s.packet_id == packet_id
                && !s.done
                && (s.repeated || s.sent > 0)
        })
    }

    pub(super) fn packet(&self, index: usize) -> &[u8] {
        let at = self.offset(index);
        let len = self.slots.get(index).map_or(0, Slot::len);
        self.buf.get(at..at + len).unwrap_or_default()
    }

    /// Where a kept packet lies, for [`Outbox::bytes`].
    pub(super) fn packet_at(&self, index: usize) -> usize {
        self.offset(index)
    }

    pub(super) fn bytes(&self, range: core::ops::Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    /// Drops an acknowledged packet, after the transmission in hand if there is one.
    pub(super) fn acknowledge(&mut self, index: usize) {
        match self.slots.get_mut(index) {
            Some(slot) if slot.sent > 0 => slot.done = true,
            _ => self.remove(index),
        }
    }

    fn next(&self, kept: bool) -> Next {
        if let Some(index) = self.slots.iter().position(|s| s.sent > 0) {
            return Next::Slot(index);
        }
        if self.queue_sent < self.queue_len {
            return Next::Queue;
        }
        match self.slots.iter().position(|s| s.len != 0 && s.pending) {
            Some(index) if kept => Next::Slot(index),
            _ => Next::Nothing,
        }
    }

    /// The bytes to send next; empty when there are none. `kept`: whether kept packets may start.
    pub(super) fn output(&self, kept: bool) -> &[u8] {
        match self.next(kept) {
            Next::Nothing => &[],
            Next::Queue => {
                let at = self.queue_at();
                self.bytes(at + self.queue_sent..at + self.queue_len)
            }
            Next::Slot(index) => {
                let sent = self.slots.get(index).map_or(0, |s| usize::from(s.sent));
                self.packet(index).get(sent..).unwrap_or_default()
            }
        }
    }

    /// `count` bytes of [`Outbox::output`] are out.
    pub(super) fn advance(
        &mut self,
        kept: bool,
        count: usize,
        publish_due: u64,
        subscribe_due: u64,
    ) {
        match self.next(kept) {
            Next::Nothing => {}
            Next::Queue => {
                self.queue_sent = self.queue_len.min(self.queue_sent + count);
                if self.queue_sent == self.queue_len {
                    self.queue_len = 0;
                    self.queue_sent = 0;
                }
            }
            Next::Slot(index) => {
                let Some(slot) = self.slots.get_mut(index) else {
                    return;
                };
                let count = u16::try_from(count).unwrap_or(u16::MAX);
                slot.sent = slot.len.min(slot.sent.saturating_add(count));
                if slot.sent < slot.len {
                    return;
                }
                slot.sent = 0;
                slot.pending = false;
                slot.repeated = true;
                slot.due = if slot.kind == Kind::Publish {
                    publish_due
                } else {
                    subscribe_due
                };
                if slot.done {
                    self.remove(index);
                }
            }
        }
    }

    /// Marks messages that were not acknowledged in time to be sent again.
    pub(super) fn repeat_due(&mut self, now: u64) {
        for index in 0..SLOTS {
            if self.slots.get(index).is_some_and(|s| {
                s.len != 0 && s.kind == Kind::Publish && !s.pending && s.due <= now
            }) {
                self.repeat(index);
            }
        }
    }

    /// The earliest time at which an acknowledgement is overdue.
    pub(super) fn due(&self, kind: Kind) -> Option<u64> {
        let waiting = |s: &&Slot| s.len != 0 && s.kind == kind && !s.pending;
        self.slots.iter().filter(waiting).map(|s| s.due).min()
    }
}
