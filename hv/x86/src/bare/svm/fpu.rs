//! The FPU's state of guests. The hypervisor itself never uses the FPU.
//!
//! **Source:** AMD manual volume 2, 11.5; volume 1, 6.4 (state after a reset).

use core::arch::asm;
use xenolith_hal::PageWords;

const CONTROL_WORD: u16 = 0x037f;
const MXCSR: u32 = 0x1f80;

/// Makes a page of zeros the state after reset, for FXRSTOR and XRSTOR alike (an empty XSAVE header means that the
/// legacy part is in its initial state too; its contents are then ignored except for MXCSR).
pub(super) fn reset(area: &PageWords) {
    // Offsets 0 and 24 lie in every page.
    let _ = area.store_u16(0, CONTROL_WORD);
    let _ = area.store_u32(24, MXCSR);
}

/// Saves the state to a page; `parts` is XCR0, or 0 for a CPU without XSAVE.
pub(super) fn save(area: &PageWords, parts: u64) {
    let area = core::ptr::from_ref(area);
    if parts == 0 {
        // SAFETY: FXSAVE writes 512 bytes of the 4096 that the page has, which are atomics and so may be written
        // behind a shared reference; the page is aligned.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack)) };
    } else {
        // SAFETY: as above; XCR0 holds only parts that end within a page (see `Features::detect`).
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") parts as u32, in("edx") (parts >> 32) as u32, options(nostack));
        }
    }
}

/// Overwrites the x87 pointers (addresses and opcode of the last instruction), which AMD's CPUs load only for a state
/// with an exception that waits: any other would leave the last guest's for the next to read.
///
/// **Source:** AMD manual volume 2, 11.5 (FXRSTOR); XSA-52.
fn clear_pointers() {
    static ZERO: u32 = 0;
    // SAFETY: the state is another's and is overwritten next. FNCLEX drops its exceptions, so that EMMS does not take
    // one; EMMS empties the register stack, so that FILD finds room in it. The compiler uses no FPU register.
    unsafe { asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const ZERO, options(nostack, readonly)) };
}

/// Loads the state from a page that [`save`] or [`reset`] wrote; `with_pointers` says that the CPU loads the x87
/// pointers in any case.
pub(super) fn load(area: &PageWords, parts: u64, with_pointers: bool) {
    if !with_pointers {
        clear_pointers();
    }
    let area = core::ptr::from_ref(area);
    if parts == 0 {
        // SAFETY: the page holds what FXSAVE wrote, so no reserved bit is set that would fault. The compiler uses no
        // FPU register.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, readonly)) };
    } else {
        // SAFETY: as above, with XSAVE.
        unsafe {
            asm!(
                "xrstor64 [{}]", in(reg) area, in("eax") parts as u32, in("edx") (parts >> 32) as u32,
                options(nostack, readonly)
            );
        }
    }
}
