//! The program `mk3060-sim` as one types it: power cuts, and a debugger that we did
//! not write.

use board_tests::board::{board, expect, run_to_reset, start, tell};
use board_tests::images::tiny;
use board_tests::symbols;
use hal_mk3060::memory::{FLASH_LEN, LOADER_START, RAM_END, RAM_START};
use mk3060_sim::{Limit, Machine, Stop};
use ota_flash::PartitionId;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mk3060-sim");
/// Nothing takes longer, on any machine.
const WALL: Duration = Duration::from_secs(120);

/// The program, running; it is killed when nobody needs it any more.
struct Program {
    child: Child,
    console: Arc<Mutex<String>>,
    errors: Arc<Mutex<String>>,
    /// What of the console was looked at.
    seen: usize,
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gathers what comes.
fn gather(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let gathered = text.clone();
    std::thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            let more = String::from_utf8_lossy(&bytes[..n]);
            gathered.lock().unwrap().push_str(&more);
        }
    });
    text
}

/// What `look` finds, within the time that everything takes.
fn wait<T>(mut look: impl FnMut() -> Option<T>, what: impl Fn() -> String) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < WALL, "{}", what());
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Program {
    fn start(flash: &Path, arguments: &[&str]) -> Self {
        Self::spawn(Command::new(PROGRAM).arg(flash).args(arguments), "")
    }

    /// Starts any program; `help` is for those who do not have it.
    fn spawn(command: &mut Command, help: &str) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{:?}: {e} {help}", command.get_program()));
        Self {
            console: gather(child.stdout.take().unwrap()),
            errors: gather(child.stderr.take().unwrap()),
            child,
            seen: 0,
        }
    }

    /// Waits until the console shows `text`, behind what was waited for before.
    fn expect(&mut self, text: &str) {
        let shown = self.console.clone();
        let at = wait(
            || shown.lock().unwrap()[self.seen..].find(text),
            || format!("no {text:?}: {:?} {:?}", shown, self.errors),
        );
        self.seen += at + text.len();
    }

    fn press(&mut self, keys: &[u8]) {
        let console = self.child.stdin.as_mut().unwrap();
        console.write_all(keys).unwrap();
        console.flush().unwrap();
    }

    /// Waits for its end: whether it was content, what it said on both outputs.
    fn end(mut self) -> (bool, String, String) {
        let (console, errors) = (self.console.clone(), self.errors.clone());
        let status = wait(
            || self.child.try_wait().unwrap(),
            || format!("no end: {console:?} {errors:?}"),
        );
        drop(self);
        // The pipes are closed, and read to their ends in a moment.
        wait(
            || (Arc::strong_count(&console) + Arc::strong_count(&errors) == 2).then_some(()),
            || "the output does not end".into(),
        );
        let text = |gathered: Arc<Mutex<String>>| gathered.lock().unwrap().clone();
        (status.success(), text(console), text(errors))
    }

    /// The first line on its error output that begins like this: the rest.
    fn said(&self, begin: &str) -> String {
        wait(
            || {
                let text = self.errors.lock().unwrap();
                let (whole, _) = text.rsplit_once('\n')?;
                let rest = whole.lines().find_map(|line| line.strip_prefix(begin))?;
                Some(rest.trim().to_string())
            },
            || format!("no {begin:?}: {:?}", self.errors),
        )
    }
}

/// The program with these arguments until it ends by itself: whether it was content,
/// and what it said on the error output.
fn end_of(flash: &Path, arguments: &[&str]) -> (bool, String) {
    let (content, _, said) = Program::start(flash, arguments).end();
    (content, said)
}

/// A flash in which version 1 has asked for version 2, and both images.
struct Asked {
    dir: TempDir,
    v2: Vec<u8>,
}

impl Asked {
    fn new() -> Self {
        let (v1, v2) = (tiny("tiny-1.0.0", 0, 0), tiny("tiny-2.0.0", 9_000, 0x5A));
        let mut machine = board(&v1, &v2);
        expect(&mut machine, "tiny-1.0.0 started");
        tell(&mut machine, b"u", "requested");
        machine.board.send(1, b"r");
        run_to_reset(&mut machine);
        let dir = tempfile::tempdir().unwrap();
        let flash = machine.board.flash.chip.dump(0, FLASH_LEN as usize);
        std::fs::write(dir.path().join("asked.img"), flash).unwrap();
        Self { dir, v2 }
    }

    /// A copy of it.
    fn flash(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::copy(self.dir.path().join("asked.img"), &path).unwrap();
        path
    }

    /// The same in a machine.
    fn machine(&self) -> Machine {
        let mut machine = Machine::new();
        let bytes = std::fs::read(self.dir.path().join("asked.img")).unwrap();
        machine.board.flash.load(0, &bytes);
        machine.power_on().unwrap();
        machine
    }

    /// Cuts power as `arguments` say; flash operations until then, the last one
    /// included. Then the board starts again and must end with version 2.
    fn cut(&self, name: &str, arguments: &[&str]) -> usize {
        let (flash, trace) = (self.flash(name), self.dir.path().join("trace"));
        let mut arguments = arguments.to_vec();
        arguments.extend(["--trace", trace.to_str().unwrap()]);
        let (content, said) = end_of(&flash, &arguments);
        assert!(
            content && said.contains("board: power cut at "),
            "{arguments:?}: {said}"
        );
        let trace = std::fs::read_to_string(&trace).unwrap();
        let ops = trace
            .lines()
            .filter(|line| line.contains("flash erase") || line.contains("flash program"))
            .count();

        let mut board = Program::start(&flash, &[]);
        board.expect("tiny-2.0.0 started");
        board.press(b"c");
        board.expect("confirmed");
        drop(board);
        let bytes = std::fs::read(&flash).unwrap();
        let slot = start(PartitionId::Application) as usize;
        assert!(
            bytes[slot..slot + self.v2.len()] == self.v2,
            "{arguments:?}"
        );
        ops
    }
}

#[test]
fn power_fails_in_the_flash_operation_that_was_named() {
    let asked = Asked::new();
    // The machine in the library does the same operations.
    let mut machine = asked.machine();
    machine.board.flash.chip.start_trace();
    expect(&mut machine, "tiny-2.0.0 started");
    let all = machine.board.flash.chip.take_trace().len();
    assert!(all > 500, "{all}");
    for (op, variant) in [
        (0, "before"),
        (1, "after"),
        (5, "head"),
        (60, "tail"),
        (all / 2, "random"),
        (all - 30, "unstable"),
    ] {
        let number = op.to_string();
        let ops = asked.cut(
            &format!("op-{op}"),
            &["--cut-op", &number, "--cut-variant", variant],
        );
        assert_eq!(ops, op + 1, "{variant}");
    }
}

#[test]
fn power_fails_before_the_instruction_that_was_named() {
    let asked = Asked::new();
    assert_eq!(asked.cut("first", &["--cut-insn", "0"]), 0);
    for ops in [1, 40, 333] {
        let mut machine = asked.machine();
        assert_eq!(machine.run(Limit::flash_ops(ops)), Stop::Limit);
        // Right behind the instruction that starts the operation, and in front of it.
        let count = machine.instructions();
        for (count, ops) in [(count, ops), (count - 1, ops - 1)] {
            let found = asked.cut("insn", &["--cut-insn", &count.to_string()]);
            assert_eq!(found as u64, ops, "instruction {count}");
        }
    }
}

#[test]
fn a_bad_value_is_named_and_so_is_a_cut_that_does_not_happen() {
    let asked = Asked::new();
    for (arguments, words) in [
        (&["--cut-op", "many"][..], &["'many'", "--cut-op <N>"][..]),
        (&["--cut-op=-1"], &["'-1'", "--cut-op <N>"]),
        (&["--cut-insn", "0x10"], &["'0x10'", "--cut-insn <N>"]),
        (
            &["--cut-op", "1", "--cut-variant", "half"],
            &["'half'", "unstable"],
        ),
        (&["--cut-variant", "head"], &["--cut-op <N>"]),
        (&["--until", "soon"], &["'soon'", "not a number"]),
        (&["--until=-1"], &["'-1'", "positive"]),
        (&["--gdb", "nowhere"], &["'nowhere'", "--gdb <ADDRESS>"]),
        (&["--write", "13200"], &["OFFSET=FILE"]),
        (&["--uart1", "usb"], &["usb", "stdio"]),
        (&["--slip", "name"], &["name", "NAME:PORT=ADDRESS:PORT"]),
        (
            &["--cut-op", "100000", "--until", "0.2"],
            &["no power cut", "100000", "flash operations"],
        ),
        (
            &["--cut-insn", "900000000", "--until", "0.05"],
            &["no power cut", "900000000", "instructions"],
        ),
    ] {
        let (content, said) = end_of(&asked.flash("bad"), arguments);
        assert!(!content, "{arguments:?}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {said}");
        }
    }
    // Nothing was asked for, nothing is missing.
    let (content, said) = end_of(&asked.flash("good"), &["--until", "0.05"]);
    assert!(content, "{said}");
}

#[test]
fn a_debugger_breaks_looks_and_takes_leave() {
    let asked = Asked::new();
    let images = PathBuf::from(std::env::var_os("UOTA_BOARD_IMAGES").unwrap());
    let symbols = symbols::read("boot2");
    let main = |symbol: &&symbols::Symbol| symbol.name == "boot2::board::main";
    let function = symbols.iter().find(main).unwrap();
    let mut board = Program::start(&asked.flash("gdb"), &["--gdb", "127.0.0.1:0"]);
    let target = board.said("gdb: ");
    let mut gdb = Command::new("gdb-multiarch");
    gdb.args(["-nx", "-batch"]);
    for command in [
        "set pagination off",
        target.as_str(),
        "printf \"first %#x\\n\", $pc",
        "break main",
        "continue",
        "printf \"broke %#x\\n\", $pc",
        "info registers",
        // Not Rust's, for the expressions that follow.
        "set language c",
        // Code as the core sees it, the chip's bytes, RAM.
        "printf \"code %#x\\n\", *(unsigned *) 0x12000",
        "printf \"chip %#x\\n\", *(unsigned *) 0x90013200",
        "set var *(unsigned *) 0x420000 = 0x12345678",
        "printf \"ram %#x\\n\", *(unsigned *) 0x420000",
        "stepi",
        "printf \"stepped %#x\\n\", $pc",
        "delete",
        "monitor time",
        "detach",
    ] {
        gdb.args(["-ex", command]);
    }
    gdb.arg(images.join("boot2.elf"));
    let help = "(`cargo xtask setup --yes`, or apt-get install gdb-multiarch)";
    let (content, said, errors) = Program::spawn(&mut gdb, help).end();
    println!("{said}\n{errors}");
    assert!(content);
    let number = |name: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(name));
        let hex = line.and_then(|line| line.trim().strip_prefix("0x"));
        u32::from_str_radix(hex.expect(name), 16).unwrap()
    };
    let register = |name: &str| {
        let mut words = said
            .lines()
            .map(str::split_whitespace)
            .find_map(|mut words| (words.next() == Some(name)).then_some(words))
            .expect(name);
        u32::from_str_radix(&words.next().unwrap()[2..], 16).unwrap()
    };
    assert_eq!(number("first "), LOADER_START);
    let body = function.address..function.address + function.size;
    assert!(body.contains(&number("broke ")), "{body:x?}");
    assert!(said.contains(" main () at crates/boot2/src/main.rs:"));
    assert_eq!(register("pc"), number("broke "));
    assert!((RAM_START..RAM_END).contains(&register("sp")));
    assert_eq!(register("cpsr") & 0x20, 0x20, "Thumb state");
    let code = std::fs::read(images.join("boot2.bin")).unwrap();
    let first = u32::from_le_bytes(code[..4].try_into().unwrap());
    assert_eq!((number("code "), number("chip ")), (first, first));
    assert_eq!(number("ram "), 0x1234_5678);
    assert_ne!(number("stepped "), number("broke "));
    assert!(errors.contains(" instructions, 0 flash operations"));

    // The board goes on by itself.
    board.said("gdb: gone");
    board.expect("tiny-2.0.0 started");
}
