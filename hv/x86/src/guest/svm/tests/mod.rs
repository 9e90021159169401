//! A vCPU on a CPU that follows a script.

mod conclude;
mod doorstep;
mod events;
mod msrs;
mod resident;
mod run;

use super::features::Features;
use super::scripted::{
    FEATURES, FPU_AT, MAPS, Vcpu, change_physical, cpus, go_to, physical, same_cpus, set_features, steps_left,
    tear_down, then, vcpu,
};
use super::vmcb::{Field, Vmcb};
use crate::guest::frame_access::FrameAccess;
use crate::guest::frame_pool::Pool;
use crate::guest::nested::{NestedTables, TableLimits};
use alloc::vec::Vec;
use xenolith_hal::{
    CpuState, EventInFlight, EventKind, Exception, Exit, FrameSource, Gfn, GuestCpu, HardwareMsr, InvalidState,
    Mapping, Mfn, NestedSpace, PAGE_SIZE, PageKind, PageOrder, Registers, Rights, RunControl,
};

type Space = NestedTables<Pool>;

/// Makes the CPU one whose checks of control registers cannot be trusted, or not.
fn emulate(emulated: bool) {
    set_features(Features { decode_assists: !emulated, virtual_machine: emulated, ..FEATURES });
}

fn space() -> (Space, Pool) {
    let mut pool = Pool::new(16);
    let limits = TableLimits { address_bits: 40, huge_pages: false };
    (NestedTables::new(pool.clone(), limits, 256, &mut pool).unwrap(), pool)
}

const INTR: u64 = 0x60;
const CPUID: u64 = 0x72;
const HLT: u64 = 0x78;
const VMMCALL: u64 = 0x81;
const V_IRQ: u64 = 1 << 8;

fn then_exit(code: u64) {
    then(move |_, vmcb| vmcb.set(Field::EXIT_CODE, code));
}

/// Returns one run that the script ends with this exit.
fn run(vcpu: &mut Vcpu, space: &Space, control: RunControl, code: u64) -> Exit {
    then_exit(code);
    vcpu.run(space, control, &mut ())
}

fn offer(vector: u8) -> RunControl {
    RunControl { interrupt: Some(vector), ..RunControl::default() }
}

const NMI: RunControl = RunControl { interrupt: None, task_priority: 0, nmi: true };
