//! The drivers of `hal-mk3060` on the host, against the board model.

use embedded_storage::nor_flash::{NorFlash, NorFlashErrorKind, ReadNorFlash};
use hal_mk3060::flash::{Flash, FlashErrorKind};
use hal_mk3060::regs::{Bus, flash as regs};
use hal_mk3060::timer::Tick;
use hal_mk3060::uart::{Port, Ring, Uart};
use hal_mk3060::watchdog::Watchdog;
use hal_mk3060::{PARTITIONS, Window};
use mk3060_sim::{Board, Fault, HostBus, Time};
use ota_flash::PartitionId;

fn board() -> HostBus {
    HostBus::new(Board::new())
}

fn no_fault(board: &HostBus) {
    assert_eq!(board.board().take_fault(), None);
}

#[test]
fn flash_lifts_protection_writes_and_puts_it_back() {
    let board = board();
    let found = board.board().flash.chip_status();
    assert!(found.is_protected());
    let mut flash = Flash::new(&board);
    flash.erase(0x10_1000, 0x10_3000).unwrap();
    let data: Vec<u8> = (0..96).collect();
    flash.write(0x10_1020, &data).unwrap();
    assert!(!board.board().flash.chip_status().is_protected());

    let mut read = [0; 50];
    flash.read(0x10_1020 + 7, &mut read).unwrap();
    assert_eq!(read[..], data[7..57]);
    let mut around = [0; 34];
    flash.read(0x10_101F, &mut around).unwrap();
    assert_eq!((around[0], around[1], around[33]), (0xFF, 0, 32));

    flash.restore_protection();
    assert_eq!(board.board().flash.chip_status(), found);
    let counts = board.board().flash.counts;
    assert_eq!(
        (counts.erases, counts.programs, counts.status_writes),
        (2, 3, 2)
    );
    no_fault(&board);
}

#[test]
fn an_unprotected_status_register_is_not_written() {
    let board = board();
    board.board().flash.set_chip_status(regs::ChipStatus::new());
    let mut flash = Flash::new(&board);
    flash.write(0x1_A000, &[0; 32]).unwrap();
    flash.restore_protection();
    assert_eq!(board.board().flash.counts.status_writes, 0);
    no_fault(&board);
}

#[test]
fn quad_enable_survives_the_lifting() {
    let board = board();
    let status = regs::ChipStatus::new()
        .with_block_protect(0x14)
        .with_complement(true)
        .with_quad_enable(true);
    board.board().flash.set_chip_status(status);
    Flash::new(&board).erase(0x1_A000, 0x1_B000).unwrap();
    let now = board.board().flash.chip_status();
    assert!(now.quad_enable() && !now.is_protected());
    no_fault(&board);
}

#[test]
fn flash_refuses_what_does_not_fit() {
    let board = board();
    let mut flash = Flash::new(&board);
    let kind = |result: Result<(), hal_mk3060::flash::FlashError>| result.unwrap_err().kind;
    assert_eq!(kind(flash.write(16, &[0; 32])), FlashErrorKind::NotAligned);
    assert_eq!(kind(flash.write(0, &[0; 31])), FlashErrorKind::NotAligned);
    assert_eq!(
        kind(flash.write(0x1F_FFE0, &[0; 64])),
        FlashErrorKind::OutOfBounds
    );
    assert_eq!(kind(flash.erase(0x800, 0x1000)), FlashErrorKind::NotAligned);
    assert_eq!(
        kind(flash.erase(0x2000, 0x1000)),
        FlashErrorKind::OutOfBounds
    );
    assert_eq!(
        kind(flash.read(0x20_0000, &mut [0])),
        FlashErrorKind::OutOfBounds
    );
    assert_eq!(board.board().flash.counts.programs, 0);
}

#[test]
fn a_unit_that_does_not_take_is_reported_with_its_place() {
    let board = board();
    let mut flash = Flash::new(&board);
    flash.write(0x1_A000, &[0x0F; 32]).unwrap();
    // Bits cannot be set again without an erase.
    let error = flash.write(0x1_A000, &[0xF0; 32]).unwrap_err();
    assert_eq!(
        (error.offset, error.kind),
        (0x1_A000, FlashErrorKind::ReadBack)
    );
}

#[test]
fn a_window_is_its_partition_only() {
    let board = board();
    let found = board.board().flash.chip_status();
    assert_eq!(Window::chip_status(&&board), found);
    let entry = PARTITIONS.get(PartitionId::OtaTemp).unwrap();
    let mut window = Window::new(&board, entry);
    assert_eq!(window.capacity(), 0xE_5000);
    window.erase(0x1000, 0x3000).unwrap();
    let data: Vec<u8> = (0..96).collect();
    window.write(0x1020, &data).unwrap();
    let mut flash = Flash::new(&board);
    for (from, len) in [(0, 96), (7, 50), (31, 2), (33, 0), (95, 20), (96, 1)] {
        let (mut a, mut b) = (vec![0; len], vec![0; len]);
        window.read(0x1020 + from, &mut a).unwrap();
        flash.read(0x10_2020 + from, &mut b).unwrap();
        assert_eq!(a, b, "{from} {len}");
    }
    Window::restore(&&board, found);
    Window::restore(&&board, found);
    assert_eq!(board.board().flash.chip_status(), found);
    let counts = board.board().flash.counts;
    assert_eq!(
        (counts.erases, counts.programs, counts.status_writes),
        (2, 3, 2)
    );
    for (offset, len, kind) in [
        (0xE_4FE0, 64, NorFlashErrorKind::OutOfBounds),
        (u32::MAX, 64, NorFlashErrorKind::OutOfBounds),
        (16, 32, NorFlashErrorKind::NotAligned),
        (0, 31, NorFlashErrorKind::NotAligned),
    ] {
        assert_eq!(window.write(offset, &[0; 64][..len]), Err(kind));
    }
    for (from, to, kind) in [
        (0xE_4000, 0xE_6000, NorFlashErrorKind::OutOfBounds),
        (0x2000, 0x1000, NorFlashErrorKind::OutOfBounds),
        (0x800, 0x1000, NorFlashErrorKind::NotAligned),
    ] {
        assert_eq!(window.erase(from, to), Err(kind));
    }
    let end = window.read(0xE_5000, &mut [0]);
    assert_eq!(end, Err(NorFlashErrorKind::OutOfBounds));
    assert_eq!(board.board().flash.counts.programs, 3);
    no_fault(&board);
}

#[test]
fn a_window_feeds_the_watchdog() {
    let board = board();
    Watchdog::new(&board).start(100);
    let mut window = Window::new(&board, PARTITIONS.get(PartitionId::OtaTemp).unwrap());
    for _ in 0..3 {
        assert!(!bites_within(&board, 90));
        window.read(0, &mut [0]).unwrap();
    }
    assert!(bites_within(&board, 101));
}

#[test]
fn the_controller_refuses_what_hardware_would_refuse() {
    let start = |op: regs::Op, address: u32| {
        u32::from(
            regs::Operate::new()
                .with_address(address)
                .with_op(op as u8)
                .with_start(true),
        )
    };
    let refused = |writes: &[(u32, u32)]| {
        let board = board();
        for &(address, value) in writes {
            board.write(address, value);
        }
        match board.board().take_fault() {
            Some(Fault::FlashCommand { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    let operate = regs::OPERATE.address();
    let standard = (regs::CONFIG.address(), 0);
    assert_eq!(
        refused(&[standard, (operate, start(regs::Op::PageProgram, 0x1_A000))]),
        "the sector is write protected"
    );
    assert_eq!(
        refused(&[standard, (operate, start(regs::Op::PageProgram, 0x1_A010))]),
        "not at a multiple of 32 bytes"
    );
    assert_eq!(
        refused(&[(operate, start(regs::Op::PageProgram, 0x1_A000))]),
        "not in standard line mode"
    );
    assert_eq!(
        refused(&[(operate, start(regs::Op::SectorErase, 0x1_A000))]),
        "the sector is write protected"
    );
    assert_eq!(
        refused(&[(operate, start(regs::Op::WriteStatus2, 0))]),
        "CPU writes are not enabled"
    );
    assert_eq!(refused(&[(operate, 9 << 24 | 1 << 29)]), "no such command");
}

#[test]
fn reserved_registers_are_reported() {
    for address in [
        0x0080_3018,
        0x0080_2020,
        0x0080_2120,
        0x0080_2A40,
        0x0090_0000,
    ] {
        let board = board();
        board.read(address);
        assert!(matches!(
            board.board().take_fault(),
            Some(Fault::Unmapped { address: at, .. }) if at == address
        ));
    }
}

#[test]
fn the_uart_loses_what_comes_while_the_flash_is_busy() {
    let board = board();
    let uart = Uart::new(&board, Port::Uart2, 921_600);
    let ring = Ring::<512>::new();
    uart.enable_receive_interrupt();
    board.board().send(2, &[7; 300]);
    // 50 ms of erase: 300 bytes arrive, the FIFO holds 128.
    let mut flash = Flash::new(&board);
    flash.erase(0x1_A000, 0x1_B000).unwrap();
    uart.drain(&ring);
    assert_eq!((ring.len(), ring.lost()), (128, 1));
    assert_eq!(board.board().uarts[1].lost, 172);
}

#[test]
fn uart_bytes_arrive_and_leave_at_the_line_rate() {
    let board = board();
    let uart = Uart::new(&board, Port::Uart1, 921_600);
    let begin = board.board().now();
    uart.send_all(&[0x55; 1000]);
    uart.wait_sent();
    let span = board.board().now().since(begin).as_micros();
    // 26 MHz / 28 = 928 571 baud: 10.769 us a byte.
    assert!((10_765..10_800).contains(&span), "{span}");
    assert_eq!(board.board().uarts[0].take_from_board(), [0x55; 1000]);
    board.board().send(1, b"w");
    assert_eq!(uart.poll(), None);
    let mut one = [0];
    let mut uart = uart;
    embedded_io::Read::read(&mut uart, &mut one).unwrap();
    assert_eq!(one, *b"w");
    no_fault(&board);
}

#[test]
fn a_tick_is_a_millisecond() {
    let board = board();
    let tick = Tick::start(&board, 0);
    let begin = board.board().now();
    for _ in 0..20 {
        while !tick.take() {}
    }
    let span = board.board().now().since(begin).as_micros();
    assert!((19_990..20_010).contains(&span), "{span}");
    tick.stop();
    no_fault(&board);
}

#[test]
fn the_watchdog_counts_only_with_its_clock_on() {
    let board = board();
    let mut watchdog = Watchdog::new(&board);
    watchdog.start(100);
    assert!(!bites_within(&board, 99));
    watchdog.feed();
    assert!(!bites_within(&board, 99));
    watchdog.stop();
    assert!(!bites_within(&board, 500));
    watchdog.start(100);
    assert!(bites_within(&board, 101));
    no_fault(&board);
}

/// Lets `ms` pass, register read by register read.
fn bites_within(board: &HostBus, ms: u64) -> bool {
    let end = board.board().now() + Time::millis(ms);
    while board.board().now() < end {
        board.read(0x0080_2900);
        if board.board().watchdog_bites() {
            return true;
        }
    }
    false
}
