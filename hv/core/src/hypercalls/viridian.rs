//! The hypercalls of Microsoft's interface. **Source:** TLFS 3, 9 and 10.

use super::Call;
use crate::components::placing::flushed::is_flushed;
use crate::lifecycle::waking::notify;
use crate::memory::guest_memory::{Layout, ram_page};
use crate::outcome::{Answer, Outcome};
use xenolith_devices::viridian as abi;
use xenolith_devices::viridian::Control;
use xenolith_hal::{Gpa, GuestCpu, Machine, NestedSpace, PAGE_SIZE};
use zerocopy::IntoBytes;

/// A reserved bit of the control word: the call was begun, and waits for other CPUs. A guest that sets it itself goes without
/// a flush of its own.
const BEGUN: u64 = 1 << 47;

/// Control word, input and output of a call. 32-bit code has each in two registers, and the flag of the interface in the
/// lowest.
fn arguments<M: Machine>(call: &Call<'_, M>) -> [u64; 3] {
    let registers = call.core.hardware.registers();
    let pair = |high: u64, low: u64| high << 32 | low & u64::from(u32::MAX);
    match call.layout {
        Layout::Native => [registers.rcx, registers.rdx, registers.r8],
        Layout::Compat => [
            pair(registers.rdx, registers.rax & !abi::HYPERCALL_FLAG),
            pair(registers.rbx, registers.rcx),
            pair(registers.rdi, registers.rsi),
        ],
    }
}

/// Makes the call that a vCPU made by the interface's hypercall page, or None if the domain has no such interface.
#[cold]
pub fn call<M: Machine>(number: u64, call: &mut Call<'_, M>) -> Option<Answer> {
    if number & abi::HYPERCALL_FLAG == 0 || call.in_multicall {
        return None;
    }
    call.domain.viridian.get()?;
    let [control, input, output] = arguments(call);
    let control = Control(control);
    let wanted = make(call, control, input, output);
    if matches!(wanted, Wanted::Again) {
        set_begun(call, true);
        return Some(Ok(Outcome::Again(call.args)));
    }
    if control.0 & BEGUN != 0 {
        set_begun(call, false);
    }
    let (status, yields) = match wanted {
        Wanted::Status(status) => (status, false),
        Wanted::Yield | Wanted::Again => (abi::SUCCESS, true),
    };
    let result = control.result(status);
    if call.layout == Layout::Compat {
        call.core.hardware.registers_mut().rdx = result >> 32;
    }
    Some(Ok(if yields { Outcome::Yield(result) } else { Outcome::Done(result) }))
}

/// Notes in the guest's control word whether the call was begun.
fn set_begun<M: Machine>(call: &mut Call<'_, M>, begun: bool) {
    let registers = call.core.hardware.registers_mut();
    let set = |word: u64, bit: u64| if begun { word | bit } else { word & !bit };
    match call.layout {
        Layout::Native => registers.rcx = set(registers.rcx, BEGUN),
        Layout::Compat => {
            registers.rdx = set(registers.rdx, BEGUN >> 32);
            if let Some(edx) = call.args.get_mut(2) {
                *edx = registers.rdx;
            }
        }
    }
}

/// What a call comes to.
enum Wanted {
    Status(u64),
    Yield,
    Again,
}

fn make<M: Machine>(call: &Call<'_, M>, control: Control, input: u64, output: u64) -> Wanted {
    let Some(wanted) = control.call() else { return Wanted::Status(abi::INVALID_CODE) };
    if wanted == abi::Call::LongSpinWait {
        return Wanted::Yield;
    }
    let mut words = [0; abi::INPUT_WORDS];
    let length = match read(call, control, wanted, [input, output], &mut words) {
        Ok(length) => length,
        Err(status) => return Wanted::Status(status),
    };
    let (set, vector) = match control.set(words.get(..length).unwrap_or_default()) {
        Ok(found) => found,
        Err(status) => return Wanted::Status(status),
    };
    let mut meant = call.domain.vcpus.iter().filter(|vcpu| set.contains(vcpu.id.0));
    if wanted == abi::Call::Interrupt {
        meant.for_each(|vcpu| {
            vcpu.requests.post_vector(vector);
            notify(call.hv, call.domain, vcpu);
        });
        return Wanted::Status(abi::SUCCESS);
    }
    // Translations of all vCPUs are flushed, whichever are named.
    if control.0 & BEGUN == 0 && meant.next().is_some() {
        call.domain.space.flush();
        call.domain.physmap.note_stale(&call.hv.frames);
    }
    if is_flushed(call.hv, call.domain) { Wanted::Status(abi::SUCCESS) } else { Wanted::Again }
}

/// Reads a call's input; returns how many words it has.
///
/// **Errors:** the status of an input that cannot be.
fn read<M: Machine>(
    call: &Call<'_, M>,
    control: Control,
    wanted: abi::Call,
    registers: [u64; 2],
    words: &mut [u64; abi::INPUT_WORDS],
) -> Result<usize, u64> {
    let [at, _] = registers;
    if control.is_fast() {
        if wanted != abi::Call::Interrupt || control.is_ex() {
            return Err(abi::INVALID_PARAMETER);
        }
        words.iter_mut().zip(registers).for_each(|(word, register)| *word = register);
        return Ok(registers.len());
    }
    let head = control.head();
    fill(call, at, words.get_mut(..head).unwrap_or_default())?;
    let length = head.saturating_add(control.banks(words.get(..head).unwrap_or_default()));
    let behind = at.checked_add((head as u64).saturating_mul(size_of::<u64>() as u64)).ok_or(abi::INVALID_PARAMETER)?;
    fill(call, behind, words.get_mut(head..length).unwrap_or_default())?;
    Ok(length)
}

/// Copies words from the guest's memory, wherever they lie in it: real Xen asks for no alignment.
fn fill<M: Machine>(call: &Call<'_, M>, at: u64, words: &mut [u64]) -> Result<(), u64> {
    let mut at = at;
    let bytes = words.as_mut_bytes();
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        let here = Gpa(at);
        let part = rest.len().min(PAGE_SIZE.saturating_sub(here.page_offset()));
        let page = ram_page(&call.hv.machine, &call.domain.space, here, false).ok_or(abi::INVALID_PARAMETER)?;
        if !rest.get_mut(..part).is_some_and(|into| page.read_bytes(here.page_offset(), into)) {
            return Err(abi::INVALID_PARAMETER);
        }
        done = done.saturating_add(part);
        at = at.checked_add(part as u64).ok_or(abi::INVALID_PARAMETER)?;
    }
    Ok(())
}
