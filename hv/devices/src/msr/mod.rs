//! RDMSR and WRMSR of a guest, where the hardware does not execute them.
//!
//! [`MsrState::read`] and [`MsrState::write`] know every MSR that a PVH guest of Xen 4.17 may use and return a general
//! protection fault for all others. MSRs that are kept elsewhere (the local APIC, the CPU's own registers, the TSC) are
//! returned as data that says where.

mod machine_check;
mod mtrr;
mod number;
mod saved;

#[cfg(test)]
mod tests;

use xen_abi::Gfn;
use xen_abi::cpuid::HYPERCALL_PAGE_MSR;
use xenolith_hal::HardwareMsr;

use crate::GeneralProtection;
use crate::cpuid::CpuidTable;
use crate::lapic::X2APIC_MSRS;
use number as nr;

pub use machine_check::MachineCheck;
pub use mtrr::{FIXED_REGISTERS, Mtrr, VARIABLE_REGISTERS};

/// CPUID faults outside the kernel: offered in PLATFORM_INFO, turned on in MISC_FEATURES_ENABLES.
const PLATFORM_CPUID_FAULTING: u64 = 1 << 31;
const ENABLE_CPUID_FAULTING: u64 = 1;
/// HWCR: the TSC runs at the highest rate, as it does on all CPUs from family 0x10.
const HWCR_TSC_AT_FULL_RATE: u64 = 1 << 24;
/// MC4_MISC: error thresholds are the firmware's.
const THRESHOLD_LOCKED: u64 = 1 << 61;
const PAGE_OFFSET: u64 = 0xfff;
/// TSC_RATIO: 8 bits before the point, 32 after it.
const TSC_RATIO_BITS: u64 = 0xff_ffff_ffff;
/// The CPUID leaf, and its bit of EAX, that say that LFENCE serialises; and the bit of DE_CFG that says so.
const MORE_FEATURES: u32 = 0x8000_0021;
const LFENCE_SERIALIZES: u32 = 1 << 2;
const DE_CFG_LFENCE: u64 = 2;

const EFER_SYSCALL: u64 = 1;
const EFER_LONG_MODE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
const EFER_NO_EXECUTE: u64 = 1 << 11;
const EFER_FAST_FXSR: u64 = 1 << 14;

/// Where the value of a RDMSR is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsrRead {
    /// The value itself.
    Value(u64),
    /// A register of the CPU.
    Hardware(HardwareMsr),
    /// The local APIC's base MSR.
    ApicBase,
    /// The local APIC: [`crate::lapic::Lapic::read_msr`].
    Lapic,
    /// The local APIC's TSC deadline.
    TscDeadline,
    /// The guest's time stamp counter now.
    Tsc,
    /// The register of the hypercall page, which reads as 0.
    HypercallPage,
}

/// What a WRMSR requires of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MsrWrite {
    /// Nothing more.
    Done,
    /// Write a register of the CPU; the machine may refuse the value, which is a general protection fault.
    Hardware(HardwareMsr, u64),
    /// Write the local APIC's base MSR.
    ApicBase(u64),
    /// Write the local APIC: [`crate::lapic::Lapic::write_msr`].
    Lapic(u64),
    /// Write the local APIC's TSC deadline.
    TscDeadline(u64),
    /// Add this to the guest's time stamp counter.
    ShiftTsc(i64),
    /// Use this TSC_AUX from now on.
    TscAux(u32),
    /// Fill this frame with the hypercall page; a frame that is not the guest's RAM is a general protection fault.
    HypercallPage(Gfn),
}

/// What the result depends on besides the state.
#[derive(Clone, Copy, Debug)]
pub struct MsrContext<'a> {
    /// The guest's CPUID: MSRs of features that it does not have fault.
    pub cpuid: &'a CpuidTable,
    /// The level of the microcode on this CPU.
    pub patch_level: u64,
    /// The guest's time stamp counter now.
    pub tsc: u64,
}

/// The MSRs of one vCPU that are kept in software.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MsrState {
    pub mtrr: Mtrr,
    pub machine_check: MachineCheck,
    misc_features: u64,
    tsc_adjust: u64,
    tsc_aux: u32,
    /// VM_HSAVE_PA and TSC_RATIO: kept as written, since guests write them before they find that there is no SVM.
    host_save: u64,
    tsc_ratio: u64,
}

impl MsrContext<'_> {
    fn address_bits(&self) -> u32 {
        // A guest without the leaf has the architecture's smallest width.
        match self.cpuid.leaf(0x8000_0008, 0).eax & 0xff {
            0 => 36,
            bits => bits,
        }
    }

    fn has_tsc_aux(&self) -> bool {
        let features = self.cpuid.features();
        features.word(2) & (1 << 27) != 0 || features.word(6) & (1 << 22) != 0
    }

    fn has_mtrr(&self) -> bool {
        self.cpuid.leaf(1, 0).edx & (1 << 12) != 0
    }

    /// Returns the bits of EFER that the guest's features allow.
    fn efer_bits(&self) -> u64 {
        let extended = self.cpuid.leaf(0x8000_0001, 0).edx;
        let if_has = |bit: u32, efer: u64| if extended & (1 << bit) != 0 { efer } else { 0 };
        if_has(11, EFER_SYSCALL)
            | if_has(29, EFER_LONG_MODE | EFER_LONG_MODE_ACTIVE | EFER_SYSCALL)
            | if_has(20, EFER_NO_EXECUTE)
            | if_has(25, EFER_FAST_FXSR)
    }
}

/// Returns the register of the CPU behind an MSR that a guest may read and write unchanged.
const fn hardware(msr: u32) -> Option<HardwareMsr> {
    Some(match msr {
        nr::SYSENTER_CS => HardwareMsr::SysenterCs,
        nr::SYSENTER_ESP => HardwareMsr::SysenterEsp,
        nr::SYSENTER_EIP => HardwareMsr::SysenterEip,
        nr::DEBUG_CONTROL => HardwareMsr::DebugControl,
        nr::PAT => HardwareMsr::Pat,
        nr::EFER => HardwareMsr::Efer,
        _ => return None,
    })
}

/// Returns true for MSRs of AMD's CPUs that drop writes, and read 0 except for error thresholds: performance counters,
/// memory layout, configuration of the core.
#[inline]
const fn is_silent(msr: u32) -> bool {
    matches!(
        msr,
        nr::PERF_SELECT0..=nr::PERF_COUNTER3
            | nr::PERF_EXTENDED_SELECT0..=nr::PERF_EXTENDED_COUNTER5
            | nr::MC4_MISC1..=nr::MC4_MISC3
            | nr::LAST_BRANCH_FROM..=nr::LAST_EXCEPTION_TO
            | nr::SYSCFG
            | nr::TOP_MEM
            | nr::TOP_MEM2
            | nr::VM_CR
            | nr::NB_CFG
            | nr::BU_CFG
            | nr::BU_CFG2
            | nr::EX_CFG
    )
}

impl MsrState {
    /// Creates the state after power-on, with these memory types.
    #[must_use]
    pub fn with_mtrr(mtrr: Mtrr) -> Self {
        Self { mtrr, ..Self::default() }
    }

    /// Executes RDMSR.
    ///
    /// **Errors:** a general protection fault for an MSR that the guest does not have, or that is write-only.
    pub fn read(&self, msr: u32, context: &MsrContext<'_>) -> Result<MsrRead, GeneralProtection> {
        if X2APIC_MSRS.contains(&msr) {
            return Ok(MsrRead::Lapic);
        }
        if let Some(register) = hardware(msr) {
            return Ok(MsrRead::Hardware(register));
        }
        let value = match msr {
            nr::TSC => return Ok(MsrRead::Tsc),
            nr::APIC_BASE => return Ok(MsrRead::ApicBase),
            nr::TSC_DEADLINE => return Ok(MsrRead::TscDeadline),
            nr::TSC_ADJUST => self.tsc_adjust,
            nr::TSC_AUX if context.has_tsc_aux() => u64::from(self.tsc_aux),
            nr::PATCH_LEVEL => context.patch_level,
            nr::PLATFORM_INFO => PLATFORM_CPUID_FAULTING,
            nr::MISC_FEATURES_ENABLES => self.misc_features,
            // Other processors have these; systems that came from one may look for them.
            nr::OLD_MACHINE_CHECK_ADDRESS | nr::OLD_MACHINE_CHECK_TYPE | nr::BUS_FREQUENCY => 0,
            HYPERCALL_PAGE_MSR => return Ok(MsrRead::HypercallPage),
            nr::VM_HSAVE if context.cpuid.is_amd() => self.host_save,
            nr::TSC_RATIO if context.cpuid.is_amd() => self.tsc_ratio,
            msr if Mtrr::has(msr) && context.has_mtrr() => self.mtrr.read(msr)?,
            msr if MachineCheck::has(msr) => self.machine_check.read(msr),
            msr if context.cpuid.is_amd() => read_amd(msr, context)?,
            _ => return Err(GeneralProtection),
        };
        Ok(MsrRead::Value(value))
    }

    /// Executes WRMSR.
    ///
    /// **Errors:** a general protection fault for an MSR that the guest does not have or that is read-only, and for a
    /// value with reserved bits. Nothing was changed then.
    pub fn write(&mut self, msr: u32, value: u64, context: &MsrContext<'_>) -> Result<MsrWrite, GeneralProtection> {
        if X2APIC_MSRS.contains(&msr) {
            return Ok(MsrWrite::Lapic(value));
        }
        match msr {
            nr::EFER => return write_efer(value, context),
            nr::TSC => return Ok(self.shift_tsc(value.wrapping_sub(context.tsc))),
            nr::TSC_ADJUST => return Ok(self.shift_tsc(value.wrapping_sub(self.tsc_adjust))),
            nr::APIC_BASE => return Ok(MsrWrite::ApicBase(value)),
            nr::TSC_DEADLINE => return Ok(MsrWrite::TscDeadline(value)),
            nr::TSC_AUX if context.has_tsc_aux() => {
                self.tsc_aux = u32::try_from(value).map_err(|_| GeneralProtection)?;
                return Ok(MsrWrite::TscAux(self.tsc_aux));
            }
            nr::MISC_FEATURES_ENABLES if value & !ENABLE_CPUID_FAULTING == 0 => self.misc_features = value,
            HYPERCALL_PAGE_MSR => return write_hypercall_page(value),
            nr::SYSENTER_ESP | nr::SYSENTER_EIP if !is_canonical(value) => return Err(GeneralProtection),
            nr::VM_HSAVE if context.cpuid.is_amd() && value & PAGE_OFFSET == 0 => self.host_save = value,
            nr::TSC_RATIO if context.cpuid.is_amd() && value & !TSC_RATIO_BITS == 0 => self.tsc_ratio = value,
            msr if Mtrr::has(msr) && context.has_mtrr() => self.mtrr.write(msr, value, context.address_bits())?,
            msr if MachineCheck::has(msr) => self.machine_check.write(msr, value)?,
            msr if context.cpuid.is_amd() && is_dropped_on_amd(msr) => {}
            msr => return hardware(msr).map(|register| MsrWrite::Hardware(register, value)).ok_or(GeneralProtection),
        }
        Ok(MsrWrite::Done)
    }

    /// Returns whether CPUID faults outside the guest's kernel (CPUID faulting), as the guest enabled it.
    #[must_use]
    pub const fn cpuid_faults_for_users(&self) -> bool {
        self.misc_features & ENABLE_CPUID_FAULTING != 0
    }

    /// Returns the guest's TSC_ADJUST: by how much it has shifted its time stamp counter.
    #[must_use]
    pub const fn tsc_adjust(&self) -> u64 {
        self.tsc_adjust
    }

    /// Sets TSC_ADJUST without shifting the counter.
    pub const fn set_tsc_adjust(&mut self, value: u64) {
        self.tsc_adjust = value;
    }

    fn shift_tsc(&mut self, by: u64) -> MsrWrite {
        self.tsc_adjust = self.tsc_adjust.wrapping_add(by);
        MsrWrite::ShiftTsc(by.cast_signed())
    }
}

fn read_amd(msr: u32, context: &MsrContext<'_>) -> Result<u64, GeneralProtection> {
    match msr {
        nr::HWCR if context.cpuid.family() >= 0x10 => Ok(HWCR_TSC_AT_FULL_RATE),
        nr::MC4_MISC1..=nr::MC4_MISC3 => Ok(THRESHOLD_LOCKED),
        nr::HWCR | nr::INTERRUPT_PENDING | nr::IO_RANGE_FIRST..=nr::IO_RANGE_LAST | nr::SMM_ADDRESS | nr::SMM_MASK => {
            Ok(0)
        }
        nr::DE_CFG if context.cpuid.leaf(MORE_FEATURES, 0).eax & LFENCE_SERIALIZES != 0 => Ok(DE_CFG_LFENCE),
        nr::DE_CFG => Ok(0),
        msr if is_silent(msr) => Ok(0),
        _ => Err(GeneralProtection),
    }
}

/// Returns true for MSRs whose writes are dropped on AMD: loading microcode is not for guests, but must seem to work;
/// LFENCE stays as it is.
const fn is_dropped_on_amd(msr: u32) -> bool {
    matches!(msr, nr::PATCH_LOADER | nr::DE_CFG) || is_silent(msr)
}

/// Returns whether an address is canonical: the upper 17 bits are equal.
const fn is_canonical(address: u64) -> bool {
    (address << 16).cast_signed() >> 16 == address.cast_signed()
}

fn write_efer(value: u64, context: &MsrContext<'_>) -> Result<MsrWrite, GeneralProtection> {
    if value & !context.efer_bits() != 0 {
        return Err(GeneralProtection);
    }
    // Whether long mode is active follows from paging, not from what is written.
    Ok(MsrWrite::Hardware(HardwareMsr::Efer, value & !EFER_LONG_MODE_ACTIVE))
}

fn write_hypercall_page(value: u64) -> Result<MsrWrite, GeneralProtection> {
    // The low bits name one of several pages, of which there is one.
    if value & PAGE_OFFSET != 0 {
        return Err(GeneralProtection);
    }
    Ok(MsrWrite::HypercallPage(Gfn(value >> 12)))
}
