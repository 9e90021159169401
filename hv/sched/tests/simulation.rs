//! Whole schedules, simulated event by event in the way that the core drives a run queue, with invariants at each
//! step.

use proptest::prelude::*;
use xenolith_hal::{CpuId, Time};
use xenolith_sched::{
    CAP_PERIOD_NS, CpuSet, Entity, Load, Next, RATELIMIT_NS, RunQueue, SLICE_NS, Settings, Wake, busiest, place,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;

/// Workload of a task: it runs for a while, then sleeps for a while; without sleep it runs for ever.
#[derive(Clone, Copy, Debug)]
struct Habit {
    run_ns: u64,
    sleep_ns: Option<u64>,
}

const BUSY: Habit = Habit { run_ns: u64::MAX, sleep_ns: None };

struct Task {
    habit: Habit,
    settings: Settings,
    /// The entity while the task sleeps.
    asleep: Option<Entity<usize>>,
    wakes: u64,
    left_to_run: u64,
    last_cpu: Option<CpuId>,
    ran_ns: u64,
    woken_at: Option<u64>,
    worst_latency: u64,
}

struct Cpu {
    queue: RunQueue<usize>,
    running: Option<usize>,
    deadline: u64,
    switches: u64,
}

struct Machine {
    now: u64,
    cpus: Vec<Cpu>,
    tasks: Vec<Task>,
}

impl Machine {
    fn new(cpus: u32, tasks: impl IntoIterator<Item = (Settings, Habit)>) -> Self {
        let cpu = |number| Cpu { queue: RunQueue::new(CpuId(number)), running: None, deadline: u64::MAX, switches: 0 };
        let task = |(key, (settings, habit)): (usize, (Settings, Habit))| Task {
            habit,
            settings,
            asleep: Some(Entity::new(key, settings)),
            wakes: 0,
            left_to_run: habit.run_ns,
            last_cpu: None,
            ran_ns: 0,
            woken_at: None,
            worst_latency: 0,
        };
        Self { now: 0, cpus: (0..cpus).map(cpu).collect(), tasks: tasks.into_iter().enumerate().map(task).collect() }
    }

    fn loads(&self) -> Vec<Load> {
        self.cpus.iter().map(|cpu| cpu.queue.load()).collect()
    }

    /// Has a CPU reschedule, as the core's run loop does.
    fn ask(&mut self, cpu: usize) {
        let now = Time(self.now);
        let can_run = self.cpus[cpu].running.is_none_or(|task| self.tasks[task].left_to_run > 0);
        let decision = self.cpus[cpu].queue.choose(now, can_run);
        if let Some(entity) = decision.left {
            let task = &mut self.tasks[*entity.key()];
            task.left_to_run = task.habit.run_ns;
            task.wakes = self.now + task.habit.sleep_ns.expect("it only stops to sleep");
            task.asleep = Some(entity);
        }
        self.cpus[cpu].deadline = decision.deadline.0;
        assert!(decision.deadline > now, "a deadline in the past never ends");
        let running = self.cpus[cpu].queue.current().map(|entity| *entity.key());
        match decision.next {
            Next::Keep => assert_eq!(running, self.cpus[cpu].running),
            Next::Idle => assert_eq!(running, None),
            Next::Switch => {
                self.cpus[cpu].switches += 1;
                let task = &mut self.tasks[running.unwrap()];
                task.last_cpu = Some(CpuId(cpu as u32));
                if let Some(woken) = task.woken_at.take() {
                    task.worst_latency = task.worst_latency.max(self.now - woken);
                }
            }
        }
        self.cpus[cpu].running = running;
    }

    fn wake(&mut self, task: usize) {
        let entity = self.tasks[task].asleep.take().unwrap();
        self.tasks[task].woken_at = Some(self.now);
        let target = place(entity.settings(), self.tasks[task].last_cpu, self.loads()).expect("a CPU is allowed");
        self.insert(target.index(), entity);
    }

    fn insert(&mut self, cpu: usize, entity: Entity<usize>) {
        match self.cpus[cpu].queue.insert(entity, Time(self.now)).expect("the CPU is allowed") {
            Wake::Now => self.ask(cpu),
            Wake::At(time) => self.cpus[cpu].deadline = self.cpus[cpu].deadline.min(time.0),
            Wake::Later => {}
        }
    }

    /// Steals work for idle CPUs.
    fn pull(&mut self) {
        for cpu in 0..self.cpus.len() {
            let mut loads = self.loads();
            while loads[cpu].idle {
                let Some(victim) = busiest(CpuId(cpu as u32), loads.iter().copied()) else { break };
                match self.cpus[victim.index()].queue.give(CpuId(cpu as u32), Time(self.now), |_| true) {
                    Some(entity) => {
                        self.insert(cpu, entity);
                        break;
                    }
                    // Bound to where it is: look elsewhere.
                    None => loads[victim.index()].waiting = 0,
                }
            }
        }
    }

    fn check(&mut self) {
        let mut seen = vec![0; self.tasks.len()];
        for (number, cpu) in self.cpus.iter().enumerate() {
            if let Some(task) = cpu.running {
                seen[task] += 1;
                assert!(self.tasks[task].settings.allows(CpuId(number as u32)), "affinity");
            }
        }
        assert!(seen.iter().all(|count| *count <= 1), "an entity runs on two CPUs");
        // Nobody idles while something could run there.
        for cpu in 0..self.cpus.len() {
            if self.cpus[cpu].running.is_none() {
                for other in 0..self.cpus.len() {
                    let taken = self.cpus[other].queue.give(CpuId(cpu as u32), Time(self.now), |_| true);
                    assert!(taken.is_none(), "CPU {cpu} idles at {} while a task waits for CPU {other}", self.now);
                }
            }
        }
    }

    fn run_until(&mut self, end: u64) {
        while self.now < end {
            let mut next = end;
            for cpu in &self.cpus {
                next = next.min(cpu.deadline);
                if let Some(task) = cpu.running {
                    next = next.min(self.now.saturating_add(self.tasks[task].left_to_run));
                }
            }
            let sleepers = self.tasks.iter().filter(|task| task.asleep.is_some());
            next = next.min(sleepers.map(|task| task.wakes).min().unwrap_or(end)).max(self.now);
            self.pass(next - self.now);
            for task in 0..self.tasks.len() {
                if self.tasks[task].asleep.is_some() && self.tasks[task].wakes <= self.now {
                    self.wake(task);
                }
            }
            for cpu in 0..self.cpus.len() {
                let ended = self.cpus[cpu].running.is_some_and(|task| self.tasks[task].left_to_run == 0);
                if ended || self.cpus[cpu].deadline <= self.now {
                    self.ask(cpu);
                }
            }
            self.pull();
            self.check();
        }
    }

    fn pass(&mut self, ns: u64) {
        self.now += ns;
        for cpu in &self.cpus {
            if let Some(task) = cpu.running {
                let task = &mut self.tasks[task];
                task.ran_ns += ns;
                if task.habit.sleep_ns.is_some() {
                    task.left_to_run = task.left_to_run.saturating_sub(ns);
                }
            }
        }
    }

    fn share(&self, task: usize) -> f64 {
        self.tasks[task].ran_ns as f64 / self.now as f64
    }
}

fn weight(weight: u16) -> Settings {
    Settings::new(weight, 0, CpuSet::ALL, CpuSet::ALL).unwrap()
}

fn capped(percent: u16) -> Settings {
    Settings::new(256, percent, CpuSet::ALL, CpuSet::ALL).unwrap()
}

#[test]
fn a_lone_task_runs_without_a_timer() {
    let mut machine = Machine::new(1, [(weight(256), BUSY)]);
    machine.run_until(SECOND);
    assert_eq!(machine.tasks[0].ran_ns, SECOND);
    assert_eq!((machine.cpus[0].deadline, machine.cpus[0].switches), (u64::MAX, 1));
}

#[test]
fn an_idle_cpu_needs_no_timer() {
    let mut queue: RunQueue<u8> = RunQueue::new(CpuId(0));
    let decision = queue.choose(Time(5), true);
    assert_eq!((decision.next, decision.deadline), (Next::Idle, Time::NEVER));
}

#[test]
fn equal_tasks_change_about_every_slice() {
    let mut machine = Machine::new(1, vec![(weight(256), BUSY); 3]);
    machine.run_until(3 * SECOND);
    let expected = 3 * SECOND / SLICE_NS;
    assert!((expected - 2..=expected + 2).contains(&machine.cpus[0].switches), "{}", machine.cpus[0].switches);
}

#[test]
fn time_goes_by_weight() {
    let mut machine = Machine::new(1, [(weight(512), BUSY), (weight(256), BUSY), (weight(64), BUSY)]);
    machine.run_until(10 * SECOND);
    for (task, expected) in [(0, 512.0 / 832.0), (1, 256.0 / 832.0), (2, 64.0 / 832.0)] {
        assert!((machine.share(task) - expected).abs() < 0.01, "task {task}: {}", machine.share(task));
    }
}

#[test]
fn a_capped_task_gets_its_cap_and_no_more_even_alone() {
    let mut machine = Machine::new(1, [(capped(30), BUSY)]);
    machine.run_until(2 * SECOND);
    assert!((machine.share(0) - 0.3).abs() < 0.01, "{}", machine.share(0));
}

#[test]
fn what_a_capped_task_leaves_goes_to_the_others() {
    let mut machine = Machine::new(1, [(capped(20), BUSY), (weight(256), BUSY)]);
    machine.run_until(2 * SECOND);
    assert!((machine.share(0) - 0.2).abs() < 0.01, "{}", machine.share(0));
    assert!((machine.share(1) - 0.8).abs() < 0.01, "{}", machine.share(1));
}

#[test]
fn a_short_sleeper_runs_within_the_rate_limit_whatever_else_is_busy() {
    for others in 1..8 {
        let sleeper = (weight(256), Habit { run_ns: MS / 2, sleep_ns: Some(20 * MS) });
        let tasks = std::iter::once(sleeper).chain(std::iter::repeat_n((weight(256), BUSY), others));
        let mut machine = Machine::new(1, tasks);
        machine.run_until(5 * SECOND);
        // All start together, and the first start is no wake-up.
        assert!(machine.tasks[0].worst_latency <= RATELIMIT_NS, "{} ns", machine.tasks[0].worst_latency);
    }
}

#[test]
fn sleeping_saves_up_little() {
    // One sleeps for a second, then wants the CPU for good: it may not lock the other one out.
    let mut machine = Machine::new(1, [(weight(256), BUSY), (weight(256), BUSY)]);
    machine.tasks[1].wakes = SECOND;
    machine.run_until(SECOND);
    let before = machine.tasks[0].ran_ns;
    machine.run_until(SECOND + 100 * MS);
    let during = machine.tasks[0].ran_ns - before;
    assert!(during >= 40 * MS, "{during}");
}

#[test]
fn one_who_yields_lets_the_other_run_and_comes_back() {
    let mut queue = RunQueue::new(CpuId(0));
    for key in 0..2 {
        queue.insert(Entity::new(key, weight(256)), Time(0)).unwrap();
    }
    assert_eq!(queue.choose(Time(0), true).next, Next::Switch);
    assert_eq!(queue.current().map(Entity::key), Some(&0));
    queue.yield_current(Time(1000));
    assert_eq!(queue.choose(Time(1000), true).next, Next::Switch);
    assert_eq!(queue.current().map(Entity::key), Some(&1));
    queue.yield_current(Time(2000));
    assert_eq!(queue.choose(Time(2000), true).next, Next::Switch);
    assert_eq!(queue.current().map(Entity::key), Some(&0));
}

#[test]
fn one_who_yields_alone_goes_on() {
    let mut queue = RunQueue::new(CpuId(0));
    queue.insert(Entity::new(0, weight(256)), Time(0)).unwrap();
    assert_eq!(queue.choose(Time(0), true).next, Next::Switch);
    queue.yield_current(Time(1000));
    let decision = queue.choose(Time(1000), true);
    assert_eq!((decision.next, decision.deadline), (Next::Keep, Time::NEVER));
}

#[test]
fn a_cpu_that_affinity_forbids_gives_the_entity_back() {
    let mut queue = RunQueue::new(CpuId(1));
    let bound = Settings::new(256, 0, CpuSet::only(CpuId(0)), CpuSet::ALL).unwrap();
    let entity = queue.insert(Entity::new(7, bound), Time(0)).unwrap_err();
    assert_eq!(entity.key(), &7);
    assert_eq!(queue.waiting(), 0);
}

#[test]
fn a_change_of_affinity_takes_effect_at_once() {
    let mut queue = RunQueue::new(CpuId(1));
    for key in 0..2 {
        queue.insert(Entity::new(key, weight(256)), Time(0)).unwrap();
    }
    let _ = queue.choose(Time(0), true);
    let elsewhere = Settings::new(256, 0, CpuSet::only(CpuId(0)), CpuSet::ALL).unwrap();
    assert_eq!(queue.change(&1, elsewhere, Time(5)).map(|entity| *entity.key()), Some(1));
    assert_eq!(queue.change(&0, elsewhere, Time(5)), None);
    assert!(!queue.current().unwrap().settings().allows(CpuId(1)));
    let decision = queue.choose(Time(5), false);
    assert_eq!((decision.next, decision.left.map(|entity| *entity.key())), (Next::Idle, Some(0)));
}

#[test]
fn one_that_waits_can_be_taken_out_and_one_that_does_not_cannot() {
    let mut queue = RunQueue::new(CpuId(0));
    for key in 0..2 {
        queue.insert(Entity::new(key, weight(256)), Time(0)).unwrap();
    }
    let _ = queue.choose(Time(0), true);
    assert_eq!(queue.remove(&0, Time(1)), None, "it runs");
    assert_eq!(queue.remove(&1, Time(1)).map(|entity| *entity.key()), Some(1));
    assert_eq!(queue.remove(&1, Time(1)), None);
}

#[test]
fn when_the_one_that_should_have_the_cpu_is_gone_nobody_waits_for_it() {
    let mut queue = RunQueue::new(CpuId(0));
    for key in 0..2 {
        queue.insert(Entity::new(key, weight(256)), Time(0)).unwrap();
    }
    let _ = queue.choose(Time(0), true);
    assert_eq!(queue.choose(Time(20 * MS), true).next, Next::Switch);
    assert_eq!(queue.insert(Entity::new(2, weight(256)), Time(23 * MS)), Ok(Wake::Now));
    assert!(queue.remove(&2, Time(23 * MS)).is_some());
    let decision = queue.choose(Time(23 * MS), true);
    assert!(decision.next == Next::Keep && decision.deadline > Time(23 * MS), "{decision:?}");
}

#[test]
fn idle_cpus_share_the_work() {
    let mut machine = Machine::new(4, vec![(weight(256), BUSY); 4]);
    machine.run_until(SECOND);
    assert!(machine.tasks.iter().all(|task| task.ran_ns == SECOND));
}

fn habits() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(BUSY),
        (100_000u64..30 * MS, 100_000u64..50 * MS).prop_map(|(run_ns, sleep)| Habit { run_ns, sleep_ns: Some(sleep) }),
    ]
}

fn any_settings(cpus: u32) -> impl Strategy<Value = Settings> {
    let mask = 1u32..(1 << cpus);
    (1u16..2000, prop_oneof![3 => Just(0u16), 1 => 1u16..120], mask.clone(), mask).prop_map(
        move |(weight, cap, hard, soft)| {
            let set = |mask: u32| {
                let mut set = CpuSet::NONE;
                (0..cpus).filter(|cpu| mask & (1 << cpu) != 0).for_each(|cpu| set.insert(CpuId(cpu)));
                set
            };
            Settings::new(weight, cap, set(hard), set(soft)).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The invariants of `Machine::check` hold at every step, and capped tasks keep to their caps.
    #[test]
    fn no_schedule_breaks_affinity_exclusion_or_work_conservation(
        (cpus, tasks) in (1u32..5).prop_flat_map(|cpus| {
            (Just(cpus), proptest::collection::vec((any_settings(cpus), habits()), 1..10))
        }),
    ) {
        let mut machine = Machine::new(cpus, tasks);
        machine.run_until(SECOND);
        let total: u64 = machine.tasks.iter().map(|task| task.ran_ns).sum();
        prop_assert!(total <= u64::from(cpus) * SECOND);
    }

    #[test]
    fn busy_tasks_on_one_cpu_share_it_by_weight(weights in proptest::collection::vec(16u16..4096, 2..8)) {
        let mut machine = Machine::new(1, weights.iter().map(|w| (weight(*w), BUSY)));
        machine.run_until(10 * SECOND);
        let sum: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        let total: u64 = machine.tasks.iter().map(|task| task.ran_ns).sum();
        prop_assert_eq!(total, 10 * SECOND, "the CPU was never idle");
        for (task, weight) in weights.iter().enumerate() {
            // Each is at most a few slices from its share.
            let expected = f64::from(*weight) / sum * 10.0 * SECOND as f64;
            let error = (machine.tasks[task].ran_ns as f64 - expected).abs();
            prop_assert!(error <= 4.0 * SLICE_NS as f64, "task {task}: {error} ns off");
        }
    }

    #[test]
    fn a_cap_holds_over_any_time(percent in 1u16..100, periods in 3u64..50) {
        let mut machine = Machine::new(1, [(capped(percent), BUSY), (weight(256), Habit { run_ns: MS, sleep_ns: Some(3 * MS) })]);
        machine.run_until(periods * CAP_PERIOD_NS);
        let share = CAP_PERIOD_NS / 100 * u64::from(percent);
        prop_assert!(machine.tasks[0].ran_ns <= share * periods + share);
    }
}
