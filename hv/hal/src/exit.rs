//! Why a guest stopped running.

use crate::Gpa;

/// Numbers of the exceptions that the core injects. **Source:** AMD manual volume 2, table 8-1.
pub mod vector {
    pub const DEBUG: u8 = 1;
    pub const INVALID_OPCODE: u8 = 6;
    pub const STACK: u8 = 12;
    pub const GENERAL_PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const MACHINE_CHECK: u8 = 18;
}

/// What the guest did at the address that faulted: the error code of a nested page fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    pub write: bool,
    pub execute: bool,
    /// The nested translation is present and its rights forbade the access.
    pub present: bool,
    /// The access was a read of the guest's own page tables by the page walk, not the access of the instruction.
    pub page_walk: bool,
}

/// The width of a port access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoSize {
    Byte,
    Word,
    Dword,
}

impl IoSize {
    /// Returns the width in bytes: 1, 2 or 4.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
        }
    }

    /// Returns a mask of the bits that the access carries.
    #[must_use]
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => u32::MAX,
        }
    }
}

/// An intercepted IN or OUT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoAccess {
    pub port: u16,
    pub size: IoSize,
    /// True for OUT and OUTS.
    pub write: bool,
    /// INS or OUTS: the data is in memory.
    pub string: bool,
    /// A REP prefix stands before a string instruction.
    pub repeat: bool,
}

/// An exception to be injected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exception {
    pub vector: u8,
    pub error_code: Option<u32>,
    /// Address for CR2 with a page fault.
    pub address: Option<u64>,
}

impl Exception {
    /// General protection with error code 0.
    pub const GENERAL_PROTECTION: Self =
        Self { vector: vector::GENERAL_PROTECTION, error_code: Some(0), address: None };
    /// Stack fault with error code 0.
    pub const STACK_FAULT: Self = Self { vector: vector::STACK, error_code: Some(0), address: None };
    /// Invalid opcode.
    pub const INVALID_OPCODE: Self = Self { vector: vector::INVALID_OPCODE, error_code: None, address: None };
}

/// Why the guest stopped (VMEXIT). The instruction pointer still points to the instruction that caused the exit;
/// [`crate::GuestCpu::skip_instruction`] steps over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// VMMCALL or VMCALL.
    Hypercall,
    /// A nested page fault: the nested page tables forbade an access.
    NestedFault {
        gpa: Gpa,
        access: Access,
    },
    Io(IoAccess),
    ReadMsr {
        msr: u32,
    },
    WriteMsr {
        msr: u32,
        value: u64,
    },
    Cpuid {
        leaf: u32,
        subleaf: u32,
    },
    /// HLT; `interrupts_enabled` is the guest's RFLAGS.IF at that moment.
    Halt {
        interrupts_enabled: bool,
    },
    /// A host interrupt or a kick. Nothing is to be done for the guest.
    Interrupted,
    /// WBINVD, or INVD, which is never done as it is: what it would throw away is not the guest's alone.
    CacheFlush,
    /// An instruction of a feature that the guest does not have: inject an invalid-opcode exception (#UD).
    UndefinedInstruction,
    /// XSETBV with this value for XCR0.
    SetXcr0 {
        value: u64,
    },
    /// A triple fault.
    Shutdown,
    /// The machine refused the guest's state (SVM: VMEXIT_INVALID).
    InvalidState,
    /// The guest's state was lost: the hardware saved the hypervisor's own in its place.
    StateLost,
    /// An exit that was not requested; the number is the hardware's.
    Unknown {
        code: u64,
    },
}
