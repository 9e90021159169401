//! Hypercalls as test and benchmark kernels make them: safe, because all memory named in them is the pool's or the window's.

use crate::hypercall;
use crate::mode::{self, Mode};
use crate::pages::{Page, read_at, write_at};
use crate::processors::{self, MAX_PROCESSORS};
use xen_abi::compat::Wire;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, GRANT_TABLE_OP, HVM_OP, MEMORY_OP, SCHED_OP, VCPU_OP};

/// Where arguments are put for the hypervisor to read and write: a page for each processor.
static ARGUMENTS: [Page; MAX_PROCESSORS] = [const { Page::new() }; MAX_PROCESSORS];

/// Returns the page for the arguments of the processor that runs this.
fn argument_page() -> &'static Page {
    let [first, ..] = &ARGUMENTS;
    ARGUMENTS.get(processors::this()).unwrap_or(first)
}

/// What can be an argument: plain data.
pub trait Plain: Wire + Copy {}
impl<T: Wire + Copy> Plain for T {}

/// Returns the size of an element of a list for callers in the current mode, in bytes.
#[must_use]
pub fn size<T: Plain>() -> usize {
    if mode::current() == Mode::Long { size_of::<T>() } else { T::COMPAT.size() }
}

/// Writes element `index` of a list in the layout for callers in the current mode.
pub fn put<T: Plain>(list: u64, index: usize, value: T) {
    let at = list + (index * size::<T>()) as u64;
    if mode::current() == Mode::Long {
        return write_at(at, value);
    }
    let mut passed = T::new_zeroed();
    let passed = passed.as_mut_bytes().get_mut(..T::COMPAT.size()).unwrap_or_default();
    T::COMPAT.narrow(value.as_bytes(), passed);
    (at..).zip(passed).for_each(|(at, byte)| write_at(at, *byte));
}

/// Reads element `index` of a list in the layout for callers in the current mode. Bits that 32-bit code does not have
/// are 0.
#[must_use]
pub fn get<T: Plain>(list: u64, index: usize) -> T {
    let at = list + (index * size::<T>()) as u64;
    if mode::current() == Mode::Long {
        return read_at(at);
    }
    let (mut passed, mut value) = (T::new_zeroed(), T::new_zeroed());
    let passed = passed.as_mut_bytes().get_mut(..T::COMPAT.size()).unwrap_or_default();
    (at..).zip(passed.iter_mut()).for_each(|(at, byte)| *byte = read_at(at));
    T::COMPAT.widen(passed, value.as_mut_bytes());
    value
}

/// Calls hypercall `number` in the current mode; what is left out of the arguments is 0.
pub fn call<const N: usize>(number: u32, arguments: [u64; N]) -> i64 {
    let mut all = [0; 5];
    for (slot, argument) in all.iter_mut().zip(arguments) {
        *slot = argument;
    }
    // SAFETY: the addresses that kernels pass for output are those of pool and window pages, or of nothing.
    unsafe {
        match mode::current() {
            Mode::Long => hypercall::call(u64::from(number), all),
            #[cfg(feature = "modes")]
            mode => mode::call(mode, number, all).into(),
        }
    }
}

/// Calls an operation of hypercall `number` that takes a pointer to its arguments; they come back changed.
pub fn operation<T: Plain>(number: u32, operation: u32, value: &mut T) -> i64 {
    let page = argument_page();
    put(page.address(), 0, *value);
    let result = call(number, [u64::from(operation), page.address()]);
    *value = get(page.address(), 0);
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
    put(page.address(), 0, *value);
    let result = call(VCPU_OP, [u64::from(number), u64::from(vcpu), page.address()]);
    *value = get(page.address(), 0);
    result
}

/// Returns a vCPU operation without arguments.
pub fn vcpu_plain(number: u32, vcpu: u32) -> i64 {
    call(VCPU_OP, [u64::from(number), u64::from(vcpu)])
}

/// Returns a grant table operation on one element.
pub fn grant<T: Plain>(number: u32, value: &mut T) -> i64 {
    let page = argument_page();
    put(page.address(), 0, *value);
    let result = call(GRANT_TABLE_OP, [u64::from(number), page.address(), 1]);
    *value = get(page.address(), 0);
    result
}
