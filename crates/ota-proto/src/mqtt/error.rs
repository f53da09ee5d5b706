//! What can go wrong, each thing with its own name.

use core::fmt;

/// Why the connection is over. The caller closes the stream; after
/// [`Refusal::is_permanent`] it should not simply try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The server refused the sign-on (CONNACK return code 1 to 5).
    Refused(Refusal),
    /// The server sent what MQTT 3.1.1 does not allow.
    Protocol(ProtocolError),
    /// The server did not answer in time.
    TimedOut(Awaiting),
}

/// What the client was waiting for when it gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaiting {
    /// The answer to CONNECT.
    ConnAck,
    /// The answer to SUBSCRIBE.
    SubAck,
    /// Any sign of life after a PINGREQ.
    PingResp,
    /// Acknowledgements of messages with QoS 1. The client repeats those; its owner may give up.
    PubAck,
}

/// CONNACK return codes 1 to 5 (MQTT 3.1.1, table 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// 1: the server does not speak MQTT 3.1.1.
    ProtocolVersion = 1,
    /// 2: the client identifier is not allowed.
    IdentifierRejected = 2,
    /// 3: the service is not available now.
    ServerUnavailable = 3,
    /// 4: the user name or password is malformed or wrong.
    BadCredentials = 4,
    /// 5: this client is not authorised.
    NotAuthorized = 5,
}

/// What a [`Refusal`] means for the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// Product key, device name or secret are wrong: no attempt with the same ones can succeed.
    Credentials,
    /// The server cannot talk to this client at all.
    Incompatible,
    /// Worth trying again later.
    Temporary,
}

impl Refusal {
    /// Reads a CONNACK return code other than 0.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::ProtocolVersion,
            2 => Self::IdentifierRejected,
            3 => Self::ServerUnavailable,
            4 => Self::BadCredentials,
            5 => Self::NotAuthorized,
            _ => return None,
        })
    }

    /// The return code on the wire.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// What it means for the next attempt.
    #[must_use]
    pub const fn kind(self) -> RefusalKind {
        match self {
            Self::ProtocolVersion => RefusalKind::Incompatible,
            Self::ServerUnavailable => RefusalKind::Temporary,
            Self::IdentifierRejected | Self::BadCredentials | Self::NotAuthorized => {
                RefusalKind::Credentials
            }
        }
    }

    /// Whether the same CONNECT would be refused again.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        !matches!(self.kind(), RefusalKind::Temporary)
    }
}

/// How a packet from the server breaks MQTT 3.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// The remaining length runs over more than four bytes.
    RemainingLength,
    /// A packet type that a server never sends, or not in this state. Holds the type (0 to 15).
    UnexpectedPacket(u8),
    /// Reserved flag bits are set. Holds the first byte.
    Flags(u8),
    /// A PUBLISH with QoS 2, which was not asked for.
    Qos2,
    /// The body is shorter or longer than its type allows. Holds the type.
    Length(u8),
    /// A topic that is empty, not UTF-8, or holds NUL or a wildcard.
    Topic,
    /// A packet identifier of 0.
    PacketId,
    /// CONNACK flags or return code outside the standard. Holds the byte.
    ConnAck(u8),
    /// SUBACK return code outside the standard, or a SUBACK that answers no SUBSCRIBE.
    SubAck,
}

/// Why a packet was not taken for sending. The connection is unharmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// Not now: the transmit buffer has no room until more is sent or acknowledged.
    NoRoom,
    /// Not now: two QoS 1 messages, or one SUBSCRIBE, already wait for their acknowledgement.
    InFlight,
    /// Never: it would not fit even an empty transmit buffer.
    TooLong,
    /// The topic is empty, or holds NUL or (in PUBLISH) a wildcard.
    Topic,
    /// There is no connection, and QoS 0 and SUBSCRIBE are not kept for the next one.
    NotConnected,
    /// The payload writer gave up.
    Payload,
    /// The receive buffer is smaller than [`Client::MIN_RX`](super::Client::MIN_RX).
    RxBuffer,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(r) => write!(f, "sign-on refused: {r}"),
            Self::Protocol(e) => write!(f, "the server broke MQTT 3.1.1: {e}"),
            Self::TimedOut(Awaiting::ConnAck) => f.write_str("no answer to the sign-on"),
            Self::TimedOut(Awaiting::SubAck) => f.write_str("no answer to a subscription"),
            Self::TimedOut(Awaiting::PingResp) => f.write_str("the server is silent"),
            Self::TimedOut(Awaiting::PubAck) => f.write_str("no answer to messages"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolVersion => "protocol version not accepted (code 1)",
            Self::IdentifierRejected => "client identifier rejected (code 2)",
            Self::ServerUnavailable => "server unavailable (code 3)",
            Self::BadCredentials => "bad user name or password (code 4)",
            Self::NotAuthorized => "not authorised (code 5)",
        })
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemainingLength => f.write_str("remaining length over four bytes"),
            Self::UnexpectedPacket(t) => write!(f, "unexpected packet type {t}"),
            Self::Flags(b) => write!(f, "reserved flags set in first byte {b:#04x}"),
            Self::Qos2 => f.write_str("PUBLISH with QoS 2"),
            Self::Length(t) => write!(f, "wrong length for packet type {t}"),
            Self::Topic => f.write_str("invalid topic name"),
            Self::PacketId => f.write_str("packet identifier 0"),
            Self::ConnAck(b) => write!(f, "CONNACK holds {b:#04x}"),
            Self::SubAck => f.write_str("SUBACK does not fit the SUBSCRIBE"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRoom => "transmit buffer full for now",
            Self::InFlight => "too many messages wait for an acknowledgement",
            Self::TooLong => "packet larger than the transmit buffer",
            Self::Topic => "invalid topic",
            Self::NotConnected => "not connected",
            Self::Payload => "payload could not be written",
            Self::RxBuffer => "receive buffer too small",
        })
    }
}

impl core::error::Error for Error {}
impl core::error::Error for Refusal {}
impl core::error::Error for ProtocolError {}
impl core::error::Error for SendError {}

impl From<ProtocolError> for Error {
    fn from(e: ProtocolError) -> Self {
        Self::Protocol(e)
    }
}
