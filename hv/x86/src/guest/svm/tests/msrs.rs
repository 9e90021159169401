//! States and MSRs that are set from outside.

use super::*;

#[test]
fn efer_is_guarded() {
    cpus();
    let mut vcpu = vcpu();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0, "the guest does not see SVME");
    assert_eq!(vcpu.set_msr(HardwareMsr::Efer, 1 << 12), Err(InvalidState));
    vcpu.set_msr(HardwareMsr::Efer, 0x901).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0x901);
    let mut state = vcpu.state();
    state.cr0 = 0x8000_0011;
    state.cr4 = 0x20;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0xd01, "long mode is active");
    assert_eq!(vcpu.set_msr(HardwareMsr::Efer, 0x801), Err(InvalidState));
    vcpu.set_msr(HardwareMsr::Efer, 0x101).unwrap();
    assert_eq!(vcpu.msr(HardwareMsr::Efer), 0x501);
}

#[test]
fn a_refused_state_changes_nothing() {
    cpus();
    let mut vcpu = vcpu();
    let before = vcpu.state();
    assert_eq!(vcpu.set_state(&CpuState { cr0: 1 << 40, ..before }), Err(InvalidState));
    assert_eq!(vcpu.set_msr(HardwareMsr::Pat, 2), Err(InvalidState));
    assert_eq!(vcpu.set_msr(HardwareMsr::SysenterEip, 1 << 47), Err(InvalidState));
    assert_eq!(vcpu.state(), before);
}
