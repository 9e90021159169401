//! The report of a simulation, compared with the ideal.

use xenolith_sched::policy::Policy;

use crate::fluid::{Claim, shares};
use crate::machine::Machine;
use crate::measure::{Histogram, Measures, jain};
use crate::task::{Task, US};

/// The result of a workload under one policy.
#[derive(Clone, Debug)]
pub struct Report {
    pub policy: &'static str,
    pub measures: Measures,
    /// For each vCPU, its share of a CPU and the ideal one.
    pub shares: Vec<(f64, f64)>,
    /// Utilization of the CPUs, from 0 to 1.
    pub used: f64,
    /// Time that the simulation took, and simulated time, in seconds.
    pub played: (f64, f64),
}

impl Report {
    /// Makes the report of a machine whose simulation has ended. `took` is in seconds.
    #[must_use]
    pub fn of<P: Policy>(policy: &'static str, machine: Machine<P>, cpus: u32, took: f64) -> Self {
        let seconds = machine.now as f64 / 1e9;
        let tasks: Vec<&Task> = machine.vcpus.iter().map(|vcpu| &vcpu.task).collect();
        let had: Vec<f64> = machine.measures.ran_ns().iter().map(|ran| *ran as f64 / 1e9 / seconds).collect();
        let claims: Vec<Claim> = tasks.iter().zip(&had).map(|(task, had)| claim(task, *had)).collect();
        let ideal = shares(f64::from(cpus), &claims);
        let shares: Vec<(f64, f64)> = had.into_iter().zip(ideal).collect();
        let used = shares.iter().map(|(had, _)| had).sum::<f64>() / f64::from(cpus);
        Self { policy, measures: machine.measures, shares, used, played: (took, seconds) }
    }

    /// Returns Jain's fairness index of the shares relative to the ideal ones.
    #[must_use]
    pub fn fairness(&self) -> f64 {
        jain(&self.shares.iter().filter(|(_, ideal)| *ideal > 0.0).map(|(had, ideal)| had / ideal).collect::<Vec<_>>())
    }

    /// Returns how far the share of the vCPU that fares worst is below its ideal one, in percent.
    #[must_use]
    pub fn worst(&self) -> f64 {
        let lost = self.shares.iter().filter(|(_, ideal)| *ideal > 0.0).map(|(had, ideal)| 1.0 - had / ideal);
        lost.fold(0.0, f64::max) * 100.0
    }
}

/// Returns the demand of a vCPU: what it would use alone, at most its cap. The demand of a vCPU that waits for messages
/// depends on others, so for that it is the share that it `had`.
fn claim(task: &Task, had: f64) -> Claim {
    let cap = if task.spec.cap_percent > 0 { f64::from(task.spec.cap_percent) / 100.0 } else { 1.0 };
    Claim { weight: f64::from(task.spec.weight), most: task.demand().unwrap_or(had).min(cap) }
}

/// Formats a table with a column for each policy.
#[must_use]
pub fn table(reports: &[Report]) -> String {
    let us = |ns: u64| format!("{:.0}", ns as f64 / US as f64);
    let percentiles = |histogram: &Histogram| {
        let of = |part| us(histogram.percentile(part));
        if histogram.count() == 0 {
            return "-".into();
        }
        format!("{} / {} / {} / {}", of(0.5), of(0.9), of(0.99), us(histogram.most()))
    };
    let per_second = |report: &Report, count: u64| format!("{:.0}", count as f64 / report.played.1);
    type Cell<'a> = Box<dyn Fn(&Report) -> String + 'a>;
    let rows: Vec<(&str, Cell)> = vec![
        ("CPUs busy, %", Box::new(|report| format!("{:.1}", report.used * 100.0))),
        ("Jain's index of share by ideal", Box::new(|report| format!("{:.4}", report.fairness()))),
        ("worst off, % below ideal", Box::new(|report| format!("{:.1}", report.worst()))),
        ("wake-up, us: 50 / 90 / 99 % / most", Box::new(|report| percentiles(&report.measures.latencies))),
        ("response, us: 50 / 90 / 99 % / most", Box::new(|report| percentiles(&report.measures.responses))),
        ("switches a second", Box::new(|report| per_second(report, report.measures.switches))),
        ("migrations a second", Box::new(|report| per_second(report, report.measures.migrations))),
        ("decisions a second", Box::new(|report| per_second(report, report.measures.decisions))),
        ("timers set a second", Box::new(|report| per_second(report, report.measures.deadlines))),
        ("deadlines missed", Box::new(|report| format!("{} of {}", report.measures.misses, report.measures.jobs))),
        ("played in, s", Box::new(|report| format!("{:.1} for {:.1}", report.played.0, report.played.1))),
    ];
    let mut lines =
        vec![format!("{:38}", "") + &reports.iter().map(|report| format!("{:>28}", report.policy)).collect::<String>()];
    for (name, cell) in rows {
        let cells: String = reports.iter().map(|report| format!("{:>28}", cell(report))).collect();
        lines.push(format!("{name:38}{cells}"));
    }
    lines.join("\n")
}
