//! A world switch with no hypervisor: this kernel enters a guest of its own that leaves at its first instruction.
//!
//! What it takes is the machine's own charge, which every row of the other kind holds too.

use core::arch::{asm, global_asm};
use core::fmt::{self, Write};

use xenolith_guest_kit::cpu;
use xenolith_guest_kit::pages::{self, Page};

use crate::bench::{Bench, ROUNDS};

const EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// Fields of the control block. **Source:** AMD manual volume 2, appendix B.
const INTERCEPTS: usize = 0x00c;
const INTERCEPT_CPUID: u32 = 1 << 18;
const MORE_INTERCEPTS: usize = 0x010;
const INTERCEPT_VMRUN: u32 = 1;
const ASID: usize = 0x058;
const EXIT_CODE: usize = 0x070;
const EXIT_CPUID: u64 = 0x72;
/// ES, CS, SS, DS: 16 bytes each.
const SEGMENTS: usize = 0x400;
const EFER_FIELD: usize = 0x4d0;
const CR4: usize = 0x548;
const CR3: usize = 0x550;
const CR0: usize = 0x558;
const DR7: usize = 0x560;
const DR6: usize = 0x568;
const RFLAGS: usize = 0x570;
const RIP: usize = 0x578;
const RSP: usize = 0x5d8;

unsafe extern "C" {
    static bare_guest: u8;
}

global_asm!(
    r#"
    .text
    .balign 16
    .global bare_guest
bare_guest:
    cpuid
    jmp bare_guest
"#
);

/// Takes the row.
pub fn run() {
    let mut out = Serial;
    // The serial line takes whatever it is given; its writer cannot fail.
    let _ = writeln!(out, "BENCH BEGIN");
    let _ = match measure() {
        Some(ticks) => writeln!(out, "ROW world-switch/bare = {ticks}"),
        None => writeln!(out, "ROW world-switch/bare = - no SVM here"),
    };
    let _ = writeln!(out, "BENCH END 1");
}

fn measure() -> Option<u64> {
    if cpu::cpuid(0x8000_0001, 0).ecx & 1 << 2 == 0 {
        return None;
    }
    let (block, save) = (pages::take(), pages::take());
    // SAFETY: SVM is there; the save area is a page of its own, and the guest to come shares this kernel's map.
    unsafe {
        cpu::write_msr(EFER, cpu::read_msr(EFER) | EFER_SVME);
        cpu::write_msr(VM_HSAVE_PA, save.address());
    }
    fill(block);
    let ticks = Bench::new(None, None).meter.least(ROUNDS, || {
        // SAFETY: the guest leaves at its first instruction and changes no memory; VMRUN keeps the host's registers
        // but those that a CPUID could change, and the guest has none carried out.
        unsafe { asm!("vmrun rax", "stgi", in("rax") block.address(), options(nostack)) };
    });
    (block.read::<u64>(EXIT_CODE) == EXIT_CPUID).then_some(ticks)
}

/// Describes a guest that is this kernel at another instruction.
fn fill(block: &Page) {
    block.write(INTERCEPTS, INTERCEPT_CPUID);
    block.write(MORE_INTERCEPTS, INTERCEPT_VMRUN);
    block.write(ASID, 1_u32);
    for (index, (selector, attributes)) in
        [(0x18_u16, 0xc93_u16), (0x10, 0xa9b), (0x18, 0xc93), (0x18, 0xc93)].into_iter().enumerate()
    {
        let at = SEGMENTS + index * 16;
        block.write(at, selector);
        block.write(at + 2, attributes);
        block.write(at + 4, u32::MAX);
    }
    let (cr0, cr3, cr4): (u64, u64, u64);
    // SAFETY: reading control registers has no effect.
    unsafe {
        asm!("mov {}, cr0", "mov {}, cr3", "mov {}, cr4", out(reg) cr0, out(reg) cr3, out(reg) cr4,
            options(nomem, nostack, preserves_flags));
    }
    let fields = [
        (EFER_FIELD, cpu::read_msr(EFER)),
        (CR4, cr4),
        (CR3, cr3),
        (CR0, cr0),
        (DR7, 0x400),
        (DR6, 0xffff_0ff0),
        (RFLAGS, 2),
        (RIP, &raw const bare_guest as u64),
        (RSP, 0),
    ];
    for (field, value) in fields {
        block.write(field, value);
    }
}

/// The first serial port, as the machine's firmware leaves it.
struct Serial;

impl Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        const PORT: u16 = 0x3f8;
        const MAY_WRITE: u8 = 1 << 5;
        for byte in text.bytes() {
            while cpu::in8(PORT + 5) & MAY_WRITE == 0 {}
            // SAFETY: the device sends the byte on and touches no memory.
            unsafe { cpu::out8(PORT, byte) };
        }
        Ok(())
    }
}
