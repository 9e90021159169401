//! The hypercalls that behaviours are made of.

use xen_abi::DomId;
use xen_abi::event_channel::{EVTCHNOP_SEND, EvtchnSend};
use xen_abi::hvm_op::{HVMOP_GET_PARAM, HvmParam};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, HVM_OP, SCHED_OP};
use xen_abi::sched::SCHEDOP_SHUTDOWN;
use xenolith_guest_kit::hypercall;
use xenolith_guest_kit::pages::Page;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where arguments are put for the hypervisor to read and write.
static ARGUMENTS: Page = Page::new();

/// What can be an argument: plain data.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + Copy> Plain for T {}

/// Calls an operation of hypercall `number` that takes a pointer to its arguments; they come back changed.
pub fn operation<T: Plain>(number: u32, operation: u32, value: &mut T) -> i64 {
    ARGUMENTS.write(0, *value);
    let result = raw(number.into(), [operation.into(), ARGUMENTS.address(), 0, 0, 0]);
    *value = ARGUMENTS.read(0);
    result
}

/// Makes any call at all. Behaviours pass the addresses of pages only, or of nothing.
pub fn raw(number: u64, arguments: [u64; 5]) -> i64 {
    // SAFETY: what a call writes lies in pages that Rust knows only as volatile, or in a kernel that has nothing to
    // lose: it is there to break.
    unsafe { hypercall::call(number, arguments) }
}

/// Returns a parameter of this domain; 0 where it cannot be had.
pub fn parameter(index: u32) -> u64 {
    let mut asked = HvmParam { domid: DomId::SELF, index, ..HvmParam::default() };
    if operation(HVM_OP, HVMOP_GET_PARAM, &mut asked) == 0 { asked.value } else { 0 }
}

/// Sends by a port.
pub fn send(port: u32) -> i64 {
    operation(EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut EvtchnSend { port: xen_abi::Port(port) })
}

/// Shuts this domain down for a reason.
pub fn shutdown(reason: u32) {
    operation(SCHED_OP, SCHEDOP_SHUTDOWN, &mut [reason; 1]);
}
