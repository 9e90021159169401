//! The state of a guest's CPU as plain numbers.

use bitflags::bitflags;

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

bitflags! {
    /// What a segment's descriptor says besides base and limit: its bits 40 to 47, and behind them its bits 52 to 55.
    ///
    /// **Source:** AMD manual volume 2, 4.7 and 4.8 (segment descriptors).
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SegmentAttributes: u16 {
        /// Of code and data: it was used.
        const ACCESSED = 1;
        /// Of data: it can be written. Of code: it can be read.
        const WRITABLE_OR_READABLE = 1 << 1;
        /// Of data: it grows down. Of code: it conforms.
        const DOWN_OR_CONFORMING = 1 << 2;
        /// Of what is no system segment: code, and not data.
        const CODE = 1 << 3;
        /// Code or data (S), and no system segment.
        const NOT_SYSTEM = 1 << 4;
        /// Both bits of the privilege level (DPL).
        const PRIVILEGE = 3 << 5;
        /// It is there (P).
        const PRESENT = 1 << 7;
        /// Free for software (AVL).
        const AVAILABLE = 1 << 8;
        /// 64-bit code (L).
        const LONG = 1 << 9;
        /// 32-bit code or stack (D/B).
        const DEFAULT_SIZE = 1 << 10;
        /// The limit counts pages (G).
        const PAGES = 1 << 11;
    }
}

impl SegmentAttributes {
    /// Returns the privilege level (DPL), 0 to 3.
    #[must_use]
    pub const fn privilege(self) -> u8 {
        (self.intersection(Self::PRIVILEGE).bits() >> 5) as u8
    }
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Segment {
    pub selector: u16,
    pub attributes: SegmentAttributes,
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

/// A segment that code names, by its number in instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentName {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// PAT after a reset. **Source:** AMD manual volume 2, 7.8.2.
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
/// CR0.ET, which cannot be cleared, with caches off as after INIT. **Source:** AMD manual volume 2, table 14-1.
const CR0_AT_RESET: u64 = 0x6000_0010;
const RFLAGS_FIXED: u64 = 2;

/// Data that can be written, of 16 bits; and flat, of 32 bits.
const DATA_16: SegmentAttributes = SegmentAttributes::from_bits_truncate(0x93);
const DATA_32: SegmentAttributes = SegmentAttributes::from_bits_truncate(0xc93);
/// Code that can be read, of 16 bits; and flat, of 32 bits.
const CODE_16: SegmentAttributes = SegmentAttributes::from_bits_truncate(0x9b);
const CODE_32: SegmentAttributes = SegmentAttributes::from_bits_truncate(0xc9b);
/// A local descriptor table, and a task that runs.
const LOCAL_TABLE: SegmentAttributes = SegmentAttributes::from_bits_truncate(0x82);
const BUSY_TASK: SegmentAttributes = SegmentAttributes::from_bits_truncate(0x8b);

impl CpuState {
    /// Returns a segment by its name.
    #[must_use]
    pub const fn segment(&self, name: SegmentName) -> &Segment {
        match name {
            SegmentName::Es => &self.es,
            SegmentName::Cs => &self.cs,
            SegmentName::Ss => &self.ss,
            SegmentName::Ds => &self.ds,
            SegmentName::Fs => &self.fs,
            SegmentName::Gs => &self.gs,
        }
    }

    /// Returns the state after INIT, before a start-up IPI. **Source:** AMD manual volume 2, table 14-1.
    #[must_use]
    pub fn after_init() -> Self {
        let data = Segment { selector: 0, attributes: DATA_16, limit: 0xffff, base: 0 };
        let system = Segment { selector: 0, attributes: LOCAL_TABLE, limit: 0xffff, base: 0 };
        Self {
            registers: Registers { rip: 0xfff0, rflags: RFLAGS_FIXED, ..Registers::default() },
            cr0: CR0_AT_RESET,
            dr6: 0xffff_0ff0,
            dr7: 0x400,
            cs: Segment { selector: 0xf000, attributes: CODE_16, limit: 0xffff, base: 0xffff_0000 },
            ss: data,
            ds: data,
            es: data,
            fs: data,
            gs: data,
            tr: Segment { attributes: BUSY_TASK, ..system },
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
        state.cs = Segment { selector: u16::from(vector) << 8, attributes: CODE_16, limit: 0xffff, base };
        state
    }

    /// Returns the state in which a PVH kernel starts: 32-bit flat segments, paging off, EBX pointing to the start
    /// info. **Source:** Xen's `docs/misc/pvh.pandoc`, "Boot protocol".
    #[must_use]
    pub fn at_pvh_entry(entry: u32, start_info: u32) -> Self {
        let flat = Segment { selector: 0, attributes: DATA_32, limit: u32::MAX, base: 0 };
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
            cs: Segment { attributes: CODE_32, ..flat },
            ss: flat,
            ds: flat,
            es: flat,
            fs: flat,
            gs: flat,
            tr: Segment { selector: 0, attributes: BUSY_TASK, limit: 0x67, base: 0 },
            ldtr: Segment { selector: 0, attributes: LOCAL_TABLE, limit: 0, base: 0 },
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
            cpl: self.ss.attributes.privilege(),
            long_code: self.cs.attributes.contains(SegmentAttributes::LONG),
        }
    }
}
