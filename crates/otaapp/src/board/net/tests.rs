//! Against a peer on a cable.

use super::frames::{Counts, Frames};
use super::*;
use core::pin::pin;
use core::task::Waker;
use core::task::{Context, Poll};
use embedded_io_async::{Read, Write};
use ota_agent::{Connect, ConnectFailure, Security};
use smoltcp::phy::{Device, RxToken, TxToken};
use std::collections::VecDeque;
use std::rc::Rc;

type Queue = Rc<RefCell<VecDeque<Vec<u8>>>>;

/// One end of a cable that carries IP packets.
struct Cable {
    out: Queue,
    back: Queue,
    up: bool,
}

impl Link for Cable {
    fn hardware_address(&self) -> Option<[u8; 6]> {
        None
    }
    fn connect(&mut self, _: &str, _: &str) -> bool {
        self.up = true;
        true
    }
    fn disconnect(&mut self) {
        self.up = false;
    }
    fn is_up(&mut self) -> bool {
        self.up
    }
    fn send(&mut self, frame: &[u8]) -> bool {
        self.out.borrow_mut().push_back(frame.to_vec());
        true
    }
    fn receive(&mut self, frame: &mut [u8]) -> Option<usize> {
        let packet = self.back.borrow_mut().pop_front()?;
        frame[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }
}

/// The gateway: one socket that listens on port 80 and is asked by hand.
struct Peer {
    frames: Frames<Cable>,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
}

impl Peer {
    fn new(cable: Cable) -> Self {
        let mut frames = Frames::new(cable);
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut frames, Instant::ZERO);
        interface.update_ip_addrs(|all| {
            let cidr = Ipv4Cidr::new(address::GATEWAY, 24);
            all.push(IpCidr::Ipv4(cidr)).unwrap();
        });
        let buffer = || tcp::SocketBuffer::new(Box::leak(vec![0; 512].into_boxed_slice()));
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.listen(80).unwrap();
        let storage = Box::leak(Box::new([SocketStorage::EMPTY]));
        let mut sockets = SocketSet::new(&mut storage[..]);
        let socket = sockets.add(socket);
        Self {
            frames,
            interface,
            sockets,
            socket,
        }
    }

    fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }
}

fn world() -> (Net<'static, Cable>, Peer) {
    let (a, b) = (Queue::default(), Queue::default());
    let cable = |out: &Queue, back: &Queue| Cable {
        out: out.clone(),
        back: back.clone(),
        up: false,
    };
    let memory = Box::leak(Box::new(Memory::new()));
    let net = Net::new(cable(&a, &b), memory, 5);
    (net, Peer::new(cable(&b, &a)))
}

/// Runs `future` while both sides exchange packets, at most a virtual minute.
fn run<F: Future>(net: &Net<'_, Cable>, peer: &mut Peer, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    for ms in 0..60_000 {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        net.poll(net.now.get() + 1);
        let now = Instant::from_millis(ms);
        peer.interface
            .poll(now, &mut peer.frames, &mut peer.sockets);
    }
    None
}

#[test]
fn a_connection_carries_bytes_both_ways_and_ends() {
    let (net, mut peer) = world();
    let early = net.connect("10.0.2.2", 80, Security::Plain);
    let early = run(&net, &mut peer, early).unwrap().err();
    assert_eq!(early, Some(ConnectFailure::Connect), "no network yet");
    assert!(net.join("", ""));
    assert_eq!(net.addresses().unwrap().gateway, Some(address::GATEWAY));

    let connect = net.connect("10.0.2.2", 80, Security::Plain);
    let mut stream = run(&net, &mut peer, connect).unwrap().ok().unwrap();
    assert_eq!(net.open(), 1);
    run(&net, &mut peer, stream.write_all(b"hello"))
        .unwrap()
        .unwrap();
    let mut room = [0; 16];
    // A read that is given up has taken nothing.
    {
        let mut read = pin!(stream.read(&mut room));
        let mut context = Context::from_waker(Waker::noop());
        assert!(read.as_mut().poll(&mut context).is_pending());
    }
    net.poll(net.now.get() + 1);
    peer.interface
        .poll(Instant::ZERO, &mut peer.frames, &mut peer.sockets);
    let mut got = [0; 16];
    assert_eq!(peer.tcp().recv_slice(&mut got), Ok(5));
    peer.tcp().send_slice(b"answer").unwrap();
    peer.tcp().close();
    let read = run(&net, &mut peer, stream.read(&mut room)).unwrap();
    assert_eq!(read, Ok(6));
    assert_eq!(&room[..6], b"answer");
    // The end is the end, again and again.
    assert_eq!(run(&net, &mut peer, stream.read(&mut room)).unwrap(), Ok(0));
    assert_eq!(run(&net, &mut peer, stream.read(&mut room)).unwrap(), Ok(0));
    drop(stream);
    assert_eq!(net.open(), 0);
}

#[test]
fn failures_are_told_apart() {
    let (net, mut peer) = world();
    net.join("", "");
    let mut fails = |host, port, security| {
        let connect = net.connect(host, port, security);
        run(&net, &mut peer, connect).and_then(Result::err)
    };
    let refused = Some(ConnectFailure::Connect);
    assert_eq!(fails("10.0.2.2", 81, Security::Plain), refused);
    // Slots come free again, however often it fails.
    for _ in 0..5 {
        assert_eq!(fails("10.0.2.2", 81, Security::Plain), refused);
    }
    let tls = Some(ConnectFailure::Tls);
    assert_eq!(fails("10.0.2.2", 80, Security::Tls), tls);
    // Nobody answers names here; some are none at all.
    let unknown = Some(ConnectFailure::Dns);
    assert_eq!(fails("broker.example", 80, Security::Plain), unknown);
    assert_eq!(fails("a..b", 80, Security::Plain), unknown);
    assert_eq!(fails("", 80, Security::Plain), unknown);
}

#[test]
fn a_reset_is_no_end_of_the_stream() {
    let (net, mut peer) = world();
    net.join("", "");
    let connect = net.connect("10.0.2.2", 80, Security::Plain);
    let mut stream = run(&net, &mut peer, connect).unwrap().ok().unwrap();
    peer.tcp().abort();
    let read = run(&net, &mut peer, stream.read(&mut [0; 4])).unwrap();
    assert_eq!(read, Err(Broken));
    // Leaving the network breaks what is open.
    net.leave();
    assert_eq!(net.addresses(), None);
    let write = run(&net, &mut peer, stream.write(b"x")).unwrap();
    assert_eq!(write, Err(Broken));
}

#[test]
fn frames_pass_unchanged() {
    let (a, b) = (Queue::default(), Queue::default());
    let mut frames = Frames::new(Cable {
        out: a.clone(),
        back: b.clone(),
        up: true,
    });
    b.borrow_mut().push_back(vec![1, 2, 3]);
    let (incoming, outgoing) = frames.receive(Instant::ZERO).unwrap();
    incoming.consume(|bytes| assert_eq!(bytes, [1, 2, 3]));
    outgoing.consume(2, |room| room.copy_from_slice(&[8, 9]));
    assert_eq!(a.borrow_mut().pop_front(), Some(vec![8, 9]));
    let counts = Counts {
        incoming: 1,
        outgoing: 1,
    };
    assert_eq!(frames.counts, counts);
}
