//! The two ways into the hypervisor: `vmmcall` in line, and the page of stubs that the hypervisor fills.

use core::arch::asm;

use crate::cpu;
use crate::pages::{self, Page};

/// Calls hypercall `number`, in line.
///
/// # Safety
/// Whatever memory the call writes must be of a kind that Rust knows only as volatile (see [`crate::pages`]).
#[inline]
pub unsafe fn call(number: u64, arguments: [u64; 5]) -> i64 {
    let [a1, a2, a3, a4, a5] = arguments;
    let result: i64;
    // SAFETY: the caller answers for memory; argument registers may come back changed when the call was continued.
    unsafe {
        // Aligned, so that no hypervisor that fetches the instruction has to look at two pages.
        asm!(".p2align 5", "vmmcall", inlateout("rax") number => result, inlateout("rdi") a1 => _, inlateout("rsi") a2 => _,
            inlateout("rdx") a3 => _, inlateout("r10") a4 => _, inlateout("r8") a5 => _, options(nostack))
    };
    result
}

/// Makes a hypercall of Microsoft's interface in line: `control`, and the guest-physical addresses of input and output, or
/// the input itself.
///
/// # Safety
/// As for [`call`].
#[inline]
pub unsafe fn call_viridian(control: u64, input: u64, output: u64) -> u64 {
    const BY_MICROSOFT: u64 = 1 << 31;
    let result: u64;
    // SAFETY: the caller answers for memory.
    unsafe {
        asm!(".p2align 5", "vmmcall", inlateout("rax") BY_MICROSOFT => result, inlateout("rcx") control => _,
            inlateout("rdx") input => _, inlateout("r8") output => _, options(nostack))
    };
    result
}

/// The page of stubs, one of 32 bytes for each hypercall number.
pub struct StubPage(&'static Page);

impl StubPage {
    /// Takes a page and asks the hypervisor to fill it through the register that CPUID names.
    #[must_use]
    pub fn new(register: u32) -> Self {
        let page = pages::take();
        // SAFETY: the hypervisor writes to this page only.
        unsafe { cpu::write_msr(register, page.address()) };
        Self(page)
    }

    /// Returns the page itself.
    #[must_use]
    pub fn page(&self) -> &'static Page {
        self.0
    }

    /// Calls hypercall `number` (0..128) through its stub.
    ///
    /// # Safety
    /// As for [`call`].
    pub unsafe fn call(&self, number: u64, arguments: [u64; 5]) -> i64 {
        let [a1, a2, a3, a4, a5] = arguments;
        let stub = self.0.address() + (number & 127) * 32;
        let result: i64;
        // SAFETY: as for `call`; the stub returns with `ret` and uses no stack but for its return address, and there
        // is no red zone.
        unsafe {
            asm!("call {stub}", stub = in(reg) stub, lateout("rax") result, inlateout("rdi") a1 => _,
                inlateout("rsi") a2 => _, inlateout("rdx") a3 => _, inlateout("r10") a4 => _,
                inlateout("r8") a5 => _, out("rcx") _, out("r11") _)
        };
        result
    }
}
