//! `ota-flash` and `ota-bootlib`.

use crate::bare::{Flash, input, number};
use core::cell::RefCell;
use core::hint::black_box;
use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
use hal_mk3060::PARTITIONS;
use ota_bootlib::{
    Config, ImageCheck, Journal, Partitions, Request, Strategy, VerdictGuard, start_up,
};
use ota_flash::{GuardedPartition, PartitionId, StreamWriter};
use ota_verify::{Coding, Policy};

pub fn probe() {
    let flash = RefCell::new(Flash);
    let open = |id| PARTITIONS.open(&flash, id);
    let (Ok(active), Ok(update), Ok(journal), Ok(mut mailbox)) = (
        open(PartitionId::Application),
        open(PartitionId::OtaTemp),
        open(PartitionId::RecoveryBackPara),
        open(PartitionId::Parameter1),
    ) else {
        return;
    };
    black_box(mailbox.erase(number(), number()).is_ok());
    black_box(mailbox.write(number(), input()).is_ok());
    black_box(mailbox.read(number(), &mut [0; 64]).is_ok());

    let mut writer = StreamWriter::<_, 256>::new(update);
    black_box(writer.prepare(number()).is_ok());
    black_box(writer.write(input()).is_ok());
    black_box(writer.finish().is_ok());
    writer.restart(number());

    let mut parts = Partitions {
        active,
        update,
        journal,
        mailbox: Some(mailbox),
    };
    let mut check = ImageCheck {
        policy: &Policy::DEFAULT,
        keys: &[],
        coding: Coding::Plain,
    };
    let config = Config::default();
    black_box(start_up(
        &mut parts,
        &mut check,
        &mut (),
        &config,
        &mut [0; 4096],
    ));

    let Ok(mut journal) = Journal::open(parts.journal) else {
        return;
    };
    let request = Request::image(Strategy::Swap, number(), [number() as u8; 32]);
    black_box(journal.request(&request, &mut ()).is_ok());
    black_box(journal.confirm(number() != 0, &mut ()).is_ok());
    black_box(journal.revert(&mut ()).is_ok());
    black_box(
        journal
            .offer_failed(&[number() as u8; 16], true, &mut ())
            .is_ok(),
    );
    let guard = VerdictGuard {
        journal: &mut journal,
        hooks: &mut (),
    };
    let mut guarded = GuardedPartition::new(parts.active, guard);
    black_box(guarded.erase(number(), number()).is_ok());
}
