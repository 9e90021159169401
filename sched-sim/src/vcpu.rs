//! A simulated vCPU: the work that it still has to do.

use std::collections::VecDeque;

use fastrand::Rng;
use xenolith_hal::CpuId;

use crate::measure::Measures;
use crate::task::{After, Habit, Task};

/// A request: the client's vCPU, and the time at which it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub from: usize,
    pub sent: u64,
}

/// A vCPU.
#[derive(Debug)]
pub struct Vcpu {
    pub task: Task,
    /// Work that is left, in nanoseconds; None if it has no end.
    left_ns: Option<u64>,
    pub last: Option<CpuId>,
    /// Time of its wake-up, until it runs.
    pub woken_at: Option<u64>,
    /// Requests that wait for it; it works for the first one.
    requests: VecDeque<Request>,
    /// Start of the current period; for a recording, the number of steps made.
    step: u64,
}

impl Vcpu {
    #[must_use]
    pub fn new(task: Task) -> Self {
        Self { task, left_ns: Some(0), last: None, woken_at: None, requests: VecDeque::new(), step: 0 }
    }

    /// Returns the time of its first wake-up; `u64::MAX` if a message wakes it.
    #[must_use]
    pub fn start(&self) -> u64 {
        match self.task.habit {
            Habit::Periodic { offset, .. } => offset,
            Habit::Recorded { start, .. } => start,
            Habit::Server { .. } => u64::MAX,
            _ => 0,
        }
    }

    /// Returns whether it is runnable.
    #[must_use]
    pub fn wants(&self) -> bool {
        self.left_ns != Some(0)
    }

    /// Returns the work that is left, in nanoseconds; None if it has no end.
    #[must_use]
    pub const fn left(&self) -> Option<u64> {
        self.left_ns
    }

    /// Counts `ns` nanoseconds of work as done.
    pub fn work(&mut self, ns: u64) {
        self.left_ns = self.left_ns.map(|left| left.saturating_sub(ns));
    }

    /// Ends its sleep: it has work again.
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

    /// Returns the message that it sends at the end of its work, with the vCPU that receives it.
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

    /// Ends its work, and returns what it does next.
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

    /// Receives a message. Returns the time at which it becomes runnable because of it, if it does.
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
