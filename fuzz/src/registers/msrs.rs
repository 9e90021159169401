//! RDMSR and WRMSR: a write that is refused changes nothing, one that is taken changes its register and what belongs to
//! it, and what was read can be written back.

use fastrand::Rng;
use xen_abi::{DomId, VcpuId};
use xenolith_core::Running;
use xenolith_core::x86::guest_msr;
use xenolith_fake::FakeMachine;
use xenolith_hal::CpuId;

use crate::exits::choose::{MSRS, value};
use crate::guests;
use crate::mutation;

/// Accesses of one input.
const ACCESSES: u32 = 600;
const LOCAL_APIC: std::ops::Range<u32> = 0x800..0x840;
const ERROR_STATUS: u32 = 0x828;
const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1b;
const TSC_ADJUST: u32 = 0x3b;
const TSC_DEADLINE: u32 = 0x6e0;
/// Registers of the synthetic interrupt controller and its timers, first and last.
const MESSAGES_FIRST: u32 = 0x4000_0080;
const MESSAGES_LAST: u32 = 0x4000_00b7;
const COMMAND: u32 = 0x4000_0071;
const TIMERS: std::ops::RangeInclusive<u32> = 0x4000_00b0..=MESSAGES_LAST;

/// Registers that show the same state, or that depend on each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Group {
    LocalApic,
    Clock,
    /// Timers and messages of Microsoft's interface: a message that gets its slot stops its timer.
    Messages,
    Own(u32),
}

const fn group(msr: u32) -> Group {
    match msr {
        APIC_BASE | TSC_DEADLINE | 0x800..=0x8ff => Group::LocalApic,
        TSC | TSC_ADJUST => Group::Clock,
        0x4000_0070..=0x4000_0072 => Group::LocalApic,
        MESSAGES_FIRST..=MESSAGES_LAST => Group::Messages,
        // The first processors' names of bank 0.
        0 => Group::Own(0x402),
        1 => Group::Own(0x401),
        _ => Group::Own(msr),
    }
}

/// Reads all of them.
fn snapshot(running: &Running<'_, FakeMachine>) -> Vec<(u32, Option<u64>)> {
    let all = MSRS.iter().copied().chain(LOCAL_APIC);
    all.map(|msr| (msr, guest_msr::read(running, msr).ok())).collect()
}

fn number(dice: &mut Rng) -> u32 {
    match dice.u8(..16) {
        0 => mutation::number(dice) as u32,
        1..=4 => dice.u32(LOCAL_APIC),
        _ => MSRS[dice.usize(..MSRS.len())],
    }
}

/// Writes once, and checks what that changed.
fn write(dice: &mut Rng, running: &mut Running<'_, FakeMachine>) {
    let msr = number(dice);
    let value = value(dice, msr);
    let before = snapshot(running);
    let taken = guest_msr::write(running, msr, value).is_ok();
    for ((other, was), (_, is)) in before.into_iter().zip(snapshot(running)) {
        let may_change = taken && group(other) == group(msr);
        assert!(may_change || was == is, "{msr:#x} = {value:#x} ({taken}): {other:#x} became {is:x?} from {was:x?}");
    }
}

/// Writes back what is read: it stays, or cannot be written.
fn write_back(dice: &mut Rng, running: &mut Running<'_, FakeMachine>) {
    let msr = number(dice);
    let Ok(value) = guest_msr::read(running, msr) else { return };
    // A write of the error status shows the errors since the last one; one of a timer starts it, and it may be due.
    // The interface's command register takes 8 bits of a destination, and shows all that x2APIC mode has.
    if msr == ERROR_STATUS || msr == COMMAND || TIMERS.contains(&msr) {
        return;
    }
    if guest_msr::write(running, msr, value).is_ok() {
        let is = guest_msr::read(running, msr).ok();
        assert_eq!(is, Some(value), "{msr:#x} was written back, and is another");
    }
}

/// Makes one input.
pub fn run(dice: &mut Rng) -> u64 {
    let hv = guests::hypervisor();
    let Some(domain) = hv.domains.get(DomId(u16::from(dice.bool()))) else { return 0 };
    let Some(vcpu) = domain.vcpu(VcpuId(0)) else { return 0 };
    guests::give_viridian(dice, &hv, &domain);
    let done = vcpu.with_core_apart(|core| {
        let mut running = Running { hv: &hv, domain: &domain, vcpu, core };
        for _ in 0..ACCESSES {
            match dice.u8(..8) {
                0 => hv.machine.pass_ns(dice.u64(..1_000_000)),
                1..=3 => write_back(dice, &mut running),
                _ => write(dice, &mut running),
            }
            running.hv.frames.quiet(CpuId(0));
        }
    });
    assert!(done.is_ok());
    ACCESSES.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_of_the_local_apic_and_no_others_belong_together() {
        assert_eq!(group(APIC_BASE), group(0x808));
        assert_ne!(group(APIC_BASE), group(TSC));
        assert_ne!(group(0x4000_0092), group(0x4000_0020));
        assert_ne!(group(0x277), group(0x2ff));
    }
}
