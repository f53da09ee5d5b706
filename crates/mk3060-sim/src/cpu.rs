//! The CPU seam and the ARMv4T interpreter behind it.

use armv4t_emu::{Exception, Memory, Mode, reg};

/// Memory as the CPU sees it. Faults are remembered by the board.
pub trait CpuBus {
    /// Instruction fetch of a word.
    fn fetch32(&mut self, address: u32) -> u32;
    /// Instruction fetch of a half word.
    fn fetch16(&mut self, address: u32) -> u16;
    /// Load of `bytes` (1, 2 or 4), aligned.
    fn load(&mut self, address: u32, bytes: u32) -> u32;
    /// Store of `bytes` (1, 2 or 4), aligned.
    fn store(&mut self, address: u32, bytes: u32, value: u32);
}

/// An instruction-set interpreter.
pub trait Cpu: Clone {
    /// Starts at `pc` in ARM state, supervisor mode, interrupts masked.
    fn start(&mut self, pc: u32);
    /// Executes one instruction; `false` when it is undefined.
    fn step(&mut self, bus: &mut impl CpuBus) -> bool;
    /// Takes an IRQ unless masked.
    fn irq(&mut self);
    /// Takes an FIQ unless masked.
    fn fiq(&mut self);
    /// Register r0 to r15 of the current mode.
    fn register(&self, number: u8) -> u32;
    /// Sets register r0 to r15 of the current mode.
    fn set_register(&mut self, number: u8, value: u32);
    /// Status register.
    fn cpsr(&self) -> u32;
    /// Sets the status register.
    fn set_cpsr(&mut self, value: u32);
    /// All registers of all modes, one after the other.
    fn all_registers(&self, take: &mut dyn FnMut(u32));
    /// Address of the next instruction.
    fn pc(&self) -> u32 {
        self.register(15)
    }
}

/// `armv4t_emu`: ARM and Thumb state of ARMv4T.
#[derive(Clone)]
pub struct Armv4t(armv4t_emu::Cpu);

impl Default for Armv4t {
    fn default() -> Self {
        Self(armv4t_emu::Cpu::new())
    }
}

impl Armv4t {
    fn exception(&mut self, exception: Exception) {
        let before = self.cpsr();
        self.0.exception(exception);
        // The interpreter clears F on IRQ; a core leaves it as it is.
        let after = self.cpsr();
        self.0
            .reg_set(Mode::User, reg::CPSR, after | before & (1 << 6));
    }
}

impl Cpu for Armv4t {
    fn start(&mut self, pc: u32) {
        self.0 = armv4t_emu::Cpu::new();
        self.0.reg_set(Mode::User, reg::PC, pc);
        self.0.reg_set(Mode::User, reg::CPSR, 0xD3);
    }

    #[inline]
    fn step(&mut self, bus: &mut impl CpuBus) -> bool {
        let mut adapter = Adapter { bus, half: 0 };
        let defined = self.0.step(&mut adapter);
        let pc = self.pc();
        // `add pc, rX` in Thumb state: the interpreter takes the address of the
        // next instruction for the program counter, a core that after it.
        let short = if adapter.half & 0xFF87 == 0x4487 {
            2
        } else {
            0
        };
        // Branches other than BX ignore the low bits; the interpreter keeps them.
        let low = if self.0.thumb_mode() { 1 } else { 3 };
        if pc & low != 0 || short != 0 {
            self.0
                .reg_set(Mode::User, reg::PC, pc.wrapping_add(short) & !low);
        }
        defined
    }

    fn irq(&mut self) {
        if self.0.irq_enable() {
            self.exception(Exception::Interrupt);
        }
    }

    fn fiq(&mut self) {
        if self.0.fiq_enable() {
            self.exception(Exception::FastInterrupt);
        }
    }

    #[inline]
    fn register(&self, number: u8) -> u32 {
        self.0.reg_get(self.0.mode(), number)
    }

    fn set_register(&mut self, number: u8, value: u32) {
        self.0.reg_set(self.0.mode(), number, value);
    }

    fn cpsr(&self) -> u32 {
        self.0.reg_get(Mode::User, reg::CPSR)
    }

    fn set_cpsr(&mut self, value: u32) {
        self.0.reg_set(Mode::User, reg::CPSR, value);
    }

    fn all_registers(&self, take: &mut dyn FnMut(u32)) {
        let banked = [
            Mode::Fiq,
            Mode::Irq,
            Mode::Supervisor,
            Mode::Abort,
            Mode::Undefined,
        ];
        for number in 0..=reg::CPSR {
            take(self.0.reg_get(Mode::User, number));
        }
        for mode in banked {
            let first = if mode == Mode::Fiq { 8 } else { reg::SP };
            for number in (first..=reg::LR).chain([reg::SPSR]) {
                take(self.0.reg_get(mode, number));
            }
        }
    }

    #[inline]
    fn pc(&self) -> u32 {
        self.0.reg_get(Mode::User, reg::PC)
    }
}

struct Adapter<'a, B> {
    bus: &'a mut B,
    /// Thumb instruction that was fetched.
    half: u16,
}

impl<B: CpuBus> Memory for Adapter<'_, B> {
    fn r8(&mut self, address: u32) -> u8 {
        self.bus.load(address, 1) as u8
    }
    fn r16(&mut self, address: u32) -> u16 {
        self.bus.load(address, 2) as u16
    }
    #[inline]
    fn r32(&mut self, address: u32) -> u32 {
        self.bus.load(address, 4)
    }
    fn w8(&mut self, address: u32, value: u8) {
        self.bus.store(address, 1, value.into());
    }
    fn w16(&mut self, address: u32, value: u16) {
        self.bus.store(address, 2, value.into());
    }
    #[inline]
    fn w32(&mut self, address: u32, value: u32) {
        self.bus.store(address, 4, value);
    }
    fn x16(&mut self, address: u32) -> u16 {
        {
            self.half = self.bus.fetch16(address);
            self.half
        }
    }
    #[inline]
    fn x32(&mut self, address: u32) -> u32 {
        self.bus.fetch32(address)
    }
}
