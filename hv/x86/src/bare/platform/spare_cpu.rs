//! Whether CPU 0 is kept free of guests.
//!
//! QEMU's software emulator keeps the flags of the first CPU's virtualisation (interrupts globally enabled, nested paging
//! on) in one word, which each other CPU also writes, without a lock, when it loads FPU state. A guest on the first CPU
//! can so find itself with the hypervisor's registers, and the hypervisor with the guest's address space. A first CPU
//! that enters no guest never changes its flags, so nothing can be lost. `docs/decisions/0007-cpu-0.md` has the account.

use core::arch::x86_64::__cpuid;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::bare::base::cpu_area;

/// The signature of QEMU's software emulator, EBX, ECX and EDX of the first leaf of what a hypervisor says of itself.
const EMULATOR: &[u8; 12] = b"TCGTCGTCGTCG";
const HYPERVISOR_LEAVES: u32 = 0x4000_0000;
/// CPUID leaf 1, ECX: software of some kind is below.
const HYPERVISOR_PRESENT: u32 = 1 << 31;

static KEPT: AtomicBool = AtomicBool::new(false);

fn is_emulated() -> bool {
    if __cpuid(1).ecx & HYPERVISOR_PRESENT == 0 {
        return false;
    }
    let said = __cpuid(HYPERVISOR_LEAVES);
    [said.ebx, said.ecx, said.edx].map(u32::to_le_bytes).as_flattened() == EMULATOR
}

/// Decides, once all CPUs are up: as `guests_on_cpu0` says, or else by the CPU. A single CPU always runs guests.
pub fn decide(guests_on_cpu0: Option<bool>) {
    let kept = cpu_area::count() > 1 && !guests_on_cpu0.unwrap_or_else(|| !is_emulated());
    KEPT.store(kept, Ordering::Relaxed);
    if kept {
        crate::log!(Info, "CPU0 runs no guests: QEMU's emulator would lose them there (guests-on-cpu0=1 to let them)");
    }
}

/// Returns true if no guest may run on CPU 0.
pub fn is_kept() -> bool {
    KEPT.load(Ordering::Relaxed)
}
