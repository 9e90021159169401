//! Invariants that hold at each moment.

use xenolith_hal::CpuId;
use xenolith_sched::policy::{Standing, UnitId, drive::Pool};

use crate::machine::{Machine, Simulated};

/// A check of the invariants, with its state from moment to moment.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Checks work conservation: no CPU is idle while a vCPU that may run there waits.
    conserving: bool,
    /// CPUs reschedule and switch in no time.
    at_once: bool,
    /// The first violation, and its time in nanoseconds.
    found: Option<(u64, String)>,
    /// Time since which each vCPU waits for a CPU.
    since: Vec<Option<u64>>,
    /// Longest wait of each vCPU, in nanoseconds.
    worst: Vec<u64>,
}

impl Watch {
    /// Makes a check that no vCPU runs on two CPUs. With `at_once` (CPUs reschedule in no time) it also checks
    /// affinity, and with `conserving` besides, work conservation.
    #[must_use]
    pub fn new(at_once: bool, conserving: bool) -> Self {
        Self { conserving: at_once && conserving, at_once, ..Self::default() }
    }

    /// Checks a machine as it is now.
    pub fn look<P: Simulated>(&mut self, machine: &Machine<P>) {
        if self.found.is_none() {
            self.found = self.fault(machine).map(|fault| (machine.now, fault));
        }
    }

    /// Returns the longest wait of each vCPU for a CPU, in nanoseconds, waits that last until `now` included.
    #[must_use]
    pub fn waits(&self, now: u64) -> Vec<u64> {
        let open = |since: &Option<u64>| since.map_or(0, |since| now - since);
        self.worst.iter().zip(&self.since).map(|(worst, since)| (*worst).max(open(since))).collect()
    }

    /// Returns the result.
    ///
    /// **Errors:** the first violation and its time.
    pub fn result(self) -> Result<(), String> {
        self.found.map_or(Ok(()), |(at, found)| Err(format!("at {at} ns {found}")))
    }

    fn fault<P: Simulated>(&mut self, machine: &Machine<P>) -> Option<String> {
        let mut has_cpu = vec![false; machine.vcpus.len()];
        for (cpu, number) in machine.cpus.iter().zip(0..) {
            let Some(vcpu) = cpu.running else { continue };
            if self.at_once && !cpu.online {
                return Some(format!("CPU {number} is gone and runs vCPU {vcpu}"));
            }
            if std::mem::replace(&mut has_cpu[vcpu], true) {
                return Some(format!("vCPU {vcpu} runs on two CPUs"));
            }
            if self.at_once && !machine.vcpus[vcpu].task.spec.affinity.hard.contains(CpuId(number)) {
                return Some(format!("vCPU {vcpu} runs on CPU {number}, outside its hard affinity"));
            }
        }
        let idle = machine.idle();
        self.since.resize(has_cpu.len(), None);
        self.worst.resize(has_cpu.len(), 0);
        for (index, has_cpu) in has_cpu.iter().enumerate() {
            if *has_cpu || !machine.vcpus[index].wants() || !may_run(machine, index) {
                if let Some(since) = self.since[index].take() {
                    self.worst[index] = self.worst[index].max(machine.now - since);
                }
                continue;
            }
            self.since[index].get_or_insert(machine.now);
            if self.conserving && machine.vcpus[index].task.spec.affinity.hard.intersects(&idle) {
                return Some(format!("vCPU {index} waits while CPUs that may run it are idle"));
            }
        }
        None
    }
}

/// Returns whether a vCPU may run: its cap or budget is not used up, and a CPU of its affinity is online.
fn may_run<P: Simulated>(machine: &Machine<P>, index: usize) -> bool {
    let id = UnitId(u32::try_from(index).unwrap_or(u32::MAX));
    let standing = machine.pool.with(machine.pool.home(id), |queue| queue.unit(id).map(|unit| unit.standing()));
    let somewhere = machine.vcpus[index].task.spec.affinity.hard.intersects(&machine.online());
    somewhere && standing.flatten() != Some(Standing::Parked)
}
