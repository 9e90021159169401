//! Decoding of exit codes.
//!
//! **Source:** AMD manual volume 2, appendix C, and 15.9 to 15.13 for what comes with each.

use super::features::Features;
use super::vmcb::{Field, Vmcb};
use xenolith_hal::{Access, Exception, Exit, Gpa, IoAccess, IoSize, Registers, SegmentAttributes};

/// Bits of the first word of instruction and event intercepts.
mod first {
    pub const INTR: u64 = 1;
    pub const NMI: u64 = 1 << 1;
    pub const SMI: u64 = 1 << 2;
    pub const INIT: u64 = 1 << 3;
    pub const RDPMC: u64 = 1 << 15;
    pub const CPUID: u64 = 1 << 18;
    pub const IRET: u64 = 1 << 20;
    pub const INVD: u64 = 1 << 22;
    pub const HLT: u64 = 1 << 24;
    pub const INVLPGA: u64 = 1 << 26;
    pub const IO: u64 = 1 << 27;
    pub const MSR: u64 = 1 << 28;
    pub const SHUTDOWN: u64 = 1 << 31;
}

/// Exceptions that exit. A guest can make the CPU raise #DB or #AC without end while it delivers the same exception;
/// an exit between two of them lets the host's interrupts in. A machine check is the host's.
const EXCEPTIONS: u64 = 1 << 1 | 1 << 17 | 1 << 18;

const ALWAYS: u64 = first::INTR
    | first::NMI
    | first::SMI
    | first::INIT
    | first::RDPMC
    | first::CPUID
    | first::INVD
    | first::HLT
    | first::INVLPGA
    | first::IO
    | first::MSR
    | first::SHUTDOWN;

/// Intercepts for exceptions, events and the first word of instructions.
pub(super) const INTERCEPTS: u64 = EXCEPTIONS | ALWAYS << 32;

/// Returns the intercepts for accesses to control registers (writes of CR0, CR4 and CR8 at most) and, if `debug_registers`,
/// debug registers.
pub(super) const fn register_intercepts(features: &Features, debug_registers: bool) -> u64 {
    const WRITES: u64 = 1 << 16 | 1 << (16 + 4) | 1 << (16 + 8);
    let control = if features.watches_control_writes() { WRITES } else { 0 };
    if debug_registers { control | 0xffff_ffff << 32 } else { control }
}

/// The bit of [`INTERCEPTS`] for IRET, set while an NMI is handled.
pub(super) const INTERCEPT_IRET: u64 = first::IRET << 32;
/// VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT; WBINVD, MONITOR, MWAIT twice, XSETBV, RDPRU; then INVLPGB,
/// MCOMMIT and TLBSYNC.
pub(super) const MORE_INTERCEPTS: u64 = 0x7f | 0x7e00 | (1 | 1 << 3 | 1 << 4) << 32;
/// What an exit requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    /// The core handles it.
    Core(Exit),
    /// A host interrupt, NMI or the like is pending.
    HostInterrupt,
    /// A machine check was raised while the guest ran.
    MachineCheck,
    /// Inject this exception into the guest.
    Inject(Exception),
    /// The guest touches its debug registers.
    DebugRegisters,
    /// The guest writes CR0, CR4 or CR8, on a CPU that does not check the value.
    ControlRegister,
    /// The guest is about to return from its NMI handler.
    InterruptReturn,
}

const DIVIDE_FROM: u64 = 0x40;
const LAST_EXCEPTION: u64 = 0x5f;
/// An access that the nested tables forbid.
pub(super) const NESTED_FAULT: u64 = 0x400;
/// VMMCALL.
pub(super) const HYPERCALL: u64 = 0x81;
/// IN or OUT.
pub(super) const IOIO: u64 = 0x7b;
/// VMEXIT_INVALID: the state was refused. QEMU writes the lower half alone.
const INVALID: u32 = u32::MAX;

fn port_access(info: u64) -> Option<IoAccess> {
    let size = match (info >> 4) & 7 {
        1 => IoSize::Byte,
        2 => IoSize::Word,
        4 => IoSize::Dword,
        _ => return None,
    };
    Some(IoAccess {
        port: (info >> 16) as u16,
        size,
        write: info & 1 == 0,
        string: info & (1 << 2) != 0,
        repeat: info & (1 << 3) != 0,
    })
}

/// Returns a port access, and where the next instruction begins; None for another exit.
#[inline]
pub(super) fn port(vmcb: Vmcb) -> Option<(IoAccess, u64)> {
    if vmcb.get(Field::EXIT_CODE) != IOIO {
        return None;
    }
    Some((port_access(vmcb.get(Field::EXIT_INFO_1))?, vmcb.get(Field::EXIT_INFO_2)))
}

fn nested_fault(error: u64, address: u64) -> Exit {
    let access = Access {
        present: error & 1 != 0,
        write: error & (1 << 1) != 0,
        execute: error & (1 << 4) != 0,
        page_walk: error & (1 << 33) != 0,
    };
    Exit::NestedFault { gpa: Gpa(address), access }
}

const fn wide(high: u64, low: u64) -> u64 {
    (high << 32) | (low & 0xffff_ffff)
}

fn msr(write: u64, registers: &Registers) -> Exit {
    let msr = registers.rcx as u32;
    if write & 1 != 0 {
        Exit::WriteMsr { msr, value: wide(registers.rdx, registers.rax) }
    } else {
        Exit::ReadMsr { msr }
    }
}

/// Decodes an exception intercept.
fn exception(vector: u8, error: u64) -> Meaning {
    const ALIGNMENT_CHECK: u8 = 17;
    const MACHINE_CHECK: u8 = 18;
    match vector {
        MACHINE_CHECK => Meaning::MachineCheck,
        ALIGNMENT_CHECK => Meaning::Inject(Exception { vector, error_code: Some(error as u32), address: None }),
        _ => Meaning::Inject(Exception { vector, error_code: None, address: None }),
    }
}

/// Decodes an exit. `registers` are the guest's after it. What comes often goes into the caller, the rest stays apart.
#[inline]
pub(super) fn decode(vmcb: Vmcb, registers: &Registers) -> Meaning {
    let (code, info) = (vmcb.get(Field::EXIT_CODE), vmcb.get(Field::EXIT_INFO_1));
    Meaning::Core(match code {
        HYPERCALL => Exit::Hypercall,
        0x7c => msr(info, registers),
        NESTED_FAULT => nested_fault(info, vmcb.get(Field::EXIT_INFO_2)),
        0x72 => Exit::Cpuid { leaf: registers.rax as u32, subleaf: registers.rcx as u32 },
        0x78 => Exit::Halt { interrupts_enabled: registers.rflags & (1 << 9) != 0 },
        0x60..=0x63 => return Meaning::HostInterrupt,
        _ => return decode_other(code, info, registers),
    })
}

#[inline(never)]
fn decode_other(code: u64, info: u64, registers: &Registers) -> Meaning {
    Meaning::Core(match code {
        0x10 | 0x14 | 0x18 => return Meaning::ControlRegister,
        0x20..=0x3f => return Meaning::DebugRegisters,
        DIVIDE_FROM..=LAST_EXCEPTION => return exception((code - DIVIDE_FROM) as u8, info),
        0x74 => return Meaning::InterruptReturn,
        0x76 | 0x89 => Exit::CacheFlush,
        IOIO => match port_access(info) {
            Some(access) => Exit::Io(access),
            None => Exit::Unknown { code },
        },
        0x7f => Exit::Shutdown,
        // RDPMC (there are no counters, and Xen answers so), INVLPGA, VMRUN, VMLOAD to SKINIT, MONITOR, MWAIT, RDPRU, INVLPGB, MCOMMIT, TLBSYNC.
        0x6f | 0x7a | 0x80 | 0x82..=0x86 | 0x8a..=0x8c | 0x8e | 0xa0 | 0xa3 | 0xa4 => Exit::UndefinedInstruction,
        0x8d if registers.rcx as u32 != 0 => return Meaning::Inject(Exception::GENERAL_PROTECTION),
        0x8d => Exit::SetXcr0 { value: wide(registers.rdx, registers.rax) },
        _ if code as u32 == INVALID => Exit::InvalidState,
        _ => Exit::Unknown { code },
    })
}

/// Returns where the next instruction begins, for exits that belong to an instruction; none for others.
///
/// A CPU that does not say it is an emulator (QEMU's before version 10): there the length is that of the instruction
/// without prefixes, which none of these has a use for. A guest that writes some all the same is led into the middle
/// of its own instruction.
#[inline]
pub(super) fn next_instruction(vmcb: Vmcb, rip: u64, hardware_says: bool) -> Option<u64> {
    let code = vmcb.get(Field::EXIT_CODE);
    let length = match code {
        // The address comes with the exit on every CPU.
        IOIO => return Some(vmcb.get(Field::EXIT_INFO_2)),
        0x78 => 1,
        0x6f | 0x72 | 0x76 | 0x7c | 0x89 => 2,
        0x7a | 0x80..=0x86 | 0x8a..=0x8e => 3,
        _ => return None,
    };
    if hardware_says {
        return Some(vmcb.get(Field::NEXT_RIP));
    }
    let next = rip.wrapping_add(length);
    let long = vmcb.attributes(Field::CS).contains(SegmentAttributes::LONG);
    Some(if long { next } else { next & 0xffff_ffff })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::boxed::Box;
    use xenolith_hal::PageWords;

    fn exit(code: u64, info: [u64; 2]) -> Vmcb {
        let vmcb = Vmcb::new(Box::leak(Box::new(PageWords::new())));
        vmcb.set(Field::EXIT_CODE, code);
        vmcb.set(Field::EXIT_INFO_1, info[0]);
        vmcb.set(Field::EXIT_INFO_2, info[1]);
        vmcb
    }

    fn core(code: u64, info: [u64; 2], registers: Registers) -> Exit {
        match decode(exit(code, info), &registers) {
            Meaning::Core(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_port_access_carries_its_size_and_direction() {
        let registers = Registers::default();
        let out = IoAccess { port: 0x3f8, size: IoSize::Byte, write: true, string: false, repeat: false };
        assert_eq!(core(IOIO, [0x03f8_0010, 0], registers), Exit::Io(out));
        let ins = IoAccess { port: 0xcfc, size: IoSize::Dword, write: false, string: true, repeat: true };
        assert_eq!(core(IOIO, [0x0cfc_004d, 0], registers), Exit::Io(ins));
        assert_eq!(core(IOIO, [0x0cfc_0001, 0], registers), Exit::Unknown { code: IOIO });
    }

    #[test]
    fn msr_values_come_from_the_lower_halves() {
        let registers = Registers {
            rax: 0xaaaa_aaaa_1111_1111,
            rdx: 0xbbbb_bbbb_2222_2222,
            rcx: 0xcccc_cccc_c000_0080,
            ..Registers::default()
        };
        let write = Exit::WriteMsr { msr: 0xc000_0080, value: 0x2222_2222_1111_1111 };
        assert_eq!(core(0x7c, [1, 0], registers), write);
        assert_eq!(core(0x7c, [0, 0], registers), Exit::ReadMsr { msr: 0xc000_0080 });
    }

    #[test]
    fn a_nested_fault_says_who_did_what() {
        let access = Access { write: true, execute: false, present: true, page_walk: true };
        let fault = Exit::NestedFault { gpa: Gpa(0xfee0_0300), access };
        assert_eq!(core(NESTED_FAULT, [2 << 32 | 7, 0xfee0_0300], Registers::default()), fault);
    }

    #[test]
    fn an_exit_without_a_meaning_is_unknown_and_not_an_error() {
        for code in [0, 0x64, 0x7d, 0x8f, 0x401, 0x403, 0xffff_fffe] {
            assert_eq!(core(code, [0, 0], Registers::default()), Exit::Unknown { code });
        }
        for code in [u64::MAX, 0xffff_ffff] {
            assert_eq!(core(code, [0, 0], Registers::default()), Exit::InvalidState);
        }
    }

    #[test]
    fn exceptions_that_pass_by_are_given_to_the_guest() {
        let registers = Registers::default();
        let debug = Exception { vector: 1, error_code: None, address: None };
        assert_eq!(decode(exit(0x41, [0, 0]), &registers), Meaning::Inject(debug));
        let alignment = Exception { vector: 17, error_code: Some(0), address: None };
        assert_eq!(decode(exit(0x51, [0, 0]), &registers), Meaning::Inject(alignment));
        assert_eq!(decode(exit(0x52, [0, 0]), &registers), Meaning::MachineCheck);
    }

    #[test]
    fn only_xcr0_can_be_set() {
        let registers = Registers { rax: 7, ..Registers::default() };
        assert_eq!(core(0x8d, [0, 0], registers), Exit::SetXcr0 { value: 7 });
        let other = Registers { rcx: 1, ..registers };
        assert_eq!(decode(exit(0x8d, [0, 0]), &other), Meaning::Inject(Exception::GENERAL_PROTECTION));
    }

    #[test]
    fn the_next_instruction_is_known_with_and_without_the_hardwares_help() {
        let cpuid = exit(0x72, [0, 0]);
        cpuid.set(Field::NEXT_RIP, 0x77);
        assert_eq!(next_instruction(cpuid, 0x10, true), Some(0x77));
        assert_eq!(next_instruction(cpuid, 0x10, false), Some(0x12));
        assert_eq!(next_instruction(cpuid, 0xffff_ffff, false), Some(1), "32-bit code wraps");
        assert_eq!(next_instruction(exit(IOIO, [0, 0x99]), 0x10, false), Some(0x99));
        assert_eq!(next_instruction(exit(NESTED_FAULT, [0, 0]), 0x10, true), None);
    }

    #[test]
    fn time_stamps_and_a_real_cpus_control_registers_are_not_intercepted() {
        const RDTSC: u64 = 1 << (32 + 14);
        const RDTSCP: u64 = 1 << 7;
        let cpu = Features { decode_assists: true, ..Features::default() };
        assert_eq!(INTERCEPTS & (RDTSC | INTERCEPT_IRET), 0);
        assert_eq!(MORE_INTERCEPTS & RDTSCP, 0);
        assert_eq!(register_intercepts(&cpu, false), 0);
        assert_eq!(register_intercepts(&cpu, true) & 0xffff_ffff, 0);
    }
}
