//! Interrupt masking.

/// Runs `work` with IRQ and FIQ masked; nests. On a host it just runs it.
#[inline]
pub fn free<R>(work: impl FnOnce() -> R) -> R {
    let masked = Masked::new();
    let result = work();
    drop(masked);
    result
}

/// IRQ and FIQ stay masked until this is dropped.
struct Masked {
    #[cfg(target_arch = "arm")]
    cpsr: u32,
}

/// Masks IRQ and FIQ; what the status register was before. ARM state: Thumb
/// cannot reach the status register.
#[cfg(target_arch = "arm")]
#[inline(never)]
#[instruction_set(arm::a32)]
fn mask() -> u32 {
    let cpsr: u32;
    // SAFETY: sets the two mask bits of the current mode's status register.
    // Not `nomem`: accesses must not move out of the masked region.
    unsafe {
        core::arch::asm!(
            "mrs {cpsr}, cpsr",
            "orr {new}, {cpsr}, #0xC0",
            "msr cpsr_c, {new}",
            cpsr = out(reg) cpsr,
            new = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
    cpsr
}

/// Puts the mask bits back as `mask` found them.
#[cfg(target_arch = "arm")]
#[inline(never)]
#[instruction_set(arm::a32)]
fn restore(cpsr: u32) {
    // SAFETY: the control bits are those that `mask` read in this mode.
    unsafe {
        core::arch::asm!("msr cpsr_c, {}", in(reg) cpsr, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "arm")]
impl Masked {
    fn new() -> Self {
        Self { cpsr: mask() }
    }
}

#[cfg(target_arch = "arm")]
impl Drop for Masked {
    fn drop(&mut self) {
        restore(self.cpsr);
    }
}

#[cfg(not(target_arch = "arm"))]
impl Masked {
    fn new() -> Self {
        Self {}
    }
}

#[cfg(not(target_arch = "arm"))]
impl Drop for Masked {
    fn drop(&mut self) {}
}

/// Lets IRQ and FIQ through.
///
/// # Safety
/// The handlers behind the RAM pointers must be in place, and the caller must
/// not be inside [`free`].
#[cfg(target_arch = "arm")]
#[inline(never)]
#[instruction_set(arm::a32)]
pub unsafe fn enable() {
    // SAFETY: as promised by the caller.
    unsafe {
        core::arch::asm!(
            "mrs {new}, cpsr",
            "bic {new}, {new}, #0xC0",
            "msr cpsr_c, {new}",
            new = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Sleeps until an interrupt is pending, masked or not.
#[cfg(target_arch = "arm")]
#[inline(never)]
#[instruction_set(arm::a32)]
pub fn wait() {
    // SAFETY: "wait for interrupt" of ARMv5-class cores with CP15.
    unsafe {
        core::arch::asm!("mcr p15, 0, {}, c7, c0, 4", in(reg) 0, options(nostack, preserves_flags));
    }
}
