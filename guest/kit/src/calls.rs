//! Hypercalls as test and benchmark kernels make them: safe, because all memory named in them is the pool's or the window's.

use crate::hypercall;
use crate::pages::Page;
use crate::processors::{self, MAX_PROCESSORS};
use xen_abi::hypercall::{EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, MEMORY_OP, SCHED_OP, VCPU_OP};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where arguments are put for the hypervisor to read and write: a page for each processor.
static ARGUMENTS: [Page; MAX_PROCESSORS] = [const { Page::new() }; MAX_PROCESSORS];

/// Returns the page for the arguments of the processor that runs this.
fn argument_page() -> &'static Page {
    let [first, ..] = &ARGUMENTS;
    ARGUMENTS.get(processors::this()).unwrap_or(first)
}

/// What can be an argument: plain data.
pub trait Plain: FromBytes + IntoBytes + Immutable + Copy {}
impl<T: FromBytes + IntoBytes + Immutable + Copy> Plain for T {}

/// Calls hypercall `number` in line; what is left out of the arguments is 0.
pub fn call<const N: usize>(number: u32, arguments: [u64; N]) -> i64 {
    let mut all = [0; 5];
    for (slot, argument) in all.iter_mut().zip(arguments) {
        *slot = argument;
    }
    // SAFETY: the addresses that kernels pass for output are those of pool and window pages, or of nothing.
    unsafe { hypercall::call(u64::from(number), all) }
}

/// Calls an operation of hypercall `number` that takes a pointer to its arguments; they come back changed.
pub fn operation<T: Plain>(number: u32, operation: u32, value: &mut T) -> i64 {
    let page = argument_page();
    page.write(0, *value);
    let result = call(number, [u64::from(operation), page.address()]);
    *value = page.read(0);
    result
}

/// Returns an event channel operation.
pub fn evtchn<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(EVENT_CHANNEL_OP, number, value)
}

/// Returns a memory operation.
pub fn memory<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(MEMORY_OP, number, value)
}

/// Returns a scheduling operation.
pub fn sched<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(SCHED_OP, number, value)
}

/// Returns an operation of fully virtualised domains.
pub fn hvm<T: Plain>(number: u32, value: &mut T) -> i64 {
    operation(HVM_OP, number, value)
}

/// Returns a vCPU operation with arguments.
pub fn vcpu<T: Plain>(number: u32, vcpu: u32, value: &mut T) -> i64 {
    let page = argument_page();
    page.write(0, *value);
    let result = call(VCPU_OP, [u64::from(number), u64::from(vcpu), page.address()]);
    *value = page.read(0);
    result
}

/// Returns a vCPU operation without arguments.
pub fn vcpu_plain(number: u32, vcpu: u32) -> i64 {
    call(VCPU_OP, [u64::from(number), u64::from(vcpu)])
}

/// Returns a grant table operation on one element.
pub fn grant<T: Plain>(number: u32, value: &mut T) -> i64 {
    let page = argument_page();
    page.write(0, *value);
    let result = call(GRANT_TABLE_OP, [u64::from(number), page.address(), 1]);
    *value = page.read(0);
    result
}
