//! TCP over a [`Link`], as the agent wants it.

use super::link::{FRAME, Link, MTU, address};
use core::cell::{Cell, RefCell};
use core::future::poll_fn;
use core::task::{Context, Poll};
use embedded_io_async::{ErrorType, Read, Write};
use ota_agent::{Connect, ConnectFailure, Security};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
#[cfg(feature = "vendor-link")]
use smoltcp::socket::dhcpv4;
use smoltcp::socket::{dns, tcp};
use smoltcp::time::{Duration, Instant};
#[cfg(feature = "vendor-link")]
use smoltcp::wire::EthernetAddress;
use smoltcp::wire::{DnsQueryType, HardwareAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr};

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

/// Frames of a link for the stack, one at a time.
struct Frames<L> {
    link: L,
    incoming: [u8; FRAME],
    outgoing: [u8; FRAME],
    counts: Counts,
}

struct Incoming<'f>(&'f [u8]);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Outgoing<'f, L> {
    link: &'f mut L,
    room: &'f mut [u8; FRAME],
    count: &'f mut u32,
}

impl<L: Link> phy::TxToken for Outgoing<'_, L> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // The stack keeps to the MTU it was told.
        let frame = self.room.get_mut(..len).unwrap_or_default();
        let result = f(frame);
        if self.link.send(frame) {
            *self.count = self.count.wrapping_add(1);
        }
        result
    }
}

impl<L: Link> Device for Frames<L> {
    type RxToken<'t>
        = Incoming<'t>
    where
        L: 't;
    type TxToken<'t>
        = Outgoing<'t, L>
    where
        L: 't;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_, L>)> {
        let len = self.link.receive(&mut self.incoming)?;
        self.counts.incoming = self.counts.incoming.wrapping_add(1);
        let incoming = Incoming(self.incoming.get(..len)?);
        let outgoing = Outgoing {
            link: &mut self.link,
            room: &mut self.outgoing,
            count: &mut self.counts.outgoing,
        };
        Some((incoming, outgoing))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_, L>> {
        Some(Outgoing {
            link: &mut self.link,
            room: &mut self.outgoing,
            count: &mut self.counts.outgoing,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        (capabilities.medium, capabilities.max_transmission_unit) =
            match self.link.hardware_address() {
                #[cfg(feature = "vendor-link")]
                Some(_) => (Medium::Ethernet, FRAME),
                _ => (Medium::Ip, MTU),
            };
        capabilities
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

/// Packets since start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// From the link.
    pub incoming: u32,
    /// To the link.
    pub outgoing: u32,
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
/// [`Net::poll`] moves packets, [`Connect`] opens connections.
pub struct Net<'a, L> {
    stack: RefCell<Stack<'a, L>>,
    taken: [Cell<bool>; CONNECTIONS],
    now: Cell<u64>,
}

impl<'a, L: Link> Net<'a, L> {
    /// A stack whose link is down. `seed` makes ports and sequence numbers
    /// differ from those before a reset.
    pub fn new(link: L, memory: &'a mut Memory<'a>, seed: u64) -> Self {
        let mut frames = Frames {
            link,
            incoming: [0; FRAME],
            outgoing: [0; FRAME],
            counts: Counts::default(),
        };
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

    async fn resolve(&self, host: &str) -> Result<IpAddress, ConnectFailure> {
        if let Ok(literal) = host.parse() {
            return Ok(IpAddress::Ipv4(literal));
        }
        let query = {
            let stack = &mut *self.stack.borrow_mut();
            let names = stack.sockets.get_mut::<dns::Socket<'_>>(stack.names);
            let query = names.start_query(stack.interface.context(), host, DnsQueryType::A);
            query.map_err(|_| ConnectFailure::Dns)?
        };
        let mut query = Query {
            net: self,
            handle: Some(query),
        };
        poll_fn(|cx| query.poll(cx)).await
    }

    // Once in the program, not in each future.
    #[inline(never)]
    fn begin(&self, slot: usize, to: IpAddress, port: u16) -> Result<(), ConnectFailure> {
        let stack = &mut *self.stack.borrow_mut();
        stack.port = if PORTS.contains(&stack.port.wrapping_add(1)) {
            stack.port + 1
        } else {
            *PORTS.start()
        };
        let local = stack.port;
        let handle = stack.handle(slot);
        stack
            .sockets
            .get_mut::<tcp::Socket<'_>>(handle)
            .connect(stack.interface.context(), (to, port), local)
            .map_err(|_| ConnectFailure::Connect)
    }

    #[inline(never)]
    fn connected(&self, slot: usize, cx: &Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        let stack = &mut *self.stack.borrow_mut();
        let socket = stack.connection(slot);
        match socket.state() {
            tcp::State::SynSent | tcp::State::SynReceived => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            tcp::State::Closed => Poll::Ready(Err(ConnectFailure::Connect)),
            _ => Poll::Ready(Ok(())),
        }
    }

    #[inline(never)]
    fn read(&self, slot: usize, cx: &Context<'_>, buf: &mut [u8]) -> Poll<Result<usize, Broken>> {
        let stack = &mut *self.stack.borrow_mut();
        let socket = stack.connection(slot);
        match socket.recv_slice(buf) {
            Ok(0) if !buf.is_empty() => {
                socket.register_recv_waker(cx.waker());
                Poll::Pending
            }
            Ok(len) => Poll::Ready(Ok(len)),
            Err(tcp::RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(tcp::RecvError::InvalidState) => Poll::Ready(Err(Broken)),
        }
    }

    #[inline(never)]
    fn write(&self, slot: usize, cx: &Context<'_>, buf: &[u8]) -> Poll<Result<usize, Broken>> {
        let stack = &mut *self.stack.borrow_mut();
        let socket = stack.connection(slot);
        match socket.send_slice(buf) {
            Ok(0) if !buf.is_empty() => {
                socket.register_send_waker(cx.waker());
                Poll::Pending
            }
            Ok(len) => Poll::Ready(Ok(len)),
            Err(tcp::SendError::InvalidState) => Poll::Ready(Err(Broken)),
        }
    }

    /// Takes a slot whose last connection is over; else breaks one that is still
    /// being closed.
    #[inline(never)]
    fn take(&self) -> Option<Stream<'_, 'a, L>> {
        let stack = &mut *self.stack.borrow_mut();
        let free = |slot: &usize| self.taken.get(*slot).is_some_and(|taken| !taken.get());
        let mut slots = (0..CONNECTIONS).filter(free);
        let slot = slots
            .clone()
            .find(|slot| !stack.connection(*slot).is_open());
        let slot = match slot {
            Some(slot) => slot,
            None => {
                let slot = slots.next()?;
                stack.connection(slot).abort();
                // The reset goes out before the slot is used again.
                let now = i64::try_from(self.now.get()).unwrap_or(i64::MAX);
                let now = Instant::from_millis(now);
                stack
                    .interface
                    .poll_egress(now, &mut stack.frames, &mut stack.sockets);
                slot
            }
        };
        self.taken.get(slot)?.set(true);
        Some(Stream { net: self, slot })
    }
}

/// A name being resolved; dropping it gives the query up.
struct Query<'n, 'a, L: Link> {
    net: &'n Net<'a, L>,
    handle: Option<dns::QueryHandle>,
}

impl<L: Link> Query<'_, '_, L> {
    #[inline(never)]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<IpAddress, ConnectFailure>> {
        let Some(handle) = self.handle else {
            return Poll::Ready(Err(ConnectFailure::Dns));
        };
        let stack = &mut *self.net.stack.borrow_mut();
        let names = stack.sockets.get_mut::<dns::Socket<'_>>(stack.names);
        let found = match names.get_query_result(handle) {
            Err(dns::GetQueryResultError::Pending) => {
                names.register_query_waker(handle, cx.waker());
                return Poll::Pending;
            }
            Ok(all) => all.first().copied(),
            Err(dns::GetQueryResultError::Failed) => None,
        };
        self.handle = None;
        Poll::Ready(found.ok_or(ConnectFailure::Dns))
    }
}

impl<L: Link> Drop for Query<'_, '_, L> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            let stack = &mut *self.net.stack.borrow_mut();
            let names = stack.sockets.get_mut::<dns::Socket<'_>>(stack.names);
            names.cancel_query(handle);
        }
    }
}

/// A TCP connection. Dropping it closes it; what was written is still sent.
pub struct Stream<'n, 'a, L: Link> {
    net: &'n Net<'a, L>,
    slot: usize,
}

impl<L: Link> Drop for Stream<'_, '_, L> {
    fn drop(&mut self) {
        self.net.stack.borrow_mut().connection(self.slot).close();
        if let Some(taken) = self.net.taken.get(self.slot) {
            taken.set(false);
        }
    }
}

/// The connection is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("connection broken")
    }
}

impl core::error::Error for Broken {}

impl embedded_io_async::Error for Broken {
    fn kind(&self) -> embedded_io_async::ErrorKind {
        embedded_io_async::ErrorKind::ConnectionReset
    }
}

impl<L: Link> ErrorType for Stream<'_, '_, L> {
    type Error = Broken;
}

impl<L: Link> Read for Stream<'_, '_, L> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Broken> {
        poll_fn(|cx| self.net.read(self.slot, cx, buf)).await
    }
}

impl<L: Link> Write for Stream<'_, '_, L> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Broken> {
        poll_fn(|cx| self.net.write(self.slot, cx, buf)).await
    }

    /// What was written goes out by itself: nothing to wait for.
    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

impl<'a, L: Link> Connect for Net<'a, L> {
    type Stream<'n>
        = Stream<'n, 'a, L>
    where
        Self: 'n;

    async fn connect<'n>(
        &'n self,
        host: &str,
        port: u16,
        security: Security,
    ) -> Result<Stream<'n, 'a, L>, ConnectFailure> {
        if security == Security::Tls {
            return Err(ConnectFailure::Tls);
        }
        if self.addresses().is_none() {
            return Err(ConnectFailure::Connect);
        }
        let address = self.resolve(host).await?;
        let stream = self.take().ok_or(ConnectFailure::Connect)?;
        self.begin(stream.slot, address, port)?;
        poll_fn(|cx| self.connected(stream.slot, cx)).await?;
        Ok(stream)
    }

    fn has_tls(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::pin::pin;
    use core::task::Waker;
    use smoltcp::phy::{RxToken, TxToken};
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
            let mut frames = Frames {
                link: cable,
                incoming: [0; FRAME],
                outgoing: [0; FRAME],
                counts: Counts::default(),
            };
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
        let mut frames = Frames {
            link: Cable {
                out: a.clone(),
                back: b.clone(),
                up: true,
            },
            incoming: [0; FRAME],
            outgoing: [0; FRAME],
            counts: Counts::default(),
        };
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
}
