//! An allocator for tests on the host that refuses memory when it is told to. Not part of the hypervisor's image.

extern crate std;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::string::ToString;
use std::vec::Vec;

/// The host's allocator, which refuses one allocation of a thread's if [`Refusing::with_one_refused`] says so. A test makes
/// it the global one.
pub struct Refusing;

/// What a thread wants refused.
#[derive(Clone, Copy)]
enum Wish {
    Nothing,
    /// After this number of allocations, the next one that is not made in one of these places is refused.
    After(usize, &'static [&'static str]),
    WasRefused,
}

std::thread_local! {
    static WISH: Cell<Wish> = const { Cell::new(Wish::Nothing) };
}

impl Refusing {
    /// Does `work`, in which `given` allocations are given, and the first one after them is refused that is not made by
    /// code in a directory of `exempt`. Gives what came of it, and whether one was refused.
    pub fn with_one_refused<T>(given: usize, exempt: &'static [&'static str], work: impl FnOnce() -> T) -> (T, bool) {
        WISH.set(Wish::After(given, exempt));
        let done = work();
        (done, matches!(WISH.replace(Wish::Nothing), Wish::WasRefused))
    }

    fn refuses(layout: Layout) -> bool {
        let Wish::After(given, exempt) = WISH.get() else { return false };
        if let Some(fewer) = given.checked_sub(1) {
            WISH.set(Wish::After(fewer, exempt));
            return false;
        }
        // What is allocated here is not meant.
        WISH.set(Wish::Nothing);
        let trace = Backtrace::force_capture().to_string();
        // The allocator's own entry counts as a place of the test that made it the global one.
        let callers = trace.lines().map(str::trim).skip_while(|line| !line.contains("__rust_alloc")).skip(2);
        let places = callers.filter_map(|line| line.strip_prefix("at "));
        let ours: Vec<&str> = places.filter(|place| !place.contains("rustc")).collect();
        let refused = !ours.first().is_some_and(|place| exempt.iter().any(|exempt| place.contains(exempt)));
        if refused {
            std::eprintln!(
                "refused {} bytes at {}",
                layout.size(),
                ours.iter().take(3).copied().collect::<Vec<_>>().join(" < ")
            );
        }
        WISH.set(if refused { Wish::WasRefused } else { Wish::After(0, exempt) });
        refused
    }
}

// SAFETY: everything is the system allocator's; that an allocation fails is allowed at any time.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::refuses(layout) {
            return core::ptr::null_mut();
        }
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; all that was given came from there.
        unsafe { System.dealloc(at, layout) };
    }
}
