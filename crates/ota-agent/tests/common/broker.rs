//! A broker with the cloud behind it, as far as one device sees them. What
//! comes from the device is read by hand, not by the codec that wrote it.

use std::collections::VecDeque;

use ota_proto::mqtt::wire;
use serde_json::Value;

use super::net::{End, Pipe};
use super::{DN, PK};

#[derive(Default)]
pub struct BrokerSide {
    accepted: bool,
    last_heard: u64,
    next_id: u16,
}

/// When the cloud says something by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The n-th version report has come, counted from 1.
    Inform(u32),
    /// So many percent are reported, or more.
    Percent(i64),
}

#[derive(Default)]
pub struct Broker {
    /// Return codes of the next CONNACKs; then 0.
    pub connack: VecDeque<u8>,
    /// Never answers.
    pub silent: bool,
    pub refuse_subscriptions: bool,
    /// Acknowledges nothing from this message on: part of the payload.
    pub no_ack_for: Option<String>,
    /// What the cloud wants the device to have: the version and the push.
    pub offer: Option<(String, Vec<u8>)>,
    /// Pushes the offer at each inform of another version.
    pub pushes: bool,
    /// Pushes come before the acknowledgement of what caused them.
    pub push_first: bool,
    pub extra: Vec<(When, Vec<u8>)>,
    /// Closes the connection so many milliseconds after the sign-on, so many times.
    pub kicks: Option<(u64, u32)>,
    kick_at: Option<u64>,

    pub sign_ons: u32,
    pub sign_on_times: Vec<u64>,
    pub disconnects: u32,
    pub informs: u32,
    pub gets: u32,
    /// PUBACKs from the device.
    pub acks: u32,
    /// Versions informed, in order.
    pub versions: Vec<String>,
    /// Steps and texts of progress reports.
    pub steps: Vec<(i64, String)>,
    pub pings: u32,
    /// Connections closed because the device was silent for too long.
    pub starved: u32,
}

fn topic(middle: &str) -> String {
    format!("/ota/device/{middle}/{PK}/{DN}")
}

fn reply_topic() -> String {
    format!("/sys/{PK}/{DN}/thing/ota/firmware/get_reply")
}

impl Broker {
    fn publish(&mut self, side: &mut BrokerSide, pipe: &mut Pipe, topic: &str, payload: &[u8]) {
        side.next_id += 1;
        let mut packet = vec![0; payload.len() + topic.len() + 16];
        let n = wire::encode_publish(&mut packet, topic, Some(side.next_id), &mut |room| {
            room[..payload.len()].copy_from_slice(payload);
            Some(payload.len())
        })
        .unwrap();
        pipe.send(&packet[..n]);
    }

    pub fn step(&mut self, side: &mut BrokerSide, pipe: &mut Pipe, now: u64) -> Option<u64> {
        while let Some((packet, used)) = packet(&pipe.up) {
            pipe.up.drain(..used);
            side.last_heard = now;
            self.packet(side, pipe, &packet, now);
        }
        if pipe.gone || pipe.end.is_some() {
            return None;
        }
        // One and a half times the keep-alive of 60 s.
        if side.accepted && now - side.last_heard > 90_000 {
            self.starved += 1;
            pipe.close(End::Fin);
            return None;
        }
        let at = self.kick_at.filter(|_| side.accepted)?;
        if now < at {
            return Some(at);
        }
        self.kick_at = None;
        pipe.close(End::Fin);
        None
    }

    fn packet(&mut self, side: &mut BrokerSide, pipe: &mut Pipe, packet: &Packet, now: u64) {
        if self.silent {
            return;
        }
        match packet.first >> 4 {
            1 => {
                assert_eq!(&packet.body[..7], b"\0\x04MQTT\x04");
                self.sign_ons += 1;
                self.sign_on_times.push(now);
                let code = self.connack.pop_front().unwrap_or(0);
                pipe.send(&[0x20, 2, 0, code]);
                if code != 0 {
                    pipe.close(End::Fin);
                    return;
                }
                side.accepted = true;
                if let Some((after, left)) = &mut self.kicks
                    && *left > 0
                {
                    *left -= 1;
                    self.kick_at = Some(now + *after);
                }
            }
            3 => self.message(side, pipe, packet),
            4 => self.acks += 1,
            8 => {
                let code = if self.refuse_subscriptions { 0x80 } else { 1 };
                let id = &packet.body[..2];
                pipe.send(&[0x90, 4, id[0], id[1], code, code]);
            }
            12 => {
                self.pings += 1;
                pipe.send(&[0xd0, 0]);
            }
            14 => self.disconnects += 1,
            kind => panic!("packet of kind {kind}"),
        }
    }

    fn message(&mut self, side: &mut BrokerSide, pipe: &mut Pipe, packet: &Packet) {
        let len = usize::from(u16::from_be_bytes([packet.body[0], packet.body[1]]));
        let name = std::str::from_utf8(&packet.body[2..2 + len])
            .unwrap()
            .to_owned();
        let mut rest = &packet.body[2 + len..];
        let qos = packet.first >> 1 & 3;
        let id = if qos == 0 {
            None
        } else {
            Some([rest[0], rest[1]])
        };
        if id.is_some() {
            rest = &rest[2..];
        }
        let text = std::str::from_utf8(rest).expect("text");
        let json: Value = serde_json::from_str(text).expect("JSON");
        if !self.push_first {
            self.acknowledge(pipe, text, id);
        }
        self.react(side, pipe, &name, &json);
        if self.push_first {
            self.acknowledge(pipe, text, id);
        }
    }

    fn acknowledge(&mut self, pipe: &mut Pipe, text: &str, id: Option<[u8; 2]>) {
        if self
            .no_ack_for
            .as_ref()
            .is_some_and(|t| text.contains(t.as_str()))
        {
            self.no_ack_for = Some(String::new());
        } else if let Some([high, low]) = id {
            pipe.send(&[0x40, 2, high, low]);
        }
    }

    fn react(&mut self, side: &mut BrokerSide, pipe: &mut Pipe, name: &str, json: &Value) {
        if name == topic("inform") {
            let version = json["params"]["version"].as_str().unwrap().to_owned();
            self.informs += 1;
            self.versions.push(version.clone());
            for push in self.due(|w| w == When::Inform(self.informs)) {
                self.publish(side, pipe, &topic("upgrade"), &push);
            }
            if self.pushes
                && let Some((offered, push)) = self.offer.clone()
                && offered != version
            {
                self.publish(side, pipe, &topic("upgrade"), &push);
            }
        } else if name == topic("progress") {
            let step: i64 = json["params"]["step"].as_str().unwrap().parse().unwrap();
            let text = json["params"]["desc"].as_str().unwrap().to_owned();
            self.steps.push((step, text));
            for push in self.due(|w| matches!(w, When::Percent(p) if step >= p)) {
                self.publish(side, pipe, &topic("upgrade"), &push);
            }
        } else if name.ends_with("/thing/ota/firmware/get") {
            self.gets += 1;
            let current = self.versions.last().cloned();
            let offer = self
                .offer
                .clone()
                .filter(|(v, _)| Some(v) != current.as_ref());
            let reply = offer.map_or(b"{\"code\":200,\"data\":{}}".to_vec(), |(_, push)| push);
            self.publish(side, pipe, &reply_topic(), &reply);
        } else {
            panic!("topic {name}");
        }
    }

    fn due(&self, is: impl Fn(When) -> bool) -> Vec<Vec<u8>> {
        let due = self.extra.iter().filter(|(w, _)| is(*w));
        due.map(|(_, push)| push.clone()).collect()
    }

    /// The failures that were reported.
    pub fn failures(&self) -> Vec<(i64, String)> {
        self.steps
            .iter()
            .filter(|(step, _)| *step < 0)
            .cloned()
            .collect()
    }
}

struct Packet {
    first: u8,
    body: Vec<u8>,
}

fn packet(bytes: &[u8]) -> Option<(Packet, usize)> {
    let (mut len, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        len |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte < 0x80 {
            break;
        }
    }
    let body = bytes.get(at..at + len)?.to_vec();
    Some((
        Packet {
            first: bytes[0],
            body,
        },
        at + len,
    ))
}
