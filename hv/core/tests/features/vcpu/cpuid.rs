//! CPUID faulting: a guest's kernel keeps its users from CPUID.

use xen_abi::VcpuId;
use xenolith_core::run::CpuLoop;
use xenolith_hal::{CpuId, CpuState, Exit, GuestCpu, SegmentAttributes};
use xenolith_world::World;

const MISC_FEATURES_ENABLES: u32 = 0x140;
/// The length of every instruction of this machine, in bytes.
const INSTRUCTION: u64 = 3;

/// Returns whether CPUID is executed at a privilege level after the kernel has written `enabled`. If it is not, the vCPU
/// must still stand at it, as it does for a fault.
fn cpuid_runs_at(level: u16, enabled: u64) -> bool {
    let world = World::new(&[1]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let mut state = CpuState::at_pvh_entry(0x1000, 0);
    state.ss.attributes = SegmentAttributes::from_bits_retain(state.ss.attributes.bits() & !0x60 | level << 5);
    // A write is an exit only of the kernel's on a real machine; here the level does not matter to it.
    let write = Exit::WriteMsr { msr: MISC_FEATURES_ENABLES, value: enabled };
    vcpu.with_core(|core| {
        core.hardware.set_state(&state).unwrap();
        core.hardware.exits.extend([write, Exit::Cpuid { leaf: 0x4000_0000, subleaf: 0 }]);
    });
    vcpu.bring_up();
    world.hv.scheduler.wake(&world.hv.machine, &domain, vcpu);
    let mut cpu = CpuLoop::new(CpuId(0));
    cpu.turn(&world.hv);
    vcpu.pause();
    cpu.turn(&world.hv);
    let registers = vcpu.with_core(|core| *core.hardware.registers()).unwrap();
    let executed = registers.rbx == u64::from(u32::from_le_bytes(*b"XenV"));
    // Behind the write, perhaps CPUID, and the halt that comes last.
    let instructions = if executed { 3 } else { 2 };
    assert_eq!(registers.rip, 0x1000 + instructions * INSTRUCTION);
    executed
}

#[test]
fn cpuid_faults_for_users_when_their_kernel_says_so_and_for_nobody_else() {
    assert!(!cpuid_runs_at(3, 1));
    assert!(!cpuid_runs_at(1, 1));
    assert!(cpuid_runs_at(0, 1));
    assert!(cpuid_runs_at(3, 0));
}
