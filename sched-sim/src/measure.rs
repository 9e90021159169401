//! Measurements of a simulated machine.

use xenolith_hal::CpuId;

/// A histogram of times, whose classes are a sixteenth of a power of two wide.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    most: u64,
}

const PARTS: u64 = 16;

impl Histogram {
    /// Counts a time in nanoseconds.
    pub fn add(&mut self, ns: u64) {
        let class = class(ns);
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] += 1;
        self.total += 1;
        self.most = self.most.max(ns);
    }

    /// Returns the time that a fraction `part` (0 to 1) of all does not exceed, in nanoseconds, to within a sixteenth.
    #[must_use]
    pub fn percentile(&self, part: f64) -> u64 {
        let wanted = (self.total as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return bound(class).min(self.most);
            }
        }
        self.most
    }

    /// Returns the number of times that were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Returns the longest time, in nanoseconds.
    #[must_use]
    pub const fn most(&self) -> u64 {
        self.most
    }
}

fn class(ns: u64) -> usize {
    if ns < PARTS {
        return ns as usize;
    }
    let power = ns.ilog2();
    let part = (ns >> (power - PARTS.ilog2())) - PARTS;
    ((u64::from(power) - u64::from(PARTS.ilog2()) + 1) * PARTS + part) as usize
}

/// Returns the longest time of a class.
fn bound(class: usize) -> u64 {
    let (power, part) = (class as u64 / PARTS, class as u64 % PARTS);
    if power == 0 { part } else { ((PARTS + part + 1) << (power - 1)) - 1 }
}

/// An interval in which a vCPU ran on a CPU, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub cpu: CpuId,
    pub vcpu: usize,
    pub from: u64,
    pub to: u64,
}

/// What is measured.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    ran_ns: Vec<u64>,
    pub decisions: u64,
    /// Number of decisions after which a CPU needed a timer.
    pub deadlines: u64,
    pub switches: u64,
    pub migrations: u64,
    pub jobs: u64,
    pub misses: u64,
    /// Scheduling latencies: from wake-up to running.
    pub latencies: Histogram,
    /// Response times: from a request to its response.
    pub responses: Histogram,
    /// The trace, as far as it is recorded.
    pub spans: Vec<Span>,
    open: Vec<Option<(usize, u64)>>,
    /// End of the recorded trace, in nanoseconds.
    pub record_until: u64,
}

impl Measures {
    #[must_use]
    pub fn new(vcpus: usize) -> Self {
        Self { ran_ns: vec![0; vcpus], ..Self::default() }
    }

    /// Charges `ns` nanoseconds of CPU time to a vCPU.
    pub fn ran(&mut self, vcpu: usize, ns: u64) {
        self.ran_ns[vcpu] += ns;
    }

    /// Returns the CPU time of each vCPU, in nanoseconds.
    #[must_use]
    pub fn ran_ns(&self) -> &[u64] {
        &self.ran_ns
    }

    /// Counts a scheduling latency of `ns` nanoseconds.
    pub fn latency(&mut self, ns: u64) {
        self.latencies.add(ns);
    }

    /// Counts a response time of `ns` nanoseconds.
    pub fn response(&mut self, ns: u64) {
        self.responses.add(ns);
    }

    /// Counts a periodic job that is done; `late` if it missed its deadline.
    pub fn job(&mut self, late: bool) {
        self.jobs += 1;
        self.misses += u64::from(late);
    }

    /// Records that a CPU runs a vCPU, or nothing, from `now` on.
    pub fn runs(&mut self, cpu: CpuId, vcpu: Option<usize>, now: u64) {
        if self.open.len() <= cpu.index() {
            self.open.resize(cpu.index() + 1, None);
        }
        let open = self.open[cpu.index()];
        if open.map(|(vcpu, _)| vcpu) == vcpu {
            return;
        }
        if let Some((vcpu, from)) = open
            && from < self.record_until
        {
            self.spans.push(Span { cpu, vcpu, from, to: now });
        }
        self.open[cpu.index()] = vcpu.map(|vcpu| (vcpu, now));
    }

    /// Ends the intervals that are still open.
    pub fn close(&mut self, now: u64) {
        for cpu in 0..self.open.len() {
            self.runs(CpuId(u32::try_from(cpu).unwrap_or(u32::MAX)), None, now);
        }
    }
}

/// Returns Jain's fairness index: 1 if all have the same, 1/n if one has all.
#[must_use]
pub fn jain(parts: &[f64]) -> f64 {
    let (sum, squares) = parts.iter().fold((0.0, 0.0), |(sum, squares), part| (sum + part, squares + part * part));
    if squares == 0.0 { 1.0 } else { sum * sum / (parts.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_sixteenth() {
        let mut histogram = Histogram::default();
        (1..=100_000u64).for_each(|ns| histogram.add(ns));
        for part in [0.5, 0.9, 0.99] {
            let (found, right) = (histogram.percentile(part) as f64, 100_000.0 * part);
            assert!((right..right * 1.07).contains(&found), "{part}: {found}");
        }
        assert_eq!((histogram.count(), histogram.most(), histogram.percentile(1.0)), (100_000, 100_000, 100_000));
    }

    #[test]
    fn jains_index_is_one_for_equal_parts() {
        assert!((jain(&[2.0, 2.0]) - 1.0).abs() < 1e-9 && (jain(&[1.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-9);
    }
}
