//! Two published schedulability tests: they prove that global EDF meets all deadlines of a set of periodic jobs.

/// A periodic job: it needs `work` nanoseconds of CPU time in each period, whose end is its deadline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    pub work: u64,
    pub period: u64,
}

/// Returns whether one of the tests admits a set of jobs on `cpus` CPUs. A set that neither admits may be schedulable
/// all the same.
#[must_use]
pub fn admits(cpus: u32, jobs: &[Job]) -> bool {
    gfb(cpus, jobs) || bcl(cpus, jobs)
}

fn part(job: &Job) -> f64 {
    job.work as f64 / job.period as f64
}

/// Tests the sum of the utilizations against a bound.
///
/// **Source:** Goossens, Funk, Baruah: Priority-driven scheduling of periodic task systems on multiprocessors (2003).
fn gfb(cpus: u32, jobs: &[Job]) -> bool {
    let (all, most) = jobs.iter().map(part).fold((0.0, 0.0f64), |(all, most), part| (all + part, most.max(part)));
    most <= 1.0 && all <= f64::from(cpus) - (f64::from(cpus) - 1.0) * most - 1e-9
}

/// Tests, for each job, the interference of the others in its period against a bound.
///
/// **Source:** Bertogna, Cirinei, Lipari: Improved schedulability analysis of EDF on multiprocessor platforms (2005).
fn bcl(cpus: u32, jobs: &[Job]) -> bool {
    jobs.iter().enumerate().all(|(index, own)| {
        let slack = 1.0 - part(own);
        let others = jobs.iter().enumerate().filter(|(other, _)| *other != index);
        let in_the_way = others.map(|(_, other)| {
            let whole = own.period / other.period;
            let rest = own.period.saturating_sub(whole * other.period).min(other.work);
            let load = (whole * other.work + rest) as f64 / own.period as f64;
            load.min(slack)
        });
        slack >= 0.0 && in_the_way.sum::<f64>() < f64::from(cpus) * slack - 1e-9
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(jobs: &[(u64, u64)]) -> Vec<Job> {
        jobs.iter().map(|&(work, period)| Job { work, period }).collect()
    }

    #[test]
    fn what_fills_one_cpu_is_admitted_there_and_more_is_not() {
        assert!(admits(1, &of(&[(1, 2), (49, 100)])));
        assert!(!admits(1, &of(&[(1, 2), (51, 100)])));
    }

    #[test]
    fn dhalls_example_is_admitted_by_neither() {
        // Two light jobs and one that fills a CPU: global EDF misses with any number of CPUs.
        let jobs = of(&[(2, 10), (2, 10), (100, 105)]);
        assert!(!admits(2, &jobs));
    }

    #[test]
    fn one_heavy_job_beside_light_ones_is_admitted_by_the_second_test_alone() {
        let jobs = of(&[(70, 100), (20, 100), (20, 100), (10, 100)]);
        assert!(!gfb(2, &of(&[(70, 100), (70, 100)])) && bcl(2, &of(&[(70, 100), (70, 100)])));
        assert!(admits(2, &jobs));
    }
}
