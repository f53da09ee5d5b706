//! What a device accepts: one type for agent and boot loader.

use crate::{Digest, HashMethod, ImageDescriptor, Module, Version, VersionOrder, VersionRule};

/// Whether something must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Requirement {
    /// May be absent. When present it is checked all the same.
    #[default]
    Optional,
    /// Absent means refused.
    Required,
}

/// What a device accepts.
///
/// ```
/// use ota_verify::{Policy, Refusal, Requirement, Version, VersionOrder, VersionRule};
/// let policy = Policy { image_signature: Requirement::Required, ..Policy::DEFAULT };
/// let v = |text| Version::new(text).unwrap();
/// assert!(policy.check_version(&v("1.0.10"), &v("1.0.9")).is_ok());
/// assert_eq!(
///     policy.check_version(&v("1.0.9"), &v("1.0.9")),
///     Err(Refusal::Version { rule: VersionRule::Numeric, order: VersionOrder::Same })
/// );
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// `digestsign` of a package.
    pub package_signature: Requirement,
    /// Signed image block of an image.
    pub image_signature: Requirement,
    /// Package digests by MD5 are taken (all that old AliOS clouds send).
    pub allow_md5: bool,
    /// What "newer" means.
    pub version_rule: VersionRule,
    /// An offer of a version that counts as the same is taken.
    pub allow_same_version: bool,
    /// No image below this version is installed or started. An image without a
    /// descriptor is then refused too, for its version cannot be known.
    pub min_version: Option<Version>,
    /// A build without TLS may download over plain HTTP what was offered as
    /// `https:`. Only in force while a signature is required.
    pub allow_plain_download: bool,
    /// Verify the image at each start instead of trusting a recorded verdict.
    pub secure_boot: bool,
    /// Longest file (image, signed block and trailer) in bytes.
    pub max_image_len: u32,
    /// Modules this device takes images for; empty: any (for host tools).
    pub modules: &'static [Module],
}

/// Why a policy refuses an offer or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Not newer than what runs, by the named rule.
    Version {
        /// The rule in force.
        rule: VersionRule,
        /// Where the offered version stands.
        order: VersionOrder,
    },
    /// Below the floor, or not comparable with it.
    BelowFloor {
        /// The rule in force.
        rule: VersionRule,
        /// Where the image's version stands to the floor.
        order: VersionOrder,
    },
    /// A floor is set and the image has no descriptor.
    NoDescriptor,
    /// For a module this device does not have.
    Module(Module),
    /// Longer than allowed.
    TooLong {
        /// Bytes of the file.
        len: u32,
        /// Bytes allowed.
        max: u32,
    },
    /// `digestsign` is required and absent.
    PackageUnsigned,
    /// A signed image block is required and absent.
    ImageUnsigned,
    /// The package digest is MD5 and the policy does not take that.
    Md5,
    /// Download over plain HTTP is not allowed.
    PlainDownload,
}

impl Policy {
    /// Signatures checked when present, numeric versions, anything of the
    /// device itself that fits 16 MiB.
    pub const DEFAULT: Self = Self {
        package_signature: Requirement::Optional,
        image_signature: Requirement::Optional,
        allow_md5: true,
        version_rule: VersionRule::Numeric,
        allow_same_version: false,
        min_version: None,
        allow_plain_download: false,
        secure_boot: false,
        max_image_len: 16 << 20,
        modules: &[Module::DEFAULT],
    };

    /// May a device that runs `current` take an offer of `new`?
    ///
    /// # Errors
    /// [`Refusal::Version`] or [`Refusal::BelowFloor`].
    pub fn check_version(&self, new: &Version, current: &Version) -> Result<(), Refusal> {
        match self.version_rule.compare(new, current) {
            VersionOrder::Newer => {}
            VersionOrder::Same if self.allow_same_version => {}
            order => {
                return Err(Refusal::Version {
                    rule: self.version_rule,
                    order,
                });
            }
        }
        self.check_floor(new)
    }

    /// Is `version` at or above the floor?
    ///
    /// # Errors
    /// [`Refusal::BelowFloor`].
    pub fn check_floor(&self, version: &Version) -> Result<(), Refusal> {
        let Some(floor) = &self.min_version else {
            return Ok(());
        };
        match self.version_rule.compare(version, floor) {
            VersionOrder::Newer | VersionOrder::Same => Ok(()),
            order => Err(Refusal::BelowFloor {
                rule: self.version_rule,
                order,
            }),
        }
    }

    /// May this package be downloaded? `signed`: the offer has a `digestsign`;
    /// `len` bytes; `digest` as offered.
    ///
    /// # Errors
    /// [`Refusal::PackageUnsigned`], [`Refusal::Md5`] or [`Refusal::TooLong`].
    pub fn check_package(&self, len: u32, digest: &Digest, signed: bool) -> Result<(), Refusal> {
        if !signed && self.package_signature == Requirement::Required {
            return Err(Refusal::PackageUnsigned);
        }
        if digest.method() == HashMethod::Md5 && !self.allow_md5 {
            return Err(Refusal::Md5);
        }
        self.check_len(len)
    }

    /// May what was offered as `https:` be fetched by plain HTTP?
    ///
    /// # Errors
    /// [`Refusal::PlainDownload`] unless the policy allows it and requires a
    /// signature of the package or of the image.
    pub fn check_plain_download(&self) -> Result<(), Refusal> {
        let signed = self.package_signature == Requirement::Required
            || self.image_signature == Requirement::Required;
        if self.allow_plain_download && signed {
            Ok(())
        } else {
            Err(Refusal::PlainDownload)
        }
    }

    /// Does a file of `len` bytes fit?
    ///
    /// # Errors
    /// [`Refusal::TooLong`].
    pub fn check_len(&self, len: u32) -> Result<(), Refusal> {
        let max = self.max_image_len;
        if len > max {
            Err(Refusal::TooLong { len, max })
        } else {
            Ok(())
        }
    }

    /// Does this device have `module`?
    ///
    /// # Errors
    /// [`Refusal::Module`].
    pub fn check_module(&self, module: &Module) -> Result<(), Refusal> {
        if self.modules.is_empty() || self.modules.contains(module) {
            Ok(())
        } else {
            Err(Refusal::Module(*module))
        }
    }

    /// As [`Policy::check_module`], for the field of a descriptor.
    pub(crate) fn check_module_field(&self, field: &[u8; 32]) -> Result<(), Refusal> {
        if self.modules.is_empty() || self.modules.iter().any(|m| m.field() == field) {
            Ok(())
        } else {
            Err(Refusal::Module(Module::of_field(field)))
        }
    }

    /// May an image with this descriptor (if any) be installed and started?
    ///
    /// # Errors
    /// [`Refusal::NoDescriptor`], [`Refusal::Module`] or [`Refusal::BelowFloor`].
    pub fn check_descriptor(&self, descriptor: Option<&ImageDescriptor>) -> Result<(), Refusal> {
        match descriptor {
            Some(d) => {
                self.check_module(&d.module)?;
                self.check_floor(&d.version)
            }
            None if self.min_version.is_some() => Err(Refusal::NoDescriptor),
            None => Ok(()),
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
