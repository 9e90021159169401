//! How much of its own heap the hypervisor has free, by what it says to the debug key `H`.
//!
//! Xenolith's heap grows by 2 MiB, so what a domain takes of it does not show in the number of free pages. Xen's grows
//! by pages; it says nothing that is understood here, which counts as nothing free.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use xen_abi::GuestHandle;
use xen_abi::hypercall::SYSCTL;
use xen_abi::sysctl::*;
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::pages::{PAGE_BYTES, Page, read_at};

/// Pages of the log that are read at once: more than a key makes the hypervisor say.
const LOG_PAGES: usize = 8;
const LOG_BYTES: u32 = (LOG_PAGES * PAGE_BYTES) as u32;

/// The structure of a call and, in its second half, the keys.
static STRUCTURE: Page = Page::new();
static TEXT: [Page; LOG_PAGES] = [const { Page::new() }; LOG_PAGES];

/// Returns bytes of the heap that can still be given out; 0 on a hypervisor that does not say so.
pub fn free_bytes() -> u64 {
    static SILENT: AtomicBool = AtomicBool::new(false);
    if SILENT.load(Ordering::Relaxed) {
        return 0;
    }
    while read_log() == LOG_BYTES {}
    press(b'H');
    let kib = number_before(b" KiB free", read_log());
    SILENT.store(kib.is_none(), Ordering::Relaxed);
    kib.unwrap_or(0) << 10
}

fn press(key: u8) {
    const KEYS: usize = PAGE_BYTES / 2;
    STRUCTURE.write(KEYS, key);
    let keys = GuestHandle::new(STRUCTURE.address() + KEYS as u64);
    control(XEN_SYSCTL_DEBUG_KEYS, |op| {
        op.set_debug_keys(SysctlDebugKeys { keys, nr_keys: 1, ..SysctlDebugKeys::default() });
    });
}

fn control(cmd: u32, arguments: impl FnOnce(&mut Sysctl)) {
    let mut op = Sysctl { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Sysctl::default() };
    arguments(&mut op);
    STRUCTURE.write(0, op);
    call(SYSCTL, [STRUCTURE.address()]);
}

fn text() -> u64 {
    TEXT.first().map_or(0, Page::address)
}

/// Copies what the hypervisor's log has got since the last time; gives how many bytes.
fn read_log() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let wanted = SysctlReadconsole {
        incremental: 1,
        index: NEXT.load(Ordering::Relaxed),
        buffer: GuestHandle::new(text()),
        count: LOG_BYTES,
        ..SysctlReadconsole::default()
    };
    control(XEN_SYSCTL_READCONSOLE, |op| op.set_readconsole(wanted));
    let told = STRUCTURE.read::<Sysctl>(0).readconsole();
    NEXT.store(told.index, Ordering::Relaxed);
    told.count
}

/// Returns the decimal number that stands before a text in what was read.
fn number_before(words: &[u8], length: u32) -> Option<u64> {
    let length = u64::from(length);
    let byte = |at: u64| read_at::<u8>(text() + at);
    let is_here = |at: u64| (at..).zip(words).all(|(at, wanted)| at < length && byte(at) == *wanted);
    let end = (0..length).find(|at| is_here(*at))?;
    let begin = (0..end).rev().take_while(|at| byte(*at).is_ascii_digit()).last()?;
    Some((begin..end).fold(0, |number, at| number * 10 + u64::from(byte(at) - b'0')))
}
