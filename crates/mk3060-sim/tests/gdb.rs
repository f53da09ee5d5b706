//! The debugger's side of `--gdb`, spoken by hand over TCP.

use hal_mk3060::regs::flash::ChipStatus;
use mk3060_sim::host::{Session, gdb};
use mk3060_sim::{Machine, load_code};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// Counts in RAM for ever; the third round erases the sector at 0x1A000.
const PROGRAM: [u32; 11] = [
    0xE3A0_0501, // 12000: mov r0, #0x400000
    0xE3A0_1000, // 12004: mov r1, #0
    0xE281_1001, // 12008: add r1, r1, #1
    0xE580_1100, // 1200c: str r1, [r0, #0x100]
    0xE351_0003, // 12010: cmp r1, #3
    0x059F_300C, // 12014: ldreq r3, [pc, #12]
    0x03A0_2502, // 12018: moveq r2, #0x800000
    0x0282_2A03, // 1201c: addeq r2, r2, #0x3000
    0x0582_3000, // 12020: streq r3, [r2]
    0xEAFF_FFF7, // 12024: b 12008
    0x2D01_A000, // 12028: erase, start
];

/// A debugger.
struct Debugger {
    stream: TcpStream,
    board: JoinHandle<u64>,
}

impl Debugger {
    fn attach() -> Self {
        let mut machine = Machine::new();
        let code: Vec<u8> = PROGRAM.iter().flat_map(|word| word.to_le_bytes()).collect();
        load_code(&mut machine, 0x1_2000, &code);
        machine.board.flash.set_chip_status(ChipStatus::new());
        machine.board.flash.load(0x1_A000, &[0x5A; 64]);
        machine.power_on().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let board = std::thread::spawn(move || {
            let (connection, _) = listener.accept().unwrap();
            let mut session = Session::new(machine, None, None);
            gdb::serve(&mut session, connection, &mut |_| Ok(())).unwrap();
            session.machine.instructions()
        });
        Self { stream, board }
    }

    fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream
            .read_exact(&mut byte)
            .expect("an answer in time");
        byte[0]
    }

    fn send(&mut self, packet: &str) {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        write!(self.stream, "${packet}#{sum:02x}").unwrap();
    }

    /// The next packet, its check sum checked and run lengths expanded.
    fn answer(&mut self) -> String {
        while self.byte() != b'$' {}
        let (mut raw, mut text) = (Vec::new(), Vec::new());
        loop {
            match self.byte() {
                b'#' => break,
                byte => raw.push(byte),
            }
        }
        let sum = [self.byte(), self.byte()];
        let wanted = raw.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!(std::str::from_utf8(&sum).unwrap(), format!("{wanted:02x}"));
        self.stream.write_all(b"+").unwrap();
        let mut bytes = raw.into_iter();
        while let Some(byte) = bytes.next() {
            if byte == b'*' {
                let count = bytes.next().expect("a run length") - 29;
                let last = *text.last().expect("something to repeat");
                text.extend(std::iter::repeat_n(last, count.into()));
            } else {
                text.push(byte);
            }
        }
        String::from_utf8(text).unwrap()
    }

    fn ask(&mut self, packet: &str) -> String {
        self.send(packet);
        self.answer()
    }

    /// Register `number` of `g`.
    fn register(&mut self, number: usize) -> u32 {
        let all = self.ask("g");
        let hex = &all[number * 8..number * 8 + 8];
        u32::from_str_radix(hex, 16).unwrap().swap_bytes()
    }

    fn pc(&mut self) -> u32 {
        self.register(15)
    }

    /// `monitor COMMAND`: what it prints.
    fn monitor(&mut self, command: &str) -> String {
        let hex: String = command.bytes().map(|b| format!("{b:02x}")).collect();
        let mut text = String::new();
        let mut answer = self.ask(&format!("qRcmd,{hex}"));
        while let Some(hex) = answer.strip_prefix('O').filter(|hex| *hex != "K") {
            for pair in hex.as_bytes().chunks(2) {
                let pair = std::str::from_utf8(pair).unwrap();
                text.push(char::from(u8::from_str_radix(pair, 16).unwrap()));
            }
            answer = self.answer();
        }
        assert_eq!(answer, "OK");
        text
    }

    /// Takes leave; instructions that were executed.
    fn detach(mut self) -> u64 {
        assert_eq!(self.ask("D"), "OK");
        self.board.join().unwrap()
    }
}

#[test]
fn registers_memory_steps() {
    let mut gdb = Debugger::attach();
    assert!(
        gdb.ask("qSupported:swbreak+;hwbreak+")
            .contains("PacketSize=")
    );
    assert!(gdb.ask("?").starts_with('S') || gdb.ask("?").starts_with('T'));
    assert_eq!(gdb.pc(), 0x1_2000);
    for expected in [0x1_2004, 0x1_2008, 0x1_200C, 0x1_2010] {
        assert!(gdb.ask("s").starts_with('S'), "a stop");
        assert_eq!(gdb.pc(), expected);
    }
    assert_eq!((gdb.register(0), gdb.register(1)), (0x40_0000, 1));
    // RAM can be read and written, code and the flash chip can be read.
    assert_eq!(gdb.ask("m400100,4"), "01000000");
    assert_eq!(gdb.ask("M400104,4:efbeadde"), "OK");
    assert_eq!(gdb.ask("m400100,8"), "01000000efbeadde");
    assert_eq!(gdb.ask("m12000,8"), "0105a0e30010a0e3");
    assert_eq!(gdb.ask("m90013200,4"), "0105a0e3");
    assert_eq!(gdb.ask("m9001a000,2"), "5a5a");
    assert!(
        gdb.ask("m803000,4").starts_with('E'),
        "registers stay untouched"
    );
    assert!(gdb.ask("M12000,1:00").starts_with('E'), "code is in flash");
    // Registers can be set: go back to the start.
    let all = gdb.ask("g");
    let mut new = all.clone();
    new.replace_range(15 * 8..16 * 8, "00200100");
    new = new.replace('x', "0");
    assert_eq!(gdb.ask(&format!("G{new}")), "OK");
    assert_eq!(gdb.pc(), 0x1_2000);
    assert_eq!(gdb.detach(), 4);
}

#[test]
fn breakpoints_and_reset() {
    let mut gdb = Debugger::attach();
    assert_eq!(gdb.ask("Z0,12010,4"), "OK");
    for round in 1..=2 {
        assert!(gdb.ask("c").starts_with("T05"));
        assert_eq!((gdb.pc(), gdb.register(1)), (0x1_2010, round));
    }
    assert!(
        gdb.monitor("time")
            .contains(" 12 instructions, 0 flash operations")
    );
    assert!(gdb.monitor("reset").contains("next is 0x00012000"));
    assert_eq!(gdb.pc(), 0x1_2000);
    assert!(gdb.monitor("what").contains("monitor reset"));
    assert_eq!(gdb.ask("z0,12010,4"), "OK");
    // Ctrl-C stops what runs for ever.
    gdb.send("c");
    gdb.stream.write_all(&[3]).unwrap();
    let stop = gdb.answer();
    assert!(stop.starts_with("S02") || stop.starts_with("T02"), "{stop}");
    assert!(gdb.detach() >= 12);
}

#[test]
fn watchpoints_on_ram_and_flash() {
    let mut gdb = Debugger::attach();
    assert_eq!(gdb.ask("Z2,400100,4"), "OK");
    let stop = gdb.ask("c");
    assert!(
        stop.contains("watch:400100") || stop.contains("watch:00400100"),
        "{stop}"
    );
    assert_eq!(gdb.pc(), 0x1_2010, "behind the store");
    assert_eq!(gdb.ask("z2,400100,4"), "OK");
    assert_eq!(gdb.ask("Z2,9001a020,20"), "OK");
    let stop = gdb.ask("c");
    assert!(stop.contains("watch:9001a020"), "{stop}");
    assert_eq!((gdb.pc(), gdb.register(1)), (0x1_2024, 3));
    assert_eq!(gdb.ask("m9001a020,2"), "ffff", "erased");
    assert!(gdb.monitor("time").contains(" 1 flash operations"));
    gdb.detach();
}
