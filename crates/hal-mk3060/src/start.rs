//! Start-up code.
//!
//! The vectors at address 0 belong to the first stage. It jumps to the loader
//! at [`LOADER_START`](crate::memory::LOADER_START) in ARM state, and for IRQ,
//! FIQ and SWI through the words at
//! [`IRQ_POINTER`](crate::memory::IRQ_POINTER) and behind it, with all
//! registers as the exception left them. Undefined instructions and aborts
//! stay in the first stage.
//!
//! The macros emit the code into the program that calls them, so nothing is
//! left to the linker's choice of archive members. Link with `ld/loader.x` or
//! `ld/app.x`.

/// Start-up code of the second-stage loader.
///
/// `loader_entry!(main)` with `extern "C" fn main() -> !`. Runs in supervisor
/// mode with interrupts masked. All vectors but reset lead on to the
/// application's, as in the loader AliOS Things shipped. Variables start as
/// zeros: the linker script refuses others.
#[macro_export]
macro_rules! loader_entry {
    ($main:path) => {
        ::core::arch::global_asm!(
            r#"
    .section .vectors, "ax", %progbits
    .arm
    .global _vectors
_vectors:
    b   _reset
    b   _app_vectors + 0x04
    b   _app_vectors + 0x08
    b   _app_vectors + 0x0C
    b   _app_vectors + 0x10
    b   _app_vectors + 0x14
    b   _app_vectors + 0x18
    b   _app_vectors + 0x1C

    .section .start, "ax", %progbits
    .arm
_reset:
    msr cpsr_c, #0xD3
    ldr sp, =_stack_top
    ldr r0, =_bss_start
    ldr r1, =_bss_end
    mov r2, #0
2:  cmp r0, r1
    strlo r2, [r0], #4
    blo 2b
    @ Not a call, and no veneer: it is Thumb code, and does not return.
    ldr r0, ={main}
    bx  r0
    .pool
            "#,
            main = sym $main,
        );
    };
}

/// Start-up code of an application.
///
/// `app_entry!(main, irq, fault)` with `extern "C" fn main() -> !`, the IRQ
/// handler `extern "C" fn irq()` and `extern "C" fn fault(kind: u32) -> !` for
/// unexpected exceptions (vector number 1 to 7). `main` runs in system mode
/// with interrupts masked; FIQ is not used and counts as a fault.
#[macro_export]
macro_rules! app_entry {
    ($main:path, $irq:path, $fault:path) => {
        ::core::arch::global_asm!(
            r#"
    .section .vectors, "ax", %progbits
    .arm
    .global _vectors
_vectors:
    b   _reset
    b   _undefined
    b   _software
    b   _prefetch
    b   _data
    b   _reserved
    b   _irq
    b   _fiq

    .section .start, "ax", %progbits
    .arm
_reset:
    @ Stacks, from the top of RAM down.
    ldr r0, =_stack_top
    msr cpsr_c, #0xD2           @ IRQ
    mov sp, r0
    sub r0, r0, #0x400
    msr cpsr_c, #0xD1           @ FIQ
    mov sp, r0
    msr cpsr_c, #0xD7           @ abort
    mov sp, r0
    msr cpsr_c, #0xDB           @ undefined
    mov sp, r0
    msr cpsr_c, #0xD3           @ supervisor
    mov sp, r0
    sub r0, r0, #0x200
    msr cpsr_c, #0xDF           @ system
    mov sp, r0

    ldr r0, =_data_start
    ldr r1, =_data_end
    ldr r2, =_data_load
1:  cmp r0, r1
    ldrlo r3, [r2], #4
    strlo r3, [r0], #4
    blo 1b
    ldr r0, =_bss_start
    ldr r1, =_bss_end
    mov r2, #0
2:  cmp r0, r1
    strlo r2, [r0], #4
    blo 2b

    @ The first stage jumps through these.
    mov r0, #0x400000
    ldr r1, =_irq
    str r1, [r0]
    ldr r1, =_fiq
    str r1, [r0, #4]
    ldr r1, =_software
    str r1, [r0, #8]
    bl  {main}
3:  b   3b

_irq:
    sub lr, lr, #4
    stmfd sp!, {{r0-r3, r12, lr}}
    bl  {irq}
    ldmfd sp!, {{r0-r3, r12, pc}}^

_undefined:
    mov r0, #1
    b   {fault}
_software:
    mov r0, #2
    b   {fault}
_prefetch:
    mov r0, #3
    b   {fault}
_data:
    mov r0, #4
    b   {fault}
_reserved:
    mov r0, #5
    b   {fault}
_fiq:
    mov r0, #7
    b   {fault}
    .pool
            "#,
            main = sym $main,
            irq = sym $irq,
            fault = sym $fault,
        );
    };
}

/// The memory functions that the compiler calls (`memcpy` and so on), as short
/// as they can be: a tenth of what comes with the compiler, and slower.
///
/// For programs built without the feature `compiler-builtins-mem` of `core`.
#[macro_export]
macro_rules! memory_functions {
    () => {
        ::core::arch::global_asm!(
            r#"
    .section .text.memory, "ax", %progbits
    .syntax unified
    .thumb
    .macro entry names:vararg
    .irp name, \names
    .global \name
    .type \name, %function
    .thumb_func
\name:
    .endr
    .endm

    @ (to, from, length); whole words while both are aligned
    entry memcpy, __aeabi_memcpy, __aeabi_memcpy4, __aeabi_memcpy8
    mov r12, r0
    movs r3, r0
    orrs r3, r1
    lsls r3, r3, #30
    bne 2f
1:  subs r2, #4
    blo 3f
    ldmia r1!, {{r3}}
    stmia r0!, {{r3}}
    b   1b
3:  adds r2, #4
2:  subs r2, #1
    blo 4f
    ldrb r3, [r1]
    adds r1, #1
    strb r3, [r0]
    adds r0, #1
    b   2b
4:  mov r0, r12
    bx  lr

    @ (at, length)
    entry __aeabi_memclr, __aeabi_memclr4, __aeabi_memclr8
    movs r2, #0
    @ (at, length, byte)
    entry __aeabi_memset, __aeabi_memset4, __aeabi_memset8
    movs r3, r1
    movs r1, r2
    movs r2, r3
    @ (at, byte, length)
    entry memset
    movs r3, r0
1:  subs r2, #1
    blo 2f
    strb r1, [r3]
    adds r3, #1
    b   1b
2:  bx  lr

    @ 26 bytes; there are 32 between vectors and descriptor.
    .section .behind_vectors, "ax", %progbits
    .thumb
    @ (one, other, length)
    entry memcmp, bcmp
    push {{r4, lr}}
    movs r3, #0
1:  subs r2, #1
    blo 2f
    ldrb r3, [r0]
    ldrb r4, [r1]
    adds r0, #1
    adds r1, #1
    subs r3, r3, r4
    beq 1b
2:  movs r0, r3
    pop {{r4}}
    pop {{r1}}
    bx  r1
            "#
        );
    };
}

/// Leaves this program for the one whose vectors are at `vectors`, in ARM state
/// and with mode and masks as they are: after [`loader_entry!`](crate::loader_entry)
/// supervisor mode with interrupts masked.
///
/// # Safety
/// A program built for that address must be there, nothing of this one may be
/// expected to live on, and interrupts must be masked.
#[inline(always)]
pub unsafe fn jump(vectors: u32) -> ! {
    // SAFETY: as promised by the caller. A multiple of four leads to ARM state.
    unsafe { core::arch::asm!("bx {}", in(reg) vectors, options(noreturn)) }
}
