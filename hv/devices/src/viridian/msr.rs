//! The registers. **Source:** TLFS, appendix F.

use super::{Viridian, page_of};
use crate::GeneralProtection;
use xen_abi::hvm_param::{
    HVMPV_BASE_FREQ, HVMPV_NO_FREQ, HVMPV_REFERENCE_TSC, HVMPV_STIMER, HVMPV_SYNIC, HVMPV_TIME_REF_COUNT,
};
use xen_abi::{Gfn, VcpuId};

/// The registers that belong to this interface.
pub const MSRS: core::ops::RangeInclusive<u32> = 0x4000_0000..=0x4000_01ff;
/// Where the register of Xen's own hypercall page is in a domain with this interface.
pub const XEN_HYPERCALL_PAGE_MSR: u32 = 0x4000_0200;

const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;
const VP_INDEX: u32 = 0x4000_0002;
const TIME_REF_COUNT: u32 = 0x4000_0020;
const REFERENCE_TSC: u32 = 0x4000_0021;
const TSC_FREQUENCY: u32 = 0x4000_0022;
const APIC_FREQUENCY: u32 = 0x4000_0023;
const EOI: u32 = 0x4000_0070;
const ICR: u32 = 0x4000_0071;
const TPR: u32 = 0x4000_0072;
const VP_ASSIST_PAGE: u32 = 0x4000_0073;
const SCONTROL: u32 = 0x4000_0080;
const SVERSION: u32 = 0x4000_0081;
const SIEFP: u32 = 0x4000_0082;
const SIMP: u32 = 0x4000_0083;
const EOM: u32 = 0x4000_0084;
const SINT0: u32 = 0x4000_0090;
const SINT15: u32 = 0x4000_009f;
const STIMER0_CONFIG: u32 = 0x4000_00b0;
const STIMER3_COUNT: u32 = 0x4000_00b7;
const CRASH_P0: u32 = 0x4000_0100;
const CRASH_P4: u32 = 0x4000_0104;
const CRASH_CTL: u32 = 0x4000_0105;

const CRASH_NOTIFY: u64 = 1 << 63;
const SYNIC_VERSION: u64 = 1;
/// The local APIC's timer has 100 MHz.
const APIC_HERTZ: u64 = 100_000_000;

/// Where the value of a RDMSR is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// The value itself.
    Value(u64),
    /// The local APIC's interrupt command register.
    Command,
    /// The local APIC's task priority.
    TaskPriority,
}

/// What a WRMSR requires of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// Nothing more.
    Done,
    /// Fill this page with the code that makes hypercalls.
    HypercallPage(Gfn),
    /// Clear this page.
    ClearPage(Gfn),
    /// Tell the clock in this page.
    ReferencePage(Gfn),
    /// Look at the timers, by [`Processor::poll`](super::Processor::poll).
    Timers,
    /// End the interrupt in service.
    EndOfInterrupt,
    /// Write the local APIC's interrupt command register.
    Command(u64),
    /// Write the local APIC's task priority.
    TaskPriority(u8),
    /// Log the guest's words about its crash.
    Crash,
}

/// Returns which timer a register belongs to, and whether it is its count.
const fn timer_of(msr: u32) -> (usize, bool) {
    let index = msr.wrapping_sub(STIMER0_CONFIG);
    ((index >> 1) as usize, index & 1 != 0)
}

/// Returns what the page of a register needs, once it is in use.
fn when_used(register: u64, written: fn(Gfn) -> Written) -> Written {
    page_of(register).map_or(Written::Done, written)
}

impl Viridian {
    /// Fails unless the domain has this feature.
    const fn need(&self, feature: u64) -> Result<(), GeneralProtection> {
        if self.has(feature) { Ok(()) } else { Err(GeneralProtection) }
    }

    /// Returns the feature that a register of a vCPU belongs to. Real Xen has the assist page and the words about a crash in
    /// all domains with the interface.
    const fn feature_of(msr: u32) -> Option<u64> {
        match msr {
            VP_ASSIST_PAGE => Some(HVMPV_BASE_FREQ),
            SCONTROL..=EOM | SINT0..=SINT15 => Some(HVMPV_SYNIC),
            STIMER0_CONFIG..=STIMER3_COUNT => Some(HVMPV_STIMER),
            _ => None,
        }
    }

    /// Executes RDMSR. `tsc` is the machine's time stamp counter.
    ///
    /// **Errors:** a general protection fault for a register that does not exist in this domain, or is write-only.
    #[inline(never)]
    pub fn read_msr(&self, vcpu: VcpuId, msr: u32, tsc: u64) -> Result<Read, GeneralProtection> {
        Ok(Read::Value(match msr {
            GUEST_OS_ID => self.os_id,
            HYPERCALL => self.hypercall,
            VP_INDEX => vcpu.0.into(),
            TIME_REF_COUNT => {
                self.need(HVMPV_TIME_REF_COUNT)?;
                self.count(tsc)
            }
            REFERENCE_TSC => {
                self.need(HVMPV_REFERENCE_TSC)?;
                self.reference_tsc
            }
            TSC_FREQUENCY | APIC_FREQUENCY => {
                if self.has(HVMPV_NO_FREQ) {
                    return Err(GeneralProtection);
                }
                if msr == TSC_FREQUENCY { u64::from(self.khz).saturating_mul(1000) } else { APIC_HERTZ }
            }
            ICR => return Ok(Read::Command),
            TPR => return Ok(Read::TaskPriority),
            CRASH_P0..=CRASH_P4 => self.crash.get(msr.wrapping_sub(CRASH_P0) as usize).copied().unwrap_or_default(),
            CRASH_CTL => CRASH_NOTIFY,
            _ => return self.read_of_vcpu(vcpu, msr).map(Read::Value),
        }))
    }

    fn read_of_vcpu(&self, vcpu: VcpuId, msr: u32) -> Result<u64, GeneralProtection> {
        self.need(Self::feature_of(msr).ok_or(GeneralProtection)?)?;
        let own = self.processors.get(vcpu.0 as usize).ok_or(GeneralProtection)?;
        Ok(match msr {
            VP_ASSIST_PAGE => own.assist,
            SCONTROL => own.control,
            SVERSION => SYNIC_VERSION,
            SIEFP => own.event_page,
            SIMP => own.message_page,
            EOM => 0,
            SINT0..=SINT15 => own.sources.get(msr.wrapping_sub(SINT0) as usize).copied().ok_or(GeneralProtection)?,
            _ => {
                let (index, is_count) = timer_of(msr);
                let timer = own.timers.get(index).ok_or(GeneralProtection)?;
                if is_count { timer.count() } else { timer.config() }
            }
        })
    }

    /// Executes WRMSR. `tsc` is the machine's time stamp counter.
    ///
    /// **Errors:** a general protection fault for a register that does not exist in this domain or is read-only, and for a
    /// value that it cannot have. Nothing was changed then.
    #[inline(never)]
    pub fn write_msr(&mut self, vcpu: VcpuId, msr: u32, value: u64, tsc: u64) -> Result<Written, GeneralProtection> {
        match msr {
            GUEST_OS_ID => self.os_id = value,
            HYPERCALL => {
                self.hypercall = value;
                return Ok(when_used(value, Written::HypercallPage));
            }
            REFERENCE_TSC => {
                self.need(HVMPV_REFERENCE_TSC)?;
                self.reference_tsc = value;
                return Ok(when_used(value, Written::ReferencePage));
            }
            EOI => return Ok(Written::EndOfInterrupt),
            ICR => return Ok(Written::Command(value)),
            TPR => return Ok(Written::TaskPriority(value as u8)),
            CRASH_P0..=CRASH_P4 => {
                if let Some(word) = self.crash.get_mut(msr.wrapping_sub(CRASH_P0) as usize) {
                    *word = value;
                }
            }
            CRASH_CTL if value & CRASH_NOTIFY != 0 => return Ok(Written::Crash),
            // The index stays as it is.
            CRASH_CTL | VP_INDEX => {}
            _ => return self.write_of_vcpu(vcpu, msr, value, tsc),
        }
        Ok(Written::Done)
    }

    fn write_of_vcpu(&mut self, vcpu: VcpuId, msr: u32, value: u64, tsc: u64) -> Result<Written, GeneralProtection> {
        self.need(Self::feature_of(msr).ok_or(GeneralProtection)?)?;
        let now = self.count(tsc);
        let own = self.processors.get_mut(vcpu.0 as usize).ok_or(GeneralProtection)?;
        match msr {
            VP_ASSIST_PAGE => {
                own.assist = value;
                own.assisted = false;
                return Ok(when_used(value, Written::ClearPage));
            }
            SCONTROL => own.control = value,
            SIEFP => own.event_page = value,
            SIMP => {
                let moves = own.message_page != value;
                own.message_page = value;
                if moves && let Some(page) = page_of(value) {
                    own.waiting = 0;
                    return Ok(Written::ClearPage(page));
                }
            }
            EOM => own.waiting = 0,
            SINT0..=SINT15 => {
                if value as u8 == 0 || !own.set_source(msr.wrapping_sub(SINT0) as usize, value) {
                    return Err(GeneralProtection);
                }
            }
            STIMER0_CONFIG..=STIMER3_COUNT => {
                let (index, is_count) = timer_of(msr);
                let timer = own.timers.get_mut(index).ok_or(GeneralProtection)?;
                if is_count { timer.set_count(value, now) } else { timer.set_config(value, now) }
            }
            // SVERSION.
            _ => return Err(GeneralProtection),
        }
        Ok(Written::Timers)
    }
}
