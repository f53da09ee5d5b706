//! The emulated board on the command line.

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use mk3060_sim::host::{FlashFile, Map, Net, Session};
use mk3060_sim::{FirstStage, Machine, Stop, Time};
use ota_flash::sim::CutVariant;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, TryRecvError};

/// An emulated MK3060 board that runs the images one would flash.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The flash, 2 MiB; made if it is not there
    flash: PathBuf,
    /// Puts a file into the flash before the start: OFFSET=FILE, as 0x13200=otaapp@mk3060.bin
    #[arg(long, value_name = "OFFSET=FILE")]
    write: Vec<String>,
    /// The console: stdio, pty or tcp:ADDRESS
    #[arg(long, default_value = "stdio")]
    uart1: String,
    /// Plugs the network in; names lead where the map says: NAME:PORT=ADDRESS:PORT,...
    /// (10.0.2.2 is this machine)
    #[arg(long, value_name = "MAP", num_args = 0..=1, default_missing_value = "")]
    slip: Option<Map>,
    /// Which first stage to stand in for
    #[arg(long, value_enum, default_value = "none")]
    first_stage: Stage,
    /// Cuts power in this flash operation, counted from the start
    #[arg(long, value_name = "N")]
    cut_op: Option<u64>,
    /// What of the operation has happened when power fails
    #[arg(long, value_enum, default_value = "random", requires = "cut_op")]
    cut_variant: Variant,
    /// Cuts power before this instruction, counted from the start
    #[arg(long, value_name = "N")]
    cut_insn: Option<u64>,
    /// Waits for a debugger there and lets it have the board: ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS")]
    gdb: Option<SocketAddr>,
    /// Stops at this virtual time (seconds); that a cut asked for has not happened until
    /// then is an error
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    until: Option<Time>,
    /// Writes what happens to the flash and on the UARTs, line by line
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    None,
    Mico30,
}

#[derive(Clone, Copy, ValueEnum)]
enum Variant {
    Before,
    After,
    Head,
    Tail,
    Random,
    Unstable,
}

impl Variant {
    fn with_seed(self, seed: u64) -> CutVariant {
        match self {
            Self::Before => CutVariant::Before,
            Self::After => CutVariant::After,
            Self::Head => CutVariant::Head { of_256: 128 },
            Self::Tail => CutVariant::Tail { of_256: 128 },
            Self::Random => CutVariant::Random { seed },
            Self::Unstable => CutVariant::Unstable { seed },
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let mut machine = Machine::new();
    let flash = &mut machine.board.flash;
    let mut file =
        FlashFile::open(&args.flash, flash).with_context(|| args.flash.display().to_string())?;
    for write in &args.write {
        let (offset, path) = write.split_once('=').context("--write wants OFFSET=FILE")?;
        let offset = number(offset).with_context(|| format!("offset `{offset}`"))?;
        let bytes = std::fs::read(path).with_context(|| path.to_string())?;
        flash.load(offset, &bytes);
        let last = offset + u32::try_from(bytes.len())?;
        flash.dirty.extend((offset & !0xFFF..last).step_by(0x1000));
    }
    file.save(flash)?;
    machine.first_stage = match args.first_stage {
        Stage::None => FirstStage::None,
        Stage::Mico30 => FirstStage::Mico30,
    };
    if let Some(op) = args.cut_op {
        flash_cut(&mut machine, op, args.cut_variant);
    }
    machine.cut_at_instruction = args.cut_insn;
    if args.trace.is_some() {
        machine.board.trace.start();
    }
    let mut trace = match &args.trace {
        Some(path) => Some(File::create(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let mut console = Console::open(&args.uart1)?;
    machine.power_on()?;
    let mut session = Session::new(machine, args.slip.clone().map(Net::new), Some(file));
    session.interactive = true;
    if let Some(address) = args.gdb {
        let listener = TcpListener::bind(address).with_context(|| address.to_string())?;
        eprintln!("gdb: target remote {}\r", listener.local_addr()?);
        let (connection, _) = listener.accept()?;
        let mut quit = false;
        mk3060_sim::host::gdb::serve(&mut session, connection, &mut |session| {
            console.write(&session.console())?;
            match console.read() {
                Input::Bytes(bytes) => session.type_in(&bytes),
                Input::Nothing => {}
                Input::Quit => quit = true,
            }
            Ok(())
        })?;
        eprintln!("gdb: gone; the board goes on\r");
        if quit {
            return Ok(ExitCode::SUCCESS);
        }
    }
    loop {
        let stop = session.step()?;
        console.write(&session.console())?;
        match console.read() {
            Input::Bytes(bytes) => session.type_in(&bytes),
            Input::Nothing => {}
            Input::Quit => return Ok(ExitCode::SUCCESS),
        }
        if let Some(trace) = &mut trace {
            for (time, event) in session.machine.board.trace.take() {
                writeln!(trace, "{time} {event}")?;
            }
        }
        match stop {
            None | Some(Stop::Limit) => {}
            Some(Stop::Fault(report)) => {
                eprintln!("\r\nboard: {report}");
                return Ok(ExitCode::FAILURE);
            }
            Some(Stop::PowerCut) => {
                eprintln!("\r\nboard: power cut at {}", session.machine.board.now());
                return Ok(ExitCode::SUCCESS);
            }
            Some(other) => eprintln!("\r\nboard: {other:?}"),
        }
        if args
            .until
            .is_some_and(|until| session.machine.board.now() >= until)
        {
            return uncut(args, &session.machine);
        }
    }
}

/// The end without a power cut: a failure if there was to be one.
fn uncut(args: &Args, machine: &Machine) -> Result<ExitCode> {
    if let Some(op) = args.cut_op {
        let ops = machine.board.flash.chip.ops();
        bail!("--cut-op {op}: no power cut, there were only {ops} flash operations");
    }
    if let Some(number) = args.cut_insn {
        let count = machine.instructions();
        bail!("--cut-insn {number}: no power cut, there were only {count} instructions");
    }
    Ok(ExitCode::SUCCESS)
}

fn flash_cut(machine: &mut Machine, op: u64, variant: Variant) {
    let chip = &mut machine.board.flash.chip;
    chip.cut_after(op, variant.with_seed(op));
}

fn seconds(text: &str) -> Result<Time, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if !(0.0..1e9).contains(&seconds) {
        return Err("neither 0 nor a positive number of seconds".into());
    }
    Ok(Time::micros((seconds * 1e6) as u64))
}

fn number(text: &str) -> Result<u32> {
    Ok(match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16)?,
        None => text.parse()?,
    })
}

enum Input {
    Bytes(Vec<u8>),
    Nothing,
    Quit,
}

/// Where the console's bytes come from and go to.
struct Console {
    input: Receiver<Vec<u8>>,
    output: Output,
    /// The terminal as it was, when it was made raw.
    restore: Option<rustix::termios::Termios>,
}

enum Output {
    Stdout,
    File(File),
    /// The TCP client in charge, once there is one.
    Tcp(Receiver<std::net::TcpStream>, Option<std::net::TcpStream>),
}

/// Ctrl-] ends the program when the terminal is raw.
const QUIT: u8 = 0x1D;

impl Console {
    fn open(kind: &str) -> Result<Self> {
        let (sender, input) = mpsc::channel();
        let mut restore = None;
        let output = if kind == "stdio" {
            if io::stdin().is_terminal() {
                let old = rustix::termios::tcgetattr(io::stdin())?;
                let mut raw = old.clone();
                raw.make_raw();
                rustix::termios::tcsetattr(
                    io::stdin(),
                    rustix::termios::OptionalActions::Now,
                    &raw,
                )?;
                restore = Some(old);
                eprint!("Ctrl-] ends the emulator\r\n");
            }
            pump(io::stdin(), sender);
            Output::Stdout
        } else if kind == "pty" {
            use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
            let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
            grantpt(&pty)?;
            unlockpt(&pty)?;
            eprintln!("console: {}", ptsname(&pty, Vec::new())?.to_string_lossy());
            let pty = File::from(pty);
            pump(pty.try_clone()?, sender);
            Output::File(pty)
        } else if let Some(address) = kind.strip_prefix("tcp:") {
            let address: SocketAddr = address.parse().context("tcp:ADDRESS:PORT")?;
            let listener = TcpListener::bind(address)?;
            eprintln!("console: {}", listener.local_addr()?);
            let (clients, accepted) = mpsc::channel();
            std::thread::spawn(move || {
                for client in listener.incoming().flatten() {
                    if let Ok(reader) = client.try_clone() {
                        pump(reader, sender.clone());
                        if clients.send(client).is_err() {
                            return;
                        }
                    }
                }
            });
            Output::Tcp(accepted, None)
        } else {
            bail!("--uart1 {kind}: neither stdio nor pty nor tcp:ADDRESS:PORT");
        };
        Ok(Self {
            input,
            output,
            restore,
        })
    }

    fn read(&self) -> Input {
        match self.input.try_recv() {
            Ok(bytes) if self.restore.is_some() && bytes.contains(&QUIT) => Input::Quit,
            Ok(bytes) => Input::Bytes(bytes),
            // The end of the input is not the end of the board.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Input::Nothing,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.output {
            Output::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Output::File(file) => file.write_all(bytes),
            Output::Tcp(accepted, client) => {
                if let Some(next) = accepted.try_iter().last() {
                    *client = Some(next);
                }
                // A client that has gone is not the board's trouble.
                if client.as_mut().is_some_and(|c| c.write_all(bytes).is_err()) {
                    *client = None;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(old) = &self.restore {
            // At the end of the program nobody can be told.
            let _ =
                rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Now, old);
        }
    }
}

/// Sends what `from` has to say, until it ends.
fn pump(mut from: impl Read + Send + 'static, to: mpsc::Sender<Vec<u8>>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 256];
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            if to.send(bytes[..n].to_vec()).is_err() {
                return;
            }
        }
    });
}
