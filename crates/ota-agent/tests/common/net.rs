//! In-memory byte streams between the device and its peers.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use ota_agent::{Connect, ConnectFailure, Security};

use super::broker::{Broker, BrokerSide};
use super::server::{Server, ServerSide};

/// How a peer ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Fin,
    Reset,
}

/// The bytes of one connection.
#[derive(Default)]
pub struct Pipe {
    pub up: Vec<u8>,
    pub down: VecDeque<u8>,
    pub end: Option<End>,
    /// The device has let go.
    pub gone: bool,
    waker: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.down.extend(bytes);
        self.wake();
    }

    pub fn close(&mut self, end: End) {
        self.end = Some(end);
        self.wake();
    }
}

pub enum Side {
    Broker(BrokerSide),
    Server(ServerSide),
}

pub struct Conn {
    pub pipe: Pipe,
    pub side: Side,
}

/// All that is on the other side of the device's network.
#[derive(Default)]
pub struct Net {
    pub tls: Cell<bool>,
    pub broker: RefCell<Broker>,
    pub server: RefCell<Server>,
    pub conns: RefCell<Vec<Conn>>,
    /// Failures of the next connections to the broker and to the server.
    /// Connections to the broker that succeed before `no_broker` counts.
    pub no_broker_after: Cell<usize>,
    pub no_broker: RefCell<VecDeque<ConnectFailure>>,
    pub no_server: RefCell<VecDeque<ConnectFailure>>,
    /// Host and port of each connection.
    pub opened: RefCell<Vec<(String, u16, Security)>>,
    /// Bytes that one read gives at most; 0 for any number.
    pub piece: Cell<usize>,
}

impl Net {
    /// Lets the peers act.
    pub fn step(&self, now: u64) -> Option<u64> {
        let mut next: Option<u64> = None;
        for conn in self.conns.borrow_mut().iter_mut() {
            let wanted = match &mut conn.side {
                Side::Broker(side) => self.broker.borrow_mut().step(side, &mut conn.pipe, now),
                Side::Server(side) => self.server.borrow_mut().step(side, &mut conn.pipe, now),
            };
            next = [next, wanted].into_iter().flatten().min();
        }
        next
    }

    /// Whether bytes of a package are on their way.
    pub fn in_flight(&self) -> bool {
        self.conns.borrow().iter().any(|conn| match &conn.side {
            Side::Server(side) => !conn.pipe.gone && (!conn.pipe.down.is_empty() || side.is_busy()),
            Side::Broker(_) => false,
        })
    }

    /// Power off: all connections are gone.
    pub fn forget(&self) {
        self.conns.borrow_mut().clear();
    }
}

pub struct Stream<'a> {
    net: &'a Net,
    index: usize,
}

impl ErrorType for Stream<'_> {
    type Error = ErrorKind;
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if let Some(conn) = self.net.conns.borrow_mut().get_mut(self.index) {
            conn.pipe.gone = true;
        }
    }
}

impl Read for Stream<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        assert!(!buf.is_empty(), "a read into nothing looks like the end");
        poll_fn(|cx| {
            let mut conns = self.net.conns.borrow_mut();
            let pipe = &mut conns[self.index].pipe;
            if pipe.down.is_empty() {
                return match pipe.end {
                    Some(End::Fin) => Poll::Ready(Ok(0)),
                    Some(End::Reset) => Poll::Ready(Err(ErrorKind::ConnectionReset)),
                    None => {
                        pipe.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                };
            }
            let piece = match self.net.piece.get() {
                0 => usize::MAX,
                n => n,
            };
            let n = buf.len().min(pipe.down.len()).min(piece);
            for to in &mut buf[..n] {
                *to = pipe.down.pop_front().unwrap();
            }
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Stream<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        let mut conns = self.net.conns.borrow_mut();
        let pipe = &mut conns[self.index].pipe;
        if pipe.end == Some(End::Reset) {
            return Err(ErrorKind::ConnectionReset);
        }
        let n = buf.len().min(100);
        pipe.up.extend(&buf[..n]);
        Ok(n)
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Connect for Net {
    type Stream<'a> = Stream<'a>;

    async fn connect<'a>(
        &'a self,
        host: &str,
        port: u16,
        security: Security,
    ) -> Result<Stream<'a>, ConnectFailure> {
        self.opened.borrow_mut().push((host.into(), port, security));
        let broker = host == "broker";
        let failures = if broker {
            &self.no_broker
        } else {
            &self.no_server
        };
        let spared = broker && self.no_broker_after.get() > 0;
        if spared {
            self.no_broker_after.set(self.no_broker_after.get() - 1);
        } else if let Some(failure) = failures.borrow_mut().pop_front() {
            return Err(failure);
        }
        let side = if broker {
            Side::Broker(BrokerSide::default())
        } else {
            Side::Server(ServerSide::new(host, security))
        };
        let mut conns = self.conns.borrow_mut();
        conns.push(Conn {
            pipe: Pipe::default(),
            side,
        });
        Ok(Stream {
            net: self,
            index: conns.len() - 1,
        })
    }

    fn has_tls(&self) -> bool {
        self.tls.get()
    }
}
