//! A file server with every fault a device may meet.

use std::collections::{HashMap, VecDeque};

use ota_agent::Security;

use super::net::{End, Pipe};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// 200 with the whole file.
    RangeIgnored,
    /// `Content-Range` of other bytes.
    WrongRange,
    /// Another size of the file in `Content-Range`.
    WrongTotal(u64),
    /// Another `ETag`, and another file.
    OtherFile(Vec<u8>),
    /// The end of the connection after so many bytes of the body.
    Short(usize),
    /// A reset after so many bytes of the body.
    Reset(usize),
    /// Silence after so many bytes of the body.
    Stall(usize),
    /// Silence at once.
    Mute,
    Redirect(String),
    Status(u16),
    Gzip,
    Multipart,
    /// Good, in chunks.
    Chunked,
    /// Good; then the connection ends, without a word about it before.
    CloseAfter,
    /// Good; `Connection: close`.
    SayClose,
    /// The first bytes of the file are others.
    Spoilt,
    /// So many bytes of this each millisecond.
    Slow(usize),
    Garbage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub host: String,
    pub path: String,
    pub range: (u32, Option<u32>),
    pub tls: bool,
}

pub struct ServerSide {
    host: String,
    tls: bool,
    queue: VecDeque<u8>,
    pace: usize,
    next: u64,
    then: Option<End>,
}

impl ServerSide {
    pub fn new(host: &str, security: Security) -> Self {
        Self {
            host: host.into(),
            tls: security == Security::Tls,
            queue: VecDeque::new(),
            pace: usize::MAX,
            next: 0,
            then: None,
        }
    }

    /// Whether there is something left to send.
    pub fn is_busy(&self) -> bool {
        !self.queue.is_empty()
    }
}

#[derive(Default)]
pub struct Server {
    pub files: HashMap<String, Vec<u8>>,
    /// Faults of the next answers; then `always`.
    pub faults: VecDeque<Option<Fault>>,
    pub always: Option<Fault>,
    pub asked: Vec<Asked>,
    /// Bytes of bodies put out.
    pub sent: usize,
}

impl Server {
    pub fn step(&mut self, side: &mut ServerSide, pipe: &mut Pipe, now: u64) -> Option<u64> {
        if pipe.gone {
            return None;
        }
        while pipe.end.is_none()
            && let Some(end) = pipe.up.windows(4).position(|w| w == b"\r\n\r\n")
        {
            let head = pipe.up.drain(..end + 4).collect::<Vec<_>>();
            self.answer(side, std::str::from_utf8(&head).unwrap(), now);
        }
        if side.queue.is_empty() {
            if let Some(end) = side.then.take() {
                pipe.close(end);
            }
            return None;
        }
        if now < side.next {
            return Some(side.next);
        }
        let n = side.queue.len().min(side.pace);
        pipe.send(&side.queue.drain(..n).collect::<Vec<_>>());
        side.next = now + 1;
        Some(side.next)
    }

    fn answer(&mut self, side: &mut ServerSide, head: &str, now: u64) {
        let mut lines = head.split("\r\n");
        let path = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let field = |name: &str| {
            head.split("\r\n")
                .find_map(|l| l.strip_prefix(name))
                .expect("field")
                .to_owned()
        };
        assert!(field("Host: ").starts_with(&side.host));
        let range = field("Range: bytes=");
        let (from, to) = range.split_once('-').unwrap();
        let from: u32 = from.parse().unwrap();
        let to: Option<u32> = (!to.is_empty()).then(|| to.parse().unwrap());
        self.asked.push(Asked {
            host: side.host.clone(),
            path: path.clone(),
            range: (from, to),
            tls: side.tls,
        });
        let fault = self.faults.pop_front().unwrap_or(self.always.clone());
        let mut file = match self.files.get(&path) {
            Some(file) => file.clone(),
            None => {
                side.queue
                    .extend(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                return;
            }
        };
        if fault == Some(Fault::Spoilt) {
            file[4000] ^= 1;
        }
        let mut etag = "\"one\"";
        if let Some(Fault::OtherFile(other)) = &fault {
            file.clone_from(other);
            etag = "\"two\"";
        }
        let size = file.len() as u64;
        let first = from as usize;
        let end = to.map_or(file.len(), |t| t as usize + 1).min(file.len());
        if first >= end {
            side.queue.extend(
                format!("HTTP/1.1 416 Range\r\nContent-Range: bytes */{size}\r\nContent-Length: 0\r\n\r\n")
                    .bytes(),
            );
            return;
        }
        let mut body = file[first..end].to_vec();
        let mut total = size;
        let (mut shown, mut status) = (first, 206);
        let mut extra = String::new();
        let mut chunked = false;
        let mut cut = None;
        side.pace = usize::MAX;
        match fault.clone() {
            None | Some(Fault::Spoilt | Fault::OtherFile(_)) => {}
            Some(Fault::RangeIgnored) => {
                status = 200;
                body = file.clone();
            }
            Some(Fault::WrongRange) => shown += 1,
            Some(Fault::WrongTotal(n)) => total = n,
            Some(Fault::Short(n)) => cut = Some((n, Some(End::Fin))),
            Some(Fault::Reset(n)) => cut = Some((n, Some(End::Reset))),
            Some(Fault::Stall(n)) => cut = Some((n, None)),
            Some(Fault::Mute) => return,
            Some(Fault::Redirect(to)) => {
                let answer =
                    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
                // In two parts, with time between them.
                side.pace = answer.len() - 20;
                side.queue.extend(answer.bytes());
                return;
            }
            Some(Fault::Status(n)) => {
                side.queue
                    .extend(format!("HTTP/1.1 {n} No\r\nContent-Length: 0\r\n\r\n").bytes());
                return;
            }
            Some(Fault::Gzip) => extra = "Content-Encoding: gzip\r\n".into(),
            Some(Fault::Multipart) => {
                extra = "Content-Type: multipart/byteranges; boundary=x\r\n".into();
            }
            Some(Fault::Chunked) => chunked = true,
            Some(Fault::CloseAfter) => cut = Some((usize::MAX, Some(End::Fin))),
            Some(Fault::SayClose) => extra = "Connection: close\r\n".into(),
            Some(Fault::Slow(n)) => side.pace = n,
            Some(Fault::Garbage) => {
                side.queue.extend(b"SSH-2.0-OpenSSH_9.6\r\n");
                return;
            }
        }
        let mut answer = format!("HTTP/1.1 {status} OK\r\nETag: {etag}\r\n{extra}");
        if status == 206 {
            let last = shown + body.len() - 1;
            answer += &format!("Content-Range: bytes {shown}-{last}/{total}\r\n");
        }
        if chunked {
            answer += "Transfer-Encoding: chunked\r\n\r\n";
            side.queue.extend(answer.bytes());
            for chunk in body.chunks(1000) {
                side.queue.extend(format!("{:x}\r\n", chunk.len()).bytes());
                side.queue.extend(chunk);
                side.queue.extend(b"\r\n");
            }
            side.queue.extend(b"0\r\n\r\n");
            self.sent += body.len();
            return;
        }
        answer += &format!("Content-Length: {}\r\n\r\n", body.len());
        side.queue.extend(answer.bytes());
        if let Some((n, end)) = cut {
            body.truncate(n);
            side.then = end;
        }
        if fault == Some(Fault::SayClose) {
            side.then = Some(End::Fin);
        }
        self.sent += body.len();
        side.queue.extend(body);
        side.next = side.next.max(now);
    }
}
