//! The boot journal of `ota-bootlib` as boot state and resume record.

use embedded_storage::nor_flash::NorFlash;
use ota_bootlib::{
    AppError, BootState, FailCode, Failure, Fault, Hooks, Journal, Phase, Request, ResumeIdentity,
    Strategy, VersionText,
};
use ota_proto::messages::Step;
use ota_proto::session::{BootError, Cause};
use ota_verify::{Digest, Version};

use crate::seams::{BootRequest, PackageId, ResumeStore, SinkError, Trial, Verified};

/// Boot state and resume record of a device that starts through `ota-bootlib`.
///
/// `H` is called before each flash operation.
pub struct BootJournal<P, H = ()> {
    journal: Journal<P>,
    strategy: Strategy,
    tries: u8,
    raise_floor: bool,
    hooks: H,
}

impl<P: NorFlash, H: Hooks> BootJournal<P, H> {
    /// Opens the journal. Updates are installed with `strategy`. On a device for
    /// patches, whole images are installed with [`Strategy::Swap`] instead of
    /// `PatchSwap`, and with [`Strategy::Overwrite`] instead of `InPlace`.
    ///
    /// # Errors
    /// The flash's fault.
    pub fn open(flash: P, strategy: Strategy, hooks: H) -> Result<Self, Fault> {
        Ok(Self {
            journal: Journal::open(flash)?,
            strategy,
            tries: 0,
            raise_floor: false,
            hooks,
        })
    }

    /// How often a new image is started before it counts as failed; 0 for the
    /// default of `ota-bootlib`, 3.
    #[must_use]
    pub fn tries(mut self, tries: u8) -> Self {
        self.tries = tries;
        self
    }

    /// Whether a confirmed version becomes the lowest that may be installed.
    #[must_use]
    pub fn raise_floor(mut self, raise: bool) -> Self {
        self.raise_floor = raise;
        self
    }

    /// The journal, to look at.
    pub fn journal(&self) -> &Journal<P> {
        &self.journal
    }
}

/// Digests as the journal keeps them: SHA-256 whole, MD5 in front of zeros.
fn padded(digest: &Digest) -> [u8; 32] {
    let mut all = [0; 32];
    for (to, from) in all.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    all
}

fn short(digest: &Digest) -> [u8; 16] {
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    first
}

fn identity(package: &PackageId<'_>) -> ResumeIdentity {
    ResumeIdentity {
        // The number of the record: 1 MD5, 2 SHA-256.
        method: match package.digest {
            Digest::Md5(_) => 1,
            Digest::Sha256(_) => 2,
        },
        size: package.size,
        digest: padded(&package.digest),
    }
}

fn version(text: &str) -> VersionText {
    VersionText::new(text.as_bytes()).unwrap_or(VersionText::NONE)
}

fn cause(error: AppError) -> Cause {
    match error {
        AppError::Flash(fault) => Cause::Boot(BootError::Flash, fault.offset()),
        _ => Cause::Boot(BootError::Unable, 0),
    }
}

fn sink(error: AppError) -> SinkError {
    match error {
        AppError::Flash(fault) => SinkError::Flash {
            offset: fault.offset(),
        },
        _ => SinkError::Flash { offset: 0 },
    }
}

/// What the cloud is told: the detail is phase * 100 + code, as `docs/journal.md`
/// numbers them.
fn failure(f: Failure) -> Cause {
    let error = match f.code {
        FailCode::NotConfirmed | FailCode::AppRevert => BootError::Reverted,
        FailCode::Flash => BootError::Flash,
        FailCode::Patch => BootError::Patch,
        FailCode::Strategy | FailCode::Space | FailCode::Request => BootError::Unable,
        _ => BootError::Refused,
    };
    Cause::Boot(error, f.phase as u32 * 100 + f.code as u32)
}

impl<P: NorFlash, H: Hooks> BootRequest for BootJournal<P, H> {
    fn request(&mut self, package: &PackageId<'_>, verified: &Verified) -> Result<(), Cause> {
        let what = match verified {
            Verified::Image(image) => {
                let strategy = match self.strategy {
                    Strategy::PatchSwap => Strategy::Swap,
                    Strategy::InPlace => Strategy::Overwrite,
                    other => other,
                };
                Request::image(strategy, image.total, image.sha256)
            }
            // With a strategy for whole images the journal refuses this.
            Verified::Patch(patch) => Request {
                package_len: package.size,
                package_at: patch.at,
                slice_len: patch.slice,
                // Only the image itself knows its digest.
                ..Request::image(self.strategy, patch.image_len, [0; 32])
            },
        };
        let request = Request {
            version: version(package.version),
            offer: short(&package.digest),
            tries: self.tries,
            ..what
        };
        self.journal
            .request(&request, &mut self.hooks)
            .map_err(cause)
    }

    fn pending(&mut self) -> bool {
        matches!(self.journal.boot_state(), BootState::Requested { .. })
    }

    fn trial(&mut self) -> Option<Trial> {
        let BootState::Trial { .. } = self.journal.boot_state() else {
            return None;
        };
        let offered = self.journal.state().version();
        Some(Trial {
            version: Version::from_bytes(offered.as_bytes()).ok(),
        })
    }

    fn confirm(&mut self) -> Result<(), Cause> {
        let result = self.journal.confirm(self.raise_floor, &mut self.hooks);
        result.map_err(cause)
    }

    fn reject(&mut self, _why: BootError) -> Result<(), Cause> {
        let offer = self.journal.state().offer();
        self.journal
            .offer_failed(&offer, true, &mut self.hooks)
            .and_then(|()| self.journal.revert(&mut self.hooks))
            .map_err(cause)
    }

    fn last_failure(&mut self) -> Option<Cause> {
        let failed = self.journal.state().failure()?;
        let cause = failure(failed);
        // The loader leaves the digest of the offer; remembering it is not its work.
        let offer = self.journal.state().offer();
        // A loader that cannot install this will not learn it: without a note the
        // device would fetch the package and restart for ever.
        let unable = matches!(cause, Cause::Boot(BootError::Unable, _));
        if failed.phase != Phase::Idle
            && (unable || cause.permanent())
            && offer != [0; 16]
            && !self.journal.is_offer_barred(&offer)
        {
            // If it cannot be written now, it is tried again at the next start.
            let _ = self.journal.offer_failed(&offer, true, &mut self.hooks);
        }
        Some(cause)
    }

    fn failure_reported(&mut self) -> Result<(), Cause> {
        let result = self.journal.acknowledge_failure(&mut self.hooks);
        result.map_err(cause)
    }

    fn failed_before(&mut self, digest: &Digest) -> Option<Step> {
        self.journal
            .is_offer_barred(&short(digest))
            .then_some(Step::Upgrade)
    }

    fn remember(&mut self, digest: &Digest, why: Cause) -> Result<(), Cause> {
        let result = self
            .journal
            .offer_failed(&short(digest), why.permanent(), &mut self.hooks);
        result.map_err(cause)
    }
}

impl<P: NorFlash, H: Hooks> ResumeStore for BootJournal<P, H> {
    fn stored(&mut self, package: &PackageId<'_>) -> u32 {
        let state = self.journal.state();
        if state.resume() == Some(identity(package)) && self.journal.update_slot_free() {
            state.resume_offset()
        } else {
            0
        }
    }

    fn begin(&mut self, package: &PackageId<'_>) -> Result<(), SinkError> {
        let (id, version) = (identity(package), version(package.version));
        self.journal
            .resume_begin(&id, &version, &mut self.hooks)
            .map_err(sink)
    }

    fn advance(&mut self, offset: u32) -> Result<(), SinkError> {
        self.journal
            .resume_advance(offset, &mut self.hooks)
            .map_err(sink)
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        self.journal.resume_clear(&mut self.hooks).map_err(sink)
    }
}
