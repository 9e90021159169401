//! Exceptions and interrupts: the table, the common way in, and [`catch`], by which code may fault without harm.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::processors::{self, MAX_PROCESSORS};
use crate::{cpu, lapic, pages};

/// An exception that [`catch`] caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    pub vector: u8,
    pub code: u64,
    /// The address a page fault complained of.
    pub address: u64,
    /// What `rax` held when it happened.
    pub rax: u64,
    /// Whether it came from CPL 3.
    pub from_user: bool,
}

impl Fault {
    /// Returns the manual's mnemonic.
    #[must_use]
    pub fn name(&self) -> &'static str {
        const NAMES: [&str; 22] = [
            "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "#9", "#TS", "#NP", "#SS", "#GP", "#PF",
            "#15", "#MF", "#AC", "#MC", "#XF", "#VE", "#CP",
        ];
        NAMES.get(usize::from(self.vector)).copied().unwrap_or("#??")
    }
}

#[repr(C)]
struct Frame {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    rbp: u64,
    rdi: u64,
    rsi: u64,
    rdx: u64,
    rcx: u64,
    rbx: u64,
    rax: u64,
    vector: u64,
    code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// What one processor knows about its faults and interrupts.
struct State {
    /// Stack pointer of the innermost `catch`, or 0.
    guard: AtomicU64,
    fault: [AtomicU64; 5],
    counts: [AtomicU32; 256],
    order: [AtomicU8; 64],
    taken: AtomicU32,
}

static STATES: [State; MAX_PROCESSORS] = [const {
    State {
        guard: AtomicU64::new(0),
        fault: [const { AtomicU64::new(0) }; 5],
        counts: [const { AtomicU32::new(0) }; 256],
        order: [const { AtomicU8::new(0) }; 64],
        taken: AtomicU32::new(0),
    }
}; MAX_PROCESSORS];

/// When set, an interrupt's handler leaves its vector in service in the local APIC.
pub static LEAVE_IN_SERVICE: AtomicBool = AtomicBool::new(false);

static CLEAR_VECTOR: AtomicU8 = AtomicU8::new(0);
static CLEAR_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// Makes the handler of `vector` clear the byte at `address`, as vectors need that are raised for as long as a flag is
/// set. Only one vector can have this; 0 is none.
pub fn clear_byte_on(vector: u8, address: u64) {
    CLEAR_ADDRESS.store(address, Ordering::Relaxed);
    CLEAR_VECTOR.store(vector, Ordering::Relaxed);
}

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);
static TABLE: Table = Table([const { AtomicU64::new(0) }; 512]);

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

unsafe extern "C" {
    static kit_trap_stubs: u8;
    static kit_catch_end: u8;
    fn kit_catch(run: extern "C" fn(*mut u8), argument: *mut u8, guard: *const AtomicU64) -> u64;
}

global_asm!(
    r#"
    .text
    .balign 16
    .global kit_trap_stubs
kit_trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    .byte 0x6a, 0
    .endif
    .byte 0x68
    .long vector
    jmp kit_trap_entry
    .set vector, vector + 1
    .endr

kit_trap_entry:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call kit_trap
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rbp
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rbx
    pop rax
    add rsp, 16
    iretq

    .global kit_catch
    .global kit_catch_end
kit_catch:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    pushfq
    push qword ptr [rdx]
    push rdx
    mov [rdx], rsp
    mov rax, rdi
    mov rdi, rsi
    call rax
    xor eax, eax
kit_catch_end:
    pop rdx
    pop qword ptr [rdx]
    popfq
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
"#
);

/// Fills the interrupt table; once, by the boot processor.
pub(crate) fn fill() {
    let stubs = &raw const kit_trap_stubs as u64;
    for (index, pair) in TABLE.0.chunks_exact(2).enumerate() {
        let stub = stubs.wrapping_add(16 * index as u64);
        // A double fault has a stack of its own; a breakpoint may come from CPL 3.
        let ist = u64::from(index == 8);
        let dpl = if index == 3 { 3 } else { 0 };
        let low = stub & 0xffff | 0x10 << 16 | ist << 32 | (0x8e00 | dpl << 13) << 32 | (stub >> 16 & 0xffff) << 48;
        if let [first, second] = pair {
            first.store(low, Ordering::Relaxed);
            second.store(stub >> 32, Ordering::Relaxed);
        }
    }
}

/// Leads the interrupt `vector` (32 and above) past the common way in, to code at `handler`; on every processor.
///
/// # Safety
/// The code is below 4 GiB, keeps all registers and ends with `iretq`.
pub(crate) unsafe fn lead(vector: u8, handler: u64) {
    debug_assert!(vector >= 32 && handler >> 32 == 0, "exceptions have their own way");
    if let Some(first) = TABLE.0.get(2 * usize::from(vector)) {
        let low = handler & 0xffff | 0x10 << 16 | 0x8e00 << 32 | (handler >> 16 & 0xffff) << 48;
        first.store(low, Ordering::Relaxed);
    }
}

/// Makes this processor use the interrupt table.
pub(crate) fn load() {
    let pointer = TablePointer { limit: 4095, base: &raw const TABLE as u64 };
    // SAFETY: the table is static, and its entries are filled before any interrupt is let in.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, readonly)) };
}

fn state() -> Option<&'static State> {
    STATES.get(processors::this())
}

#[unsafe(no_mangle)]
extern "C" fn kit_trap(frame: &mut Frame) {
    let vector = frame.vector as u8;
    let Some(state) = state() else { cpu::stop() };
    // Vectors below 32 that the local APIC raises are interrupts too, if it has them in service.
    if vector >= 32 || vector >= 16 && catch(|| lapic::in_service(vector)) == Ok(true) {
        interrupt(state, vector);
        return;
    }
    let guard = state.guard.load(Ordering::Relaxed);
    if guard == 0 {
        crate::console::line(format_args!(
            "FATAL processor {} exception {} code {:#x} rip {:#x} cr2 {:#x}",
            processors::this(),
            vector,
            frame.code,
            frame.rip,
            cpu::fault_address()
        ));
        cpu::stop();
    }
    let values = [u64::from(vector), frame.code, cpu::fault_address(), frame.rax, u64::from(frame.cs & 3 == 3)];
    for (slot, value) in state.fault.iter().zip(values) {
        slot.store(value, Ordering::Relaxed);
    }
    frame.rip = &raw const kit_catch_end as u64;
    frame.cs = 0x10;
    frame.ss = 0x18;
    frame.rflags = 2;
    frame.rsp = guard;
    frame.rax = 1;
}

fn interrupt(state: &State, vector: u8) {
    if let Some(count) = state.counts.get(usize::from(vector)) {
        count.fetch_add(1, Ordering::Release);
    }
    let taken = state.taken.fetch_add(1, Ordering::Release) as usize;
    if let Some(slot) = state.order.get(taken % 64) {
        slot.store(vector, Ordering::Release);
    }
    if CLEAR_VECTOR.load(Ordering::Relaxed) == vector {
        pages::write_at(CLEAR_ADDRESS.load(Ordering::Relaxed), 0_u8);
    }
    if lapic::in_service(vector) && !LEAVE_IN_SERVICE.load(Ordering::Relaxed) {
        lapic::end_of_interrupt();
    }
}

/// Returns how often processor `processor` has taken `vector`.
#[must_use]
pub fn count(processor: usize, vector: u8) -> u32 {
    STATES.get(processor).and_then(|s| s.counts.get(usize::from(vector))).map_or(0, |c| c.load(Ordering::Acquire))
}

/// Returns how many interrupts processor `processor` has taken in all.
#[must_use]
pub fn taken(processor: usize) -> u32 {
    STATES.get(processor).map_or(0, |s| s.taken.load(Ordering::Acquire))
}

/// Returns the vector of the `number`th interrupt that `processor` took, counted from 0; only the last 64 are known.
#[must_use]
pub fn nth(processor: usize, number: u32) -> u8 {
    STATES.get(processor).and_then(|s| s.order.get(number as usize % 64)).map_or(0, |v| v.load(Ordering::Acquire))
}

struct Call<F, R> {
    run: Option<F>,
    result: Option<R>,
}

extern "C" fn run_call<F: FnOnce() -> R, R>(call: *mut u8) {
    // SAFETY: `catch` passes a pointer to its own `Call` of these types, which outlives this function.
    let call = unsafe { &mut *call.cast::<Call<F, R>>() };
    call.result = call.run.take().map(|run| run());
}

/// Runs `f`; an exception in it ends it at once and comes back as the error.
///
/// What `f` holds when it faults is forgotten, not dropped. Interrupt state is as before on return. May be nested.
///
/// **Errors**: the exception.
pub fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Fault> {
    fn run<F: FnOnce() -> R, R>(f: F, state: &State) -> Option<R> {
        let mut call = Call { run: Some(f), result: None };
        // SAFETY: `run_call::<F, R>` gets the `Call<F, R>` it expects; the guard slot is this processor's own.
        unsafe { kit_catch(run_call::<F, R>, (&raw mut call).cast(), &raw const state.guard) };
        call.result
    }
    let Some(state) = state() else { cpu::stop() };
    run(f, state).ok_or_else(|| {
        let [vector, code, address, rax, user] = state.fault.each_ref().map(|f| f.load(Ordering::Relaxed));
        Fault { vector: vector as u8, code, address, rax, from_user: user != 0 }
    })
}
