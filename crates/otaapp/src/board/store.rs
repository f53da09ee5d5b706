//! One record kept in two flash sectors, such that no power cut loses it.
//!
//! ```text
//! sector:  0        32        512       1024            3584     4096
//!          | marker |  blank  | place 0 | place 1 | ... | place 6 |
//! place:   u32 sequence number, data, zeros, CRC-32: 384 bytes; the rest blank
//! ```
//!
//! The valid record with the highest number counts. A record is appended; when
//! a sector has one free place left, the record in force is written there once
//! more, and only then is the other sector erased and used. So whatever is erased
//! is older than a record that was written whole under the same power: a record
//! that is only just readable (its program was cut) is never the only one.
//!
//! Sectors that hold anything else are left alone. Before the very first erase the
//! marker is put into the second sector, so that an erase that is cut short, of
//! which anything may be left, is not taken for somebody else's data.

use super::saved::{SAVED_LEN, Saved};
use embedded_storage::nor_flash::NorFlash;

const RECORD: usize = 384;
const PLACE: u32 = 512;
const PLACES: u32 = 7;
const JUMP: u32 = 2 * PLACES;
const BLANK: [u8; 32] = [0xFF; 32];
/// First bytes of a sector of ours. Long, so that no other format looks like a
/// half-written one.
const MARKER: [u8; 32] = *b"uota-demo-settings-v1\0\0\0\0\0\0\0\0\0\0\0";

/// Why nothing was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// The sectors hold something that is not ours; it is left alone.
    Foreign,
    /// The flash failed.
    Flash,
}

/// Where the record in force is.
#[derive(Debug, Clone, Copy)]
struct Current {
    sector: u32,
    number: u32,
    /// Places used or not blank.
    used: u32,
    /// Written since power came on, thus beyond doubt.
    fresh: bool,
}

/// Keeps a [`Saved`] in the two sectors of `P`.
pub struct Store<P> {
    flash: P,
    current: Option<Current>,
    saved: Saved,
    foreign: bool,
}

impl<P: NorFlash> Store<P> {
    /// Reads what is kept. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Flash`].
    pub fn open(flash: P) -> Result<Self, StoreError> {
        let mut store = Self {
            flash,
            current: None,
            saved: Saved::default(),
            foreign: false,
        };
        let (mut strange, mut marked) = (false, false);
        for sector in 0..2 {
            store.scan(sector)?;
            let marker = store.marker(sector)?;
            marked |= marker == MARKER;
            // Programs only clear bits: cut short, all bits of the marker are
            // still set, as they are in a blank sector.
            strange |= marker.iter().zip(MARKER).any(|(b, m)| b & m != m);
            strange |= marker == BLANK && !store.is_blank(sector)?;
        }
        // One record or marker says that both sectors are ours.
        store.foreign = strange && !marked && store.current.is_none();
        Ok(store)
    }

    /// What is kept; empty when there is nothing.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Whether the sectors hold something else, which is left alone.
    pub fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Takes over the newest record of `sector`, if it is newer than what is known.
    fn scan(&mut self, sector: u32) -> Result<(), StoreError> {
        let mut newest: Option<(u32, Saved)> = None;
        let mut used = 0;
        for place in 0..PLACES {
            let record = self.read(at(sector, place))?;
            if record != [0xFF; RECORD] {
                used = place + 1;
            }
            if let Some((number, saved)) = decode(&record)
                // Of two with one number the first is a torn write that was not
                // readable when the second was made.
                && newest.as_ref().is_none_or(|(n, _)| number >= *n)
            {
                newest = Some((number, saved));
            }
        }
        if let Some((number, saved)) = newest
            && self.current.is_none_or(|c| number > c.number)
        {
            self.saved = saved;
            self.current = Some(Current {
                sector,
                number,
                used,
                fresh: false,
            });
        }
        Ok(())
    }

    fn marker(&mut self, sector: u32) -> Result<[u8; MARKER.len()], StoreError> {
        let mut marker = [0; MARKER.len()];
        self.flash
            .read(base(sector), &mut marker)
            .map_err(|_| StoreError::Flash)?;
        Ok(marker)
    }

    fn is_blank(&mut self, sector: u32) -> Result<bool, StoreError> {
        let mut unit = BLANK;
        for offset in (base(sector)..base(sector + 1)).step_by(BLANK.len()) {
            self.flash
                .read(offset, &mut unit)
                .map_err(|_| StoreError::Flash)?;
            if unit != BLANK {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn mark(&mut self, sector: u32) -> Result<(), StoreError> {
        if self.marker(sector)? != MARKER {
            self.flash
                .write(base(sector), &MARKER)
                .map_err(|_| StoreError::Flash)?;
        }
        Ok(())
    }

    fn read(&mut self, offset: u32) -> Result<[u8; RECORD], StoreError> {
        let mut record = [0; RECORD];
        self.flash
            .read(offset, &mut record)
            .map_err(|_| StoreError::Flash)?;
        Ok(record)
    }

    /// Keeps `saved`. When this returns it survives any power cut; when power is
    /// cut before, either the old or the new record is there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        if self.foreign {
            return Err(StoreError::Foreign);
        }
        if self.current.is_some() && *saved == self.saved {
            return Ok(());
        }
        // The last place of a sector is kept for the copy before the move.
        if let Some(current) = self.current {
            // What was blank at start may be half programmed: the first record
            // since then leaves a place out.
            let first = current.used + u32::from(!current.fresh);
            for place in first..PLACES - 1 {
                if self.append(current.sector, place, current.number, saved)? {
                    return Ok(());
                }
            }
            if !current.fresh {
                let old = self.saved.clone();
                let place = PLACES - 1;
                if current.used < PLACES {
                    // Should the place not take it, the record in force stays as
                    // it is: it has been read back once.
                    self.append(current.sector, place, current.number, &old)?;
                }
            }
        }
        let (sector, number) = match self.current {
            // Above whatever torn records of the full sector may turn up.
            Some(current) => (1 - current.sector, current.number.wrapping_add(JUMP)),
            None => {
                self.mark(1)?;
                (0, 0)
            }
        };
        self.flash
            .erase(base(sector), base(sector + 1))
            .map_err(|_| StoreError::Flash)?;
        self.mark(sector)?;
        for place in 0..PLACES - 1 {
            if self.append(sector, place, number, saved)? {
                return Ok(());
            }
        }
        Err(StoreError::Flash)
    }

    /// Writes a record and reads it back; `false` when this place does not take
    /// it.
    fn append(
        &mut self,
        sector: u32,
        place: u32,
        before: u32,
        saved: &Saved,
    ) -> Result<bool, StoreError> {
        let offset = at(sector, place);
        if self.read(offset)? != [0xFF; RECORD] {
            return Ok(false);
        }
        let number = before.wrapping_add(1);
        let record = encode(number, saved);
        let written = self.flash.write(offset, &record).is_ok();
        if !written || self.read(offset)? != record {
            return Ok(false);
        }
        self.saved = saved.clone();
        self.current = Some(Current {
            sector,
            number,
            used: place + 1,
            fresh: true,
        });
        Ok(true)
    }
}

const fn base(sector: u32) -> u32 {
    sector * 4096
}

const fn at(sector: u32, place: u32) -> u32 {
    base(sector) + (place + 1) * PLACE
}

fn encode(number: u32, saved: &Saved) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    if let Some((covered, crc)) = record.split_last_chunk_mut::<4>() {
        if let Some((head, rest)) = covered.split_first_chunk_mut::<4>() {
            *head = number.to_le_bytes();
            if let Some(data) = rest.first_chunk_mut::<SAVED_LEN>() {
                *data = saved.to_bytes();
            }
        }
        *crc = ota_verify::crc32(covered).to_le_bytes();
    }
    record
}

fn decode(record: &[u8; RECORD]) -> Option<(u32, Saved)> {
    let (covered, crc) = record.split_last_chunk::<4>()?;
    if ota_verify::crc32(covered) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (number, rest) = covered.split_first_chunk::<4>()?;
    let saved = Saved::from_bytes(rest.first_chunk()?)?;
    Some((u32::from_le_bytes(*number), saved))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ota_flash::sim::{CutVariant, SimFlash};

    fn saved(n: u32) -> Saved {
        Saved {
            device_name: format!("device-{n}").as_str().try_into().unwrap(),
            ..Saved::default()
        }
    }

    fn blank() -> SimFlash {
        SimFlash::new(0x2000)
    }

    #[test]
    fn the_newest_is_kept_through_many_changes() {
        let mut flash = blank();
        assert_eq!(*Store::open(&mut flash).unwrap().saved(), Saved::default());
        for n in 0..40 {
            let mut store = Store::open(&mut flash).unwrap();
            store.save(&saved(n)).unwrap();
            store.save(&saved(n + 100)).unwrap();
            assert_eq!(*store.saved(), saved(n + 100));
            let again = Store::open(&mut flash).unwrap();
            assert_eq!(*again.saved(), saved(n + 100));
        }
        assert!(flash.stats().erases <= 40, "{}", flash.stats().erases);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        // The head of a key-value sector of AliOS Things, and arbitrary bytes.
        for (offset, bytes) in [(0, &b"K\x01\x01\x03key"[..]), (0x1800, &[0; 4])] {
            let mut flash = blank();
            flash.load(offset, bytes);
            let before = flash.dump(0, 0x2000);
            let mut store = Store::open(&mut flash).unwrap();
            assert!(store.is_foreign());
            assert_eq!(store.save(&saved(1)), Err(StoreError::Foreign));
            assert_eq!(flash.dump(0, 0x2000), before);
        }
    }

    #[test]
    fn saving_the_same_again_costs_nothing() {
        let mut flash = blank();
        let mut store = Store::open(&mut flash).unwrap();
        store.save(&saved(1)).unwrap();
        let ops = store.flash.ops();
        store.save(&saved(1)).unwrap();
        assert_eq!(store.flash.ops(), ops);
    }

    /// Every operation of every save of a history is cut, in every way, and then
    /// the first operations of what comes after are cut again.
    #[test]
    fn no_power_cut_loses_the_record() {
        let variants = CutVariant::for_erase(7);
        let mut cuts = 0;
        let mut start = blank();
        for n in 1..20 {
            let mut clean = start.clone();
            let begin = clean.ops();
            Store::open(&mut clean).unwrap().save(&saved(n)).unwrap();
            for op in begin..clean.ops() {
                for variant in &variants {
                    let mut flash = start.clone();
                    flash.cut_at(op, *variant);
                    let done = Store::open(&mut flash)
                        .and_then(|mut store| store.save(&saved(n)))
                        .is_ok();
                    assert!(!done && flash.fired().is_some());
                    cuts += 1;
                    flash.power_on();
                    let found = check(&mut flash, n, None);
                    // The next change is cut as well, early and late.
                    for second in 0..16 {
                        let mut flash = flash.clone();
                        let at = flash.ops() + second;
                        flash.cut_at(at, *variant);
                        let result =
                            Store::open(&mut flash).and_then(|mut s| s.save(&saved(n + 1)));
                        flash.cancel_cut();
                        flash.power_on();
                        check(&mut flash, n, Some((&found, result.is_ok())));
                    }
                }
            }
            start = clean;
        }
        assert!(cuts > 1000, "{cuts}");
    }

    /// The record is `n - 1`, `n` or, after a second change, `n + 1`; and it can
    /// be changed.
    fn check(flash: &mut SimFlash, n: u32, second: Option<(&Saved, bool)>) -> Saved {
        let store = Store::open(&mut *flash).unwrap();
        assert!(!store.is_foreign());
        let found = store.saved().clone();
        let first = if n == 1 {
            Saved::default()
        } else {
            saved(n - 1)
        };
        match second {
            None => assert!(found == first || found == saved(n), "{found:?}"),
            Some((_, true)) => assert_eq!(found, saved(n + 1)),
            // An unstable record may be there at one time and not at another.
            Some((_, false)) => assert!(
                found == first || found == saved(n) || found == saved(n + 1),
                "{found:?}"
            ),
        }
        let mut copy = flash.clone();
        let mut store = Store::open(&mut copy).unwrap();
        store.save(&saved(1000)).unwrap();
        assert_eq!(*Store::open(&mut copy).unwrap().saved(), saved(1000));
        found
    }
}
