//! The other end of the SLIP line: an IP stack that hands TCP connections on to
//! sockets of this machine.
//!
//! Addresses are those of QEMU's user network: the board is 10.0.2.15, this
//! machine 10.0.2.2, the name server 10.0.2.3. A connection to 10.0.2.2 goes to
//! the same port of 127.0.0.1, one to 127.0.0.1 too; names of a [`Map`] get addresses of their own.
//! Nothing else can be reached.

use super::slip;
use crate::time::Time;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpProtocol, Ipv4Address, Ipv4Packet, TcpPacket,
};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const HOST: Ipv4Address = Ipv4Address::new(10, 0, 2, 2);
const NAME_SERVER: Ipv4Address = Ipv4Address::new(10, 0, 2, 3);
/// Names get 10.0.2.100 and following.
const FIRST_NAMED: u8 = 100;
const MTU: usize = 1500;
const BUFFER: usize = 16 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One name or address of the board's world, and where it really is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    port: u16,
    to: SocketAddr,
}

/// Which names lead where: `NAME:PORT=ADDRESS:PORT`, separated by commas. The
/// empty text maps no names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<Entry>);

/// A mapping that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no NAME:PORT=ADDRESS:PORT")]
pub struct MapError(String);

impl std::str::FromStr for Map {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        text.split(',')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let entry = || {
                    let (from, to) = part.split_once('=')?;
                    let (name, port) = from.rsplit_once(':')?;
                    Some(Entry {
                        name: name.to_ascii_lowercase(),
                        port: port.parse().ok()?,
                        to: to.parse().ok()?,
                    })
                };
                entry().ok_or_else(|| MapError(part.into()))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Map {
    /// Distinct names, in order.
    fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for entry in &self.0 {
            if !names.contains(&entry.name.as_str()) {
                names.push(&entry.name);
            }
        }
        names
    }

    fn address_of(&self, name: &str) -> Option<Ipv4Address> {
        let at = self.names().iter().position(|n| *n == name)?;
        let last = FIRST_NAMED.checked_add(u8::try_from(at).ok()?)?;
        Some(Ipv4Address::new(10, 0, 2, last))
    }

    /// Where a connection to `address` leads.
    fn target(&self, address: Ipv4Address, port: u16) -> Option<SocketAddr> {
        let named = self.0.iter().find(|entry| {
            let here = entry
                .name
                .parse()
                .ok()
                .or_else(|| self.address_of(&entry.name));
            entry.port == port && here == Some(address)
        });
        match named {
            Some(entry) => Some(entry.to),
            // A server on this machine may name itself by its own loopback address.
            None => (address == HOST || address.is_loopback())
                .then(|| SocketAddr::from(([127, 0, 0, 1], port))),
        }
    }
}

/// Packets between line and stack.
#[derive(Default)]
struct Packets {
    from_board: VecDeque<Vec<u8>>,
    to_board: Vec<u8>,
}

struct RxToken(Vec<u8>);
struct TxToken<'a>(&'a mut Vec<u8>);

impl phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        slip::encode(&packet, self.0);
        result
    }
}

impl phy::Device for Packets {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken, TxToken<'_>)> {
        let packet = self.from_board.pop_front()?;
        Some((RxToken(packet), TxToken(&mut self.to_board)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        Some(TxToken(&mut self.to_board))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A peer inside this process, instead of one behind a socket. Nothing it does
/// depends on a wall clock, so what the board does is the same each time.
pub trait Peer {
    /// Takes what the board has sent on this connection since the last call, and
    /// appends what goes back. Called again and again, also when nothing came.
    /// `false` ends the connection when everything is sent.
    fn exchange(&mut self, from_board: &[u8], to_board: &mut Vec<u8>) -> bool;
}

/// Finds the peer of a new connection by where the map leads it.
pub type Peers = Box<dyn FnMut(SocketAddr) -> Option<Box<dyn Peer>>>;

/// Where the bytes of a connection go.
enum Wire {
    /// Not connected yet.
    None,
    Socket(TcpStream),
    Peer {
        peer: Box<dyn Peer>,
        /// What it has said and the board did not take yet.
        said: Vec<u8>,
        ended: bool,
    },
}

/// A connection of the board.
struct Flow {
    socket: SocketHandle,
    local: (Ipv4Address, u16),
    to: SocketAddr,
    wire: Wire,
    /// Bytes of the board that the peer did not take yet.
    unsent: Vec<u8>,
    shut: bool,
    /// The board that opened it has been reset.
    orphan: bool,
}

/// The other end of the line.
pub struct Net {
    map: Map,
    decoder: slip::Decoder,
    packets: Packets,
    interface: Interface,
    sockets: SocketSet<'static>,
    names: SocketHandle,
    flows: Vec<Flow>,
    peers: Option<Peers>,
}

impl Net {
    /// A silent end; it speaks when spoken to.
    #[must_use]
    pub fn new(map: Map) -> Self {
        let mut packets = Packets::default();
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut packets, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // A fresh list has room for these two.
            for address in [HOST, NAME_SERVER] {
                let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(address), 24));
            }
        });
        // Packets to any address are for us.
        interface.set_any_ip(true);
        let _ = interface.routes_mut().add_default_ipv4_route(HOST);
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 4096]);
        let mut names = udp::Socket::new(buffer(), buffer());
        let _ = names.bind(IpEndpoint::new(IpAddress::Ipv4(NAME_SERVER), 53));
        let mut sockets = SocketSet::new(Vec::new());
        let names = sockets.add(names);
        Self {
            map,
            decoder: slip::Decoder::default(),
            packets,
            interface,
            sockets,
            names,
            flows: Vec::new(),
            peers: None,
        }
    }

    /// The same with peers of this process: no socket is opened, and virtual time
    /// never waits for a wall clock.
    #[must_use]
    pub fn scripted(map: Map, peers: Peers) -> Self {
        Self {
            peers: Some(peers),
            ..Self::new(map)
        }
    }

    /// Whether a connection is open, so that somebody outside may answer.
    pub fn is_active(&self) -> bool {
        self.peers.is_none() && self.flows.iter().any(|flow| !flow.orphan)
    }

    /// The board was reset: nobody waits any more for what the connections it
    /// had might bring. They stay as they are until the peers give them up.
    pub fn board_was_reset(&mut self) {
        for flow in &mut self.flows {
            flow.orphan = true;
        }
    }

    /// Takes what the board has sent and returns what goes to it. `room` bounds
    /// what is taken from peers while that much already waits on the line.
    pub fn exchange(&mut self, now: Time, from_board: &[u8]) -> Vec<u8> {
        for byte in from_board {
            if let Some(packet) = self.decoder.feed(*byte) {
                self.listen_for(&packet);
                self.packets.from_board.push_back(packet);
            }
        }
        let now = Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX));
        self.poll(now);
        self.answer_names();
        for flow in &mut self.flows {
            flow.pump(self.sockets.get_mut(flow.socket), &mut self.peers);
        }
        self.flows.retain(|flow| {
            let gone =
                self.sockets.get::<tcp::Socket<'_>>(flow.socket).state() == tcp::State::Closed;
            if gone {
                self.sockets.remove(flow.socket);
            }
            !gone
        });
        self.poll(now);
        std::mem::take(&mut self.packets.to_board)
    }

    fn poll(&mut self, now: Instant) {
        self.interface
            .poll(now, &mut self.packets, &mut self.sockets);
    }

    /// A SYN to somewhere that leads somewhere gets a socket that listens.
    fn listen_for(&mut self, packet: &[u8]) {
        let Ok(ip) = Ipv4Packet::new_checked(packet) else {
            return;
        };
        if ip.next_header() != IpProtocol::Tcp {
            return;
        }
        let Ok(segment) = TcpPacket::new_checked(ip.payload()) else {
            return;
        };
        if !segment.syn() || segment.ack() {
            return;
        }
        let local = (ip.dst_addr(), segment.dst_port());
        let Some(to) = self.map.target(local.0, local.1) else {
            return;
        };
        let listens = self.flows.iter().any(|flow| {
            flow.local == local
                && self
                    .sockets
                    .get::<tcp::Socket<'_>>(flow.socket)
                    .is_listening()
        });
        if listens {
            return;
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        if socket
            .listen(IpEndpoint::new(IpAddress::Ipv4(local.0), local.1))
            .is_ok()
        {
            let socket = self.sockets.add(socket);
            self.flows.push(Flow {
                socket,
                local,
                to,
                wire: Wire::None,
                unsent: Vec::new(),
                shut: false,
                orphan: false,
            });
        }
    }

    fn answer_names(&mut self) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.names);
        while let Ok((query, meta)) = socket.recv() {
            if let Some(answer) = answer(query, &self.map) {
                // A full buffer loses the answer, as a network may.
                let _ = socket.send_slice(&answer, meta);
            }
        }
    }
}

impl Flow {
    fn pump(&mut self, socket: &mut tcp::Socket<'_>, peers: &mut Option<Peers>) {
        if !socket.is_active() {
            return;
        }
        if matches!(self.wire, Wire::None) && socket.may_send() {
            match connect(self.to, peers) {
                Some(wire) => self.wire = wire,
                None => return socket.abort(),
            }
        }
        let stream = match &mut self.wire {
            Wire::None => return,
            Wire::Socket(stream) => stream,
            Wire::Peer { peer, said, ended } => {
                let mut bytes = [0; 2048];
                let taken = socket.recv_slice(&mut bytes).unwrap_or(0);
                let bytes = bytes.get(..taken).unwrap_or_default();
                *ended |= !peer.exchange(bytes, said);
                let sent = socket.send_slice(said).unwrap_or(0);
                said.drain(..sent);
                if (*ended || !socket.may_recv()) && said.is_empty() {
                    socket.close();
                }
                return;
            }
        };
        // Board to peer.
        while self.unsent.is_empty() && socket.can_recv() {
            let unsent = &mut self.unsent;
            let taken = socket.recv(|bytes| {
                unsent.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            if taken.is_err() {
                break;
            }
            match stream.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return socket.abort(),
            }
        }
        if !self.unsent.is_empty()
            && let Ok(n) = stream.write(&self.unsent)
        {
            self.unsent.drain(..n);
        }
        if !self.shut && self.unsent.is_empty() && !socket.may_recv() && socket.may_send() {
            self.shut = true;
            let _ = stream.shutdown(Shutdown::Write);
        }
        // Peer to board.
        let mut bytes = [0; 2048];
        while socket.can_send() {
            let room = (socket.send_capacity() - socket.send_queue()).min(bytes.len());
            match stream.read(bytes.get_mut(..room).unwrap_or_default()) {
                Ok(0) => {
                    socket.close();
                    break;
                }
                Ok(n) => {
                    let _ = socket.send_slice(bytes.get(..n).unwrap_or_default());
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return socket.abort(),
            }
        }
    }
}

/// Opens the other side of a connection.
fn connect(to: SocketAddr, peers: &mut Option<Peers>) -> Option<Wire> {
    if let Some(peers) = peers {
        return peers(to).map(|peer| Wire::Peer {
            peer,
            said: Vec::new(),
            ended: false,
        });
    }
    let stream = TcpStream::connect_timeout(&to, CONNECT_WITHIN).ok()?;
    // Without them it is slower or blocks, but works.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_nonblocking(true);
    Some(Wire::Socket(stream))
}

/// The answer to a query of one A record; `None` when it is no query.
fn answer(query: &[u8], map: &Map) -> Option<Vec<u8>> {
    let (header, rest) = query.split_first_chunk::<12>()?;
    let [id0, id1, flags, _, 0, 1, ..] = *header else {
        return None;
    };
    let mut name = Vec::new();
    let mut labels = rest;
    loop {
        let (len, tail) = labels.split_first()?;
        if *len == 0 {
            labels = tail;
            break;
        }
        let (label, tail) = tail.split_at_checked(usize::from(*len))?;
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend(label.to_ascii_lowercase());
        labels = tail;
    }
    let (kind, _) = labels.split_first_chunk::<4>()?;
    let question = rest.get(..rest.len() - labels.len() + 4)?;
    let is_a = *kind == [0, 1, 0, 1];
    let known = std::str::from_utf8(&name)
        .ok()
        .and_then(|name| map.address_of(name));
    let address = known.filter(|_| is_a);
    // Recursion available; "no such name" for what is not in the map.
    let code = if known.is_some() { 0 } else { 3 };
    let mut out = vec![id0, id1, 0x80 | flags & 1, 0x80 | code];
    out.extend([0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    out.extend(question);
    if let Some(address) = address {
        // The name again (a pointer to it), A, IN, 60 s, 4 bytes.
        out.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_and_followed() {
        let map: Map =
            "mqtt.example:1883=127.0.0.1:4000,MQTT.example:443=127.0.0.1:4001,b:80=127.0.0.1:5"
                .parse()
                .unwrap();
        let to = |last, port| {
            map.target(Ipv4Address::new(10, 0, 2, last), port)
                .map(|to| to.to_string())
        };
        assert_eq!(to(100, 1883).as_deref(), Some("127.0.0.1:4000"));
        assert_eq!(to(100, 443).as_deref(), Some("127.0.0.1:4001"));
        assert_eq!(to(101, 80).as_deref(), Some("127.0.0.1:5"));
        assert_eq!(to(101, 81), None);
        assert_eq!(to(2, 81).as_deref(), Some("127.0.0.1:81"));
        assert_eq!("a=b".parse::<Map>(), Err(MapError("a=b".into())));
        assert_eq!("".parse(), Ok(Map::default()));
    }

    #[test]
    fn names_are_answered() {
        let map: Map = "a.bc:1=127.0.0.1:1".parse().unwrap();
        let query = |name: &[u8]| {
            let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(name);
            query.extend([0, 1, 0, 1]);
            query
        };
        let known = answer(&query(b"\x01A\x02bc\0"), &map).unwrap();
        assert_eq!(known[..8], [7, 9, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(known[known.len() - 4..], [10, 0, 2, 100]);
        let unknown = answer(&query(b"\x01x\0"), &map).unwrap();
        assert_eq!(unknown[..8], [7, 9, 0x81, 0x83, 0, 1, 0, 0]);
        assert_eq!(answer(&[0; 11], &map), None);
        assert_eq!(answer(&query(b"\x3fshort\0"), &map), None);
    }
}
