//! Each CPU's segment descriptors (GDT) and task state segment (TSS), and the shared interrupt descriptor table (IDT).
//!
//! **Source:** AMD APM volume 2, 4.8 and 8.9, 12.2.5.

use alloc::boxed::Box;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::segmentation::{CS, DS, ES, FS, SS, Segment};
use x86_64::instructions::tables::{lidt, load_tss};
use x86_64::structures::DescriptorTablePointer;
use x86_64::structures::gdt::{Descriptor, GlobalDescriptorTable, SegmentSelector};
use x86_64::structures::tss::TaskStateSegment;
use x86_64::{PrivilegeLevel, VirtAddr};
use xenolith_sync::CpuIndex;

use super::{InterruptFrame, entry};
use crate::bare::memory::stacks::{self, StackUse};

/// The selector of the hypervisor's code.
const CODE: SegmentSelector = SegmentSelector::new(1, PrivilegeLevel::Ring0);
/// The selector of the segment whose limit is the CPU's number.
const NUMBER: SegmentSelector = SegmentSelector::new(5, PrivilegeLevel::Ring0);
/// A present data segment that is read-only, counted in bytes; the lowest 16 bits of its limit are zero.
const READ_ONLY_DATA: u64 = 0x91 << 40;
/// A present gate of the type that leaves interrupts off.
const INTERRUPT_GATE: u64 = 0x8e00;
const VECTORS: usize = 256;

/// A table of gates, two words each.
#[repr(C, align(16))]
struct Gates([[AtomicU64; 2]; VECTORS]);

static GATES: Gates = Gates([const { [const { AtomicU64::new(0) }; 2] }; VECTORS]);

/// Returns the IST entry for a vector, counted from 1; 0 stays on the current stack.
const fn stack_of(vector: usize) -> u64 {
    match vector {
        2 => 1,
        8 => 2,
        18 => 3,
        _ => 0,
    }
}

/// Fills the IDT. The boot CPU does so once, before any CPU loads it. Exceptions, NMIs among them, go to `exceptions`.
pub fn fill_gates(exceptions: fn(&InterruptFrame)) {
    let _ = super::EXCEPTIONS.set(exceptions);
    for (vector, gate) in GATES.0.iter().enumerate() {
        let entry = entry::entry_of(vector);
        let stack = stack_of(vector);
        let low = entry & 0xffff
            | u64::from(CODE.0) << 16
            | stack << 32
            | INTERRUPT_GATE << 32
            | (entry >> 16 & 0xffff) << 48;
        let [first, second] = gate;
        first.store(low, Ordering::Release);
        second.store(entry >> 32, Ordering::Release);
    }
}

/// Loads this CPU's own descriptors and the common gates. It must have its stacks already.
#[expect(clippy::disallowed_methods, reason = "only at boot, as each CPU comes up")]
pub fn load(cpu: CpuIndex) {
    let at = |stack| VirtAddr::new_truncate(stacks::top(cpu, stack));
    let mut state = TaskStateSegment::new();
    // The structure is packed: whole arrays are assigned, since their elements cannot be borrowed.
    state.privilege_stack_table = [at(StackUse::Main), VirtAddr::zero(), VirtAddr::zero()];
    let none = VirtAddr::zero();
    let [nmi, double_fault, machine_check] = [StackUse::Nmi, StackUse::DoubleFault, StackUse::MachineCheck].map(at);
    state.interrupt_stack_table = [nmi, double_fault, machine_check, none, none, none, none];
    // They are read by the CPU for as long as it runs.
    let state: &'static TaskStateSegment = Box::leak(Box::new(state));
    let table: &'static mut GlobalDescriptorTable = Box::leak(Box::new(GlobalDescriptorTable::new()));
    let code = table.append(Descriptor::kernel_code_segment());
    let data = table.append(Descriptor::kernel_data_segment());
    let task = table.append(Descriptor::tss_segment(state));
    let number = table.append(Descriptor::UserSegment(READ_ONLY_DATA | u64::from(cpu.as_u32() & 0xffff)));
    debug_assert_eq!(number, NUMBER, "the place at which the number is looked for");
    table.load();
    let gates = DescriptorTablePointer {
        limit: (size_of::<Gates>() - 1) as u16,
        base: VirtAddr::new_truncate(core::ptr::from_ref(&GATES) as u64),
    };
    // SAFETY: the table that was just loaded lives for ever and holds these descriptors, of the right types. The gates
    // lead to the entry code for every vector, by the code selector that `code` is. GS's base is set by an MSR, which
    // loading null into the other registers leaves alone.
    unsafe {
        CS::set_reg(code);
        SS::set_reg(data);
        DS::set_reg(SegmentSelector::NULL);
        ES::set_reg(SegmentSelector::NULL);
        FS::set_reg(SegmentSelector::NULL);
        load_tss(task);
        lidt(&gates);
    }
}

/// Returns the number of the calling CPU by its descriptors, without GS: they are the host's again from the moment a
/// guest exits, while GS is not. To be called after [`load`].
///
/// **Source:** AMD manual volume 2, 15.5.1 (the host's GDTR is loaded by #VMEXIT); volume 3, LSL.
pub fn this_index() -> CpuIndex {
    let limit: u32;
    // SAFETY: reads a descriptor's limit; a descriptor that is not there leaves the register as it is, a zero.
    unsafe {
        asm!("lsl {limit:e}, {selector:e}", limit = inout(reg) 0_u32 => limit, selector = in(reg) u32::from(NUMBER.0),
            options(nostack, readonly));
    }
    CpuIndex::new(limit).unwrap_or(CpuIndex::BOOT)
}
