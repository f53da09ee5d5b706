//! TCP over a [`Link`], as the agent wants it.

mod frames;
mod stream;
#[cfg(test)]
mod tests;

pub use frames::Counts;
pub use stream::{Broken, Stream};

use super::link::{Link, address};
use core::cell::{Cell, RefCell};
use frames::Frames;
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
#[cfg(feature = "vendor-link")]
use smoltcp::socket::dhcpv4;
use smoltcp::socket::{dns, tcp};
use smoltcp::time::{Duration, Instant};
#[cfg(feature = "vendor-link")]
use smoltcp::wire::EthernetAddress;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

/// Connections at a time: broker and download.
const CONNECTIONS: usize = 2;
/// Receive buffer of a connection, and so what the other side may have on its way.
pub const RECEIVE: usize = 4096;
/// Send buffer of a connection.
pub const SEND: usize = 1024;
/// A connection that gets no answer for so long is broken.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Local ports run through this range.
const PORTS: core::ops::RangeInclusive<u16> = 49152..=65535;

/// Memory of a [`Net`].
pub struct Memory<'a> {
    sockets: [SocketStorage<'a>; CONNECTIONS + 2],
    receive: [[u8; RECEIVE]; CONNECTIONS],
    send: [[u8; SEND]; CONNECTIONS],
    query: [Option<dns::DnsQuery>; 1],
}

impl Memory<'_> {
    /// Nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            sockets: [const { SocketStorage::EMPTY }; CONNECTIONS + 2],
            receive: [[0; RECEIVE]; CONNECTIONS],
            send: [[0; SEND]; CONNECTIONS],
            query: [None],
        }
    }
}

impl Default for Memory<'_> {
    fn default() -> Self {
        Self::new()
    }
}

struct Stack<'a, L> {
    frames: Frames<L>,
    interface: Interface,
    sockets: SocketSet<'a>,
    connections: [SocketHandle; CONNECTIONS],
    names: SocketHandle,
    #[cfg(feature = "vendor-link")]
    dhcp: Option<SocketHandle>,
    port: u16,
}

impl<'a, L: Link> Stack<'a, L> {
    fn handle(&self, slot: usize) -> SocketHandle {
        // Slots are 0 and 1.
        let [first, second] = self.connections;
        if slot == 0 { first } else { second }
    }

    fn connection(&mut self, slot: usize) -> &mut tcp::Socket<'a> {
        let handle = self.handle(slot);
        self.sockets.get_mut(handle)
    }

    fn address(&mut self, address: Option<(Ipv4Cidr, Option<Ipv4Address>)>) {
        self.interface.update_ip_addrs(|all| {
            all.clear();
            if let Some((cidr, _)) = address {
                // Room for two.
                let _ = all.push(IpCidr::Ipv4(cidr));
            }
        });
        self.interface.routes_mut().remove_default_ipv4_route();
        if let Some((_, Some(gateway))) = address {
            let _ = self.interface.routes_mut().add_default_ipv4_route(gateway);
        }
    }

    #[cfg(feature = "vendor-link")]
    fn lease(&mut self) {
        let Some(handle) = self.dhcp else { return };
        let socket = self.sockets.get_mut::<dhcpv4::Socket<'_>>(handle);
        let lease = match socket.poll() {
            Some(dhcpv4::Event::Configured(config)) => Some((
                config.address,
                config.router,
                config.dns_servers.first().copied(),
            )),
            Some(dhcpv4::Event::Deconfigured) => None,
            None => return,
        };
        self.address(lease.map(|(cidr, router, _)| (cidr, router)));
        if let Some((_, _, Some(server))) = lease {
            let names = self.sockets.get_mut::<dns::Socket<'_>>(self.names);
            names.update_servers(&[IpAddress::Ipv4(server)]);
        }
    }
}

/// What the network gave the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Own address and mask.
    pub own: Ipv4Cidr,
    /// Gateway.
    pub gateway: Option<Ipv4Address>,
}

/// A TCP/IP stack on a link. Shared by reference on one thread:
/// [`Net::poll`] moves packets, [`ota_agent::Connect`] opens connections.
pub struct Net<'a, L> {
    stack: RefCell<Stack<'a, L>>,
    taken: [Cell<bool>; CONNECTIONS],
    now: Cell<u64>,
}

impl<'a, L: Link> Net<'a, L> {
    /// A stack whose link is down. `seed` makes ports and sequence numbers
    /// differ from those before a reset.
    pub fn new(link: L, memory: &'a mut Memory<'a>, seed: u64) -> Self {
        let mut frames = Frames::new(link);
        let hardware = match frames.link.hardware_address() {
            #[cfg(feature = "vendor-link")]
            Some(mac) => HardwareAddress::Ethernet(EthernetAddress(mac)),
            _ => HardwareAddress::Ip,
        };
        let mut config = Config::new(hardware);
        config.random_seed = seed;
        let interface = Interface::new(config, &mut frames, Instant::ZERO);
        let mut sockets = SocketSet::new(&mut memory.sockets[..]);
        let [receive0, receive1] = &mut memory.receive;
        let [send0, send1] = &mut memory.send;
        let connections = [(receive0, send0), (receive1, send1)].map(|(receive, send)| {
            let receive = tcp::SocketBuffer::new(&mut receive[..]);
            let mut socket = tcp::Socket::new(receive, tcp::SocketBuffer::new(&mut send[..]));
            socket.set_timeout(Some(TIMEOUT));
            socket.set_nagle_enabled(false);
            socket.set_ack_delay(None);
            sockets.add(socket)
        });
        let servers = [IpAddress::Ipv4(address::NAME_SERVER)];
        let names = sockets.add(dns::Socket::new(&servers, &mut memory.query[..]));
        let with_dhcp = hardware != HardwareAddress::Ip;
        #[cfg(feature = "vendor-link")]
        let dhcp = with_dhcp.then(|| sockets.add(dhcpv4::Socket::new()));
        let mut stack = Stack {
            frames,
            interface,
            sockets,
            connections,
            names,
            #[cfg(feature = "vendor-link")]
            dhcp,
            port: (seed % u64::from(PORTS.end() - PORTS.start())) as u16 + PORTS.start(),
        };
        if !with_dhcp {
            let own = Ipv4Cidr::new(address::DEVICE, address::PREFIX);
            stack.address(Some((own, Some(address::GATEWAY))));
        }
        Self {
            stack: RefCell::new(stack),
            taken: [const { Cell::new(false) }; CONNECTIONS],
            now: Cell::new(0),
        }
    }

    /// Moves packets both ways; whether anything may have changed for a
    /// connection. Call it often.
    pub fn poll(&self, now_ms: u64) -> bool {
        self.now.set(now_ms);
        let stack = &mut *self.stack.borrow_mut();
        if !stack.frames.link.is_up() {
            return false;
        }
        let now = Instant::from_millis(i64::try_from(now_ms).unwrap_or(i64::MAX));
        let changed = stack
            .interface
            .poll(now, &mut stack.frames, &mut stack.sockets);
        #[cfg(feature = "vendor-link")]
        stack.lease();
        changed == PollResult::SocketStateChanged
    }

    /// When [`Net::poll`] has something to do by itself, in milliseconds.
    pub fn due(&self) -> u64 {
        let stack = &mut *self.stack.borrow_mut();
        let now = i64::try_from(self.now.get()).unwrap_or(i64::MAX);
        let due = stack
            .interface
            .poll_at(Instant::from_millis(now), &stack.sockets);
        due.map_or(u64::MAX, |at| u64::try_from(at.total_millis()).unwrap_or(0))
    }

    /// Joins a network; `false` when the link refuses.
    pub fn join(&self, ssid: &str, password: &str) -> bool {
        self.stack.borrow_mut().frames.link.connect(ssid, password)
    }

    /// Leaves the network. Connections break.
    pub fn leave(&self) {
        let stack = &mut *self.stack.borrow_mut();
        for slot in 0..CONNECTIONS {
            stack.connection(slot).abort();
        }
        stack.frames.link.disconnect();
    }

    /// The addresses, once there are some on a link that is up.
    pub fn addresses(&self) -> Option<Addresses> {
        let stack = &mut *self.stack.borrow_mut();
        if !stack.frames.link.is_up() {
            return None;
        }
        let IpCidr::Ipv4(own) = *stack.interface.ip_addrs().first()?;
        let mut gateway = None;
        stack.interface.routes_mut().update(|routes| {
            gateway = routes.first().map(|route| {
                let IpAddress::Ipv4(address) = route.via_router;
                address
            });
        });
        Some(Addresses { own, gateway })
    }

    /// Packets since start.
    pub fn counts(&self) -> Counts {
        self.stack.borrow().frames.counts
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.taken.iter().filter(|taken| taken.get()).count()
    }
}
