//! Reports of what every CPU is doing, while the machine goes on.
//!
//! Each CPU is interrupted by an NMI, which arrives whatever it does. The handler logs nothing itself, since it may
//! have interrupted a log line: it leaves a statement, and the requesting CPU logs that.

use core::sync::atomic::{AtomicU32, Ordering};

use arrayvec::ArrayVec;
use xenolith_hal::CpuId;
use xenolith_sync::{SpinLock, rank};

use super::backtrace::{self, Known};
use super::registers;
use crate::bare::base::{clock, cpu_area};
use crate::bare::interrupts::{InterruptFrame, local_apic};
use crate::bare::svm::GuestReport;

/// How long a CPU may take to answer, in microseconds.
const PATIENCE: u64 = 200_000;
const STEP: u64 = 50;
/// How many calls a statement holds.
const CALLS: usize = 48;
const NOBODY: u32 = u32::MAX;

/// The CPU that is to make a statement.
static ASKED: AtomicU32 = AtomicU32::new(NOBODY);
/// The last one. Both sides only try for the lock.
static STATEMENT: SpinLock<Option<Statement>, rank::CrossCall> = SpinLock::new(None);

/// What a CPU was doing.
struct Statement {
    cpu: u32,
    frame: InterruptFrame,
    calls: ArrayVec<(Known, u64), CALLS>,
    guest: Option<GuestReport>,
    requested: [u32; 8],
    in_service: [u32; 8],
}

impl Statement {
    fn new(frame: &InterruptFrame) -> Self {
        let mut calls = ArrayVec::new();
        backtrace::each_call(frame, |known, address| {
            let _ = calls.try_push((known, address));
        });
        let (requested, in_service) = local_apic::requested_and_in_service();
        let guest = GuestReport::of_this_cpu();
        Self { cpu: cpu_area::this_index().as_u32(), frame: *frame, calls, guest, requested, in_service }
    }

    fn show(&self) {
        let cpu = self.cpu;
        crate::print!("*** Dumping CPU{cpu} host state: ***");
        registers::show_general(cpu, &self.frame);
        crate::print!("local APIC: requested{}; in service{}", Vectors(&self.requested), Vectors(&self.in_service));
        crate::print!("Xen call trace:");
        self.calls.iter().for_each(|(known, address)| backtrace::show_call(*known, *address));
        crate::print!("");
        match &self.guest {
            Some(guest) => {
                crate::print!("*** Dumping CPU{cpu} guest state: ***");
                guest.show();
            }
            None => crate::print!("*** CPU{cpu} has no guest ***"),
        }
    }
}

/// The vectors of a register of a local APIC.
struct Vectors<'a>(&'a [u32; 8]);

impl core::fmt::Display for Vectors<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let mut none = true;
        for (first, word) in (0_u32..).step_by(32).zip(self.0) {
            for bit in (0..32).filter(|bit| word & (1 << bit) != 0) {
                none = false;
                write!(f, " {:02x}", first.wrapping_add(bit))?;
            }
        }
        if none { f.write_str(" none") } else { Ok(()) }
    }
}

/// Makes a statement in the NMI handler, if this CPU is asked for one. Returns false if it was not asked.
#[must_use]
pub fn answer(frame: &InterruptFrame) -> bool {
    if ASKED.load(Ordering::Acquire) != cpu_area::this_index().as_u32() {
        return false;
    }
    if let Some(mut statement) = STATEMENT.try_lock() {
        *statement = Some(Statement::new(frame));
    }
    ASKED.store(NOBODY, Ordering::Release);
    true
}

/// Shows what every CPU is doing, the calling one first.
pub fn show_all() {
    let this = cpu_area::this_cpu();
    Statement::new(&registers::here()).show();
    for (cpu, area) in cpu_area::all().filter(|(cpu, _)| *cpu != this) {
        match ask(cpu, area.apic_id.load(Ordering::Relaxed)) {
            Some(statement) => statement.show(),
            None => crate::print!("*** CPU{} did not answer ***", cpu.0),
        }
    }
}

fn ask(cpu: CpuId, apic_id: u32) -> Option<Statement> {
    *STATEMENT.try_lock()? = None;
    // Only one CPU asks at a time.
    ASKED.compare_exchange(NOBODY, cpu.0, Ordering::AcqRel, Ordering::Relaxed).ok()?;
    local_apic::send_nmi(apic_id);
    let mut waited = 0;
    while ASKED.load(Ordering::Acquire) == cpu.0 && waited < PATIENCE {
        clock::wait_microseconds(STEP);
        waited += STEP;
    }
    let _ = ASKED.compare_exchange(cpu.0, NOBODY, Ordering::AcqRel, Ordering::Relaxed);
    // One that comes too late leaves its statement for nobody.
    STATEMENT.try_lock()?.take().filter(|statement| statement.cpu == cpu.0)
}
