//! An MQTT 3.1.1 client that does no input or output of its own.
//!
//! [`Client`] owns the protocol state and borrows two buffers. The caller moves
//! bytes between those buffers and a connection, and passes the time in:
//!
//! ```text
//!   socket.read(client.rx_space())  -> client.received(n)
//!   socket.write(client.transmit()) -> client.transmitted(n)
//!   client.poll(now_ms)             -> events, until None
//!   client.next_deadline()          -> when to poll again at the latest
//! ```
//!
//! What it speaks: CONNECT with credentials, SUBSCRIBE, PUBLISH with QoS 0 and 1
//! both ways, PINGREQ, DISCONNECT. QoS 2 is refused: the cloud does not offer it.
//! A packet too large for the receive buffer is read past and reported.
//!
//! [`wire`] is the packet format alone, without any state.
//!
//! Format source: OASIS MQTT Version 3.1.1 (2014-10-29).

mod client;
mod error;
mod outbox;
mod tail;
pub mod wire;

pub use client::{Client, Config, Event, Io, Message, State};
pub use error::{Awaiting, Error, ProtocolError, Refusal, RefusalKind, SendError};
pub use wire::{ConnectOptions, Qos};

/// Names an outgoing PUBLISH or SUBSCRIBE until it is acknowledged. Never 0.
pub type PacketId = u16;

#[cfg(test)]
mod tests;
