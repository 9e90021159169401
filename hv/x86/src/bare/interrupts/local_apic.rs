//! Each CPU's local APIC, in xAPIC or x2APIC mode.
//!
//! **Source:** AMD APM volume 2, chapter 16; Intel SDM volume 3, 10.5.4.1 (TSC deadline).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use x86_64::registers::model_specific::Msr;

use super::vector;
use crate::bare::base::clock;
use crate::bare::memory::device_registers::DeviceRegisters;

const BASE: u32 = 0x1b;
const BASE_ENABLE: u64 = 1 << 11;
const BASE_X2APIC: u64 = 1 << 10;
const TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_FIRST: u32 = 0x800;
const REGISTERS_LENGTH: u64 = 0x400;

/// Registers, as x2APIC counts them; xAPIC has them at 16 times the number.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Register {
    Id = 0x02,
    TaskPriority = 0x08,
    EndOfInterrupt = 0x0b,
    Spurious = 0x0f,
    /// The first of eight.
    InService = 0x10,
    /// The first of eight.
    Request = 0x20,
    ErrorStatus = 0x28,
    CommandLow = 0x30,
    CommandHigh = 0x31,
    Timer = 0x32,
    Thermal = 0x33,
    Performance = 0x34,
    Line0 = 0x35,
    Line1 = 0x36,
    Error = 0x37,
    InitialCount = 0x38,
    CurrentCount = 0x39,
    Divide = 0x3e,
}

const MASKED: u32 = 1 << 16;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const DELIVER_NMI: u32 = 0b100 << 8;
const DELIVER_INIT: u32 = 0b101 << 8;
const DELIVER_START: u32 = 0b110 << 8;
const LEVEL_ASSERT: u32 = 1 << 14;
const LEVEL_TRIGGERED: u32 = 1 << 15;
const DELIVERY_PENDING: u32 = 1 << 12;
const TIMER_DEADLINE: u32 = 0b10 << 17;
/// Divide by 16.
const DIVISOR: u32 = 0b0011;
/// How long the timer is measured, in microseconds.
const MEASURED: u64 = 10_000;

static X2APIC: AtomicBool = AtomicBool::new(false);
static DEADLINE_MODE: AtomicBool = AtomicBool::new(false);
/// Where the registers are mapped, for xAPIC mode.
static MAPPED_AT: AtomicU64 = AtomicU64::new(0);
/// The timer's counts in a second.
static COUNTS_PER_SECOND: AtomicU64 = AtomicU64::new(0);

fn msr_write(msr: u32, value: u64) {
    let mut msr = Msr::new(msr);
    // SAFETY: only called with the APIC's own registers, which reach no memory of ours.
    unsafe { msr.write(value) };
}

fn msr_read(msr: u32) -> u64 {
    // SAFETY: only called with the APIC's own registers, in the mode that has them.
    unsafe { Msr::new(msr).read() }
}

fn registers() -> Option<DeviceRegisters> {
    let base = MAPPED_AT.load(Ordering::Relaxed);
    // SAFETY: the address was stored by `find`, from a value that `map` made with this length.
    (base != 0).then(|| unsafe { DeviceRegisters::again(base, REGISTERS_LENGTH) })
}

fn read(register: Register) -> u32 {
    read_number(register as u32)
}

fn read_number(number: u32) -> u32 {
    if X2APIC.load(Ordering::Relaxed) {
        return msr_read(X2APIC_FIRST + number) as u32;
    }
    registers().map_or(0, |registers| registers.read(u64::from(number) << 4))
}

fn write(register: Register, value: u32) {
    if X2APIC.load(Ordering::Relaxed) {
        msr_write(X2APIC_FIRST + register as u32, value.into());
    } else if let Some(registers) = registers() {
        registers.write(u64::from(register as u32) << 4, value);
    }
}

/// Chooses the mode for all CPUs. `address` is where the firmware says the registers are; `x2apic` what the command
/// line wants, and `needed` whether there are CPUs that xAPIC mode cannot reach.
pub fn find(address: u64, x2apic: Option<bool>, needed: bool) {
    let features = core::arch::x86_64::__cpuid(1).ecx;
    let is_on = msr_read(BASE) & BASE_X2APIC != 0;
    let has = features & 1 << 21 != 0;
    let use_it = has && (is_on || needed || x2apic.unwrap_or(true));
    X2APIC.store(use_it, Ordering::Relaxed);
    DEADLINE_MODE.store(features & 1 << 24 != 0, Ordering::Relaxed);
    if !use_it {
        // SAFETY: it is where the firmware says the local APICs are.
        let mapped = unsafe { DeviceRegisters::map(address, REGISTERS_LENGTH) };
        MAPPED_AT.store(mapped.map_or(0, DeviceRegisters::base), Ordering::Relaxed);
    }
}

/// Returns whether the CPUs are in x2APIC mode.
#[must_use]
pub fn is_x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Returns whether timers are in TSC-deadline mode.
#[must_use]
pub fn has_deadline_mode() -> bool {
    DEADLINE_MODE.load(Ordering::Relaxed)
}

/// Enables this CPU's local APIC: NMIs on LINT1, everything else masked.
pub fn enable() {
    let mut base = msr_read(BASE) | BASE_ENABLE;
    if base & BASE_X2APIC == 0 && is_x2apic() {
        // One step at a time: xAPIC mode first.
        msr_write(BASE, base);
        base |= BASE_X2APIC;
    }
    msr_write(BASE, base);
    write(Register::TaskPriority, 0);
    for register in [Register::Thermal, Register::Performance, Register::Line0] {
        write(register, MASKED);
    }
    write(Register::Line1, DELIVER_NMI);
    write(Register::Error, vector::APIC_ERROR.into());
    write(Register::Divide, DIVISOR);
    write(Register::Spurious, SOFTWARE_ENABLE | u32::from(vector::SPURIOUS));
    write(Register::ErrorStatus, 0);
    prepare_timer();
}

/// Returns the identifier of this CPU's local APIC.
#[must_use]
pub fn id() -> u32 {
    let id = read(Register::Id);
    if is_x2apic() { id } else { id >> 24 }
}

/// Sends the end of interrupt (EOI).
pub fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Returns the errors since the last call.
pub fn error_status() -> u32 {
    write(Register::ErrorStatus, 0);
    read(Register::ErrorStatus)
}

fn command(apic_id: u32, low: u32) {
    if is_x2apic() {
        // A write to an x2APIC register is not ordered after earlier stores by itself.
        core::sync::atomic::fence(Ordering::SeqCst);
        // SAFETY: the instruction only orders loads and stores.
        unsafe { core::arch::x86_64::_mm_mfence() };
        msr_write(X2APIC_FIRST + Register::CommandLow as u32, u64::from(apic_id) << 32 | u64::from(low));
        return;
    }
    for _ in 0..1_000_000 {
        if read(Register::CommandLow) & DELIVERY_PENDING == 0 {
            break;
        }
        core::hint::spin_loop();
    }
    write(Register::CommandHigh, apic_id << 24);
    write(Register::CommandLow, low);
}

/// Returns the vectors that are pending at this CPU (IRR) and in service (ISR): a bit for each, vectors 0 to 31 first.
#[must_use]
pub fn requested_and_in_service() -> ([u32; 8], [u32; 8]) {
    let eight = |first: Register| {
        let mut numbers = first as u32..;
        [(); 8].map(|()| numbers.next().map_or(0, read_number))
    };
    (eight(Register::Request), eight(Register::InService))
}

/// Sends an interrupt to another CPU (IPI).
pub fn send(apic_id: u32, vector: u8) {
    command(apic_id, LEVEL_ASSERT | u32::from(vector));
}

/// Sends an NMI to another CPU.
pub fn send_nmi(apic_id: u32) {
    command(apic_id, LEVEL_ASSERT | DELIVER_NMI);
}

/// Sends INIT to another CPU; it then waits for its start.
pub fn send_init(apic_id: u32) {
    command(apic_id, LEVEL_TRIGGERED | LEVEL_ASSERT | DELIVER_INIT);
    clock::wait_microseconds(200);
    command(apic_id, LEVEL_TRIGGERED | DELIVER_INIT);
}

/// Sends a start-up IPI to a CPU after INIT: real mode at the page `page` (a machine address below 1 MiB).
pub fn send_start(apic_id: u32, page: u64) {
    command(apic_id, LEVEL_ASSERT | DELIVER_START | (page >> 12) as u32 & 0xff);
}

/// Calibrates the timer; the clock must be running.
pub fn measure_timer() {
    if has_deadline_mode() {
        return;
    }
    write(Register::Timer, MASKED);
    write(Register::InitialCount, u32::MAX);
    let start = clock::nanoseconds();
    clock::wait_microseconds(MEASURED);
    let counts = u64::from(u32::MAX.wrapping_sub(read(Register::CurrentCount)));
    let elapsed = clock::nanoseconds().saturating_sub(start).max(1);
    prepare_timer();
    COUNTS_PER_SECOND.store(counts.saturating_mul(1_000_000_000) / elapsed, Ordering::Relaxed);
}

/// Returns the timer's counts in a second, 0 in deadline mode.
#[must_use]
pub fn timer_hz() -> u64 {
    COUNTS_PER_SECOND.load(Ordering::Relaxed)
}

/// Sets this CPU's timer to a system time, in nanoseconds. A time in the past interrupts at once; one that is too far
/// off for the timer interrupts too early.
#[inline]
pub fn set_timer(deadline: u64) {
    if has_deadline_mode() {
        msr_write(TSC_DEADLINE, clock::ticks_at(deadline).max(1));
        return;
    }
    let wait = deadline.saturating_sub(clock::nanoseconds());
    let counts = u128::from(wait).wrapping_mul(timer_hz().into()) / 1_000_000_000;
    let counts = u32::try_from(counts).unwrap_or(u32::MAX).max(1);
    write(Register::InitialCount, counts);
}

/// Stops this CPU's timer.
pub fn stop_timer() {
    if has_deadline_mode() {
        msr_write(TSC_DEADLINE, 0);
    } else {
        // A count of 0 stops it.
        write(Register::InitialCount, 0);
    }
}

/// Unmasks the timer, which is stopped.
fn prepare_timer() {
    stop_timer();
    let mode = if has_deadline_mode() { TIMER_DEADLINE } else { 0 };
    write(Register::Timer, mode | u32::from(vector::TIMER));
    // The mode must have arrived before a deadline does.
    // SAFETY: the instruction only orders loads and stores.
    unsafe { core::arch::x86_64::_mm_mfence() };
}
