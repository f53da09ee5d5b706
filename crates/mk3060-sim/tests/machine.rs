//! The machine without images.

use hal_mk3060::memory::LOADER_START;
use mk3060_sim::{Armv4t, Cpu, Limit, Machine, Stop, Time, load_code};

/// A program that hangs takes the time and the instructions that it takes when
/// each of them is looked at.
#[test]
fn a_branch_to_itself_ends_where_it_would() {
    // mov r0, #1; b . / add r0, pc, #1; bx r0; b . in Thumb state
    let arm = [0xE3A0_0001_u32, 0xEAFF_FFFE];
    let thumb = [0xE28F_0001, 0xE12F_FF10, 0xE7FE_E7FE];
    for code in [&arm[..], &thumb] {
        let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut machine = Machine::new();
        load_code(&mut machine, LOADER_START, &bytes);
        machine.power_on().unwrap();
        let few = Limit {
            instructions: 1000,
            ..Limit::NONE
        };
        for limit in [
            few,
            Limit::until(Time::micros(77)),
            Limit::until(Time::millis(3)),
        ] {
            let (mut fast, mut slow) = (machine.clone(), machine.clone());
            let mut seen = 0_u64;
            assert_eq!(fast.run(limit), Stop::Limit);
            let stop = slow.run_observed(limit, &mut |_: u32, _: &Armv4t, _: u64| seen += 1);
            assert_eq!(stop, Stop::Limit);
            assert_eq!(seen, slow.instructions());
            assert_eq!(fast.instructions(), slow.instructions());
            assert_eq!(fast.board.now(), slow.board.now());
            assert_eq!(fast.cpu.pc(), slow.cpu.pc());
        }
    }
}
