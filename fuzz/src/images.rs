//! Images, made without the code under test: the digests are other crates'.

use crate::Input;
use md5::{Digest as _, Md5};
use ota_verify::{
    Coding, ImageDescriptor, ImageKind, Module, RsaPublicKey, SignedBlock, Trailer, Version,
};
use rsa::pkcs1v15::SigningKey;
use rsa::sha2::Sha256;
use rsa::signature::{SignatureEncoding, Signer};
use rsa::traits::PublicKeyParts;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Always the same numbers: an input must mean the same in every run.
struct Fixed(u64);

impl rsa::rand_core::RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0 += 1;
        out.copy_from_slice(&crate::noise(self.0 << 20, out.len()));
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rsa::rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl rsa::rand_core::CryptoRng for Fixed {}

/// The private key of all images here.
pub static KEY: LazyLock<rsa::RsaPrivateKey> = LazyLock::new(|| {
    rsa::RsaPrivateKey::new(&mut Fixed(1), 2048).expect("a key of 2048 bits can be made")
});

/// Its public half.
pub static PUBLIC: LazyLock<RsaPublicKey> =
    LazyLock::new(|| RsaPublicKey::new(&KEY.n().to_bytes_be(), 65_537).expect("a good key"));

/// MD5 by the `md-5` crate.
pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

/// SHA-256 by the `sha2` crate.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    <Sha256 as rsa::sha2::Digest>::digest(bytes).into()
}

/// Signs; remembers it, for signing takes long.
fn sign(header: &[u8; 64]) -> Vec<u8> {
    thread_local! {
        static DONE: RefCell<HashMap<[u8; 64], Vec<u8>>> = RefCell::default();
    }
    DONE.with_borrow_mut(|done| {
        let make = || SigningKey::<Sha256>::new(KEY.clone()).sign(header).to_vec();
        done.entry(*header).or_insert_with(make).clone()
    })
}

/// How an image is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Program bytes.
    pub len: usize,
    /// Chooses them.
    pub seed: u64,
    /// Holds a descriptor of this version number.
    pub version: Option<u8>,
    /// In 34-byte lines.
    pub coded: bool,
    /// Ends in a signed block by [`KEY`].
    pub signed: bool,
    /// What the trailer says.
    pub kind: ImageKind,
}

impl Shape {
    /// As the input says, `max` program bytes at most.
    pub fn take(input: &mut Input<'_>, max: usize) -> Self {
        let flags = input.u8();
        let signed = flags & 0xC == 0xC;
        // Few images are signed, and these often.
        let few = |n: u8| if signed { n & 1 } else { n };
        Self {
            len: if signed {
                usize::from(input.u8() & 3) * 100
            } else {
                input.u16() as usize % (max + 1)
            },
            seed: u64::from(few(input.u8())),
            version: (flags & 1 != 0).then(|| few(input.u8()).saturating_mul(9)),
            coded: flags & 2 != 0,
            signed,
            kind: [ImageKind::App, ImageKind::Kernel, ImageKind::Single][input.below(3)],
        }
    }

    /// How its bytes lie.
    pub fn coding(&self) -> Coding {
        if self.coded {
            Coding::MK3060
        } else {
            Coding::Plain
        }
    }

    /// The image proper.
    pub fn image(&self) -> Vec<u8> {
        let mut program = crate::noise(self.seed, self.len);
        if let Some(minor) = self.version {
            program.resize(program.len().max(0xA0), 0);
            let descriptor = ImageDescriptor {
                image_len: program.len() as u32,
                load_address: 0x1_A5C0,
                version: Version::new(&format!("app-1.{minor}.0")).expect("a good version"),
                module: Module::DEFAULT,
            };
            let bytes = descriptor.to_bytes().expect("a short version");
            program[0x40..0xA0].copy_from_slice(&bytes);
        }
        if self.coded {
            let lines = hal_mk3060::line_code::encode(&program).flatten();
            [0xFF; 28].into_iter().chain(lines).collect()
        } else {
            program
        }
    }

    /// Image, signed block and trailer.
    pub fn file(&self) -> Vec<u8> {
        let mut file = self.image();
        if self.signed {
            let block = SignedBlock::new(file.len() as u32, &sha256(&file), PUBLIC.id(), 256);
            file.extend(block.header());
            file.extend(sign(block.header()));
            file.extend(block.footer());
        }
        let trailer = Trailer {
            kind: self.kind,
            size: file.len() as u32,
            md5: md5(&file),
        };
        file.extend(trailer.to_bytes());
        file
    }
}
