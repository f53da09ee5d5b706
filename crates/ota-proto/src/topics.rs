//! The MQTT topics of the OTA service.
//!
//! | topic | direction |
//! |---|---|
//! | `/ota/device/inform/{pk}/{dn}` | up: version report |
//! | `/ota/device/upgrade/{pk}/{dn}` | down: offer |
//! | `/ota/device/progress/{pk}/{dn}` | up: progress or failure |
//! | `/ota/device/request/{pk}/{dn}` | both: older way to ask for an offer |
//! | `/sys/{pk}/{dn}/thing/ota/firmware/get` | up: ask for an offer |
//! | `/sys/{pk}/{dn}/thing/ota/firmware/get_reply` | down: its answer |

use core::fmt;

/// Longest product key in bytes.
pub const PRODUCT_KEY_MAX: usize = 20;
/// Longest device name in bytes that a topic holds. The cloud gives out at most 32.
pub const DEVICE_NAME_MAX: usize = 64;
/// Longest topic in bytes.
pub const TOPIC_MAX: usize = 5 + PRODUCT_KEY_MAX + 1 + DEVICE_NAME_MAX + 29;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Version report, up.
    Inform,
    /// Offer, down. Delivered without a subscription too.
    Upgrade,
    /// Progress or failure, up.
    Progress,
    /// Older way to ask for an offer; question and answer on the same topic.
    Request,
    /// Ask for an offer, up.
    FirmwareGet,
    /// Answer to [`Topic::FirmwareGet`], down.
    FirmwareGetReply,
}

/// A topic name that cannot be built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// The product key is not 1 to [`PRODUCT_KEY_MAX`] letters and digits.
    ProductKey,
    /// The device name is not 1 to [`DEVICE_NAME_MAX`] letters, digits and `-_@.:`.
    DeviceName,
}

/// A topic name, in a buffer of its own.
#[derive(Clone, Copy)]
pub struct TopicName {
    bytes: [u8; TOPIC_MAX],
    len: u8,
}

/// An incoming topic taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// What it is for.
    pub topic: Topic,
    /// Product key.
    pub product_key: &'a str,
    /// Device name.
    pub device_name: &'a str,
}

const BEFORE_SYS: &str = "/sys/";

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Inform,
        Self::Upgrade,
        Self::Progress,
        Self::Request,
        Self::FirmwareGet,
        Self::FirmwareGetReply,
    ];

    /// What stands before the product key, and after the device name.
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Inform => ("/ota/device/inform/", ""),
            Self::Upgrade => ("/ota/device/upgrade/", ""),
            Self::Progress => ("/ota/device/progress/", ""),
            Self::Request => ("/ota/device/request/", ""),
            Self::FirmwareGet => (BEFORE_SYS, "/thing/ota/firmware/get"),
            Self::FirmwareGetReply => (BEFORE_SYS, "/thing/ota/firmware/get_reply"),
        }
    }

    /// The topic of one device.
    ///
    /// # Errors
    /// [`NameError`] when a part is empty, too long or holds a character that is not allowed.
    pub fn name(self, product_key: &str, device_name: &str) -> Result<TopicName, NameError> {
        if !is_product_key(product_key) {
            return Err(NameError::ProductKey);
        }
        if !is_device_name(device_name) {
            return Err(NameError::DeviceName);
        }
        let (before, after) = self.parts();
        let mut name = TopicName {
            bytes: [0; TOPIC_MAX],
            len: 0,
        };
        for part in [before, product_key, "/", device_name, after] {
            let at = usize::from(name.len);
            if let Some(to) = name.bytes.get_mut(at..at + part.len()) {
                to.copy_from_slice(part.as_bytes());
                name.len += part.len() as u8;
            }
        }
        Ok(name)
    }

    /// Takes any device's topic apart. `None` when it is none of these.
    #[must_use]
    pub fn parse(topic: &str) -> Option<Parsed<'_>> {
        Self::ALL.into_iter().find_map(|this| {
            let (before, after) = this.parts();
            let names = topic.strip_prefix(before)?.strip_suffix(after)?;
            let (product_key, device_name) = names.split_once('/')?;
            (is_product_key(product_key) && is_device_name(device_name)).then_some(Parsed {
                topic: this,
                product_key,
                device_name,
            })
        })
    }

    /// What a topic is for, if it is one of this device's.
    #[must_use]
    pub fn of_device(topic: &str, product_key: &str, device_name: &str) -> Option<Self> {
        let parsed = Self::parse(topic)?;
        (parsed.product_key == product_key && parsed.device_name == device_name)
            .then_some(parsed.topic)
    }
}

impl TopicName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl core::ops::Deref for TopicName {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProductKey => "the product key must be 1 to 20 letters and digits",
            Self::DeviceName => "the device name must be 1 to 64 letters, digits and -_@.:",
        })
    }
}

impl core::error::Error for NameError {}

/// Letters and digits may stand in a product key.
#[must_use]
pub const fn is_product_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

/// Letters, digits and `-_@.:` may stand in a device name.
#[must_use]
pub const fn is_device_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'@' | b'.' | b':')
}

fn is_product_key(s: &str) -> bool {
    (1..=PRODUCT_KEY_MAX).contains(&s.len()) && s.bytes().all(is_product_key_byte)
}

fn is_device_name(s: &str) -> bool {
    (1..=DEVICE_NAME_MAX).contains(&s.len()) && s.bytes().all(is_device_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::String;

    #[test]
    fn names_are_those_of_the_cloud() {
        let names = Topic::ALL.map(|t| String::from(&*t.name("a1PK", "dev-01").unwrap()));
        assert_eq!(
            names,
            [
                "/ota/device/inform/a1PK/dev-01",
                "/ota/device/upgrade/a1PK/dev-01",
                "/ota/device/progress/a1PK/dev-01",
                "/ota/device/request/a1PK/dev-01",
                "/sys/a1PK/dev-01/thing/ota/firmware/get",
                "/sys/a1PK/dev-01/thing/ota/firmware/get_reply",
            ]
        );
    }

    #[test]
    fn longest_names_fit() {
        let (pk, dn) = ("k".repeat(20), "d".repeat(64));
        for topic in Topic::ALL {
            let name = topic.name(&pk, &dn).unwrap();
            assert!(name.len() <= TOPIC_MAX);
            assert_eq!(Topic::of_device(&name, &pk, &dn), Some(topic));
        }
        assert_eq!(
            Topic::FirmwareGetReply.name(&pk, &dn).unwrap().len(),
            TOPIC_MAX
        );
        assert_eq!(
            Topic::Inform.name(&"k".repeat(21), &dn).unwrap_err(),
            NameError::ProductKey
        );
        assert_eq!(
            Topic::Inform.name(&pk, &"d".repeat(65)).unwrap_err(),
            NameError::DeviceName
        );
        assert_eq!(
            Topic::Inform.name("", "d").unwrap_err(),
            NameError::ProductKey
        );
        assert_eq!(
            Topic::Inform.name("k", "").unwrap_err(),
            NameError::DeviceName
        );
    }

    #[test]
    fn what_could_change_the_topic_is_refused() {
        for bad in ["a/b", "a+", "#", "a b", "a\0", "\u{e9}"] {
            assert_eq!(
                Topic::Inform.name(bad, "d").unwrap_err(),
                NameError::ProductKey
            );
            assert_eq!(
                Topic::Inform.name("k", bad).unwrap_err(),
                NameError::DeviceName
            );
        }
    }

    #[test]
    fn near_misses_are_not_ours() {
        for topic in [
            "",
            "/",
            "/ota/device/upgrade",
            "/ota/device/upgrade/",
            "/ota/device/upgrade/k",
            "/ota/device/upgrade/k/",
            "/ota/device/upgrade//d",
            "/ota/device/upgrade/k/d/",
            "/ota/device/upgrade/k/d/e",
            "ota/device/upgrade/k/d",
            "/ota/device/Upgrade/k/d",
            "/sys/k/d/thing/ota/firmware/get_repl",
            "/sys/k/d/thing/ota/firmware/get/",
            "/sys/k/thing/ota/firmware/get",
        ] {
            assert_eq!(Topic::parse(topic), None, "{topic}");
        }
        assert_eq!(Topic::of_device("/ota/device/upgrade/k/d", "k", "e"), None);
        assert_eq!(Topic::of_device("/ota/device/upgrade/k/d", "K", "d"), None);
    }

    proptest! {
        #[test]
        fn every_name_parses_back(pk in "[A-Za-z0-9]{1,20}", dn in "[A-Za-z0-9@_.:-]{1,64}") {
            for topic in Topic::ALL {
                let name = topic.name(&pk, &dn).unwrap();
                let expected = Parsed { topic, product_key: &pk, device_name: &dn };
                prop_assert_eq!(Topic::parse(&name), Some(expected));
            }
        }

        #[test]
        fn any_text_parses_without_panic(text in ".{0,200}") {
            if let Some(p) = Topic::parse(&text) {
                prop_assert_eq!(&*p.topic.name(p.product_key, p.device_name).unwrap(), text.as_str());
            }
        }
    }
}
