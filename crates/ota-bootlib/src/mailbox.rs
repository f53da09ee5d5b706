//! The mailbox: what C firmware and its loaders leave at the start of
//! `PARAMETER_1`. It is read, copied into the journal and erased; no state is
//! ever kept in it.
//!
//! Several structures are in use, without a length or a tag. They share their
//! first 19 bytes and end in a CRC-16/XMODEM of everything before it, so the
//! size is the one whose CRC is right with nothing but 0xFF behind it:
//!
//! | bytes | structure | patch length | slice length |
//! |---|---|---|---|
//! | 30, 33 | `ota_boot_param_t` without `rec_size`; enum of 1 or 4 bytes | 8 | 19 |
//! | 34, 37 | `ota_boot_param_t`; enum of 1 or 4 bytes | 19 | 23 |
//! | 87 | `PatchStatus`, 2.1.1 and later | 19 | 23 |
//! | 211 | `PatchStatus`, 2.1.0, with version texts | 8 | 19 |
//! | 215 | `PatchStatus` with `rec_size` and version texts | 19 | 23 |
//!
//! The 24-byte `boot_table_t` of the vendor's first stage lies at the same
//! place; its byte 17 says 'U' for "update me". In what this crate writes, byte
//! 17 is the 'R' of `REVV`.

use embedded_storage::nor_flash::NorFlash;
use ota_verify::crc16_xmodem;

use crate::Hooks;
use crate::fault::Fault;
use crate::start::Loader;
use crate::state::{FailCode, Phase, Strategy, cell, flag};
use crate::verify::Verify;

/// Bytes of the mailbox that are looked at: whole units of 32 bytes.
pub const MAIL_LEN: usize = 224;

/// What the mailbox says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    /// `upg_flag` 0: nothing to do; on trial it means "confirmed".
    Normal,
    /// `REVV`: a new image is on probation.
    OnTrial,
    /// `RSUF`: a whole image is in the update slot.
    Image,
    /// `REVY`: a patch is at the start of the update slot.
    Patch {
        /// Bytes of the patch.
        len: u32,
        /// Bytes of a slice.
        slice: u32,
    },
    /// `ROBK`: go back.
    Revert,
}

/// Sizes of the structures.
static SIZES: [u8; 7] = [30, 33, 34, 37, 87, 211, 215];

const REVY: u32 = 0x5245_5659;
const REVV: u32 = 0x5245_5656;
const RSUF: u32 = 0x5253_5546;
const ROBK: u32 = 0x524F_424B;

// Not inlined: a byte-wise load is longer than a call.
#[inline(never)]
fn u32_at(b: &[u8; MAIL_LEN], at: usize) -> u32 {
    match b.get(at..).and_then(|b| b.first_chunk()) {
        Some(bytes) => u32::from_le_bytes(*bytes),
        None => 0,
    }
}

impl Mail {
    /// Reads the first bytes of the mailbox. `None`: blank, damaged, or not for us.
    #[inline(never)]
    pub fn parse(b: &[u8; MAIL_LEN]) -> Option<Self> {
        // All FF behind the structure: its size is at least this.
        let used = b.iter().rposition(|&x| x != 0xFF)? + 1;
        let mut found = None;
        for size in SIZES.iter().map(|size| usize::from(*size)) {
            let (Some(body), Some(crc)) = (b.get(..size - 2), b.get(size - 2..size)) else {
                continue;
            };
            // A CRC may end in FF itself.
            if used <= size && used + 2 >= size && crc16_xmodem(0, body).to_le_bytes() == *crc {
                found = Some(size);
            }
        }
        let size = found?;
        let old = matches!(size, 30 | 33 | 211);
        let (len_at, slice_at) = if old { (8, 19) } else { (19, 23) };
        Some(match u32_at(b, 14) {
            0 => Self::Normal,
            REVV => Self::OnTrial,
            RSUF => Self::Image,
            ROBK => Self::Revert,
            REVY => Self::Patch {
                len: u32_at(b, len_at),
                slice: u32_at(b, slice_at),
            },
            _ => return None,
        })
    }

    /// What the loader leaves for C firmware before a trial: an
    /// `ota_boot_param_t` of 34 bytes with `REVV` and count 1, padded with FF.
    pub const fn on_trial() -> [u8; 64] {
        let mut b = [0; 64];
        let (head, tail) = b.split_at_mut(34);
        let (body, sum) = head.split_at_mut(32);
        let (_, flag) = body.split_at_mut(14);
        let (flag, count) = flag.split_at_mut(4);
        flag.copy_from_slice(&REVV.to_le_bytes());
        count[0] = 1;
        sum.copy_from_slice(&crc16_xmodem(0, body).to_le_bytes());
        let mut i = 0;
        while i < tail.len() {
            tail[i] = 0xFF;
            i += 1;
        }
        b
    }
}

static ON_TRIAL: [u8; 64] = Mail::on_trial();

impl<P: NorFlash, V: Verify<P>, H: Hooks> Loader<'_, P, V, H> {
    fn mail(&mut self) -> Result<Option<Mail>, Fault> {
        let Some(mailbox) = &mut self.mailbox else {
            return Ok(None);
        };
        let mut b = [0xFF; MAIL_LEN];
        let len = mailbox.flash.capacity().min(MAIL_LEN);
        mailbox.read(0, b.get_mut(..len).unwrap_or_default())?;
        Ok(Mail::parse(&b))
    }

    /// C firmware may be on trial: an image without a descriptor.
    fn c_on_trial(&self) -> bool {
        self.mailbox.is_some() && self.journal.state().version().is_empty()
    }

    /// Idle: takes a request over into the journal. `true`: there was one.
    #[inline(never)]
    pub(crate) fn take_request(&mut self) -> Result<bool, Fault> {
        let (strategy, len, slice) = match self.mail() {
            Ok(Some(Mail::Image)) => (Strategy::Swap, 0, 0),
            Ok(Some(Mail::Patch { len, slice })) => (Strategy::PatchSwap, len, slice),
            // Nothing, or unreadable: no reason not to start.
            _ => return Ok(false),
        };
        let s = self.journal.state_mut();
        s.forget_update();
        s.set_tries(0);
        s.clear_cells(cell::VERSION, 2);
        // With the offer, which lies behind the download.
        s.clear_cells(cell::RESUME, 4);
        s.set_phase(Phase::Requested);
        s.set_raw_strategy(strategy as u8);
        s.set_package_len(len);
        s.set_slice_len(slice);
        s.set(flag::MAILBOX, true);
        self.journal.write_all(self.hooks)?;
        Ok(true)
    }

    /// Requested: erases a mailbox whose request the journal holds. Done again
    /// until the next state, which does not say so any more, is written.
    #[inline(never)]
    pub(crate) fn clear_mailbox(&mut self) -> Result<(), Fault> {
        if self.journal.state().has(flag::MAILBOX) {
            self.journal.settle(self.hooks)?;
            if let Some(mailbox) = &mut self.mailbox {
                mailbox.erase(0, self.hooks)?;
            }
        }
        Ok(())
    }

    /// Trial: whether C firmware said something that ends it.
    #[inline(never)]
    pub(crate) fn trial_ended_by_mail(&mut self) -> Result<bool, Fault> {
        if self.journal.state().started() == 0 || !self.c_on_trial() {
            return Ok(false);
        }
        match self.mail()? {
            // C firmware asks for an update only after it has confirmed, and
            // its request then lies where the confirmation was.
            Some(Mail::Normal | Mail::Image | Mail::Patch { .. }) => {
                self.journal.confirm_trial(false, self.hooks)?;
                Ok(true)
            }
            Some(Mail::Revert) => {
                self.refuse(FailCode::AppRevert, 0);
                self.go(Phase::Reverting, false, true)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Trial: makes sure that C firmware finds what it confirms upon. Written
    /// anew at each start: what lies there may be torn, and read well only now.
    pub(crate) fn hand_over(&mut self) -> Result<(), Fault> {
        if !self.c_on_trial() {
            return Ok(());
        }
        self.journal.settle(self.hooks)?;
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.erase(0, self.hooks)?;
            let (mut mail, mut back) = ([0xFF; 256], [0; 256]);
            if P::WRITE_SIZE <= ON_TRIAL.len() {
                let (back, _) = back.split_at_mut(ON_TRIAL.len());
                mailbox.program(0, &ON_TRIAL, back, self.hooks)?;
            } else {
                mail[..ON_TRIAL.len()].copy_from_slice(&ON_TRIAL);
                let (mail, back) = (mail.get(..P::WRITE_SIZE), back.get_mut(..P::WRITE_SIZE));
                mailbox.program(
                    0,
                    mail.unwrap_or_default(),
                    back.unwrap_or_default(),
                    self.hooks,
                )?;
            }
        }
        Ok(())
    }
}
