//! Telling what a file is, and checking it.

use ota_verify::{
    Coding, ImageDescriptor, ImageInfo, ImageVerifier, KeyId, Policy, ReadAt, Requirement,
    RsaPublicKey, TRAILER_LEN, Trailer, VerifyError, read_descriptor,
};

use crate::board::Board;

/// A file that is, or should be, an image.
pub struct Image<'a> {
    /// The image with signed block and trailer.
    pub file: &'a [u8],
    /// Where it begins in what was given: not 0 in a merged file.
    pub offset: usize,
    /// Whether its lines are coded.
    pub board: Option<Board>,
}

/// What is wrong with an image.
#[derive(Debug)]
pub enum Fault {
    Verify(VerifyError),
    /// This line's CRC (lines counted from 0).
    Line(usize),
    /// `--key` was given and the image is signed by another key.
    OtherKey(KeyId),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Verify(e) => write!(f, "{e}"),
            Self::Line(n) => write!(f, "coded line {n} has a wrong CRC"),
            Self::OtherKey(id) => write!(f, "signed by another key: {id}"),
        }
    }
}

impl<'a> Image<'a> {
    /// Finds the image in `bytes`: all of it, or behind a coded loader.
    pub fn find(bytes: &'a [u8]) -> Self {
        let board = Board::Mk3060;
        let merged = bytes.get(board.app_offset()..).filter(|app| {
            is_coded(app)
                && bytes
                    .first_chunk::<34>()
                    .is_some_and(|l| board.bad_line(l).is_none())
        });
        match merged {
            Some(file) => Self {
                file,
                offset: board.app_offset(),
                board: Some(board),
            },
            None => Self {
                file: bytes,
                offset: 0,
                board: is_coded(bytes).then_some(board),
            },
        }
    }

    /// How the descriptor is found.
    pub fn coding(&self) -> Coding {
        if self.board.is_some() {
            Coding::MK3060
        } else {
            Coding::Plain
        }
    }

    /// The trailer, where the file ends in one.
    pub fn trailer(&self) -> Option<Trailer> {
        let (_, trailer) = self.file.split_last_chunk::<{ TRAILER_LEN as usize }>()?;
        Trailer::parse(trailer).ok()
    }

    /// The descriptor, where it can be read.
    pub fn descriptor(&self) -> Result<Option<ImageDescriptor>, VerifyError> {
        let source: &mut dyn ReadAt = &mut &self.file[..];
        let end = self.coding().to_file(ota_verify::HOST_HEADER_LEN);
        if end.is_none_or(|end| source.size() < end) {
            return Ok(None);
        }
        read_descriptor(source, self.coding())
    }

    /// Checks everything there is to check; with `key`, that it signed the image.
    pub fn verify(&self, key: Option<&RsaPublicKey>) -> Result<ImageInfo, Fault> {
        let policy = Policy {
            image_signature: if key.is_some() {
                Requirement::Required
            } else {
                Requirement::Optional
            },
            max_image_len: u32::MAX,
            modules: &[],
            ..Policy::DEFAULT
        };
        let verifier = ImageVerifier {
            policy: &policy,
            keys: key.map_or(&[], std::slice::from_ref),
            coding: self.coding(),
        };
        let total = u32::try_from(self.file.len()).unwrap_or(u32::MAX);
        let info = match verifier.verify(&mut &self.file[..], total, &mut [0; 4096]) {
            Err(VerifyError::UnknownKey(id)) => return Err(Fault::OtherKey(id)),
            other => other.map_err(Fault::Verify)?,
        };
        if let (Some(board), Coding::Lines34 { pad }) = (self.board, self.coding()) {
            let lines = self
                .file
                .get(usize::from(pad)..info.len as usize)
                .unwrap_or(&[]);
            if let Some(line) = board.bad_line(lines) {
                return Err(Fault::Line(line));
            }
        }
        Ok(info)
    }

    /// Whether anything about the file says that it is an image.
    pub fn is_recognised(&self) -> bool {
        self.trailer().is_some() || self.board.is_some() || !matches!(self.descriptor(), Ok(None))
    }
}

/// Pad of zeros, then a line whose CRC is right.
pub fn is_coded(bytes: &[u8]) -> bool {
    let Coding::Lines34 { pad } = Coding::MK3060 else {
        return false;
    };
    bytes
        .split_at_checked(usize::from(pad))
        .is_some_and(|(pad, lines)| {
            pad.iter().all(|b| *b == 0)
                && lines
                    .first_chunk::<34>()
                    .is_some_and(|l| Board::Mk3060.bad_line(l).is_none())
        })
}
