//! Instructions and RAM of the shipped images, counted where they run.

use crate::board::{board, board_with, expect, run_to_flash, run_to_reset, tell};
use crate::images::{file, packed, tiny};
use crate::scripted::Scripted;
use crate::symbols::{self, Symbol};
use crate::{StackUse, app, symbol};
use hal_mk3060::memory::{APP_START, LOADER_START, RAM_END, RAM_START};
use mk3060_sim::{Armv4t, Cpu, Limit, Machine, Observer, Stop, load_code};
use ota_verify::build::PrivateKey;

/// The board's calls of interest are shorter; more is a hang.
const MOST: u64 = 1_000_000_000;

/// The key pair whose public half the loader `boot2-signed.bin` holds.
///
/// # Panics
/// When the repository's test key cannot be read.
#[must_use]
pub fn test_key() -> PrivateKey {
    PrivateKey::from_pem(include_str!(
        "../../ota-verify/tests/vectors/rsa-2048.key.pem"
    ))
    .expect("the test key")
}

/// A figure, and what it must not exceed.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What was counted.
    pub what: String,
    /// How many.
    pub value: u64,
    /// At most.
    pub limit: Option<u64>,
}

impl Figure {
    /// Whether it is within its limit.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.value <= limit)
    }
}

impl core::fmt::Display for Figure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:<66} {:>10}", self.what, self.value)?;
        match self.limit {
            Some(limit) => write!(f, "  (at most {limit})"),
            None => Ok(()),
        }
    }
}

/// All figures.
///
/// # Panics
/// When the images are not there or do not run.
#[must_use]
pub fn measure() -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |what: &str, value: u64, limit: Option<u64>| {
        figures.push(Figure {
            what: what.into(),
            value,
            limit,
        });
    };
    let (instructions, reads) = confirmed_start();
    add(
        "start of a confirmed image, instructions behind the key's 100 ms",
        instructions,
        None,
    );
    add("start of a confirmed image, flash units read", reads, None);
    let loader = symbols::read("boot2");
    add(
        "boot2: SHA-256, instructions per KiB",
        per_kib(&loader, "::sha256_compress", &["sha256", "Sha256"]),
        Some(66_000),
    );
    add(
        "boot2: MD5, instructions per KiB",
        per_kib(&loader, "::md5_compress", &["md5", "Md5"]),
        None,
    );
    add(
        "otaapp: SHA-256, instructions per KiB (its block function)",
        app_sha256(),
        Some(40_000),
    );
    add(
        "boot2: RSA-2048 verify, instructions",
        rsa_verify(),
        Some(1_700_000),
    );
    for (what, statics, stack) in ram() {
        add(
            &format!("boot2: bytes of deepest stack, {what}"),
            stack,
            Some(8192),
        );
        // A workspace for patches is large, and lies where nothing else runs yet.
        let limit = (!what.contains("patches")).then_some(8192);
        add(
            &format!("boot2: the same and statics, {what}"),
            stack + statics,
            limit,
        );
    }
    app_ram(&mut add);
    figures
}

/// The application's statics and stacks through an update: version 1 to the reset,
/// version 2 to its confirmation.
fn app_ram(add: &mut impl FnMut(&str, u64, Option<u64>)) {
    let end = app_statics_end();
    let mut world = Scripted::new(&app("app-1.0.0"), &app("app-2.0.0"));
    world.desk.watch_stack(end);
    world.update();
    let stack = world.desk.stack_use();
    let room = u64::from(StackUse::room(end));
    add(
        "otaapp: bytes of statics",
        u64::from(end - hal_mk3060::memory::RAM_FREE),
        None,
    );
    // The other half is for what no test has come across.
    add(
        "otaapp: bytes of deepest stack, of twice as many that are left for it",
        stack.program.into(),
        Some(room / 2),
    );
    add(
        "otaapp: bytes of deepest stack, interrupts",
        stack.interrupts.into(),
        Some(u64::from(StackUse::INTERRUPTS) / 2),
    );
    add(
        "otaapp: bytes of deepest stack, exceptions",
        stack.exceptions.into(),
        Some(0),
    );
}

/// Where the statics of all applications have ended.
#[must_use]
pub fn app_statics_end() -> u32 {
    let end = |name: &str| symbols::address(&symbols::read(name), "_ram_end");
    let ends = ["otaapp", "otaapp-2", "secure/otaapp"].map(end);
    ends.into_iter().max().unwrap_or_default()
}

/// Instructions and flash reads of a start from the loader's first look at
/// the flash to the application.
fn confirmed_start() -> (u64, u64) {
    let mut machine = board(&tiny("tiny-1.0.0", 0, 0), &[]);
    expect(&mut machine, "tiny-1.0.0 started");
    machine.board.send(1, b"r");
    run_to_reset(&mut machine);
    run_to_flash(&mut machine);
    let before = (machine.instructions(), machine.board.flash.counts.reads);
    run_to_app(&mut machine, &mut ());
    (
        machine.instructions() - before.0,
        machine.board.flash.counts.reads - before.1,
    )
}

fn run_to_app(machine: &mut Machine, observer: &mut impl Observer<Armv4t>) {
    machine.add_breakpoint(APP_START);
    let limit = Limit {
        instructions: machine.instructions() + MOST,
        ..Limit::NONE
    };
    let stop = machine.run_observed(limit, observer);
    assert_eq!(stop, Stop::Breakpoint { address: APP_START });
    machine.remove_breakpoint(APP_START);
}

/// Instructions in all functions with one of `names` per KiB that `block` (64
/// bytes a call) takes in, while the loader verifies an image for the first time.
fn per_kib(symbols: &[Symbol], block: &str, names: &[&str]) -> u64 {
    let code = |symbol: &&Symbol| matches!(symbol.kind, 't' | 'T') && symbol.size > 0;
    let ours: Vec<_> = symbols
        .iter()
        .filter(code)
        .filter(|symbol| names.iter().any(|name| symbol.name.contains(name)))
        .filter(|symbol| !symbol.name.contains("rsa"))
        .map(|symbol| symbol.address..symbol.address + symbol.size)
        .collect();
    let blocks: Vec<_> = symbols
        .iter()
        .filter(code)
        .filter(|symbol| symbol.name.ends_with(block))
        .collect();
    assert_eq!(blocks.len(), 1, "one function {block}");
    let entry = blocks[0].address;
    let (mut calls, mut count) = (0, 0);
    let mut machine = board(&tiny("tiny-1.0.0", 0x1_0000, 0x5A), &[]);
    run_to_flash(&mut machine);
    run_to_app(&mut machine, &mut |pc: u32, _: &Armv4t, _: u64| {
        calls += u64::from(pc == entry);
        count += u64::from(ours.iter().any(|range| range.contains(&pc)));
    });
    assert!(calls > 1024, "the image is hashed: {calls} blocks");
    count * 16 / calls
}

/// A call of the function at `entry` from somewhere, until it returns there.
struct Call {
    entry: u32,
    begin: Option<(u32, u32, u64)>,
    /// Instructions of each call.
    counts: Vec<u64>,
}

impl Observer<Armv4t> for Call {
    fn instruction(&mut self, pc: u32, cpu: &Armv4t, count: u64) {
        match self.begin {
            None if pc == self.entry => {
                self.begin = Some((cpu.register(14) & !1, cpu.register(13), count));
            }
            Some((back, stack, begin)) if pc == back && cpu.register(13) == stack => {
                self.counts.push(count - begin);
                self.begin = None;
            }
            _ => {}
        }
    }
}

/// Instructions of an RSA check in the loader that demands signatures.
fn rsa_verify() -> u64 {
    let symbols = symbols::read("boot2-signed");
    let entry = symbols
        .iter()
        .find(|symbol| symbol.name.ends_with("RsaPublicKey>::verify_sha256"))
        .expect("the function that checks signatures");
    let mut call = Call {
        entry: entry.address,
        begin: None,
        counts: Vec::new(),
    };
    let image = packed("tiny-1.0.0", &file("tinyapp.bin"), Some(&test_key()));
    let mut machine = board_with("boot2-signed.bin", &image, &[]);
    run_to_flash(&mut machine);
    run_to_app(&mut machine, &mut call);
    assert_eq!(call.counts.len(), 1, "one signature is checked");
    call.counts[0]
}

/// SHA-256 of "abc".
const ABC: [u32; 8] = [
    0xBA78_16BF,
    0x8F01_CFEA,
    0x4141_40DE,
    0x5DAE_2223,
    0xB003_61A3,
    0x9617_7A9C,
    0xB410_FF61,
    0xF200_15AD,
];
const INIT: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// Instructions of the application's SHA-256 for a KiB: the function that takes
/// in a block is called where it lies in the image. That it is the right one shows
/// a known digest.
fn app_sha256() -> u64 {
    let mut machine = Machine::new();
    load_code(&mut machine, LOADER_START, &[0; 32]);
    load_code(&mut machine, APP_START, &file("otaapp.bin"));
    machine.power_on().expect("power");
    let (state, data) = (RAM_START + 0x100, RAM_START + 0x400);
    let put = |machine: &mut Machine, address: u32, bytes: &[u8]| {
        let at = (address - RAM_START) as usize;
        machine.board.ram_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let words = |words: [u32; 8]| {
        words
            .iter()
            .flat_map(|w| w.to_le_bytes())
            .collect::<Vec<_>>()
    };
    let mut block = [0; 64];
    block[..4].copy_from_slice(b"abc\x80");
    block[63] = 24;
    put(&mut machine, state, &words(INIT));
    put(&mut machine, data, &block);
    let compress = symbol("otaapp", "::sha256_compress");
    let count = call(&mut machine, compress, [state, data, 1]);
    let at = (state - RAM_START) as usize;
    assert_eq!(
        machine.board.ram()[at..at + 32],
        words(ABC),
        "SHA-256 of abc"
    );
    16 * count
}

/// Calls a function of the image in flash; instructions until it returns.
fn call(machine: &mut Machine, entry: u32, arguments: [u32; 3]) -> u64 {
    machine.cpu.start(entry);
    for (number, value) in arguments.into_iter().enumerate() {
        machine.cpu.set_register(number as u8, value);
    }
    machine.cpu.set_register(13, RAM_END - 0x100);
    machine.cpu.set_register(14, LOADER_START);
    machine.add_breakpoint(LOADER_START);
    let before = machine.instructions();
    let limit = Limit {
        instructions: before + MOST,
        ..Limit::NONE
    };
    let stop = machine.run(limit);
    assert_eq!(
        stop,
        Stop::Breakpoint {
            address: LOADER_START
        }
    );
    machine.remove_breakpoint(LOADER_START);
    machine.instructions() - before
}

const PAINT: u8 = 0xA5;

/// Statics of a loader and the stack to its deepest byte since RAM was painted.
fn used(machine: &Machine, statics_end: u32) -> (u64, u64) {
    let stack = machine.painted_depth(statics_end, PAINT);
    (
        u64::from(statics_end - hal_mk3060::memory::RAM_FREE),
        u64::from(stack),
    )
}

/// Statics and stack through a swap and the way back, and with a request of C
/// firmware in the mailbox.
fn ram() -> Vec<(&'static str, u64, u64)> {
    let key = test_key();
    let mut found = Vec::new();
    for (what, loader, key) in [
        ("swap and revert", "boot2-swap", None),
        ("swap and revert, with patches", "boot2", None),
        (
            "swap and revert, with patches and signatures",
            "boot2-signed",
            Some(&key),
        ),
    ] {
        let image = |version, tail: usize| {
            let mut program = file("tinyapp.bin");
            program.extend(std::iter::repeat_n(7, tail));
            packed(version, &program, key)
        };
        let end = symbols::address(&symbols::read(loader), "_ram_end");
        let images = (image("tiny-1.0.0", 0), image("tiny-2.0.0", 9000));
        let mut machine = board_with(&format!("{loader}.bin"), &images.0, &images.1);
        expect(&mut machine, "tiny-1.0.0 started");
        tell(&mut machine, b"u", "requested");
        let mut deepest = (0, 0);
        // Install, two more starts on trial, the way back.
        for version in ["2", "2", "2", "1"] {
            machine.board.send(1, b"r");
            run_to_reset(&mut machine);
            // The start-up code has not run yet: nothing in RAM is in use.
            machine.paint_ram(RAM_START, PAINT);
            run_to_app(&mut machine, &mut ());
            let (statics, stack) = used(&machine, end);
            deepest = (statics, stack.max(deepest.1));
            expect(&mut machine, &format!("tiny-{version}.0.0 started"));
        }
        found.push((what, deepest.0, deepest.1));
    }
    let (statics, stack) = mailbox_ram();
    found.push(("request of C firmware", statics, stack));
    found
}

/// The same while the loader takes `RSUF` from the mailbox and installs.
fn mailbox_ram() -> (u64, u64) {
    let (old, new) = (tiny("tiny-1.0.0", 0, 0), tiny("tiny-2.0.0", 9000, 7));
    let mut machine = board_with("boot2-swap.bin", &old, &new);
    let mut request = [0_u8; 34];
    request[14..18].copy_from_slice(&0x5253_5546_u32.to_le_bytes());
    let crc = ota_verify::crc16_xmodem(0, &request[..32]);
    request[32..].copy_from_slice(&crc.to_le_bytes());
    let mailbox = crate::board::start(ota_flash::PartitionId::Parameter1);
    machine.board.flash.load(mailbox, &request);
    machine.paint_ram(RAM_START, PAINT);
    run_to_app(&mut machine, &mut ());
    let end = symbols::address(&symbols::read("boot2-swap"), "_ram_end");
    let bytes = used(&machine, end);
    expect(&mut machine, "tiny-2.0.0 started");
    bytes
}
