//! What a device keeps: its network and who it is.

use heapless::String;

/// Bytes of a [`Saved`] in flash.
pub const SAVED_LEN: usize = 360;

/// Network and credentials; empty texts are not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Name of the Wi-Fi network.
    pub ssid: String<32>,
    /// Its password.
    pub password: String<64>,
    /// Product key.
    pub product_key: String<32>,
    /// Device name.
    pub device_name: String<32>,
    /// Device secret.
    pub device_secret: String<64>,
    /// Product secret.
    pub product_secret: String<64>,
    /// Broker as `host` or `host:port`; empty for the platform's own.
    pub broker: String<64>,
}

fn put<const N: usize>(text: &String<N>, out: &mut &mut [u8]) -> Option<()> {
    let (len, rest) = core::mem::take(out).split_first_mut()?;
    *len = u8::try_from(text.len()).ok()?;
    let (bytes, rest) = rest.split_at_mut_checked(text.len())?;
    bytes.copy_from_slice(text.as_bytes());
    *out = rest;
    Some(())
}

fn get<const N: usize>(input: &mut &[u8]) -> Option<String<N>> {
    let (len, rest) = input.split_first()?;
    let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
    *input = rest;
    core::str::from_utf8(bytes).ok()?.try_into().ok()
}

impl Saved {
    /// Whether a network is known.
    pub fn has_network(&self) -> bool {
        !self.ssid.is_empty()
    }

    /// Whether the device knows who it is.
    pub fn has_credentials(&self) -> bool {
        !self.device_name.is_empty()
    }

    /// Each text as a length byte and its bytes, then zeros.
    pub fn to_bytes(&self) -> [u8; SAVED_LEN] {
        let mut bytes = [0; SAVED_LEN];
        let mut out = bytes.as_mut_slice();
        // Seven lengths and the capacities of the texts are 359 bytes: all fit.
        let _ = put(&self.ssid, &mut out)
            .and_then(|()| put(&self.password, &mut out))
            .and_then(|()| put(&self.product_key, &mut out))
            .and_then(|()| put(&self.device_name, &mut out))
            .and_then(|()| put(&self.device_secret, &mut out))
            .and_then(|()| put(&self.product_secret, &mut out))
            .and_then(|()| put(&self.broker, &mut out));
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &[u8; SAVED_LEN]) -> Option<Self> {
        let mut input = bytes.as_slice();
        Some(Self {
            ssid: get(&mut input)?,
            password: get(&mut input)?,
            product_key: get(&mut input)?,
            device_name: get(&mut input)?,
            device_secret: get(&mut input)?,
            product_secret: get(&mut input)?,
            broker: get(&mut input)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_texts_fit() {
        let longest = |n| "x".repeat(n);
        let saved = Saved {
            ssid: longest(32).as_str().try_into().unwrap(),
            password: longest(64).as_str().try_into().unwrap(),
            product_key: longest(32).as_str().try_into().unwrap(),
            device_name: longest(32).as_str().try_into().unwrap(),
            device_secret: longest(64).as_str().try_into().unwrap(),
            product_secret: longest(64).as_str().try_into().unwrap(),
            broker: longest(64).as_str().try_into().unwrap(),
        };
        assert_eq!(Saved::from_bytes(&saved.to_bytes()), Some(saved));
        let empty = Saved::default();
        assert_eq!(empty.to_bytes(), [0; SAVED_LEN]);
        assert_eq!(Saved::from_bytes(&[0; SAVED_LEN]), Some(empty));
        assert_eq!(Saved::from_bytes(&[0xFF; SAVED_LEN]), None);
    }
}
