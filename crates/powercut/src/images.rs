//! Images, and a judge that knows them.

use core::cell::RefCell;
use std::sync::Arc;

use ota_bootlib::{FailCode, Hooks, Image, Refused, Verify, VersionText};
use ota_flash::sim::SimFlash;

use crate::layout::View;

/// An image the judge knows.
#[derive(Debug, Clone)]
pub struct Known {
    /// Its bytes, padded to whole sectors with what lies behind them.
    pub bytes: Arc<Vec<u8>>,
    /// Its length.
    pub total: u32,
    /// Digest of each of its sectors.
    pub sectors: Arc<Vec<u128>>,
    /// Made-up SHA-256.
    pub sha256: [u8; 32],
}

impl Known {
    /// An image of `total` bytes; `bytes` holds whole sectors.
    pub fn new<const S: usize, const U: usize>(bytes: Vec<u8>, total: u32, name: u8) -> Self {
        let mut flash = SimFlash::<S, U>::new(bytes.len());
        flash.load(0, &bytes);
        let sectors = (0..bytes.len() / S)
            .map(|i| flash.sector_digest(i))
            .collect();
        Self {
            bytes: Arc::new(bytes),
            total,
            sectors: Arc::new(sectors),
            sha256: [name; 32],
        }
    }

    /// Whether `flash` holds this image from sector `first` on, solidly.
    pub fn lies_at<const S: usize, const U: usize>(
        &self,
        flash: &SimFlash<S, U>,
        first: usize,
    ) -> bool {
        self.sectors.iter().enumerate().all(|(i, d)| {
            flash.sector_digest(first + i) == *d && flash.unstable_bits_in(first + i) == 0
        })
    }
}

/// A judge that knows the images by heart, so that a sweep need not hash them.
pub struct Judge<'a, const S: usize, const U: usize> {
    /// The flash.
    pub flash: &'a RefCell<SimFlash<S, U>>,
    /// Images that may run.
    pub good: &'a [Known],
}

impl<const S: usize, const U: usize> Verify<View<'_, S, U>> for Judge<'_, S, U> {
    fn verify(
        &mut self,
        slot: &mut View<'_, S, U>,
        total: Option<u32>,
        _floor: &VersionText,
        _buf: &mut [u8],
        _hooks: &mut dyn Hooks,
    ) -> Result<Image, Refused> {
        let first = slot.address() as usize / S;
        let mut flash = self.flash.borrow_mut();
        let found = self.good.iter().find(|k| {
            total.is_none_or(|t| t == k.total)
                && k.bytes.len() <= slot.len() as usize
                && k.sectors.iter().enumerate().all(|(i, d)| {
                    let at = first + i;
                    if flash.unstable_bits_in(at) == 0 {
                        return flash.sector_digest(at) == *d;
                    }
                    // Unstable bits: what a read sees now.
                    let mut bytes = vec![0; S];
                    use embedded_storage::nor_flash::ReadNorFlash as _;
                    flash.read((at * S) as u32, &mut bytes).is_ok()
                        && bytes == k.bytes[i * S..(i + 1) * S]
                })
        });
        match found {
            Some(k) if flash.is_powered() => Ok(Image {
                total: k.total,
                sha256: k.sha256,
                version: VersionText::NONE,
            }),
            _ => Err(Refused {
                code: FailCode::Digest,
                offset: 0,
            }),
        }
    }
}
