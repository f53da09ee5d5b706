//! What was received, packet by packet.

use super::{Client, Event, Message, State, put};
use crate::mqtt::outbox::Kind;
use crate::mqtt::wire::{self, Incoming, Publish, Qos, kind};
use crate::mqtt::{Error, PacketId, ProtocolError, Refusal};
use core::ops::Range;

/// What was found in `rx`, without borrowing from it.
pub(super) enum Found {
    Nothing,
    Handled,
    Connected(bool),
    Subscribed(PacketId),
    Refused(PacketId, Range<usize>),
    Published(PacketId),
    Message {
        topic: Range<usize>,
        payload: Range<usize>,
        first: u8,
    },
    Oversized {
        topic: Option<Range<usize>>,
        size: usize,
    },
}

impl Client<'_> {
    pub(super) fn event(&self, found: Found) -> Option<Event<'_>> {
        let text = |range: Range<usize>| {
            core::str::from_utf8(self.rx.get(range).unwrap_or_default()).unwrap_or_default()
        };
        Some(match found {
            Found::Nothing | Found::Handled => return None,
            Found::Connected(session_present) => Event::Connected { session_present },
            Found::Subscribed(packet_id) => Event::Subscribed { packet_id },
            Found::Refused(packet_id, filter) => Event::SubscribeRefused {
                packet_id,
                filter: core::str::from_utf8(self.out.bytes(filter)).unwrap_or_default(),
            },
            Found::Published(packet_id) => Event::Published { packet_id },
            Found::Message {
                topic,
                payload,
                first,
            } => Event::Message(Message {
                topic: text(topic),
                payload: self.rx.get(payload).unwrap_or_default(),
                qos: if first & 0x06 == 0 {
                    Qos::AtMostOnce
                } else {
                    Qos::AtLeastOnce
                },
                dup: first & wire::DUP != 0,
                retain: first & 1 != 0,
            }),
            Found::Oversized { topic, size } => Event::Oversized {
                topic: topic.map(text),
                size,
                limit: self.limit(),
            },
        })
    }

    fn acknowledge(&mut self, packet_id: PacketId) -> bool {
        self.out
            .queue(true, &mut |room| put(room, &wire::puback(packet_id)))
            .is_ok()
    }

    pub(super) fn next_packet(&mut self) -> Result<Found, Error> {
        if self.skip > 0 {
            return Ok(Found::Nothing);
        }
        if self.skip_ack != 0 {
            if !self.acknowledge(self.skip_ack) {
                return Ok(Found::Nothing);
            }
            self.skip_ack = 0;
        }
        let bytes = self.rx.get(..self.rx_len).unwrap_or_default();
        let Some(header) = wire::decode_header(bytes)? else {
            return Ok(Found::Nothing);
        };
        if (header.kind() == kind::CONNACK) != (self.state == State::Connecting) {
            return Err(ProtocolError::UnexpectedPacket(header.kind()).into());
        }
        let total = header.total();
        if total > self.limit() {
            return self.oversized(&header);
        }
        let Some(body) = bytes.get(header.len..total) else {
            return Ok(Found::Nothing);
        };
        let found = match wire::decode_body(&header, body)? {
            Incoming::ConnAck {
                session_present,
                code,
            } => {
                if let Some(refusal) = Refusal::from_code(code) {
                    return Err(Error::Refused(refusal));
                }
                self.state = State::Connected;
                self.answer_due = None;
                Found::Connected(session_present)
            }
            Incoming::PingResp => Found::Handled,
            Incoming::PubAck { packet_id } => match self.out.find(Kind::Publish, packet_id) {
                Some(index) => {
                    self.out.acknowledge(index);
                    Found::Published(packet_id)
                }
                // The answer to a repetition that was not needed.
                None => Found::Handled,
            },
            Incoming::SubAck { packet_id, codes } => {
                let index = self
                    .out
                    .find(Kind::Subscribe, packet_id)
                    .ok_or(ProtocolError::SubAck)?;
                let packet = self.out.packet(index);
                let filters = (0..).take_while(|&i| wire::subscribe_filter(packet, i).is_some());
                if filters.count() != codes.len() {
                    return Err(ProtocolError::SubAck.into());
                }
                let refused = |&i: &usize| codes.get(i) == Some(&0x80);
                if let Some(at) = (self.suback_done..codes.len()).find(refused) {
                    // The packet stays in `rx`: the next poll goes on behind this code.
                    self.suback_done = at + 1;
                    let filter = wire::subscribe_filter(packet, at).unwrap_or_default();
                    let base = self.out.packet_at(index);
                    return Ok(Found::Refused(
                        packet_id,
                        base + filter.start..base + filter.end,
                    ));
                }
                self.suback_done = 0;
                self.out.acknowledge(index);
                Found::Subscribed(packet_id)
            }
            Incoming::Publish(Publish {
                topic,
                packet_id,
                payload,
                ..
            }) => {
                let topic = header.len + 2..header.len + 2 + topic.len();
                let payload = total - payload.len()..total;
                if let Some(id) = packet_id
                    && !self.acknowledge(id)
                {
                    // No room for the PUBACK: the message waits in `rx` until some was sent.
                    return Ok(Found::Nothing);
                }
                Found::Message {
                    topic,
                    payload,
                    first: header.first,
                }
            }
        };
        self.taken = total;
        Ok(found)
    }

    /// Starts to read past a packet larger than the buffer, once its topic is known.
    fn oversized(&mut self, header: &wire::FixedHeader) -> Result<Found, Error> {
        if header.kind() != kind::PUBLISH {
            return Err(ProtocolError::Length(header.kind()).into());
        }
        let size = header.total();
        let body = self.rx.get(header.len..self.rx_len).unwrap_or_default();
        let topic = match wire::decode_publish_head(header, body)? {
            Some((topic, id, _)) => {
                self.skip_ack = id.unwrap_or(0);
                Some(header.len + 2..header.len + 2 + topic.len())
            }
            None if self.rx_len < self.limit() => return Ok(Found::Nothing),
            None => None,
        };
        self.taken = self.rx_len;
        self.skip = size - self.rx_len;
        Ok(Found::Oversized { topic, size })
    }
}
