//! The physical CPU as the vCPUs see it, and enabling SVM on it.

use super::{fpu, lfence, switch};
use crate::bare::base::cpu_area;
use crate::guest::svm::features::{Features, Unfit};
use crate::guest::svm::per_cpu::CpuData;
use crate::guest::svm::permissions::{self, IO_PAGES, MSR_PAGES, PermissionMaps};
use crate::guest::svm::processor::Processor;
use crate::plain::layout;
use crate::plain::lfence::Lfence;
use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use x86_64::registers::control::{Cr0, Cr0Flags, Cr4, Cr4Flags, Efer, EferFlags};
use x86_64::registers::model_specific::Msr;
use xenolith_hal::{CpuId, CpuidRegisters, Mpa, PageWords, Registers};
use xenolith_sync::Once;

const VM_CR: u32 = 0xc001_0114;
/// CPUID: what SVM can do, and that it can be locked.
const SVM_FEATURES: u32 = 0x8000_000a;
const HAS_LOCK: u32 = 1 << 2;
const VM_CR_LOCK: u64 = 1 << 3;
const VM_CR_SVM_DISABLED: u64 = 1 << 4;
const VM_HSAVE_PA: u32 = 0xc001_0117;
const XCR0: u32 = 0;
const PAT: Msr = Msr::new(0x277);

static FEATURES: Once<Features> = Once::new();
static PORTS: [PageWords; IO_PAGES] = [const { PageWords::new() }; IO_PAGES];
static OPENED_PORTS: [PageWords; IO_PAGES] = [const { PageWords::new() }; IO_PAGES];
static MSRS: [PageWords; MSR_PAGES] = [const { PageWords::new() }; MSR_PAGES];

/// The CPU that the code runs on.
pub enum Hardware {}

impl Processor for Hardware {
    #[inline]
    fn this_cpu() -> CpuId {
        cpu_area::this_cpu()
    }

    fn features() -> Features {
        FEATURES.get().copied().unwrap_or_default()
    }

    #[inline]
    unsafe fn enter(registers: &mut Registers, guest: Mpa, host: Mpa) {
        // SAFETY: promised by the caller; the two have the same duties.
        unsafe { switch::enter(registers, guest.0, host.0) };
    }

    #[inline]
    fn recall_interrupts() {
        // SAFETY: the priority below which interrupts wait is 0 at all times in the hypervisor, and stays so. Writing it
        // makes the local APIC look at what it holds.
        unsafe { asm!("mov cr8, {}", in(reg) 0_u64, options(nostack, nomem, preserves_flags)) };
    }

    fn open_interrupt_window() {
        // SAFETY: the handlers only note what happened; the one instruction after STI lets everything in that waits.
        unsafe { asm!("sti", "nop", "cli", options(nostack)) };
    }

    fn machine_check() {
        // SAFETY: the gate of vector 18 leads to the host's handler, on a stack of its own.
        unsafe { asm!("int 18") };
    }

    fn save_fpu(area: &PageWords) {
        fpu::save(area, Self::features().xcr0);
    }

    fn load_fpu(area: &PageWords) {
        let features = Self::features();
        fpu::load(area, features.xcr0, features.fpu_pointers);
    }

    fn reset_fpu(area: &PageWords) {
        fpu::reset(area);
    }

    fn debug_addresses() -> [u64; 4] {
        let (first, second, third, fourth): (u64, u64, u64, u64);
        // SAFETY: reads registers that the hypervisor does not use.
        unsafe {
            asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
                out(reg) first, out(reg) second, out(reg) third, out(reg) fourth,
                options(nostack, nomem, preserves_flags));
        }
        [first, second, third, fourth]
    }

    #[inline]
    fn page_attributes() -> u64 {
        // SAFETY: every CPU with long mode has this register; reading it changes nothing.
        unsafe { PAT.read() }
    }

    #[inline]
    fn set_page_attributes(value: u64) {
        let mut register = PAT;
        // SAFETY: asked for on an emulated CPU alone, which takes all memory for ordinary whatever stands here; and the
        // value is one that a CPU has, so the write does not fault.
        unsafe { register.write(value) };
    }

    fn set_debug_addresses(addresses: &[u64; 4]) {
        let [first, second, third, fourth] = *addresses;
        // SAFETY: the hypervisor's own DR7 has every breakpoint off, so what stands here has no effect on it.
        unsafe {
            asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
                in(reg) first, in(reg) second, in(reg) third, in(reg) fourth,
                options(nostack, nomem, preserves_flags));
        }
    }
}

fn cpuid(leaf: u32, subleaf: u32) -> CpuidRegisters {
    let out = __cpuid_count(leaf, subleaf);
    CpuidRegisters { eax: out.eax, ebx: out.ebx, ecx: out.ecx, edx: out.edx }
}

fn machine_address_of(pages: &'static [PageWords]) -> Option<Mpa> {
    layout::machine_address(pages.as_ptr() as u64).map(Mpa)
}

/// Returns the places of the permission maps.
pub fn permission_maps() -> Option<PermissionMaps> {
    Some(PermissionMaps {
        ports: machine_address_of(&PORTS)?,
        opened_ports: machine_address_of(&OPENED_PORTS)?,
        msrs: machine_address_of(&MSRS)?,
    })
}

/// Opens ports to the vCPUs that use open ports. Called before any of them runs.
pub fn open_ports(open: impl Fn(u16) -> bool) {
    permissions::open_ports(&OPENED_PORTS, open);
}

/// Returns what this machine's CPUs have; None before the first [`enable_cpu`].
#[must_use]
pub fn features() -> Option<Features> {
    FEATURES.get().copied()
}

/// Checks by CPUID that the current CPU can run guests. Needs nothing to be set up.
///
/// **Errors:** as [`Features::detect`].
pub fn look_for() -> Result<(), Unfit> {
    Features::detect(cpuid).map(|_| ())
}

/// Clears the firmware's SVM disable bit, unless it is locked.
fn unlock() -> Result<(), Unfit> {
    // Emulators make CPUs without the register, and those have no lock either. The first CPUs with SVM had the register
    // and no lock, and no nested paging.
    if cpuid(SVM_FEATURES, 0).edx & HAS_LOCK == 0 {
        return Ok(());
    }
    let mut control = Msr::new(VM_CR);
    // SAFETY: every CPU whose SVM can be locked has the register; reading it changes nothing.
    let value = unsafe { control.read() };
    if value & VM_CR_SVM_DISABLED == 0 {
        return Ok(());
    }
    if value & VM_CR_LOCK != 0 {
        return Err(Unfit::LockedByFirmware);
    }
    // SAFETY: the register is not locked, so the bit may be cleared.
    unsafe { control.write(value & !VM_CR_SVM_DISABLED) };
    Ok(())
}

/// Enables FPU instructions for the hypervisor, which saves and loads guests' state with them.
fn open_fpu(features: &Features) {
    // SAFETY: only makes FPU instructions legal, which compiled code of the hypervisor does not contain.
    unsafe {
        Cr0::update(|cr0| {
            cr0.remove(Cr0Flags::EMULATE_COPROCESSOR | Cr0Flags::TASK_SWITCHED);
            cr0.insert(Cr0Flags::MONITOR_COPROCESSOR | Cr0Flags::NUMERIC_ERROR);
        });
        Cr4::update(|cr4| cr4.insert(Cr4Flags::OSFXSR | Cr4Flags::OSXMMEXCPT_ENABLE));
    }
    if features.xcr0 != 0 {
        let (low, high) = (features.xcr0 as u32, (features.xcr0 >> 32) as u32);
        // SAFETY: the CPU has XSAVE, and the value holds only what CPUID leaf 0xd announces, in valid combinations.
        unsafe {
            Cr4::update(|cr4| cr4.insert(Cr4Flags::OSXSAVE));
            asm!("xsetbv", in("ecx") XCR0, in("eax") low, in("edx") high, options(nostack, nomem));
        }
    }
}

/// Switches SVM on, on the CPU `cpu`, which is the one that calls.
///
/// **Errors:** see [`Unfit`]; CPUs that differ in what they have are told by [`Unfit::Differs`].
///
/// # Safety
/// The CPU has its own descriptors, task register and GS base, which stay as they are. The two frames are zero and
/// are nobody else's, for ever.
///
/// **Source:** AMD manual volume 2, 15.4 (enabling), 15.30 (SVM MSRs).
pub unsafe fn enable_cpu(cpu: CpuId, host_save: Mpa, host: Mpa) -> Result<(), Unfit> {
    let features = Features::detect(cpuid)?;
    unlock()?;
    let common = FEATURES.get_or_init(|| {
        permissions::forbid_all_ports(&PORTS);
        permissions::forbid_all_ports(&OPENED_PORTS);
        permissions::forbid_all_but_owned_msrs(&MSRS);
        features
    });
    if *common != features {
        return Err(Unfit::Differs);
    }
    let data = CpuData::of(cpu).ok_or(Unfit::OutOfRange)?;
    open_fpu(&features);
    lfence::set_up_this_cpu(Lfence::of(cpuid));
    let mut save_area = Msr::new(VM_HSAVE_PA);
    // SAFETY: the CPU has SVM. The save area is a frame of its own (promised), and so is the host's block, to which
    // VMSAVE writes the segment bases and system call MSRs as they are now.
    unsafe {
        Efer::update(|efer| efer.insert(EferFlags::SECURE_VIRTUAL_MACHINE_ENABLE));
        save_area.write(host_save.0);
        asm!("vmsave rax", in("rax") host.0, options(nostack));
    }
    data.start(host, features.asids);
    Ok(())
}
