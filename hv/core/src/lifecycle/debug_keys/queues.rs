//! Debug key `r`: what runs and waits on each CPU (run queues).

use super::until::Milliseconds;
use super::{Until, say};
use crate::domains::hypervisor::Hypervisor;
use crate::domains::scheduler::{CpuReport, QueueReport};
use core::fmt;
use xenolith_hal::{CpuId, Machine, Time};

pub(super) fn report<M: Machine>(hv: &Hypervisor<M>) {
    let now = hv.machine.now();
    say(hv, format_args!("'r' pressed -> dumping run queues (now = {})", now.0));
    let count = u32::try_from(hv.machine.cpu_count()).unwrap_or(u32::MAX);
    for report in (0..count).filter_map(|cpu| hv.scheduler.report(CpuId(cpu), now)) {
        report_cpu(hv, &report, now);
    }
}

fn report_cpu<M: Machine>(hv: &Hypervisor<M>, report: &CpuReport, now: Time) {
    let CpuReport { cpu, runs_guests, asked, asks_at, idle_ns, queue, sleepers } = report;
    let cpu = cpu.0;
    let kept = if *runs_guests { "" } else { " (kept free of guests)" };
    say(
        hv,
        format_args!(
            "CPU[{cpu:02}]{kept} {}; asks again {}{}; idle for {} in all",
            Queue(queue.as_ref()),
            Until { now, at: *asks_at },
            if *asked { ", is asked to do so now" } else { "" },
            Milliseconds(*idle_ns)
        ),
    );
    match sleepers {
        Some((0, _)) => {}
        Some((count, next)) => {
            say(hv, format_args!("    lets {count} sleep, the first until {}", Until { now, at: *next }));
        }
        None => say(hv, format_args!("    list of sleepers busy")),
    }
}

/// A CPU's queue as a line of the report; None if another CPU holds its lock.
struct Queue<'a>(Option<&'a QueueReport>);

impl fmt::Display for Queue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(queue) = self.0 else { return f.write_str("queue busy") };
        match queue.current {
            Some((domain, vcpu)) => write!(f, "runs d{domain}v{vcpu}")?,
            None => f.write_str("runs nothing")?,
        }
        for (word, list) in [("wait", &queue.waiting), ("used up their share", &queue.parked)] {
            if list.is_empty() {
                continue;
            }
            write!(f, "; {word}:")?;
            list.iter().try_for_each(|(domain, vcpu)| write!(f, " d{domain}v{vcpu}"))?;
        }
        if queue.left_out > 0 {
            write!(f, " and {} more", queue.left_out)?;
        }
        Ok(())
    }
}
