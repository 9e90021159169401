//! A simulated vCPU: what it still has to do.

use std::collections::VecDeque;

use fastrand::Rng;
use xenolith_hal::CpuId;

use crate::measure::Measures;
use crate::task::{After, Habit, Task};

/// A request on its way: who sent it, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub from: usize,
    pub sent: u64,
}

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu {
    pub task: Task,
    /// How long it still has to work; none for ever.
    left_ns: Option<u64>,
    pub last: Option<CpuId>,
    /// Since when it has wanted a CPU, if it has not had one since.
    pub woken_at: Option<u64>,
    /// Requests that it has to serve, the one it works for first.
    requests: VecDeque<Request>,
    /// The start of the current period, or how many steps it has made.
    step: u64,
}

impl Vcpu {
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, left_ns: Some(0), last: None, woken_at: None, requests: VecDeque::new(), step: 0 }
    }

    /// When it wants a CPU first.
    #[must_use]
    pub fn start(&self) -> u64 {
        match self.task.habit {
            Habit::Periodic { offset, .. } => offset,
            Habit::Recorded { start, .. } => start,
            Habit::Server { .. } => u64::MAX,
            _ => 0,
        }
    }

    /// Whether it wants a CPU.
    #[must_use]
    pub fn wants(&self) -> bool {
        self.left_ns != Some(0)
    }

    /// How long it still has to work; none if that has no end.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        self.left_ns
    }

    /// Counts `ns` of work as done.
    pub fn work(&mut self, ns: u64) {
        self.left_ns = self.left_ns.map(|left| left.saturating_sub(ns));
    }

    /// Its sleep is over.
    pub fn begin(&mut self, now: u64, rng: &mut Rng) {
        self.left_ns = match &self.task.habit {
            Habit::Busy => None,
            Habit::Sleeper { work, .. } | Habit::Client { work, .. } | Habit::Server { work, .. } => {
                Some(work.draw(rng))
            }
            Habit::Periodic { work, .. } => {
                self.step = now;
                Some(*work)
            }
            Habit::Recorded { steps, .. } => {
                let count = steps.len().max(1) as u64;
                steps.get((self.step % count) as usize).map_or(Some(0), |step| Some(step.0.max(1)))
            }
        };
    }

    /// The message that it sends when it has done its work, and to whom.
    #[must_use]
    pub fn message(&self, own: usize, now: u64) -> Option<(usize, Request)> {
        match self.task.habit {
            Habit::Client { to, .. } => Some((to, Request { from: own, sent: now })),
            Habit::Server { next, .. } => {
                let request = *self.requests.front()?;
                Some((next.unwrap_or(request.from), request))
            }
            _ => None,
        }
    }

    /// It has done its work.
    pub fn finish(&mut self, now: u64, rng: &mut Rng, measures: &mut Measures) -> After {
        match &self.task.habit {
            Habit::Busy => After::Work(0),
            Habit::Sleeper { think, .. } => After::Sleep(now + think.draw(rng)),
            Habit::Client { .. } => After::Wait,
            Habit::Server { work, .. } => {
                self.requests.pop_front();
                if self.requests.is_empty() {
                    return After::Wait;
                }
                let work = work.draw(rng);
                self.left_ns = Some(work);
                After::Work(work)
            }
            Habit::Periodic { period, work, .. } => {
                let end = self.step + period;
                measures.job(now > end);
                if now <= end {
                    return After::Sleep(end);
                }
                // The next job has been waiting already.
                (self.step, self.left_ns) = (end, Some(*work));
                After::Work(*work)
            }
            Habit::Recorded { steps, again, .. } => {
                let count = steps.len().max(1) as u64;
                let rest = steps.get((self.step % count) as usize).map_or(0, |step| step.1);
                self.step += 1;
                if self.step >= count && !again { After::Wait } else { After::Sleep(now + rest.max(1)) }
            }
        }
    }

    /// A message arrives; says when it wants a CPU because of it, if it does.
    pub fn receive(&mut self, request: Request, now: u64, rng: &mut Rng, measures: &mut Measures) -> Option<u64> {
        match &self.task.habit {
            Habit::Client { think, .. } => {
                measures.response(now - request.sent.min(now));
                Some(now + think.draw(rng))
            }
            Habit::Server { .. } => {
                self.requests.push_back(request);
                (self.requests.len() == 1).then_some(now)
            }
            _ => None,
        }
    }
}
