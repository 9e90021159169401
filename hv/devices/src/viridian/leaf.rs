//! CPUID from 0x40000000 on.

use super::Viridian;
use xen_abi::hvm_param::{
    HVMPV_CPU_HOTPLUG, HVMPV_CRASH_CTL, HVMPV_EX_PROCESSOR_MASKS, HVMPV_HCALL_IPI, HVMPV_HCALL_REMOTE_TLB_FLUSH,
    HVMPV_NO_FREQ, HVMPV_NO_VP_LIMIT, HVMPV_REFERENCE_TSC, HVMPV_STIMER, HVMPV_SYNIC, HVMPV_TIME_REF_COUNT,
};
use xenolith_hal::CpuidRegisters;

/// By how much the leaves of Xen lie higher in a domain with this interface.
pub const LEAVES_OF_XEN: u32 = 0x100;
const FIRST: u32 = 0x4000_0000;
const LAST: u32 = 0x4000_0006;
/// "Microsoft Hv".
const VENDOR: [u32; 3] = [0x7263_694d, 0x666f_736f, 0x7648_2074];
/// "Hv#1".
const INTERFACE: u32 = 0x3123_7648;
/// The version that is told: build 6002 of 6.0.
const BUILD: u32 = 0x1772;
const VERSION: u32 = 6 << 16;
/// How often a guest spins before it says that it waits long.
const SPINS: u32 = 2047;
/// The number of vCPUs that says that there is no limit to them.
const NO_LIMIT: u32 = u32::MAX;
/// Of the hardware: bitmaps of MSRs, nested paging.
const HARDWARE: u32 = 1 << 1 | 1 << 3;

/// Bits of leaf 3's EAX that every domain has: registers of the local APIC, of hypercalls, and the index.
const ALWAYS: u32 = 1 << 4 | 1 << 5 | 1 << 6;
const FREQUENCIES: u32 = 1 << 11;
/// Recommended: the local APIC by MSRs, and no watch over late timers.
const ADVICE: u32 = 1 << 3 | 1 << 5;
/// The lowest number of an operating system, in bits 40 to 47 of what a guest calls itself, that is given advice.
const ADVISED: u64 = 4;

/// Returns a leaf of a domain with these features whose guest calls itself `os_id`; zeros past the last.
#[must_use]
#[inline(never)]
pub fn leaf(state: &Viridian, leaf: u32) -> CpuidRegisters {
    let bits = |table: &[(u64, u32)]| {
        table.iter().filter(|(feature, _)| state.has(*feature)).fold(0, |sum, (_, bit)| sum | bit)
    };
    let zero = CpuidRegisters::default();
    match leaf.wrapping_sub(FIRST) {
        0 => CpuidRegisters { eax: LAST, ebx: VENDOR[0], ecx: VENDOR[1], edx: VENDOR[2] },
        1 => CpuidRegisters { eax: INTERFACE, ..zero },
        2 if state.os_id != 0 => CpuidRegisters { eax: BUILD, ebx: VERSION, ..zero },
        3 => {
            let frequencies = if state.has(HVMPV_NO_FREQ) { 0 } else { FREQUENCIES };
            let optional = bits(&[
                (HVMPV_TIME_REF_COUNT, 1 << 1),
                (HVMPV_SYNIC, 1 << 2),
                (HVMPV_STIMER, 1 << 3),
                (HVMPV_REFERENCE_TSC, 1 << 9),
            ]);
            let edx = bits(&[(HVMPV_CPU_HOTPLUG, 1 << 3), (HVMPV_CRASH_CTL, 1 << 10), (HVMPV_SYNIC, 1 << 17)]);
            CpuidRegisters { eax: ALWAYS | frequencies | optional, edx, ..zero }
        }
        4 if state.os_id >> 40 & 0xff >= ADVISED => {
            let optional = bits(&[
                (HVMPV_HCALL_REMOTE_TLB_FLUSH, 1 << 2),
                (HVMPV_HCALL_IPI, 1 << 10),
                (HVMPV_EX_PROCESSOR_MASKS, 1 << 11),
            ]);
            CpuidRegisters { eax: ADVICE | optional, ebx: SPINS, ..zero }
        }
        5 if state.has(HVMPV_NO_VP_LIMIT) => CpuidRegisters { eax: NO_LIMIT, ..zero },
        6 => CpuidRegisters { eax: HARDWARE, ..zero },
        _ => zero,
    }
}
