//! Machine code run at CPL 3.

use core::arch::asm;

use crate::pages::{self, Access};
use crate::traps::{Fault, catch};

const CODE_SLOT: u64 = 500;
const STACK_SLOT: u64 = 502;

/// Runs `code` at CPL 3 with the five hypercall argument registers and `rax` set, until it faults.
///
/// End the code with `int3` (0xcc): that comes back as vector 3, and [`Fault::rax`] is the result. Code and stack are
/// pages of the window; all other memory is out of reach of CPL 3. Interrupts are off.
pub fn run(code: &[u8], rax: u64, arguments: [u64; 5]) -> Fault {
    let (page, stack) = (pages::take(), pages::take());
    for (offset, byte) in code.iter().take(pages::PAGE_BYTES).enumerate() {
        page.write(offset, *byte);
    }
    let entry = pages::map(CODE_SLOT, page.gfn(), Access::User);
    let top = pages::map(STACK_SLOT, stack.gfn(), Access::User) + 4096;
    let [a1, a2, a3, a4, a5] = arguments;
    let outcome: Result<(), Fault> = catch(|| {
        // SAFETY: the code cannot reach this kernel's memory, and the only way back is an exception, which `catch`
        // turns into a return with this kernel's stack and registers.
        unsafe {
            asm!("push 0x23", "push {top}", "push 2", "push 0x2b", "push {entry}", "iretq",
                top = in(reg) top, entry = in(reg) entry, in("rax") rax, in("rdi") a1, in("rsi") a2, in("rdx") a3,
                in("r10") a4, in("r8") a5, options(noreturn))
        }
    });
    match outcome {
        Err(fault) => fault,
        // The closure cannot return: it leaves by `iretq`.
        Ok(()) => Fault { vector: 0xff, code: 0, address: 0, rax: 0, from_user: false },
    }
}
