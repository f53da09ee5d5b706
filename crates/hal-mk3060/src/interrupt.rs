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

#[cfg(target_arch = "arm")]
impl Masked {
    #[inline(always)]
    fn new() -> Self {
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
        Self { cpsr }
    }
}

#[cfg(target_arch = "arm")]
impl Drop for Masked {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: puts the control bits back as `new` found them.
        unsafe {
            core::arch::asm!("msr cpsr_c, {}", in(reg) self.cpsr, options(nostack, preserves_flags));
        }
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
#[inline]
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
#[inline]
pub fn wait() {
    // SAFETY: "wait for interrupt" of ARMv5-class cores with CP15.
    unsafe {
        core::arch::asm!("mcr p15, 0, {}, c7, c0, 4", in(reg) 0, options(nostack, preserves_flags));
    }
}
