//! The MQTT 3.1.1 packet format, without any connection state.
//!
//! Decoding covers what a server sends to a client; encoding what a client sends.
//! Lengths are in bytes, numbers big-endian.

use super::{ProtocolError, SendError};

/// Largest remaining length that four bytes can hold.
pub const MAX_REMAINING: u32 = 268_435_455;

/// Packet types (the high four bits of the first byte).
pub mod kind {
    /// Client asks to connect.
    pub const CONNECT: u8 = 1;
    /// Answer to CONNECT.
    pub const CONNACK: u8 = 2;
    /// A message, either way.
    pub const PUBLISH: u8 = 3;
    /// Acknowledges a QoS 1 message.
    pub const PUBACK: u8 = 4;
    /// Client subscribes.
    pub const SUBSCRIBE: u8 = 8;
    /// Answer to SUBSCRIBE.
    pub const SUBACK: u8 = 9;
    /// Client shows it is alive.
    pub const PINGREQ: u8 = 12;
    /// Answer to PINGREQ.
    pub const PINGRESP: u8 = 13;
    /// Client leaves.
    pub const DISCONNECT: u8 = 14;
}

/// PINGREQ, whole.
pub const PINGREQ: [u8; 2] = [kind::PINGREQ << 4, 0];
/// DISCONNECT, whole.
pub const DISCONNECT: [u8; 2] = [kind::DISCONNECT << 4, 0];
/// The DUP flag in the first byte of a PUBLISH.
pub const DUP: u8 = 0x08;

/// Delivery guarantee. QoS 2 is not offered by the cloud and not spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Qos {
    /// 0: sent once, not acknowledged.
    AtMostOnce = 0,
    /// 1: repeated until acknowledged.
    AtLeastOnce = 1,
}

/// The fixed header in front of each packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// Type (high four bits) and flags, already checked.
    pub first: u8,
    /// Length of this header, 2 to 5.
    pub len: usize,
    /// Length of what follows it.
    pub remaining: usize,
}

impl FixedHeader {
    /// The packet type, one of [`kind`].
    #[must_use]
    pub const fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// Length of the whole packet.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.len + self.remaining
    }

    /// QoS of a PUBLISH.
    #[must_use]
    pub const fn qos(&self) -> Qos {
        if self.first & 0x06 == 0 {
            Qos::AtMostOnce
        } else {
            Qos::AtLeastOnce
        }
    }
}

/// A PUBLISH from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Topic name: not empty, without NUL and wildcards.
    pub topic: &'a str,
    /// The packet identifier, with QoS 1.
    pub packet_id: Option<u16>,
    /// The message.
    pub payload: &'a [u8],
    /// Sent before, perhaps.
    pub dup: bool,
    /// Kept by the server from an earlier time.
    pub retain: bool,
}

/// A packet that a server sends to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// Answer to CONNECT.
    ConnAck {
        /// The server kept a session of this client.
        session_present: bool,
        /// 0 accepted, 1 to 5 refused.
        code: u8,
    },
    /// A message.
    Publish(Publish<'a>),
    /// Acknowledges a QoS 1 message.
    PubAck {
        /// Of the message.
        packet_id: u16,
    },
    /// Answer to SUBSCRIBE.
    SubAck {
        /// Of the SUBSCRIBE.
        packet_id: u16,
        /// One for each filter, in order: 0 to 2 the QoS granted, 0x80 refused.
        codes: &'a [u8],
    },
    /// Answer to PINGREQ.
    PingResp,
}

/// Reads a remaining length: its value and how many bytes it takes.
/// `Ok(None)` when more bytes are needed.
///
/// Longer encodings than necessary are taken, as 3.1.1 does not forbid them.
pub fn decode_remaining(bytes: &[u8]) -> Result<Option<(usize, usize)>, ProtocolError> {
    let mut value = 0usize;
    let mut used = 0;
    for &byte in bytes.iter().take(4) {
        value |= usize::from(byte & 0x7f) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            return Ok(Some((value, used)));
        }
    }
    if used == 4 {
        return Err(ProtocolError::RemainingLength);
    }
    Ok(None)
}

/// Reads and checks the fixed header of a packet from a server.
/// `Ok(None)` when more bytes are needed.
pub fn decode_header(bytes: &[u8]) -> Result<Option<FixedHeader>, ProtocolError> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    match first >> 4 {
        kind::PUBLISH => match first & 0x06 {
            // DUP with QoS 0 is pointless but harmless; taken as it is.
            0x00 | 0x02 => {}
            0x04 => return Err(ProtocolError::Qos2),
            _ => return Err(ProtocolError::Flags(first)),
        },
        kind::CONNACK | kind::PUBACK | kind::SUBACK | kind::PINGRESP => {
            if first & 0x0f != 0 {
                return Err(ProtocolError::Flags(first));
            }
        }
        other => return Err(ProtocolError::UnexpectedPacket(other)),
    }
    let Some((remaining, used)) = decode_remaining(rest)? else {
        return Ok(None);
    };
    let packet = first >> 4;
    let fits = match packet {
        kind::CONNACK | kind::PUBACK => remaining == 2,
        kind::PINGRESP => remaining == 0,
        // Topic length, one character; packet identifier, one code.
        _ => remaining >= 3,
    };
    if !fits {
        return Err(ProtocolError::Length(packet));
    }
    Ok(Some(FixedHeader {
        first,
        len: 1 + used,
        remaining,
    }))
}

/// Reads the part of a PUBLISH body in front of the payload: the topic, the packet
/// identifier (QoS 1) and the length of that part. `Ok(None)` when `body` ends before it does.
#[allow(clippy::type_complexity)]
pub fn decode_publish_head<'a>(
    header: &FixedHeader,
    body: &'a [u8],
) -> Result<Option<(&'a str, Option<u16>, usize)>, ProtocolError> {
    let Some(len) = take_u16(body, 0).map(usize::from) else {
        return Ok(None);
    };
    let qos1 = header.qos() == Qos::AtLeastOnce;
    let head = 2 + len + if qos1 { 2 } else { 0 };
    if head > header.remaining {
        return Err(ProtocolError::Length(kind::PUBLISH));
    }
    let Some(topic) = body.get(2..2 + len) else {
        return Ok(None);
    };
    let topic = core::str::from_utf8(topic).map_err(|_| ProtocolError::Topic)?;
    if !is_topic_name(topic) {
        return Err(ProtocolError::Topic);
    }
    let mut packet_id = None;
    if qos1 {
        match take_u16(body, 2 + len) {
            None => return Ok(None),
            Some(0) => return Err(ProtocolError::PacketId),
            id => packet_id = id,
        }
    }
    Ok(Some((topic, packet_id, head)))
}

/// Reads the body of a packet. `body` is exactly `header.remaining` bytes long.
pub fn decode_body<'a>(
    header: &FixedHeader,
    body: &'a [u8],
) -> Result<Incoming<'a>, ProtocolError> {
    let packet = header.kind();
    let wrong = ProtocolError::Length(packet);
    if body.len() != header.remaining {
        return Err(wrong);
    }
    match packet {
        kind::CONNACK => {
            let &[flags, code] = body else {
                return Err(wrong);
            };
            // The server can have no session for a client that it turns away.
            if flags > 1 || (flags == 1 && code != 0) {
                return Err(ProtocolError::ConnAck(flags));
            }
            if code > 5 {
                return Err(ProtocolError::ConnAck(code));
            }
            Ok(Incoming::ConnAck {
                session_present: flags == 1,
                code,
            })
        }
        kind::PUBLISH => {
            let (topic, packet_id, head) = decode_publish_head(header, body)?.ok_or(wrong)?;
            Ok(Incoming::Publish(Publish {
                topic,
                packet_id,
                payload: body.get(head..).ok_or(wrong)?,
                dup: header.first & DUP != 0,
                retain: header.first & 1 != 0,
            }))
        }
        kind::PUBACK => Ok(Incoming::PubAck {
            packet_id: take_id(body)?,
        }),
        kind::SUBACK => {
            let packet_id = take_id(body)?;
            let codes = body.get(2..).unwrap_or_default();
            if codes.iter().any(|&c| c > 2 && c != 0x80) {
                return Err(ProtocolError::SubAck);
            }
            Ok(Incoming::SubAck { packet_id, codes })
        }
        kind::PINGRESP => Ok(Incoming::PingResp),
        other => Err(ProtocolError::UnexpectedPacket(other)),
    }
}

/// Reads one whole packet from the front of `bytes`: the packet and its length.
/// `Ok(None)` when more bytes are needed.
pub fn decode(bytes: &[u8]) -> Result<Option<(Incoming<'_>, usize)>, ProtocolError> {
    let Some(header) = decode_header(bytes)? else {
        return Ok(None);
    };
    match bytes.get(header.len..header.total()) {
        None => Ok(None),
        Some(body) => Ok(Some((decode_body(&header, body)?, header.total()))),
    }
}

fn take_u16(bytes: &[u8], at: usize) -> Option<u16> {
    match bytes.get(at..)? {
        [high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

fn take_id(body: &[u8]) -> Result<u16, ProtocolError> {
    match take_u16(body, 0) {
        None | Some(0) => Err(ProtocolError::PacketId),
        Some(id) => Ok(id),
    }
}

/// A topic that may be published to: 1 to 65,535 bytes, no NUL, no wildcard.
#[must_use]
pub fn is_topic_name(topic: &str) -> bool {
    is_topic_filter(topic) && !topic.bytes().any(|b| b == b'+' || b == b'#')
}

/// A topic that may be subscribed to: 1 to 65,535 bytes, no NUL.
/// The place of wildcards is left to the server to judge.
#[must_use]
pub fn is_topic_filter(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= 0xffff && !topic.bytes().any(|b| b == 0)
}

/// What a CONNECT says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectOptions<'a> {
    /// Client identifier, at most 65,535 bytes.
    pub client_id: &'a str,
    /// User name.
    pub username: Option<&'a str>,
    /// Password. MQTT allows one only together with a user name; alone it is left out.
    pub password: Option<&'a [u8]>,
    /// Longest silence in seconds that the server accepts; 0 switches it off.
    /// The cloud takes 30 to 1200.
    pub keep_alive_s: u16,
    /// Ask the server to forget what it knows of this client.
    pub clean_session: bool,
}

/// Bytes going into a bounded buffer.
pub(super) struct Writer<'a> {
    buf: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(buf: &'a mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let end = self.len + bytes.len();
        match self.buf.get_mut(self.len..end) {
            None => Err(SendError::NoRoom),
            Some(to) => {
                to.copy_from_slice(bytes);
                self.len = end;
                Ok(())
            }
        }
    }

    fn put_field(&mut self, bytes: &[u8]) -> Result<(), SendError> {
        let len = u16::try_from(bytes.len()).map_err(|_| SendError::TooLong)?;
        self.put(&len.to_be_bytes())?;
        self.put(bytes)
    }

    fn put_header(&mut self, first: u8, mut remaining: usize) -> Result<(), SendError> {
        if remaining > MAX_REMAINING as usize {
            return Err(SendError::TooLong);
        }
        self.put(&[first])?;
        loop {
            let low = (remaining & 0x7f) as u8;
            remaining >>= 7;
            if remaining == 0 {
                return self.put(&[low]);
            }
            self.put(&[low | 0x80])?;
        }
    }
}

/// Writes a CONNECT; its length.
pub fn encode_connect(buf: &mut [u8], options: &ConnectOptions<'_>) -> Result<usize, SendError> {
    let username = options.username;
    let password = options.password.filter(|_| username.is_some());
    let remaining = 10
        + 2
        + options.client_id.len()
        + username.map_or(0, |u| 2 + u.len())
        + password.map_or(0, |p| 2 + p.len());
    let flags = u8::from(username.is_some()) << 7
        | u8::from(password.is_some()) << 6
        | u8::from(options.clean_session) << 1;
    let mut w = Writer::new(buf);
    w.put_header(kind::CONNECT << 4, remaining)?;
    w.put(b"\x00\x04MQTT\x04")?;
    w.put(&[flags])?;
    w.put(&options.keep_alive_s.to_be_bytes())?;
    w.put_field(options.client_id.as_bytes())?;
    if let Some(username) = username {
        w.put_field(username.as_bytes())?;
    }
    if let Some(password) = password {
        w.put_field(password)?;
    }
    Ok(w.len)
}

/// Writes a SUBSCRIBE for at least one filter; its length.
pub fn encode_subscribe(
    buf: &mut [u8],
    packet_id: u16,
    filters: &[(&str, Qos)],
) -> Result<usize, SendError> {
    let mut remaining = 2;
    for (filter, _) in filters {
        if !is_topic_filter(filter) {
            return Err(SendError::Topic);
        }
        remaining += 3 + filter.len();
    }
    if filters.is_empty() {
        return Err(SendError::Topic);
    }
    let mut w = Writer::new(buf);
    w.put_header(kind::SUBSCRIBE << 4 | 0x02, remaining)?;
    w.put(&packet_id.to_be_bytes())?;
    for (filter, qos) in filters {
        w.put_field(filter.as_bytes())?;
        w.put(&[*qos as u8])?;
    }
    Ok(w.len)
}

/// Writes a PUBLISH; its length. `packet_id` is given with QoS 1 and makes it one.
///
/// `payload` writes the message into what room there is and returns its length,
/// or `None` when it does not fit, which makes this [`SendError::NoRoom`].
pub fn encode_publish(
    buf: &mut [u8],
    topic: &str,
    packet_id: Option<u16>,
    payload: &mut dyn FnMut(&mut [u8]) -> Option<usize>,
) -> Result<usize, SendError> {
    if !is_topic_name(topic) {
        return Err(SendError::Topic);
    }
    // The length is known only after the payload: leave room for the longest header, then close the gap.
    const GAP: usize = 5;
    let body = buf.get_mut(GAP..).ok_or(SendError::NoRoom)?;
    let mut w = Writer::new(body);
    w.put_field(topic.as_bytes())?;
    if let Some(id) = packet_id {
        w.put(&id.to_be_bytes())?;
    }
    let head = w.len;
    let room = body.get_mut(head..).unwrap_or_default();
    let available = room.len();
    let written = payload(room).ok_or(SendError::NoRoom)?;
    if written > available {
        return Err(SendError::Payload);
    }
    let remaining = head + written;
    let first = kind::PUBLISH << 4 | if packet_id.is_some() { 0x02 } else { 0 };
    let mut w = Writer::new(buf);
    w.put_header(first, remaining)?;
    let header = w.len;
    buf.copy_within(GAP..GAP + remaining, header);
    Ok(header + remaining)
}

/// A PUBACK, whole.
#[must_use]
pub const fn puback(packet_id: u16) -> [u8; 4] {
    let [high, low] = packet_id.to_be_bytes();
    [kind::PUBACK << 4, 2, high, low]
}

/// The filter at `index` of an encoded SUBSCRIBE, as a range of `packet`; `None` past the last.
pub(super) fn subscribe_filter(packet: &[u8], index: usize) -> Option<core::ops::Range<usize>> {
    let (_, used) = decode_remaining(packet.get(1..)?).ok()??;
    let mut at = 1 + used + 2;
    for _ in 0..index {
        at += 3 + usize::from(take_u16(packet, at)?);
    }
    let len = usize::from(take_u16(packet, at)?);
    packet.get(at + 2..at + 2 + len)?;
    Some(at + 2..at + 2 + len)
}
