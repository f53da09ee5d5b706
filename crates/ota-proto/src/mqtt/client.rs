//! The client's state.

mod packets;
mod timers;

use super::outbox::{Kind, Outbox};
use super::wire::{self, ConnectOptions, Qos};
use super::{Error, PacketId, SendError};
use packets::Found;

/// Times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Silence in either direction after which a PINGREQ is sent. Half the keep-alive
    /// interval is used instead where that is shorter.
    pub ping_after_ms: u32,
    /// How long CONNACK, SUBACK and PINGRESP may take.
    pub answer_ms: u32,
    /// How long a PUBACK may take before the message is sent again with DUP set.
    pub repeat_ms: u32,
}

impl Config {
    /// Ping after 25 s, answers within 10 s, messages repeated after 20 s.
    pub const DEFAULT: Self = Self {
        ping_after_ms: 25_000,
        answer_ms: 10_000,
        repeat_ms: 20_000,
    };
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Where a [`Client`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not connected: at the beginning, after an error and after [`Client::disconnected`].
    Idle,
    /// CONNECT is on its way or not yet answered.
    Connecting,
    /// The server has accepted the CONNECT.
    Connected,
    /// DISCONNECT is to be sent; close the stream when [`Client::transmit`] is empty.
    Closing,
}

/// A message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// The message itself.
    pub payload: &'a [u8],
    /// How it was sent. With QoS 1 the PUBACK is already queued.
    pub qos: Qos,
    /// It may have been delivered before.
    pub dup: bool,
    /// The server kept it from an earlier time.
    pub retain: bool,
}

/// What [`Client::poll`] reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The sign-on was accepted. Unacknowledged messages are sent again by themselves.
    Connected {
        /// The server kept subscriptions and messages of an earlier connection.
        session_present: bool,
    },
    /// A SUBSCRIBE was answered. What was refused was reported just before.
    Subscribed {
        /// From [`Client::subscribe`].
        packet_id: PacketId,
    },
    /// The server refuses one filter of a SUBSCRIBE (SUBACK return code 0x80).
    SubscribeRefused {
        /// From [`Client::subscribe`].
        packet_id: PacketId,
        /// The filter refused.
        filter: &'a str,
    },
    /// The server has taken over a QoS 1 message.
    Published {
        /// From [`Client::publish`].
        packet_id: PacketId,
    },
    /// A message.
    Message(Message<'a>),
    /// A message too large for the receive buffer. It is read past, acknowledged if
    /// QoS 1 (else the server would send it for ever), and lost.
    Oversized {
        /// Its topic, unless that alone is too large.
        topic: Option<&'a str>,
        /// Length of the whole packet in bytes.
        size: usize,
        /// Longest packet that fits.
        limit: usize,
    },
}

/// Both buffers at once, for reading and writing at the same time.
#[derive(Debug)]
pub struct Io<'a> {
    /// As [`Client::rx_space`].
    pub rx: &'a mut [u8],
    /// As [`Client::transmit`].
    pub tx: &'a [u8],
}

/// An MQTT 3.1.1 client without input and output. See the [module](super) for how to drive it.
///
/// `rx` must hold the longest message expected with its topic and 9 bytes more;
/// `tx` the CONNECT, and at other times up to three packets waiting for their acknowledgement.
/// 4,352 and 768 bytes suit the cloud.
///
/// Unacknowledged QoS 1 messages outlive the connection: after the next
/// [`Client::connect`] they are sent again with DUP set.
pub struct Client<'b> {
    pub(super) rx: &'b mut [u8],
    pub(super) rx_len: usize,
    /// Bytes at the front of `rx` that the last event may have borrowed.
    pub(super) taken: usize,
    /// Bytes at the end of `rx` that belong to the owner.
    pub(super) kept: usize,
    /// Bytes in front of them that are lent to the owner.
    pub(super) lent: usize,
    /// Bytes of an oversized packet still to come.
    skip: usize,
    /// Its identifier, to be acknowledged after it. 0: none.
    skip_ack: PacketId,
    /// Codes of the SUBACK in hand already reported.
    suback_done: usize,
    out: Outbox<'b>,
    config: Config,
    state: State,
    /// As of the last poll.
    now: u64,
    heard: bool,
    last_heard: u64,
    last_spoke: u64,
    ping_after: u32,
    /// For CONNACK or PINGRESP.
    answer_due: Option<u64>,
    /// A deadline has passed, perhaps while the caller was busy: final at this time.
    grace_until: Option<u64>,
}

impl<'b> Client<'b> {
    /// Smallest receive buffer.
    pub const MIN_RX: usize = 64;
    /// After a deadline has passed, time in which bytes that came in while the
    /// caller was busy (erasing flash, say) may still be handed in. Milliseconds.
    pub const GRACE_MS: u32 = 1_000;

    /// A client that uses these buffers.
    pub const fn new(rx: &'b mut [u8], tx: &'b mut [u8], config: Config) -> Self {
        Self {
            rx,
            rx_len: 0,
            taken: 0,
            kept: 0,
            lent: 0,
            skip: 0,
            skip_ack: 0,
            suback_done: 0,
            out: Outbox::new(tx),
            config,
            state: State::Idle,
            now: 0,
            heard: false,
            last_heard: 0,
            last_spoke: 0,
            ping_after: 0,
            answer_due: None,
            grace_until: None,
        }
    }

    /// Where the client stands.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// QoS 1 messages not yet acknowledged, at most 2.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.out.in_flight(Kind::Publish)
    }

    /// Starts over on a fresh stream: what was received is forgotten, CONNECT is
    /// queued, unacknowledged QoS 1 messages follow once it is accepted.
    ///
    /// # Errors
    /// [`SendError::NoRoom`] or [`SendError::TooLong`] when the CONNECT does not fit
    /// beside the messages kept; [`SendError::RxBuffer`].
    pub fn connect(&mut self, options: &ConnectOptions<'_>, now: u64) -> Result<(), SendError> {
        if self.rx.len() < Self::MIN_RX {
            return Err(SendError::RxBuffer);
        }
        self.disconnected();
        self.out.restart();
        self.out
            .queue(true, &mut |room| wire::encode_connect(room, options))?;
        self.now = now;
        self.last_heard = now;
        self.last_spoke = now;
        self.answer_due = Some(now.saturating_add(u64::from(self.config.answer_ms)));
        self.ping_after = match u32::from(options.keep_alive_s) * 500 {
            0 => self.config.ping_after_ms,
            half => half.min(self.config.ping_after_ms),
        };
        self.state = State::Connecting;
        Ok(())
    }

    /// The stream is gone. QoS 1 messages are kept for the next one.
    pub fn disconnected(&mut self) {
        self.state = State::Idle;
        self.rx_len = 0;
        self.taken = 0;
        self.skip = 0;
        self.skip_ack = 0;
        self.suback_done = 0;
        self.heard = false;
        self.answer_due = None;
        self.grace_until = None;
    }

    /// Says good-bye: transmit what is left, then close the stream.
    pub fn disconnect(&mut self) {
        if self.state == State::Connected
            && self
                .out
                .queue(true, &mut |room| put(room, &wire::DISCONNECT))
                .is_ok()
        {
            self.state = State::Closing;
        } else {
            self.disconnected();
        }
    }

    /// Subscribes to at least one filter. One SUBSCRIBE may be under way at a time.
    ///
    /// # Errors
    /// As [`SendError`] says; nothing was queued then.
    pub fn subscribe(&mut self, filters: &[(&str, Qos)]) -> Result<PacketId, SendError> {
        if self.state != State::Connected {
            return Err(SendError::NotConnected);
        }
        self.out.keep(Kind::Subscribe, &mut |room, id| {
            wire::encode_subscribe(room, id, filters)
        })
    }

    /// Sends a message. QoS 1 gives its identifier, and may be queued while there is no connection.
    ///
    /// # Errors
    /// As [`SendError`] says; nothing was queued then.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: Qos,
    ) -> Result<Option<PacketId>, SendError> {
        self.publish_with(topic, qos, &mut |room| put(room, payload).ok())
    }

    /// As [`Client::publish`], with the message written in place: `payload` gets the
    /// room there is and returns how much it used, or `None` when that is too little.
    ///
    /// # Errors
    /// As [`SendError`] says; nothing was queued then.
    pub fn publish_with(
        &mut self,
        topic: &str,
        qos: Qos,
        payload: &mut dyn FnMut(&mut [u8]) -> Option<usize>,
    ) -> Result<Option<PacketId>, SendError> {
        match qos {
            Qos::AtMostOnce if self.state != State::Connected => Err(SendError::NotConnected),
            Qos::AtMostOnce => self
                .out
                .queue(false, &mut |room| {
                    wire::encode_publish(room, topic, None, payload)
                })
                .map(|()| None),
            Qos::AtLeastOnce => self
                .out
                .keep(Kind::Publish, &mut |room, id| {
                    wire::encode_publish(room, topic, Some(id), payload)
                })
                .map(Some),
        }
    }

    /// Forgets every unacknowledged message. Only without a connection.
    pub fn drop_unacknowledged(&mut self) {
        if self.state == State::Idle {
            self.out.clear();
        }
    }

    /// Room for bytes from the stream. Empty only while a packet waits to be
    /// polled, for its acknowledgement to be transmitted, or for
    /// [`Client::give_back`]: do not read then.
    pub fn rx_space(&mut self) -> &mut [u8] {
        self.io().rx
    }

    /// `count` bytes were read into [`Client::rx_space`].
    pub fn received(&mut self, count: usize) {
        self.release();
        let count = count.min(self.room_end().saturating_sub(self.rx_len));
        if count == 0 {
            return;
        }
        self.heard = true;
        let skipped = self.skip.min(count);
        if skipped > 0 {
            // `rx_len` is 0 while there is something to skip.
            self.skip -= skipped;
            self.rx.copy_within(skipped..count, 0);
        }
        self.rx_len += count - skipped;
    }

    /// Takes bytes in from a buffer of the caller's; how many. The rest is to be
    /// handed in again after [`Client::poll`].
    pub fn receive(&mut self, bytes: &[u8]) -> usize {
        let space = self.rx_space();
        let count = bytes.len().min(space.len());
        if let (Some(to), Some(from)) = (space.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.received(count);
        count
    }

    /// The bytes to send next; empty when there are none.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        match self.state {
            State::Idle => &[],
            _ => self.out.output(self.state == State::Connected),
        }
    }

    /// `count` bytes of [`Client::transmit`] are out.
    pub fn transmitted(&mut self, count: usize) {
        if count == 0 || self.state == State::Idle {
            return;
        }
        // The time of the last poll: rather a ping too early than one too late.
        self.last_spoke = self.now;
        let after = |ms: u32| self.now.saturating_add(u64::from(ms));
        let (publish, subscribe) = (after(self.config.repeat_ms), after(self.config.answer_ms));
        self.out
            .advance(self.state == State::Connected, count, publish, subscribe);
    }

    /// Both buffers at once, for reading and writing at the same time.
    pub fn io(&mut self) -> Io<'_> {
        self.release();
        let tx = match self.state {
            State::Idle => &[],
            _ => self.out.output(self.state == State::Connected),
        };
        let end = self.room_end();
        Io {
            rx: self.rx.get_mut(self.rx_len..end).unwrap_or_default(),
            tx,
        }
    }

    /// Looks at what was received and at the time. Call it after [`Client::received`],
    /// and at [`Client::next_deadline`], until it gives `None`.
    ///
    /// `now` is milliseconds since any origin and never runs backwards.
    ///
    /// # Errors
    /// The connection is over: the client is [`State::Idle`], the stream is to be closed.
    pub fn poll(&mut self, now: u64) -> Result<Option<Event<'_>>, Error> {
        self.now = self.now.max(now);
        self.release();
        match self.step() {
            Err(error) => {
                self.disconnected();
                Err(error)
            }
            Ok(found) => Ok(self.event(found)),
        }
    }

    /// Drops the packet that the last event borrowed.
    fn release(&mut self) {
        if self.taken > 0 {
            let taken = self.taken.min(self.rx_len);
            self.rx.copy_within(taken..self.rx_len, 0);
            self.rx_len -= taken;
            self.taken = 0;
        }
    }

    fn step(&mut self) -> Result<Found, Error> {
        if self.state == State::Idle {
            return Ok(Found::Nothing);
        }
        if self.heard {
            self.heard = false;
            self.last_heard = self.now;
            self.grace_until = None;
            // Any byte is a sign of life, but only a CONNACK answers a CONNECT.
            if self.state == State::Connected {
                self.answer_due = None;
            }
        }
        if self.state == State::Closing {
            self.rx_len = 0;
            self.skip = 0;
            return Ok(Found::Nothing);
        }
        loop {
            match self.next_packet()? {
                Found::Handled => self.release(),
                Found::Nothing => break,
                found => return Ok(found),
            }
        }
        self.timers()?;
        Ok(Found::Nothing)
    }
}

fn put(room: &mut [u8], bytes: &[u8]) -> Result<usize, SendError> {
    room.get_mut(..bytes.len())
        .ok_or(SendError::NoRoom)?
        .copy_from_slice(bytes);
    Ok(bytes.len())
}
