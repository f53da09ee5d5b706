//! Whether an offer is wanted: everything that can be known before the first byte.

use ota_proto::json::Str;
use ota_proto::messages::{self, Field, OfferError, OfferRef};
use ota_proto::session::{Judge, Refusal};
use ota_verify::{Digest, HashMethod, SignatureError, Version, verify_digestsign};

use crate::event::{Event, Observer};
use crate::seams::{BootRequest, DECODED, PackageId, ResumeStore, UpdateSink};
use crate::settings::Settings;

const HTTPS: &str = "https:";

/// The offered digest in the verifier's terms.
pub(crate) fn digest(offered: &messages::Digest) -> Option<Digest> {
    let method = match offered.method() {
        messages::Method::Md5 => HashMethod::Md5,
        messages::Method::Sha256 => HashMethod::Sha256,
    };
    Digest::from_bytes(method, offered.as_bytes())
}

pub(crate) struct Rules<'a, 'd, S, B, O> {
    pub settings: &'a Settings<'d>,
    pub sink: &'a mut S,
    pub boot: &'a mut B,
    pub observer: &'a mut O,
    pub has_tls: bool,
    /// Longest URL there is room for.
    pub url_max: usize,
    /// Where in the message the URL stands that is to be kept: offset and length, with escapes.
    pub url: Option<(usize, usize)>,
}

impl<S, B, O> Rules<'_, '_, S, B, O>
where
    S: UpdateSink,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    fn policy(&mut self, refusal: ota_verify::Refusal, as_refusal: Refusal) -> Refusal {
        self.observer.event(Event::PolicyRefused(refusal));
        as_refusal
    }

    /// The signature stands over the digest in the offer, so it can be checked
    /// before anything is downloaded. The download must then have this digest.
    fn check_signature(&mut self, offer: &OfferRef<'_>, digest: &Digest) -> Result<(), Refusal> {
        let Some(text) = offer.digestsign else {
            return Ok(());
        };
        let mut room = [0; messages::DIGESTSIGN_MAX];
        let text = text.copy_to(&mut room).map_err(|_| Refusal::BadSignature)?;
        let keys = self.settings.keys;
        if keys.is_empty() && self.settings.policy.package_signature == Default::default() {
            // A device without keys cannot check, and is not asked to.
            return Ok(());
        }
        let mut why = SignatureError::Mismatch;
        for key in keys {
            match verify_digestsign(key, digest, text) {
                Ok(()) => return Ok(()),
                Err(e) => why = e,
            }
        }
        self.observer.event(Event::SignatureRefused(why));
        Err(Refusal::BadSignature)
    }
}

impl<S, B, O> Judge for Rules<'_, '_, S, B, O>
where
    S: UpdateSink,
    B: BootRequest + ResumeStore,
    O: Observer,
{
    fn judge(&mut self, offer: &OfferRef<'_>) -> Result<u32, Refusal> {
        let policy = self.settings.policy;
        if offer.diff.is_some_and(|d| !self.sink.takes_diff(d.slice)) {
            return Err(Refusal::Diff);
        }
        let mut room = [0; messages::VERSION_MAX];
        let text = offer
            .version
            .copy_to(&mut room)
            .map_err(|_| Refusal::NotAllowed)?;
        let version = Version::new(text).map_err(|_| Refusal::NotAllowed)?;
        if let Err(why) = policy.check_version(&version, &self.settings.version) {
            return Err(self.policy(why, Refusal::NotNewer));
        }
        let digest = digest(&offer.digest).ok_or(Refusal::NotAllowed)?;
        if let Err(why) = policy.check_package(offer.size, &digest, offer.digestsign.is_some()) {
            let refusal = match why {
                ota_verify::Refusal::PackageUnsigned => Refusal::Unsigned,
                ota_verify::Refusal::TooLong { .. } => Refusal::TooLarge,
                _ => Refusal::NotAllowed,
            };
            return Err(self.policy(why, refusal));
        }
        if offer.size > self.sink.capacity() {
            return Err(Refusal::TooLarge);
        }
        if let Some(step) = self.boot.failed_before(&digest) {
            return Err(Refusal::FailedBefore(step));
        }
        let scheme = offer.url.chars().map(|c| c.to_ascii_lowercase());
        if !self.has_tls
            && scheme.take(HTTPS.len()).eq(HTTPS.chars())
            && let Err(why) = policy.check_plain_download()
        {
            return Err(self.policy(why, Refusal::NoTls));
        }
        self.check_signature(offer, &digest)?;
        let stored = self.boot.stored(&PackageId {
            size: offer.size,
            digest,
            version: text,
            diff: offer.diff,
        });
        // A package that is decoded is asked for again from its first byte on. It is
        // no new start: what is stored may be to blame for a wrong digest.
        Ok(if stored & DECODED != 0 { 1 } else { stored })
    }

    fn keep(&mut self, url: &Str<'_>) -> Result<(), OfferError> {
        if url.len() > self.url_max {
            return Err(OfferError::BadLength(Field::Url));
        }
        self.url = Some((url.offset(), url.raw_len()));
        Ok(())
    }
}
