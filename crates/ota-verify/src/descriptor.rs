//! What an image says about itself. Layout: `docs/image-format.md`.

use crate::bytes::{Aligned, get, u32_at};
use crate::{Version, crc32};

/// Where the descriptor lies, counted from the image's first logical byte (on
/// a board: from the vector table).
pub const DESCRIPTOR_OFFSET: u32 = 0x40;
/// Length of a descriptor in bytes.
pub const DESCRIPTOR_LEN: u32 = 96;
/// Length of the block that `pack` puts in front of a host image: the
/// descriptor with [`DESCRIPTOR_OFFSET`] zero bytes before it.
pub const HOST_HEADER_LEN: u32 = DESCRIPTOR_OFFSET + DESCRIPTOR_LEN;

const LEN: usize = DESCRIPTOR_LEN as usize;
pub(crate) const TEXT_LEN: usize = 32;
const MAGIC: [u8; 8] = *b"uOTAimg1";
const FORMAT: u16 = 1;
const FORMAT_AND_LEN: u32 = FORMAT as u32 | DESCRIPTOR_LEN << 16;
pub(crate) const AT_IMAGE_LEN: usize = 12;
pub(crate) const AT_VERSION: usize = 24;
pub(crate) const AT_MODULE: usize = 56;
const AT_CRC: usize = 92;

/// The part of a device an image is for; the empty name is the device itself
/// (the cloud's `default` module).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Module([u8; TEXT_LEN]);

impl Module {
    /// The device itself.
    pub const DEFAULT: Self = Self([0; TEXT_LEN]);

    /// Checks and copies a name of at most 32 printable ASCII characters
    /// (no blank, `"` or `\`). `default` and the empty text are the same.
    #[must_use]
    pub const fn new(name: &str) -> Option<Self> {
        Self::from_bytes(name.as_bytes())
    }

    /// As [`Module::new`], for bytes that need not be text.
    #[must_use]
    pub const fn from_bytes(name: &[u8]) -> Option<Self> {
        let mut out = Self::DEFAULT;
        if matches!(name, b"default") {
            return Some(out);
        }
        let mut rest = name;
        let mut i = 0;
        while let [first, tail @ ..] = rest {
            if i >= TEXT_LEN || !Version::allows(*first) {
                return None;
            }
            out.0[i] = *first;
            i += 1;
            rest = tail;
        }
        Some(out)
    }

    pub(crate) const fn field(&self) -> &[u8; TEXT_LEN] {
        &self.0
    }

    pub(crate) const fn of_field(field: &[u8; TEXT_LEN]) -> Self {
        Self(*field)
    }

    /// The name, `default` for the device itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = text_len(&self.0).unwrap_or(0);
        match core::str::from_utf8(self.0.get(..usize::from(len)).unwrap_or(&[])) {
            Ok("") | Err(_) => "default",
            Ok(name) => name,
        }
    }
}

impl Default for Module {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl core::fmt::Debug for Module {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Image descriptor: version, module, length and load address of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDescriptor {
    /// Logical bytes of the image, before line coding, without signed block and
    /// trailer.
    pub image_len: u32,
    /// Address of the image's first logical byte (0 for a host image).
    pub load_address: u32,
    /// At most 32 characters.
    pub version: Version,
    /// What the image is for.
    pub module: Module,
}

/// Why a descriptor cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescriptorError {
    /// Fewer than 96 bytes.
    Short,
    /// A format (or a descriptor length) this build does not know.
    Format(u16),
    /// The length field is 0: linked, but not finished by `ota image pack`.
    Unfinished,
    /// The CRC-32 field does not match the 92 bytes before it.
    Crc {
        /// What the descriptor says.
        found: u32,
        /// What its bytes give.
        expected: u32,
    },
    /// The version text is not one.
    Version,
    /// The version text has more than 32 characters.
    VersionLong,
    /// The module name is not one.
    Module,
    /// A reserved field is not 0.
    Reserved,
}

impl ImageDescriptor {
    /// Reads a descriptor from the start of `bytes`. `Ok(None)`: there is none
    /// (an image that was not made for uota).
    ///
    /// # Errors
    /// [`DescriptorError`] when the magic is there but the rest is not right.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, DescriptorError> {
        if !Self::is_present(bytes) {
            return Ok(None);
        }
        let bytes = bytes.first_chunk::<LEN>().ok_or(DescriptorError::Short)?;
        check(&Aligned(*bytes))?;
        Self::fields(bytes).map(Some)
    }

    /// Whether `bytes` start with a descriptor's magic, finished or not.
    #[must_use]
    pub fn is_present(bytes: &[u8]) -> bool {
        bytes.first_chunk() == Some(&MAGIC)
    }

    /// What a linked, unfinished descriptor (see [`ImageDescriptor::template`])
    /// holds: `image_len` is 0.
    ///
    /// # Errors
    /// As [`ImageDescriptor::parse`], but the length and the CRC are not looked at.
    pub fn parse_template(bytes: &[u8]) -> Result<Option<Self>, DescriptorError> {
        if !Self::is_present(bytes) {
            return Ok(None);
        }
        let bytes = bytes.first_chunk::<LEN>().ok_or(DescriptorError::Short)?;
        check_texts(bytes)?;
        let mut out = Self::fields(bytes)?;
        out.image_len = 0;
        Ok(Some(out))
    }

    /// The fields of a checked descriptor.
    fn fields(bytes: &[u8; LEN]) -> Result<Self, DescriptorError> {
        let version: [u8; TEXT_LEN] = get(bytes, AT_VERSION).ok_or(DescriptorError::Short)?;
        let len = text_len(&version).ok_or(DescriptorError::Version)?;
        let version = version.get(..usize::from(len)).unwrap_or(&[]);
        Ok(Self {
            image_len: u32_at(bytes, AT_IMAGE_LEN),
            load_address: u32_at(bytes, 16),
            version: Version::from_bytes(version).map_err(|_| DescriptorError::Version)?,
            module: Module(get(bytes, AT_MODULE).ok_or(DescriptorError::Short)?),
        })
    }

    /// The 96 bytes.
    ///
    /// # Errors
    /// [`DescriptorError::VersionLong`] above 32 characters.
    pub fn to_bytes(&self) -> Result<[u8; LEN], DescriptorError> {
        let mut out = Self::template("", "", self.load_address);
        out[AT_IMAGE_LEN..AT_IMAGE_LEN + 4].copy_from_slice(&self.image_len.to_le_bytes());
        let version = self.version.as_bytes();
        out[AT_VERSION..AT_MODULE]
            .get_mut(..version.len())
            .ok_or(DescriptorError::VersionLong)?
            .copy_from_slice(version);
        out[AT_MODULE..AT_MODULE + TEXT_LEN].copy_from_slice(&self.module.0);
        let crc = crc32(&out[..AT_CRC]);
        out[AT_CRC..].copy_from_slice(&crc.to_le_bytes());
        Ok(out)
    }

    /// An unfinished descriptor for a linker section at vectors + 0x40; its
    /// length and CRC are filled in by `ota image pack`. Fails to compile, when
    /// used in a `static`, if a text has more than 32 bytes.
    ///
    /// ```
    /// use ota_verify::ImageDescriptor;
    /// static DESCRIPTOR: [u8; 96] = ImageDescriptor::template("app-1.0.0", "", 0x1A5C0);
    /// let d = ImageDescriptor::parse_template(&DESCRIPTOR).unwrap().unwrap();
    /// assert_eq!(d.version.as_str(), "app-1.0.0");
    /// ```
    ///
    /// # Panics
    /// When a text has more than 32 bytes.
    #[must_use]
    pub const fn template(version: &str, module: &str, load_address: u32) -> [u8; LEN] {
        let mut out = [0; LEN];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 10, &(LEN as u16).to_le_bytes());
        put(&mut out, 16, &load_address.to_le_bytes());
        assert!(version.len() <= TEXT_LEN, "version: at most 32 characters");
        assert!(module.len() <= TEXT_LEN, "module: at most 32 characters");
        put(&mut out, AT_VERSION, version.as_bytes());
        put(&mut out, AT_MODULE, module.as_bytes());
        out
    }
}

/// Whether this build knows the format.
#[inline(always)]
pub(crate) fn check_format(bytes: &Aligned<LEN>) -> Result<(), DescriptorError> {
    if bytes.word(8) == FORMAT_AND_LEN {
        Ok(())
    } else {
        Err(DescriptorError::Format(bytes.word(8) as u16))
    }
}

/// Whether everything is right in a descriptor, magic aside. Inlined: a boot
/// loader drops what the errors say besides.
#[inline(always)]
pub(crate) fn check(bytes: &Aligned<LEN>) -> Result<(), DescriptorError> {
    check_format(bytes)?;
    if bytes.word(AT_IMAGE_LEN) == 0 {
        return Err(DescriptorError::Unfinished);
    }
    let found = bytes.word(AT_CRC);
    let expected = crc32(bytes.0.get(..AT_CRC).unwrap_or(&[]));
    if found != expected {
        return Err(DescriptorError::Crc { found, expected });
    }
    if bytes.word(20) != 0 || bytes.word(88) != 0 {
        return Err(DescriptorError::Reserved);
    }
    check_texts(&bytes.0)
}

#[inline(always)]
fn check_texts(bytes: &[u8; LEN]) -> Result<(), DescriptorError> {
    let len = |at: usize| text_len(bytes.get(at..at + TEXT_LEN).unwrap_or(&[]));
    if len(AT_MODULE).is_none() {
        return Err(DescriptorError::Module);
    }
    if matches!(len(AT_VERSION), None | Some(0)) {
        return Err(DescriptorError::Version);
    }
    Ok(())
}

const fn put(out: &mut [u8; LEN], at: usize, bytes: &[u8]) {
    let mut i = 0;
    while i < bytes.len() {
        out[at + i] = bytes[i];
        i += 1;
    }
}

/// Length of the text in a NUL-filled field, or `None` when a character is not
/// allowed or follows a NUL.
#[inline(never)]
pub(crate) fn text_len(field: &[u8]) -> Option<u8> {
    let mut len = 0;
    let mut ended = false;
    for &c in field {
        if c == 0 {
            ended = true;
        } else if ended || !Version::allows(c) {
            return None;
        } else {
            len += 1;
        }
    }
    Some(len)
}
