//! Connections: names, TCP streams, and how the agent opens them.

use super::{CONNECTIONS, Net, PORTS};
use crate::board::link::Link;
use core::future::poll_fn;
use core::task::{Context, Poll};
use embedded_io_async::{ErrorType, Read, Write};
use ota_agent::{Connect, ConnectFailure, Security};
use smoltcp::socket::{dns, tcp};
use smoltcp::time::Instant;
use smoltcp::wire::{DnsQueryType, IpAddress};

impl<'a, L: Link> Net<'a, L> {
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
