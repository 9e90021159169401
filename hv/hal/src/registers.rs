//! The state of a guest's CPU as plain numbers.

/// General registers, instruction pointer and flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
}

/// A segment register with its hidden part. `attributes` is laid out as in the VMCB (AMD manual volume 2, 15.5.1):
/// the descriptor's bits 40-47 in bits 0-7, its bits 52-55 in bits 8-11.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    pub selector: u16,
    pub attributes: u16,
    pub limit: u32,
    pub base: u64,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DescriptorTable {
    pub limit: u16,
    pub base: u64,
}

/// Registers that a walk of the guest's page tables depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PagingRegisters {
    pub cr0: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub rflags: u64,
    /// Privilege level, 0 to 3.
    pub cpl: u8,
    /// The code segment is a 64-bit one (CS.L).
    pub long_code: bool,
}

/// All CPU state that a guest can see, except the FPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CpuState {
    pub registers: Registers,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub efer: u64,
    pub dr6: u64,
    pub dr7: u64,
    pub cs: Segment,
    pub ss: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub tr: Segment,
    pub ldtr: Segment,
    pub gdtr: DescriptorTable,
    pub idtr: DescriptorTable,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub pat: u64,
}

/// PAT after a reset. **Source:** AMD manual volume 2, 7.8.2.
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
/// CR0.ET, which cannot be cleared, with caches off as after INIT. **Source:** AMD manual volume 2, table 14-1.
const CR0_AT_RESET: u64 = 0x6000_0010;
const RFLAGS_FIXED: u64 = 2;

impl CpuState {
    /// Returns the state after INIT, before a start-up IPI. **Source:** AMD manual volume 2, table 14-1.
    #[must_use]
    pub fn after_init() -> Self {
        let data = Segment { selector: 0, attributes: 0x93, limit: 0xffff, base: 0 };
        let system = Segment { selector: 0, attributes: 0x82, limit: 0xffff, base: 0 };
        Self {
            registers: Registers { rip: 0xfff0, rflags: RFLAGS_FIXED, ..Registers::default() },
            cr0: CR0_AT_RESET,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            cs: Segment { selector: 0xf000, attributes: 0x9b, limit: 0xffff, base: 0xffff_0000 },
            ss: data,
            ds: data,
            es: data,
            fs: data,
            gs: data,
            tr: Segment { attributes: 0x8b, ..system },
            ldtr: system,
            gdtr: DescriptorTable { limit: 0xffff, base: 0 },
            idtr: DescriptorTable { limit: 0xffff, base: 0 },
            pat: PAT_AT_RESET,
            ..Self::default()
        }
    }

    /// Returns the state after a start-up IPI with this vector: real mode at `vector << 12`.
    #[must_use]
    pub fn after_startup_ipi(vector: u8) -> Self {
        let base = u64::from(vector) << 12;
        let mut state = Self::after_init();
        state.registers.rip = 0;
        state.cs = Segment { selector: u16::from(vector) << 8, attributes: 0x9b, limit: 0xffff, base };
        state
    }

    /// Returns the state in which a PVH kernel starts: 32-bit flat segments, paging off, EBX pointing to the start
    /// info. **Source:** Xen's `docs/misc/pvh.pandoc`, "Boot protocol".
    #[must_use]
    pub fn at_pvh_entry(entry: u32, start_info: u32) -> Self {
        let flat = Segment { selector: 0, attributes: 0xc93, limit: u32::MAX, base: 0 };
        Self {
            registers: Registers {
                rip: u64::from(entry),
                rbx: u64::from(start_info),
                rflags: RFLAGS_FIXED,
                ..Registers::default()
            },
            cr0: 0x11,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            cs: Segment { attributes: 0xc9b, ..flat },
            ss: flat,
            ds: flat,
            es: flat,
            fs: flat,
            gs: flat,
            tr: Segment { selector: 0, attributes: 0x8b, limit: 0x67, base: 0 },
            ldtr: Segment { selector: 0, attributes: 0x82, limit: 0, base: 0 },
            pat: PAT_AT_RESET,
            ..Self::default()
        }
    }

    /// Returns the registers that a walk of the page tables depends on.
    #[must_use]
    pub fn paging(&self) -> PagingRegisters {
        PagingRegisters {
            cr0: self.cr0,
            cr3: self.cr3,
            cr4: self.cr4,
            efer: self.efer,
            rflags: self.registers.rflags,
            cpl: ((self.ss.attributes >> 5) & 3) as u8,
            long_code: self.cs.attributes & (1 << 9) != 0,
        }
    }
}
