//! Lines on this guest's own console, as a front end writes them.

use core::mem::offset_of;

use xen_abi::hvm_param::{HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN};
use xen_abi::io::console::XenconsInterface;
use xenolith_guest_kit::pages::{read_at, write_at};

use crate::calls::{parameter, send};

/// Bytes of the ring that the guest writes.
const OUTPUT_BYTES: u32 = 2048;

/// Writes a line, if there is a console. What does not fit is lost.
pub fn say(line: &str) {
    let page = parameter(HVM_PARAM_CONSOLE_PFN) << 12;
    if page == 0 {
        return;
    }
    let field = |offset: usize| page + offset as u64;
    let produced = field(offset_of!(XenconsInterface, out_prod));
    let mut at: u32 = read_at(produced);
    for byte in line.bytes().chain(*b"\r\n") {
        let slot = at % OUTPUT_BYTES;
        write_at(field(offset_of!(XenconsInterface, output)) + u64::from(slot), byte);
        at = at.wrapping_add(1);
    }
    core::sync::atomic::fence(core::sync::atomic::Ordering::Release);
    write_at(produced, at);
    send(parameter(HVM_PARAM_CONSOLE_EVTCHN) as u32);
}
