//! A broker and a file server that are part of the test: no socket, no wall clock.
//! Everything the board does, to the last byte and flash operation, happens at
//! the same virtual time each time.

use crate::{DN, Desk, PK, file};
use mk3060_sim::host::{Net, Peer};
use std::cell::Cell;
use std::rc::Rc;

/// A broker for one device: acknowledges everything, and pushes once version 1
/// has reported.
struct Broker {
    incoming: Vec<u8>,
    push: Rc<Cell<Option<Vec<u8>>>>,
    confirmed: Rc<Cell<bool>>,
}

/// One packet at the start of `bytes`: first byte, body, length of all.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut len, mut shift, mut at) = (0usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        len |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some((bytes[0], bytes.get(at..at + len)?, at + len))
}

/// A text with its length in front, and what follows it.
fn text(body: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = body.split_first_chunk::<2>().unwrap();
    rest.split_at(u16::from_be_bytes(*len).into())
}

impl Broker {
    fn take(&mut self, first: u8, body: &[u8], out: &mut Vec<u8>) -> bool {
        match first >> 4 {
            // CONNECT
            1 => out.extend([0x20, 2, 0, 0]),
            // PUBLISH
            3 => {
                let (topic, rest) = text(body);
                let payload = match first & 6 {
                    0 => rest,
                    _ => {
                        out.extend([0x40, 2, rest[0], rest[1]]);
                        &rest[2..]
                    }
                };
                let informs = String::from_utf8_lossy(topic).contains("/inform/");
                let payload = String::from_utf8_lossy(payload);
                if informs && payload.contains("app-2.0.0") {
                    self.confirmed.set(true);
                } else if informs && let Some(push) = self.push.take() {
                    out.extend(push);
                }
            }
            // SUBSCRIBE
            8 => {
                let (id, mut filters) = body.split_at(2);
                let mut granted = Vec::new();
                while !filters.is_empty() {
                    let (_, rest) = text(filters);
                    granted.push(1);
                    filters = &rest[1..];
                }
                out.extend([0x90, 2 + granted.len() as u8, id[0], id[1]]);
                out.extend(granted);
            }
            // PINGREQ
            12 => out.extend([0xD0, 0]),
            // DISCONNECT
            14 => return false,
            // PUBACK
            4 => {}
            other => panic!("packet {other}"),
        }
        true
    }
}

impl Peer for Broker {
    fn exchange(&mut self, from_board: &[u8], to_board: &mut Vec<u8>) -> bool {
        self.incoming.extend(from_board);
        while let Some((first, body, len)) = packet(&self.incoming) {
            let body = body.to_vec();
            self.incoming.drain(..len);
            if !self.take(first, &body, to_board) {
                return false;
            }
        }
        true
    }
}

/// A file server that knows one file, and ranges of it.
struct Files {
    incoming: Vec<u8>,
    file: Rc<Vec<u8>>,
}

impl Peer for Files {
    fn exchange(&mut self, from_board: &[u8], to_board: &mut Vec<u8>) -> bool {
        self.incoming.extend(from_board);
        let end = self.incoming.windows(4).position(|w| w == b"\r\n\r\n");
        let Some(end) = end else { return true };
        let request: Vec<u8> = self.incoming.drain(..end + 4).collect();
        let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
        let (_, range) = request.split_once("range: bytes=").unwrap();
        let (from, to) = range.lines().next().unwrap().split_once('-').unwrap();
        let size = self.file.len();
        let from: usize = from.parse().unwrap();
        let to = to.parse().unwrap_or(size - 1).min(size - 1);
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{to}/{size}\r\n\r\n",
            to + 1 - from
        );
        to_board.extend(head.bytes());
        to_board.extend(&self.file[from..=to]);
        true
    }
}

/// The push, as a PUBLISH packet with QoS 0.
fn push(image: &[u8]) -> Vec<u8> {
    let digest = ota_verify::Digest::Sha256(ota_verify::sha256(image));
    let payload = format!(
        "{{\"code\":\"1000\",\"data\":{{\"size\":{},\"version\":\"app-2.0.0\",\
         \"url\":\"http://files.example/app.bin\",\"signMethod\":\"SHA256\",\"sign\":\"{digest}\"}},\
         \"id\":1,\"message\":\"success\"}}",
        image.len()
    );
    let topic = format!("/ota/device/upgrade/{PK}/{DN}");
    let len = 2 + topic.len() + payload.len();
    let mut out = vec![0x30, (len % 128) as u8 | 0x80, (len / 128) as u8];
    out.extend((topic.len() as u16).to_be_bytes());
    out.extend(topic.bytes());
    out.extend(payload.bytes());
    out
}

/// A board with version 1, on whose line the peers push `v2` once version 1 has
/// reported. They panic when the board says what they do not understand.
pub struct Scripted {
    /// The board.
    pub desk: Desk,
    confirmed: Rc<Cell<bool>>,
}

impl Scripted {
    /// Switches it on.
    ///
    /// # Panics
    /// When the images are not there.
    #[must_use]
    pub fn new(v1: &[u8], v2: &[u8]) -> Self {
        let confirmed = Rc::new(Cell::new(false));
        let push = Rc::new(Cell::new(Some(push(v2))));
        let (done, image) = (confirmed.clone(), Rc::new(v2.to_vec()));
        let map = format!(
            "{PK}.iot-as-mqtt.cn-shanghai.aliyuncs.com:1883=127.0.0.1:1883,files.example:80=127.0.0.1:80"
        );
        let net = Net::scripted(
            map.parse().expect("a map"),
            Box::new(move |to| match to.port() {
                1883 => Some(Box::new(Broker {
                    incoming: Vec::new(),
                    push: push.clone(),
                    confirmed: done.clone(),
                })),
                80 => Some(Box::new(Files {
                    incoming: Vec::new(),
                    file: image.clone(),
                })),
                _ => None,
            }),
        );
        Self {
            desk: Desk::with_net(&file("boot2.bin"), v1, net),
            confirmed,
        }
    }

    /// Types what the tutorial types, and runs until version 2 is confirmed.
    ///
    /// # Panics
    /// When it is not, or a byte was lost.
    pub fn update(&mut self) {
        let desk = &mut self.desk;
        desk.sign_on([PK, DN, "secret", "secret"], "");
        desk.expect("running image confirmed");
        assert!(self.confirmed.get(), "version 2 has reported");
        assert_eq!(desk.lost(), 0);
    }
}
