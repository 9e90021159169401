//! Instructions that the hypervisor carries out for the guest.

use core::hint::black_box;

use xen_abi::VcpuId;
use xen_abi::hvm_op::{HVMOP_SET_EVTCHN_UPCALL_VECTOR, HvmEvtchnUpcallVector};
use xenolith_guest_kit::calls::hvm;
use xenolith_guest_kit::domain::{SPARE, UPCALL, address};
use xenolith_guest_kit::pages::read_at;
use xenolith_guest_kit::{cpu, lapic, stamps};

use crate::bench::{Bench, ROUNDS, counter};

/// A register that every hypervisor has to answer for: where the local APIC is.
const APIC_BASE: u32 = 0x1b;
/// The page attribute table, of which the processor itself can keep a guest's own.
const PAT: u32 = 0x277;
/// A port of the machine's old interrupt controller, which domain 0 does not get.
const REFUSED_PORT: u16 = 0x20;
const IO_APIC: u64 = 0xfec0_0000;
/// The vector of interrupts to oneself.
const OWN: u8 = 0xe0;

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    b.repeated("exit/cpuid", ROUNDS, || {
        black_box(cpu::cpuid(0, 0));
    });
    b.repeated("exit/msr-read", ROUNDS, || {
        black_box(cpu::read_msr(APIC_BASE));
    });
    b.repeated("exit/msr-write", ROUNDS, || lapic::write(lapic::TPR, 0));
    let pat = cpu::read_msr(PAT);
    b.repeated("exit/msr-write-pat", ROUNDS, || {
        // SAFETY: the register keeps what it has.
        unsafe { cpu::write_msr(PAT, pat) };
    });
    b.repeated("exit/port-refused", ROUNDS, || {
        black_box(cpu::in8(REFUSED_PORT));
    });
    b.repeated("exit/pci-config-read", ROUNDS, || {
        // SAFETY: selects a register of the host bridge, which is only read.
        unsafe { cpu::out32(0xcf8, 0x8000_0000) };
        black_box(cpu::in32(0xcfc));
    });
    own_interrupts(b);
    b.repeated("exit/nested-fault-nothing-there", ROUNDS, || {
        black_box(read_at::<u32>(address(SPARE)));
    });
    b.repeated("exit/io-apic-read", ROUNDS, || {
        black_box(read_at::<u32>(IO_APIC));
    });
}

/// Measures an interrupt to oneself: to its handler, and its end.
fn own_interrupts(b: &mut Bench<'_>) {
    stamps::serve(OWN);
    b.row("interrupt/self-to-handler", |meter| {
        let mut least = i64::MAX;
        cpu::interrupts_on();
        for _ in 0..meter.rounds(ROUNDS) {
            let begin = counter();
            lapic::send_to_self(OWN);
            least = least.min(meter.between(begin, stamps::reached()));
        }
        cpu::interrupts_off();
        Ok(least)
    });
    b.row("interrupt/end-x2apic", |meter| {
        let mut least = i64::MAX;
        cpu::interrupts_on();
        for _ in 0..meter.rounds(ROUNDS) {
            lapic::send_to_self(OWN);
            least = least.min(stamps::end_took().cast_signed());
        }
        cpu::interrupts_off();
        Ok(least)
    });
}

/// Gives vCPU 0's events a vector of its local APIC, as Linux does, and a handler that notes the time.
pub fn serve_events() -> i64 {
    stamps::serve(UPCALL);
    let mut wanted = HvmEvtchnUpcallVector { vcpu: VcpuId(0), vector: UPCALL, ..HvmEvtchnUpcallVector::default() };
    hvm(HVMOP_SET_EVTCHN_UPCALL_VECTOR, &mut wanted)
}
