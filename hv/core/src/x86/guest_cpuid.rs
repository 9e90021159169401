//! CPUID as a vCPU sees it.

use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::x86::viridian;
use xenolith_devices::cpuid::{Asker, TscInfo, is_hypervisors};
use xenolith_hal::{CpuidRegisters, GuestCpu, Machine};

const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PKE: u64 = 1 << 22;
/// `tsc_mode` of a domain whose RDTSC is emulated only where it must be, which it never must here.
/// **Source:** Xen's `docs/man/xen-tscmode.7`.
const TSC_MODE_DEFAULT: u32 = 0;

/// Executes CPUID for a vCPU.
pub fn read<M: Machine>(running: &Running<'_, M>, leaf: u32, subleaf: u32) -> CpuidRegisters {
    if is_hypervisors(leaf)
        && let Some(viridian) = running.domain.viridian.get()
    {
        return viridian::cpuid(viridian, running.domain.cpuid.table(), leaf, subleaf, &|| asker(running));
    }
    running.domain.cpuid.table().answer(leaf, subleaf, &asker(running))
}

#[inline]
fn asker<M: Machine>(running: &Running<'_, M>) -> Asker {
    let Running { hv, domain, vcpu, .. } = *running;
    let paging = running.core.hardware.paging();
    Asker {
        domain: domain.id,
        vcpu: vcpu.id,
        osxsave: paging.cr4 & CR4_OSXSAVE != 0,
        protection_keys: paging.cr4 & CR4_PKE != 0,
        xcr0: 1,
        apic_enabled: running.core.lapic.is_hardware_enabled(),
        tsc: tsc_info(hv),
    }
}

fn tsc_info<M: Machine>(hv: &Hypervisor<M>) -> TscInfo {
    let khz = hv.settings.tsc_khz;
    let scale = hv.tsc_scale;
    TscInfo {
        emulated: false,
        reliable: false,
        rdtscp: false,
        mode: TSC_MODE_DEFAULT,
        guest_khz: khz,
        // A domain that was never moved is in its first.
        incarnation: 1,
        offset: 0,
        multiplier: scale.multiplier,
        shift: scale.shift,
        host_khz: khz,
    }
}
