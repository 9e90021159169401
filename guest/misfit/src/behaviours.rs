//! What can be asked of this guest.

use core::arch::asm;
use core::mem::offset_of;

use xen_abi::hvm_param::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};
use xen_abi::hypercall::{DOMCTL, GRANT_TABLE_OP, MEMORY_OP, MULTICALL, SCHED_OP};
use xen_abi::io::console::XenconsInterface;
use xen_abi::memory::{MemoryReservation, XENMEM_ADD_TO_PHYSMAP, XENMEM_DECREASE_RESERVATION};
use xen_abi::physmap::{AddToPhysmap, XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_SHARED_INFO};
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_REBOOT};
use xen_abi::{DomId, Gfn, GuestHandle};
use xenolith_guest_kit::cpu;
use xenolith_guest_kit::pages::{self, Page, write_at};

use crate::calls::{operation, parameter, raw, send, shutdown};
use crate::clock;

/// Frames in a hole of this guest's memory, where pages of the hypervisor's are put.
const SHARED_INFO: Gfn = Gfn(0x8_0000);
const GRANT_TABLE: Gfn = Gfn(0x8_0001);
const PAGE_BYTES: u64 = 4096;
/// Hypercalls that are tried with nonsense for arguments.
const BABBLE: u32 = 100_000;
/// Events that are sent for nothing.
const RINGS: u32 = 20_000;
/// How much memory is given away at the end of everything: more than this guest can have.
const ALL_FRAMES: u64 = 0x4_0000;

/// Every behaviour by its name. Where it returns, the guest sleeps.
const BEHAVIOURS: &[(&str, fn())] = &[
    ("sleep", || sleep()),
    ("off", || cpu::stop()),
    ("reboot", || shutdown(SHUTDOWN_REBOOT)),
    ("crash", || shutdown(SHUTDOWN_CRASH)),
    ("triple-fault", triple_fault),
    ("spin", spin),
    ("give-rings-away", give_rings_away),
    ("vanish", vanish),
    ("garbage", garbage),
    ("babble", babble),
    ("work", work),
];

/// Returns the behaviour with this name.
pub fn find(name: &str) -> Option<fn()> {
    BEHAVIOURS.iter().find(|(known, _)| *known == name).map(|(_, behaviour)| *behaviour)
}

/// Waits for ever, as an idle guest does.
pub fn sleep() -> ! {
    loop {
        cpu::sleep_until_interrupt();
    }
}

/// Raises an exception with an empty IDT.
fn triple_fault() {
    let nothing = [0_u8; 10];
    // SAFETY: this kernel ends here, which is the behaviour.
    unsafe { asm!("lidt [{}]", "int3", in(reg) &nothing, options(nostack)) };
}

/// Keeps the CPU, with interrupts off, for ever.
fn spin() {
    cpu::interrupts_off();
    loop {
        core::hint::spin_loop();
    }
}

/// Gives frames back to the hypervisor; answers how many it took.
fn give_away(frames: &[u64]) -> i64 {
    static LIST: Page = Page::new();
    let list = &LIST;
    for (slot, frame) in (0..PAGE_BYTES as usize).step_by(8).zip(frames) {
        list.write(slot, *frame);
    }
    let mut wanted = MemoryReservation {
        extent_start: GuestHandle::new(list.address()),
        nr_extents: frames.len() as u64,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    };
    operation(MEMORY_OP, XENMEM_DECREASE_RESERVATION, &mut wanted)
}

/// Gives away the pages by which it speaks to the store and the console, and speaks on.
fn give_rings_away() {
    give_away(&[parameter(HVM_PARAM_STORE_PFN), parameter(HVM_PARAM_CONSOLE_PFN)]);
    ring_all();
}

/// Gives away all its memory, down to the code that does it.
fn vanish() {
    for frame in 0..ALL_FRAMES {
        give_away(&[frame]);
    }
}

fn ring_all() {
    for _ in 0..RINGS {
        send(parameter(HVM_PARAM_STORE_EVTCHN) as u32);
        send(parameter(HVM_PARAM_CONSOLE_EVTCHN) as u32);
    }
}

/// Returns the next of numbers without an order. **Source:** Marsaglia's xorshift.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

fn place(space: u32, idx: u64, gpfn: Gfn) -> i64 {
    let mut wanted = AddToPhysmap { domid: DomId::SELF, size: 0, space, idx, gpfn };
    operation(MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut wanted)
}

/// Fills everything that it shares with others with nonsense, and tells them to look, again and again for seconds.
fn garbage() {
    place(XENMAPSPACE_SHARED_INFO, 0, SHARED_INFO);
    place(XENMAPSPACE_GRANT_TABLE, 0, GRANT_TABLE);
    let shared = [SHARED_INFO.0, GRANT_TABLE.0, parameter(HVM_PARAM_STORE_PFN), parameter(HVM_PARAM_CONSOLE_PFN)];
    let ports = [parameter(HVM_PARAM_STORE_EVTCHN) as u32, parameter(HVM_PARAM_CONSOLE_EVTCHN) as u32];
    let mut seed = 0x2545_f491_4f6c_dd1d;
    for _ in 0..50 {
        for frame in shared {
            for offset in (0..PAGE_BYTES).step_by(8) {
                write_at((frame << 12) + offset, next(&mut seed));
            }
        }
        ports.iter().for_each(|port| {
            send(*port);
        });
        clock::wait_milliseconds(50);
    }
    // The console's writer claims more than the ring can hold.
    let console = parameter(HVM_PARAM_CONSOLE_PFN) << 12;
    write_at(console + offset_of!(XenconsInterface, out_prod) as u64, u32::MAX);
    ring_all();
}

/// Makes hypercalls with nonsense for arguments. Those by which a guest ends itself or sleeps are left out.
fn babble() {
    let pages = [pages::take().address(), pages::take().address()];
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..BABBLE {
        let number = next(&mut seed) % 64;
        if number == u64::from(SCHED_OP) || number == u64::from(MULTICALL) {
            continue;
        }
        let mut arguments = [0; 5];
        for argument in &mut arguments {
            let value = next(&mut seed);
            *argument = match value >> 61 {
                0..=2 => value & 0x1f,
                3..=5 => pages.get(value as usize & 1).copied().unwrap_or(0) + (value >> 3 & 0x7f8),
                6 => value & 0xffff_ffff,
                _ => value,
            };
        }
        // Nor may it give its own code away: that is another behaviour.
        if number == u64::from(MEMORY_OP) && arguments.first().is_some_and(|first| matches!(first & 0x3f, 1 | 15)) {
            continue;
        }
        let [one, two] = pages;
        write_at(one + (next(&mut seed) & 0xff8), next(&mut seed) >> (next(&mut seed) & 63));
        write_at(two + (next(&mut seed) & 0xff8), next(&mut seed) & 0x7fff);
        raw(number, arguments);
    }
    // Nor may a guest control others.
    for number in [DOMCTL, GRANT_TABLE_OP] {
        raw(number.into(), [0; 5]);
    }
    crate::console::say("misfit: babbled");
}

/// Has something of each kind for the hypervisor to give back: its shared page and a grown grant table.
fn work() {
    place(XENMAPSPACE_SHARED_INFO, 0, SHARED_INFO);
    for index in 0..8 {
        place(XENMAPSPACE_GRANT_TABLE, index, Gfn(GRANT_TABLE.0 + index));
    }
    ring_all();
}
