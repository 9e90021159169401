//! A CPU's registers and the code they lead to, in the layout that Xen's users know.

use core::arch::asm;

use x86_64::registers::control::{Cr0, Cr2, Cr3, Cr4};
use x86_64::registers::model_specific::{FsBase, GsBase, KernelGsBase};

use super::backtrace;
use super::symbols::Place;
use crate::bare::base::{cpu_area, image};
use crate::bare::interrupts::InterruptFrame;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How much code is shown before and behind the instruction, in bytes.
const AROUND: u64 = 15;

/// Captures the caller's own state, as far as it can still be known: where it is and where its stack is.
#[inline(always)]
pub(super) fn here() -> InterruptFrame {
    let mut frame = InterruptFrame::default();
    // SAFETY: the instructions only read registers.
    unsafe {
        asm!(
            "lea {rip}, [rip]",
            "mov {rsp}, rsp",
            "mov {rbp}, rbp",
            "pushfq",
            "pop {flags}",
            rip = out(reg) frame.rip,
            rsp = out(reg) frame.rsp,
            rbp = out(reg) frame.rbp,
            flags = out(reg) frame.rflags,
        );
        asm!("mov {:x}, cs", "mov {:x}, ss", out(reg) frame.cs, out(reg) frame.ss);
    }
    frame.cs &= 0xffff;
    frame.ss &= 0xffff;
    frame
}

/// Shows the registers, the code, the top of the stack and the calls that led here.
pub(super) fn show(frame: &InterruptFrame) {
    let debug = if cfg!(debug_assertions) { "y" } else { "n" };
    crate::print!("----[ Xenolith-{VERSION}  x86_64  debug={debug}  Not tainted ]----");
    show_general(cpu_area::this_index().as_u32(), frame);
    let (page_tables, _) = Cr3::read_raw();
    crate::print!("r15: {:016x}   cr0: {:016x}   cr4: {:016x}", frame.r15, Cr0::read_raw(), Cr4::read_raw());
    crate::print!("cr3: {:016x}   cr2: {:016x}", page_tables.start_address().as_u64(), Cr2::read_raw());
    crate::print!(
        "fsb: {:016x}   gsb: {:016x}   gss: {:016x}",
        FsBase::read().as_u64(),
        GsBase::read().as_u64(),
        KernelGsBase::read().as_u64()
    );
    crate::print!("ds: 0000   es: 0000   fs: 0000   gs: 0000   ss: {:04x}   cs: {:04x}", frame.ss, frame.cs);
    show_code(frame.rip);
    backtrace::show_stack(frame);
    backtrace::show_calls(frame);
}

pub(super) fn show_general(cpu: u32, frame: &InterruptFrame) {
    crate::print!("CPU:    {cpu}");
    crate::print!("RIP:    {:04x}:[<{:016x}>] {}", frame.cs, frame.rip, Place(frame.rip));
    crate::print!("RFLAGS: {:016x}   CONTEXT: hypervisor", frame.rflags);
    crate::print!("rax: {:016x}   rbx: {:016x}   rcx: {:016x}", frame.rax, frame.rbx, frame.rcx);
    crate::print!("rdx: {:016x}   rsi: {:016x}   rdi: {:016x}", frame.rdx, frame.rsi, frame.rdi);
    crate::print!("rbp: {:016x}   rsp: {:016x}   r8:  {:016x}", frame.rbp, frame.rsp, frame.r8);
    crate::print!("r9:  {:016x}   r10: {:016x}   r11: {:016x}", frame.r9, frame.r10, frame.r11);
    crate::print!("r12: {:016x}   r13: {:016x}   r14: {:016x}", frame.r12, frame.r13, frame.r14);
}

/// The bytes around the instruction, itself in angle brackets.
struct Code(u64);

impl core::fmt::Display for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for address in self.0.saturating_sub(AROUND)..self.0.saturating_add(AROUND) {
            if !image::text().holds(address) {
                continue;
            }
            // SAFETY: the address lies in the image's code, which is mapped and never written.
            let byte = unsafe { (address as *const u8).read_volatile() };
            if address == self.0 { write!(f, " <{byte:02x}>")? } else { write!(f, " {byte:02x}")? }
        }
        Ok(())
    }
}

fn show_code(rip: u64) {
    if image::text().holds(rip) {
        crate::print!("Xen code around <{rip:016x}> ({}):\n{}", Place(rip), Code(rip));
    }
}

/// Shows what a CPU that is not to blame was doing.
pub(super) fn show_bystander(frame: &InterruptFrame) {
    let cpu = cpu_area::this_index().as_u32();
    crate::print!("*** Dumping CPU{cpu} host state: ***");
    show_general(cpu, frame);
    backtrace::show_calls(frame);
}
