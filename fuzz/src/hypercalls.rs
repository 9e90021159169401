//! Every hypercall through the real table, by guests whose memory changes while it is read.

use xenolith_sync::Arc;

use fastrand::Rng;
use xen_abi::domctl::XEN_DOMCTL_INTERFACE_VERSION;
use xen_abi::hypercall::{DM_OP, DOMCTL};
use xen_abi::{DomId, Gfn, VcpuId};
use xenolith_core::hypercalls::domctl::commands;
use xenolith_core::hypercalls::{Body, answer};
use xenolith_core::{After, Domain, Hypervisor, Running, Table, VcpuCore};
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, GuestCpu};

use crate::guests::{self, GUEST_PAGES, MACHINE_PAGES};
use crate::mutation;

type Guest = Arc<Domain<FakeMachine>>;

/// Guest frames in which arguments are put; the others are what grants and mappings name.
const ARGUMENT_PAGES: u64 = 4;
/// Long structures are no longer than this, in 8-byte words.
const WORDS: usize = 24;
/// A call that is not done after this many rounds never will be.
const ROUNDS: u32 = 20_000;

/// A number such as the interface is full of: ports, references, frames, domains, flags, edges.
fn word(dice: &mut Rng) -> u32 {
    match dice.u8(..10) {
        0..=3 => dice.u32(..8),
        4 => dice.u32(..GUEST_PAGES as u32 + 8),
        5 => [0x7ff0, 0x7ff1, 0x7ff2, 0x7ff3, 0x7ff4, 0x7fff][dice.usize(..6)],
        6 => 1 << dice.u32(..32),
        7 => dice.u32(..0x2000),
        _ => mutation::number(dice) as u32,
    }
}

/// An address: mostly the beginning of a page for arguments, sometimes near its end, sometimes anywhere.
fn address(dice: &mut Rng) -> u64 {
    let page = dice.u64(..ARGUMENT_PAGES) << 12;
    match dice.u8(..10) {
        0 => mutation::number(dice),
        1 => page + 0xfc0 + dice.u64(..0x40),
        2 => (GUEST_PAGES + 2) << 12,
        3 => page + dice.u64(..64) * 8,
        _ => page,
    }
}

/// Fills the pages for arguments with what might be structures; pointers among the numbers.
pub fn write_structures(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, guest: &Guest) {
    for gfn in 0..ARGUMENT_PAGES {
        let Some((_, page)) = guests::page(hv, guest, Gfn(gfn)) else { continue };
        for at in 0..WORDS {
            let value = match dice.u8(..6) {
                0 => address(dice),
                1 => u64::from(word(dice)),
                _ => u64::from(word(dice)) | u64::from(word(dice)) << 32,
            };
            let _ = page.store_u64(at * 8, value);
        }
    }
}

/// Number and arguments of a call; mostly one that exists.
pub fn call(dice: &mut Rng) -> (u64, [u64; 6]) {
    let mut args = std::array::from_fn(|_| if dice.bool() { address(dice) } else { u64::from(word(dice)) });
    let listed = Table::<FakeMachine>::ALL;
    if dice.u8(..32) == 0 {
        return (dice.u64(..80), args);
    }
    let Some(hypercall) = listed.get(dice.usize(..listed.len())) else { return (0, args) };
    if let Body::Operations(operations) = hypercall.body
        && dice.u8(..16) > 0
    {
        let operation = operations.get(dice.usize(..operations.len()));
        args[0] = operation.map_or(0, |operation| u64::from(operation.number));
    }
    if dice.u8(..4) > 0 {
        args[1] = address(dice);
        args[2] = u64::from(dice.u32(..4));
    }
    (u64::from(hypercall.number), args)
}

/// Puts the head of a `domctl` at address 0, mostly one that exists for a domain that exists; what stands behind it is
/// as it was.
fn write_domctl(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, guest: &Guest) {
    let Some((_, page)) = guests::page(hv, guest, Gfn(0)) else { return };
    let listed = commands::<FakeMachine>();
    let command = listed.get(dice.usize(..listed.len())).map_or(0, |command| command.number);
    let _ = page.store_u32(0, command);
    let _ = page.store_u32(4, XEN_DOMCTL_INTERFACE_VERSION);
    let _ = page.store_u64(8, if dice.u8(..8) > 0 { dice.u64(..3) } else { u64::from(word(dice) as u16) });
}

/// Puts the buffers of a `dm_op` at address 0 and the head of its request into the next page, mostly one that exists; the
/// arguments are what lies there.
fn write_dm_op(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, guest: &Guest) {
    let [Some((_, list)), Some((_, request))] = [Gfn(0), Gfn(1)].map(|gfn| guests::page(hv, guest, gfn)) else {
        return;
    };
    for (at, value) in [(0, 1 << 12), (8, dice.u64(..40)), (16, 2 << 12), (24, dice.u64(..0x1000))] {
        let _ = list.store_u64(at, value);
    }
    let _ = request.store_u32(0, dice.u32(..22));
    let _ = request.store_u32(4, u32::from(dice.u8(..16) == 0));
}

/// Makes one call to its end. False when the domain runs no more.
fn make(
    dice: &mut Rng,
    hv: &Hypervisor<FakeMachine>,
    guest: &Guest,
    id: VcpuId,
    core: &mut VcpuCore<FakeMachine>,
) -> bool {
    let Some(vcpu) = guest.vcpu(id) else { return false };
    let (number, mut args) = call(dice);
    if number == u64::from(DOMCTL) && dice.u8(..16) > 0 {
        args[0] = 0;
        write_domctl(dice, hv, guest);
    }
    if number == u64::from(DM_OP) && dice.u8(..16) > 0 {
        args = [1, dice.u64(1..3), 0, 0, 0, 0];
        write_dm_op(dice, hv, guest);
    }
    let registers = core.hardware.registers_mut();
    registers.rax = number;
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = args;
    let begun_at = registers.rip;
    for _ in 0..ROUNDS {
        let after = answer(&mut Running { hv, domain: guest, vcpu, core });
        if !matches!(after, After::Resume | After::Yield | After::Block) {
            return false;
        }
        // A call that goes on later leaves the instruction pointer where it was.
        if core.hardware.registers().rip != begun_at {
            vcpu.unblock();
            return true;
        }
    }
    panic!("call {number} with {args:x?} is never done");
}

/// Makes a few hundred calls of two domains, and returns how many.
pub fn run(dice: &mut Rng) -> u64 {
    let hv = guests::hypervisor();
    let domains: Vec<Guest> = [DomId::DOM0, DomId(1)].into_iter().filter_map(|id| hv.domains.get(id)).collect();
    let mut calls = 0;
    for _ in 0..dice.u32(64..1024) {
        let Some(guest) = domains.get(dice.usize(..domains.len())) else { break };
        let id = VcpuId(dice.u32(..guest.vcpus.len() as u32));
        hv.machine.go_to(CpuId(id.0));
        write_structures(dice, &hv, guest);
        disturb(dice, &hv, guest);
        let Some(mut core) = guest.vcpu(id).and_then(|vcpu| vcpu.take_core()) else { continue };
        let runs_on = make(dice, &hv, guest, id, &mut core);
        calls += 1;
        if let Some(vcpu) = guest.vcpu(id) {
            vcpu.put_core(core);
        }
        hv.machine.disturbance.set(0, &[]);
        hv.machine.pass_ns(dice.u64(..2_000_000));
        assert!(hv.frames.free_pages() < MACHINE_PAGES as u64, "more frames are free than there are");
        if !runs_on {
            break;
        }
    }
    calls
}

/// In half of the calls, another vCPU of the guest writes to the arguments while they are read.
fn disturb(dice: &mut Rng, hv: &Hypervisor<FakeMachine>, guest: &Guest) {
    let pages = (0..ARGUMENT_PAGES).filter_map(|gfn| guests::page(hv, guest, Gfn(gfn)));
    let pages: Vec<_> = pages.map(|(mfn, _)| mfn).collect();
    hv.machine.disturbance.set(if dice.bool() { dice.u64(1..) } else { 0 }, &pages);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls of a new world's control domain succeed, until it ends or has made 50; and how many it made.
    fn successes(dice: &mut Rng) -> (u32, u32) {
        let hv = guests::hypervisor();
        let guest = hv.domains.get(DomId::DOM0).unwrap();
        let (mut good, mut made) = (0, 0);
        while made < 50 {
            write_structures(dice, &hv, &guest);
            let Some(mut core) = guest.vcpu(VcpuId(0)).unwrap().take_core() else { break };
            let runs_on = make(dice, &hv, &guest, VcpuId(0), &mut core);
            made += 1;
            good += u32::from(core.hardware.registers().rax.cast_signed() >= 0);
            guest.vcpu(VcpuId(0)).unwrap().put_core(core);
            if !runs_on {
                break;
            }
        }
        (good, made)
    }

    #[test]
    fn calls_succeed_often_enough_to_reach_behind_the_first_check() {
        let mut dice = Rng::with_seed(1);
        let (mut good, mut made) = (0, 0);
        for _ in 0..40 {
            let (more, of) = successes(&mut dice);
            good += more;
            made += of;
        }
        assert!(made > 500, "only {made} calls were made in 40 worlds");
        assert!(good * 20 > made, "{good} of {made} calls succeeded");
    }
}
