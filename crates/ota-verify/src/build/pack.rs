//! From a program to the file that is uploaded, and back.

use super::{BuildError, PrivateKey};
use crate::{
    Coding, DESCRIPTOR_LEN, DESCRIPTOR_OFFSET, HOST_HEADER_LEN, ImageDescriptor, ImageKind, Module,
    ReadAt, SignedBlock, TRAILER_LEN, Trailer, Version, md5, sha256,
};

const AT: usize = DESCRIPTOR_OFFSET as usize;
const END: usize = AT + DESCRIPTOR_LEN as usize;

/// How the program's bytes become flash bytes.
#[derive(Clone, Copy)]
pub enum Layout {
    /// Data for a host device: a version puts a block with a descriptor in front.
    Host,
    /// A program linked at a fixed address; its descriptor was placed by the
    /// linker.
    Board {
        /// How the coded bytes lie.
        coding: Coding,
        /// Turns program bytes into flash bytes, without the coding's pad.
        encode: fn(&[u8]) -> Vec<u8>,
    },
}

impl Layout {
    /// The mapping a verifier needs for images of this layout.
    #[must_use]
    pub const fn coding(&self) -> Coding {
        match self {
            Self::Host => Coding::Plain,
            Self::Board { coding, .. } => *coding,
        }
    }
}

/// What to make of a program.
#[derive(Clone, Copy)]
pub struct PackOptions<'a> {
    /// Trailer magic.
    pub kind: ImageKind,
    /// Host data or board program.
    pub layout: Layout,
    /// Version to write into the descriptor (host: to make one). `None` keeps
    /// the one the linker placed.
    pub version: Option<&'a Version>,
    /// Module to write along with `version`.
    pub module: Module,
    /// Adds a signed image block.
    pub key: Option<&'a PrivateKey>,
}

/// A packed image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The whole file: image, signed block if any, trailer.
    pub bytes: Vec<u8>,
    /// Length of the image in it.
    pub image_len: u32,
    /// `None` when the program has none, as C firmware: then the length comes
    /// from the trailer and the version cannot be read from the image.
    pub descriptor: Option<ImageDescriptor>,
}

/// Packs `program`: descriptor, line coding, signed block, trailer.
///
/// # Errors
/// [`BuildError`] says what stands in the way.
///
/// ```
/// use ota_verify::{build, ImageKind, Module, Version};
/// let packed = build::pack(b"data of a host device", &build::PackOptions {
///     kind: ImageKind::App,
///     layout: build::Layout::Host,
///     version: Some(&Version::new("app-1.0.0").unwrap()),
///     module: Module::DEFAULT,
///     key: None,
/// }).unwrap();
/// assert_eq!(packed.image_len, 160 + 21);
/// assert_eq!(packed.bytes.len(), 160 + 21 + 28);
/// ```
pub fn pack(program: &[u8], options: &PackOptions<'_>) -> Result<Packed, BuildError> {
    if parts(program).is_ok() {
        return Err(BuildError::AlreadyPacked);
    }
    let (program, descriptor) = describe(program, options)?;
    let image = match options.layout {
        Layout::Host
        | Layout::Board {
            coding: Coding::Plain,
            ..
        } => program,
        Layout::Board {
            coding: Coding::Lines34 { pad },
            encode,
        } => {
            let mut image = vec![0; usize::from(pad)];
            image.extend(encode(&program));
            image
        }
    };
    let image_len = u32::try_from(image.len()).map_err(|_| BuildError::TooLong)?;
    let bytes = finish(image, options.kind, options.key)?;
    Ok(Packed {
        bytes,
        image_len,
        descriptor,
    })
}

/// Puts a finished descriptor into (or in front of) the program.
fn describe(
    program: &[u8],
    options: &PackOptions<'_>,
) -> Result<(Vec<u8>, Option<ImageDescriptor>), BuildError> {
    let mut program = program.to_vec();
    let placed = match program.get(AT..END) {
        Some(bytes) => ImageDescriptor::is_present(bytes),
        None => false,
    };
    let mut descriptor = match (placed, options.version) {
        (true, version) => {
            let template = ImageDescriptor::parse_template(&program[AT..END]);
            // A version given on the command line may replace one that is not valid.
            let (version, module, load_address) = match (template, version) {
                (Ok(Some(d)), None) => (d.version, d.module, d.load_address),
                (Ok(Some(d)), Some(v)) => (*v, options.module, d.load_address),
                (Err(e), None) => return Err(BuildError::Descriptor(e)),
                (_, Some(v)) => {
                    let load = program[AT + 16..].first_chunk().copied().unwrap_or([0; 4]);
                    (*v, options.module, u32::from_le_bytes(load))
                }
                (Ok(None), None) => return Ok((program, None)),
            };
            ImageDescriptor {
                image_len: 0,
                load_address,
                version,
                module,
            }
        }
        (false, None) => return Ok((program, None)),
        (false, Some(version)) => {
            if !matches!(options.layout, Layout::Host) {
                return Err(BuildError::NoDescriptor);
            }
            let mut with_block = vec![0; HOST_HEADER_LEN as usize];
            with_block.extend(program);
            program = with_block;
            ImageDescriptor {
                image_len: 0,
                load_address: 0,
                version: *version,
                module: options.module,
            }
        }
    };
    descriptor.image_len = u32::try_from(program.len()).map_err(|_| BuildError::TooLong)?;
    let bytes = descriptor.to_bytes().map_err(BuildError::Descriptor)?;
    program[AT..END].copy_from_slice(&bytes);
    Ok((program, Some(descriptor)))
}

/// Appends signed block and trailer.
fn finish(
    mut image: Vec<u8>,
    kind: ImageKind,
    key: Option<&PrivateKey>,
) -> Result<Vec<u8>, BuildError> {
    if let Some(key) = key {
        let image_len = u32::try_from(image.len()).map_err(|_| BuildError::TooLong)?;
        let public = key.public();
        let signature_len = public.modulus_len() as u16;
        let block = SignedBlock::new(image_len, &sha256(&image), public.id(), signature_len);
        image.extend(block.header());
        image.extend(key.sign_message(block.header())?);
        image.extend(block.footer());
    }
    let size = u32::try_from(image.len()).map_err(|_| BuildError::TooLong)?;
    size.checked_add(TRAILER_LEN).ok_or(BuildError::TooLong)?;
    let trailer = Trailer {
        kind,
        size,
        md5: md5(&image),
    };
    image.extend(trailer.to_bytes());
    Ok(image)
}

/// The parts of a packed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What runs.
    pub image: &'a [u8],
    /// The signed image block, empty when there is none.
    pub signed_block: &'a [u8],
    /// From the trailer.
    pub kind: ImageKind,
}

/// Takes a packed file apart. Length and MD5 are checked, the signed block's
/// frame and digest too; its signature and the descriptor are not.
///
/// # Errors
/// [`BuildError::NotPacked`] says why `file` is not a whole packed image.
pub fn parts(file: &[u8]) -> Result<Parts<'_>, BuildError> {
    let total = u32::try_from(file.len()).map_err(|_| BuildError::TooLong)?;
    let source: &mut dyn ReadAt = &mut &file[..];
    let found = crate::check::take_apart(source, total).map_err(BuildError::NotPacked)?;
    let (image, rest) = file.split_at(found.len as usize);
    let signed_block = &rest[..(found.size() - found.len) as usize];
    Ok(Parts {
        image,
        signed_block,
        kind: found.kind(),
    })
}

/// The image alone, without signed block and trailer.
///
/// # Errors
/// As [`parts`].
pub fn strip(file: &[u8]) -> Result<&[u8], BuildError> {
    Ok(parts(file)?.image)
}

/// Puts a signed image block into a packed file (in place of the one it may
/// have) and makes the trailer anew. The image's bytes stay as they are.
///
/// # Errors
/// As [`parts`], and what signing gives.
pub fn sign_image(file: &[u8], key: &PrivateKey) -> Result<Vec<u8>, BuildError> {
    let parts = parts(file)?;
    finish(parts.image.to_vec(), parts.kind, Some(key))
}
