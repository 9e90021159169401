//! The exits that a guest makes on the scripted processor, and what each must lead to.
//!
//! **Source:** AMD manual volume 2, appendix C, and 15.9 to 15.13; lengths of instructions from volume 3.

use fastrand::Rng;
use xenolith_hal::{Access, Exception, Exit, Gpa, IoAccess, IoSize, Registers};

/// One exit.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    pub code: u64,
    pub info: [u64; 2],
    pub leads_to: Effect,
    /// Bytes of the instruction that caused it; none if no instruction did.
    pub length: Option<u64>,
}

/// What becomes of an exit.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Effect {
    /// The core is told.
    Told(Exit),
    /// The host takes its interrupts.
    Window,
    MachineCheck,
    /// The guest gets an exception.
    Injected(Exception),
    /// The debug registers are the guest's from now on.
    DebugRegisters,
    /// The guest returns from its NMI handler.
    InterruptReturn,
    /// A control register is written, on a CPU that does not check the value.
    ControlRegister,
}

/// What of it depends on how the processor was set up.
#[derive(Clone, Copy)]
pub struct Intercepted {
    pub debug_registers: bool,
    pub interrupt_return: bool,
    pub control_registers: bool,
}

fn plain(code: u64, exit: Exit, length: u64) -> Made {
    Made { code, info: [0; 2], leads_to: Effect::Told(exit), length: Some(length) }
}

fn exception(vector: u8, error_code: Option<u32>) -> Made {
    let leads_to = Effect::Injected(Exception { vector, error_code, address: None });
    Made { code: 0x40 + u64::from(vector), info: [error_code.unwrap_or(0).into(), 0], leads_to, length: None }
}

fn port(dice: &mut Rng) -> Made {
    let sizes = [(IoSize::Byte, 1), (IoSize::Word, 2), (IoSize::Dword, 4)];
    let (size, bits) = sizes[dice.usize(..3)];
    let (port, read, string, repeat) = (dice.u16(..), dice.bool(), dice.u8(..4) == 0, dice.u8(..4) == 0);
    let flags = u64::from(read) | u64::from(string) << 2 | u64::from(repeat) << 3;
    let info = u64::from(port) << 16 | bits << 4 | flags;
    let access = IoAccess { port, size, write: !read, string, repeat };
    Made { code: 0x7b, info: [info, 0], leads_to: Effect::Told(Exit::Io(access)), length: Some(1) }
}

fn nested_fault(dice: &mut Rng) -> Made {
    let gpa = dice.u64(..) >> dice.u32(12..64);
    let access = Access { write: dice.bool(), execute: dice.bool(), present: dice.bool(), page_walk: dice.bool() };
    let error = u64::from(access.present)
        | u64::from(access.write) << 1
        | u64::from(access.execute) << 4
        | 1 << (32 + u32::from(access.page_walk));
    let leads_to = Effect::Told(Exit::NestedFault { gpa: Gpa(gpa), access });
    Made { code: 0x400, info: [error, gpa], leads_to, length: None }
}

const fn wide(registers: &Registers) -> u64 {
    registers.rdx << 32 | registers.rax & 0xffff_ffff
}

/// Makes an exit of a guest that has these registers.
pub fn make(dice: &mut Rng, registers: &Registers, set: Intercepted) -> Made {
    let leaf = Exit::Cpuid { leaf: registers.rax as u32, subleaf: registers.rcx as u32 };
    let msr = registers.rcx as u32;
    match dice.u8(..32) {
        0..=4 => port(dice),
        5..=7 => plain(0x81, Exit::Hypercall, 3),
        8..=10 => nested_fault(dice),
        11 | 12 => plain(0x72, leaf, 2),
        13 => plain(0x7c, Exit::ReadMsr { msr }, 2),
        14 => Made { info: [1, 0], ..plain(0x7c, Exit::WriteMsr { msr, value: wide(registers) }, 2) },
        15 | 16 => plain(0x78, Exit::Halt { interrupts_enabled: registers.rflags & 1 << 9 != 0 }, 1),
        17 => plain(dice.choice([0x76, 0x89]).unwrap_or(0x76), Exit::CacheFlush, 2),
        18 => plain(
            dice.choice([0x7a, 0x80, 0x82, 0x83, 0x84, 0x85, 0x86]).unwrap_or(0x80),
            Exit::UndefinedInstruction,
            3,
        ),
        19 => plain(dice.choice([0x8a, 0x8b, 0x8c, 0x8e]).unwrap_or(0x8a), Exit::UndefinedInstruction, 3),
        20 => plain(0x6f, Exit::UndefinedInstruction, 2),
        21 if msr == 0 => plain(0x8d, Exit::SetXcr0 { value: wide(registers) }, 3),
        21 => Made { leads_to: Effect::Injected(Exception::GENERAL_PROTECTION), ..plain(0x8d, Exit::Shutdown, 3) },
        22 => Made { length: None, ..plain(0x7f, Exit::Shutdown, 0) },
        23 => exception(1, None),
        24 => exception(17, Some(0)),
        25 => Made { code: 0x52, info: [0; 2], leads_to: Effect::MachineCheck, length: None },
        26 | 27 if set.debug_registers => {
            Made { code: dice.u64(0x20..0x40), info: [0; 2], leads_to: Effect::DebugRegisters, length: None }
        }
        28 | 29 if set.interrupt_return => {
            Made { code: 0x74, info: [0; 2], leads_to: Effect::InterruptReturn, length: None }
        }
        30 | 31 if set.control_registers => {
            let code = dice.choice([0x10, 0x14, 0x18]).unwrap_or(0x10);
            Made { code, info: [0; 2], leads_to: Effect::ControlRegister, length: None }
        }
        _ => Made { code: dice.u64(0x60..0x64), info: [0; 2], leads_to: Effect::Window, length: None },
    }
}
