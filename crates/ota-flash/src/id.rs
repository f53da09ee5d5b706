//! The partition ids of AliOS Things.

/// A partition, by the id AliOS Things gives it (`hal_partition_t`, 0..=16).
///
/// The number is what boot parameters such as `dst_adr` and `src_adr` hold:
/// they are partition ids, not addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum PartitionId {
    /// First-stage boot loader.
    Bootloader = 0,
    /// The active slot: the image that runs.
    Application = 1,
    /// Factory test firmware.
    Ate = 2,
    /// The update slot: where a download goes, and where a swap keeps the old image.
    OtaTemp = 3,
    /// Radio firmware.
    RfFirmware = 4,
    /// `PARAMETER_1`: the mailbox in which C firmware leaves an update request.
    Parameter1 = 5,
    /// `PARAMETER_2`: key-value store.
    Parameter2 = 6,
    /// `PARAMETER_3`: second key-value store.
    Parameter3 = 7,
    /// `PARAMETER_4`: factory data.
    Parameter4 = 8,
    /// Bluetooth firmware.
    BtFirmware = 9,
    /// File system.
    Spiffs = 10,
    /// First partition free for the product.
    Custom1 = 11,
    /// Second partition free for the product.
    Custom2 = 12,
    /// Second-stage boot loader.
    Recovery = 13,
    /// State of the second-stage boot loader: its journal.
    RecoveryBackPara = 14,
    /// Application part of a split (multi-binary) image.
    MbinsApp = 15,
    /// Kernel part of a split (multi-binary) image.
    MbinsKernel = 16,
}

impl PartitionId {
    /// All ids, in the order of their numbers.
    pub const ALL: [Self; 17] = [
        Self::Bootloader,
        Self::Application,
        Self::Ate,
        Self::OtaTemp,
        Self::RfFirmware,
        Self::Parameter1,
        Self::Parameter2,
        Self::Parameter3,
        Self::Parameter4,
        Self::BtFirmware,
        Self::Spiffs,
        Self::Custom1,
        Self::Custom2,
        Self::Recovery,
        Self::RecoveryBackPara,
        Self::MbinsApp,
        Self::MbinsKernel,
    ];

    /// The id with this number, as read from a boot parameter block.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        if raw < Self::ALL.len() as u32 {
            Some(Self::ALL[raw as usize])
        } else {
            None
        }
    }

    /// The AliOS number of this id.
    pub const fn raw(self) -> u8 {
        self as u8
    }

    /// The AliOS name, as in `HAL_PARTITION_APPLICATION`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootloader => "BOOTLOADER",
            Self::Application => "APPLICATION",
            Self::Ate => "ATE",
            Self::OtaTemp => "OTA_TEMP",
            Self::RfFirmware => "RF_FIRMWARE",
            Self::Parameter1 => "PARAMETER_1",
            Self::Parameter2 => "PARAMETER_2",
            Self::Parameter3 => "PARAMETER_3",
            Self::Parameter4 => "PARAMETER_4",
            Self::BtFirmware => "BT_FIRMWARE",
            Self::Spiffs => "SPIFFS",
            Self::Custom1 => "CUSTOM_1",
            Self::Custom2 => "CUSTOM_2",
            Self::Recovery => "RECOVERY",
            Self::RecoveryBackPara => "RECOVERY_BACK_PARA",
            Self::MbinsApp => "MBINS_APP",
            Self::MbinsKernel => "MBINS_KERNEL",
        }
    }

    pub(crate) const fn is(self, other: Self) -> bool {
        self as u8 == other as u8
    }
}

impl core::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}
