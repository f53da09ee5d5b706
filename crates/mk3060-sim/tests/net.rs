//! The network end of the SLIP line: a guest stack on one side, a real socket
//! of this machine on the other.

use mk3060_sim::Time;
use mk3060_sim::host::Net;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpListener;

#[derive(Default)]
struct Cable {
    received: VecDeque<Vec<u8>>,
    sent: Vec<u8>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut Vec<u8>);

impl phy::RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        slip(&packet, self.0);
        result
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;
    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Rx(packet), Tx(&mut self.sent)))
    }
    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
        capabilities
    }
}

/// A board's stack. Its device is a queue that the test moves by hand.
struct Guest {
    device: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
}

impl Guest {
    fn new() -> Self {
        let mut device = Cable::default();
        let mut interface =
            Interface::new(Config::new(HardwareAddress::Ip), &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::v4(10, 0, 2, 15), 24))
                .unwrap();
        });
        interface
            .routes_mut()
            .add_default_ipv4_route(Ipv4Address::new(10, 0, 2, 2))
            .unwrap();
        let buffer = || tcp::SocketBuffer::new(vec![0; 2048]);
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(tcp::Socket::new(buffer(), buffer()));
        Self {
            device,
            interface,
            sockets,
            socket,
        }
    }

    fn tcp(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    fn connect(&mut self, last: u8, port: u16) {
        let context = self.interface.context();
        self.sockets
            .get_mut::<tcp::Socket<'_>>(self.socket)
            .connect(context, (IpAddress::v4(10, 0, 2, last), port), 49_152)
            .unwrap();
    }

    /// One round: guest's packets to `net`, its answers back.
    fn round(&mut self, net: &mut Net, now: Time) {
        let instant = Instant::from_micros(now.as_micros() as i64);
        self.interface
            .poll(instant, &mut self.device, &mut self.sockets);
        let line = std::mem::take(&mut self.device.sent);
        let back = net.exchange(now, &line);
        let frames = back.split(|b| *b == 0xC0).filter(|f| !f.is_empty());
        self.device.received.extend(frames.map(unslip));
    }
}

fn slip(packet: &[u8], line: &mut Vec<u8>) {
    line.push(0xC0);
    for byte in packet {
        match byte {
            0xC0 => line.extend([0xDB, 0xDC]),
            0xDB => line.extend([0xDB, 0xDD]),
            byte => line.push(*byte),
        }
    }
    line.push(0xC0);
}

fn unslip(frame: &[u8]) -> Vec<u8> {
    let mut bytes = frame.iter();
    let mut packet = Vec::new();
    while let Some(byte) = bytes.next() {
        packet.push(match (byte, *byte == 0xDB) {
            (_, true) if bytes.next() == Some(&0xDC) => 0xC0,
            (_, true) => 0xDB,
            (byte, false) => *byte,
        });
    }
    packet
}

#[test]
fn a_connection_reaches_a_socket_of_this_machine_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        for byte in &mut request {
            *byte ^= 0x5A;
        }
        stream.write_all(&request).unwrap();
    });
    let mut net = Net::new(format!("file.example:80={to}").parse().unwrap());
    let mut guest = Guest::new();
    guest.connect(100, 80);
    let sent: Vec<u8> = (0..10_000_u32).map(|i| (i * 7) as u8).collect();
    let (mut at, mut got, mut now) = (0, Vec::new(), Time::ZERO);
    for _ in 0..40_000 {
        guest.round(&mut net, now);
        now += Time::micros(500);
        let socket = guest.tcp();
        if socket.can_send() && at < sent.len() {
            at += socket.send_slice(&sent[at..]).unwrap();
            if at == sent.len() {
                socket.close();
            }
        }
        if socket.can_recv() {
            socket
                .recv(|bytes| {
                    got.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        if socket.state() == tcp::State::TimeWait && !net.is_active() {
            break;
        }
    }
    server.join().unwrap();
    assert_eq!(got.len(), sent.len());
    assert!(got.iter().zip(&sent).all(|(g, s)| *g == s ^ 0x5A));
    assert!(!net.is_active(), "the connection is forgotten");
}

#[test]
fn what_leads_nowhere_is_refused() {
    let mut net = Net::new("".parse().unwrap());
    let mut guest = Guest::new();
    guest.connect(77, 80);
    let mut now = Time::ZERO;
    for _ in 0..100 {
        guest.round(&mut net, now);
        now += Time::millis(1);
    }
    assert_eq!(guest.tcp().state(), tcp::State::Closed);
    assert!(!net.is_active());
}
