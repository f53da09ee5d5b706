//! A device of few lines: raw MQTT 3.1.1 and HTTP/1.1 over TCP, sharing no code
//! with the cloud.
#![allow(dead_code, missing_docs)]

use ota_cloud::{Cloud, Config, Device, Server};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The names of the published sign-on vectors.
pub const PK: &str = "a1B2c3D4e5F";
pub const DN: &str = "dev001";
pub const DS: &str = "0123456789abcdef0123456789abcdef";
pub const USER: &str = "dev001&a1B2c3D4e5F";
/// HMACs of `clientIda1B2c3D4e5F.dev001deviceNamedev001productKeya1B2c3D4e5Ftimestamp2524608000000`.
pub const HMAC_MD5: &str = "935b46dafcb8835cef2e06835e305152";
pub const HMAC_SHA1: &str = "86accbfe5449d07ade91baeae95b6bd669ca74b6";
pub const HMAC_SHA256: &str = "88d3ce1423c115e0425395b171e6e5fd1c9c97c349f1584ad2baf32d5d913dca";
pub const CLIENT_ID: &str =
    "a1B2c3D4e5F.dev001|securemode=3,signmethod=hmacsha256,timestamp=2524608000000|";

pub const SECOND: Duration = Duration::from_secs(1);
pub const WAIT: Duration = Duration::from_secs(10);

pub struct Bench {
    pub cloud: Server,
    pub device: Device,
    pub dir: tempfile::TempDir,
}

/// A cloud with one product and the device of the vectors.
pub fn bench() -> Bench {
    bench_with(|_| {})
}

pub fn bench_with(change: impl FnOnce(&mut Config)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::new(dir.path());
    change(&mut config);
    let cloud = Cloud::start(config).unwrap();
    cloud.create_product(PK).unwrap();
    let device = cloud.add_device_with_secret(PK, DN, DS).unwrap();
    Bench { cloud, device, dir }
}

impl Bench {
    /// The device, signed on.
    pub fn sign_on(&self) -> Client {
        Client::connect(self.cloud.mqtt_addr(), CLIENT_ID, USER, HMAC_SHA256, 60).unwrap()
    }

    /// The device, signed on, having informed its version.
    pub fn online(&self, version: &str) -> Client {
        let mut c = self.sign_on();
        c.inform(version);
        c
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub topic: String,
    pub qos: u8,
    pub packet_id: u16,
    pub payload: Vec<u8>,
}

impl Publish {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

pub struct Client {
    stream: Box<dyn Stream>,
    next_id: u16,
    queue: VecDeque<Publish>,
    /// Acknowledge pushes as they come.
    pub ack: bool,
}

fn text(out: &mut Vec<u8>, s: &[u8]) {
    out.extend_from_slice(&(s.len() as u16).to_be_bytes());
    out.extend_from_slice(s);
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut n = body.len();
    loop {
        let more = if n > 127 { 0x80 } else { 0 };
        out.push((n % 128) as u8 | more);
        n /= 128;
        if more == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

impl Client {
    /// CONNECT; the error is the return code of the CONNACK.
    pub fn connect(
        addr: SocketAddr,
        client_id: &str,
        user: &str,
        password: &str,
        keep_alive: u16,
    ) -> Result<Self, u8> {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(WAIT)).unwrap();
        Self::connect_over(Box::new(stream), client_id, user, password, keep_alive)
    }

    /// The same over a stream of any kind.
    pub fn connect_over(
        stream: Box<dyn Stream>,
        client_id: &str,
        user: &str,
        password: &str,
        keep_alive: u16,
    ) -> Result<Self, u8> {
        let mut body = Vec::new();
        text(&mut body, b"MQTT");
        body.extend_from_slice(&[4, 0xC2]);
        body.extend_from_slice(&keep_alive.to_be_bytes());
        text(&mut body, client_id.as_bytes());
        text(&mut body, user.as_bytes());
        text(&mut body, password.as_bytes());
        let mut c = Self {
            stream,
            next_id: 1,
            queue: VecDeque::new(),
            ack: true,
        };
        c.send(&packet(0x10, &body));
        let (first, body) = c.read_packet().expect("a CONNACK");
        assert_eq!((first, body.len()), (0x20, 2));
        match body[1] {
            0 => Ok(c),
            code => Err(code),
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Next packet; `None` at the end of the connection.
    fn read_packet(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(e) => panic!("no packet: {e}"),
        }
        let first = byte[0];
        let (mut len, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte).unwrap();
            len |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).unwrap();
        Some((first, body))
    }

    /// Reads until a packet of type `kind`; pushes on the way are kept.
    fn read_until(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (first, body) = self.read_packet().expect("connection ended");
            if first >> 4 == kind {
                return body;
            }
            assert_eq!(first >> 4, 3, "unexpected packet {first:#x}");
            self.take_publish(first, &body);
        }
    }

    fn take_publish(&mut self, first: u8, body: &[u8]) {
        let n = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let topic = String::from_utf8(body[2..2 + n].to_vec()).unwrap();
        let qos = (first >> 1) & 3;
        let mut at = 2 + n;
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([body[at], body[at + 1]]);
            at += 2;
        }
        if qos == 1 && self.ack {
            self.send(&packet(0x40, &packet_id.to_be_bytes()));
        }
        self.queue.push_back(Publish {
            topic,
            qos,
            packet_id,
            payload: body[at..].to_vec(),
        });
    }

    pub fn puback(&mut self, packet_id: u16) {
        self.send(&packet(0x40, &packet_id.to_be_bytes()));
    }

    /// Publishes with QoS 1 and waits for the acknowledgement.
    pub fn publish(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let id = self.next_id;
        self.next_id += 1;
        let mut body = Vec::new();
        text(&mut body, topic.as_bytes());
        body.extend_from_slice(&id.to_be_bytes());
        body.extend_from_slice(payload.as_ref());
        self.send(&packet(0x32, &body));
        assert_eq!(self.read_until(4), id.to_be_bytes());
    }

    pub fn publish_qos0(&mut self, topic: &str, payload: impl AsRef<[u8]>) {
        let mut body = Vec::new();
        text(&mut body, topic.as_bytes());
        body.extend_from_slice(payload.as_ref());
        self.send(&packet(0x30, &body));
    }

    /// SUBSCRIBE with QoS 1; gives the return code.
    pub fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0x12, 0x34];
        text(&mut body, filter.as_bytes());
        body.push(1);
        self.send(&packet(0x82, &body));
        let body = self.read_until(9);
        assert_eq!((body.len(), &body[..2]), (3, &[0x12, 0x34][..]));
        body[2]
    }

    pub fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert!(self.read_until(13).is_empty());
    }

    /// The next message from the cloud.
    pub fn next(&mut self) -> Publish {
        while self.queue.is_empty() {
            let (first, body) = self.read_packet().expect("connection ended");
            assert_eq!(first >> 4, 3, "unexpected packet {first:#x}");
            self.take_publish(first, &body);
        }
        self.queue.pop_front().unwrap()
    }

    /// Everything the cloud has sent before its answer to a ping.
    pub fn pending(&mut self) -> Vec<Publish> {
        self.ping();
        self.queue.drain(..).collect()
    }

    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.read_packet() {
                None => return true,
                Some((first, body)) if first >> 4 == 3 => self.take_publish(first, &body),
                Some(_) => return false,
            }
        }
    }

    /// Informs the version as uOTA does, NUL included.
    pub fn inform(&mut self, version: &str) {
        let json = format!("{{\"id\":0,\"params\":{{\"version\":\"{version}\"}}}}\0");
        self.publish(&format!("/ota/device/inform/{PK}/{DN}"), json);
    }

    /// Reports progress as uOTA does.
    pub fn progress(&mut self, step: i32, desc: &str) {
        let json =
            format!("{{\"id\":0,\"params\":{{\"step\": \"{step}\",\"desc\":\"{desc}\"}}}}\0");
        self.publish(&format!("/ota/device/progress/{PK}/{DN}"), json);
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| {
            let (k, v) = l.split_once(':')?;
            k.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }
}

/// Host and path of `SCHEME://HOST/PATH`.
pub fn split_url(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

/// One request on a connection of its own.
pub fn request(method: &str, url: &str, headers: &str) -> Response {
    let stream = TcpStream::connect(split_url(url).0).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    request_over(Box::new(stream), method, url, headers)
}

/// One request on a given stream.
pub fn request_over(
    mut stream: Box<dyn Stream>,
    method: &str,
    url: &str,
    headers: &str,
) -> Response {
    let (host, path) = split_url(url);
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost:{host}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut all = Vec::new();
    // A TLS stream whose end is not announced is an end as well, for a whole body.
    if let Err(e) = stream.read_to_end(&mut all) {
        assert_eq!(e.kind(), std::io::ErrorKind::UnexpectedEof, "{e}");
    }
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    Response {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: all[end + 4..].to_vec(),
        head,
    }
}

pub fn get(url: &str, headers: &str) -> Response {
    request("GET", url, headers)
}
