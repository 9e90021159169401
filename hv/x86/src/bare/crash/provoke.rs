//! Faults on purpose, for tests of crash reports.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::interrupts;
use xenolith_bootinfo::CrashTest;

use crate::bare::base::{cpu_area, image};
use crate::bare::interrupts::calls::{self, Work};

/// The last CPU gets stuck where the others begin their loop.
static GETS_STUCK: AtomicBool = AtomicBool::new(false);

/// Stays here for ever if a test of the watchdog asked for it and this is the last CPU: with interrupts off, as a stuck CPU
/// does.
#[inline(never)] // so that the call trace names it
pub fn get_stuck_if_asked() {
    while GETS_STUCK.load(Ordering::Relaxed) && is_last() {
        core::hint::spin_loop();
    }
}

/// Provokes the fault.
#[inline(never)] // so that the call trace names it
pub fn provoke(test: CrashTest) {
    crate::print!("crash-test: {test:?}");
    match test {
        CrashTest::Panic => panic!("crash test"),
        CrashTest::PageFault => read_nothing(),
        CrashTest::WriteText => write_text(),
        CrashTest::RunData => run_data(),
        CrashTest::StackOverflow => {
            black_box(overflow(black_box(0)));
        }
        CrashTest::OtherCpu => panic_elsewhere(),
        CrashTest::ForeignGs => fault_without_gs(),
        CrashTest::StuckCpu => GETS_STUCK.store(true, Ordering::Relaxed),
    }
}

#[inline(never)]
fn read_nothing() {
    // SAFETY: none: nothing is mapped there. The fault is what is wanted, and it does not return.
    black_box(unsafe { black_box(0xdead_0000_usize as *const u64).read_volatile() });
}

#[inline(never)]
fn write_text() {
    // SAFETY: none: the page is not writable. The fault is what is wanted, and it does not return.
    unsafe { black_box(image::text().start as *mut u8).write_volatile(0xc3) };
}

#[inline(never)]
fn run_data() {
    // A return instruction, if it could be run.
    static CODE: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0xc3);
    // SAFETY: none: the page is not executable. The fault is what is wanted, and it does not return.
    let function: extern "C" fn() = unsafe { core::mem::transmute(black_box(CODE.as_ptr())) };
    function();
}

#[inline(never)]
#[allow(unconditional_recursion, reason = "it is the point")]
fn overflow(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    overflow(depth.wrapping_add(1)).wrapping_add(room.iter().copied().fold(0, u64::wrapping_add))
}

fn panic_elsewhere() {
    fn on_the_last(_: u64) {
        if is_last() {
            panic!("crash test on the last CPU");
        }
    }
    on_others(on_the_last);
}

/// Raises an exception while GS holds what a guest might have left there.
fn fault_without_gs() {
    fn on_the_last(_: u64) {
        if is_last() {
            // SAFETY: none: GS leads nowhere from here on. The fault is what is wanted, and it does not return.
            unsafe { asm!("wrmsr", "ud2", in("ecx") 0xc000_0101_u32, in("eax") 0x1000, in("edx") 0) };
        }
    }
    on_others(on_the_last);
}

fn is_last() -> bool {
    cpu_area::this_cpu().index().wrapping_add(1) == cpu_area::count()
}

fn on_others(call: fn(u64)) {
    calls::on_all_others(Work::Call(call, 0));
    // Only a machine with one CPU comes here.
    interrupts::disable();
    panic!("crash test: there is no other CPU");
}
