//! Real vCPUs under the scheduling policy, turn by turn.

use xen_abi::VcpuId;
use xenolith_core::components::vcpu_timers::Timer;
use xenolith_core::domains::domain::Domain;
use xenolith_core::lifecycle::waking;
use xenolith_core::run::CpuLoop;
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, Exit, Machine, Time};
use xenolith_sched::{CpuSet, Settings};
use xenolith_sync::Arc;
use xenolith_world::World;

const MS: u64 = 1_000_000;

/// A machine with its CPUs' loops.
struct Machinery {
    world: World,
    cpus: Vec<CpuLoop<FakeMachine>>,
}

impl Machinery {
    fn new(cpus: u32, domains: &[u32]) -> Self {
        Self::of(World::on_cpus(cpus as usize, domains), cpus)
    }

    fn of(world: World, cpus: u32) -> Self {
        Self { world, cpus: (0..cpus).map(|cpu| CpuLoop::new(CpuId(cpu))).collect() }
    }

    fn domain(&self, id: u16) -> Arc<Domain<FakeMachine>> {
        self.world.domain(id)
    }

    /// Lets the only vCPU of a domain compute for this many entries; then it halts.
    fn busy(&self, id: u16, entries: usize) {
        let domain = self.domain(id);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        vcpu.with_core(|core| core.hardware.exits.extend(std::iter::repeat_n(Exit::Interrupted, entries)));
        vcpu.bring_up();
        self.world.hv.scheduler.wake(&self.world.hv.machine, &domain, vcpu);
    }

    fn turn(&mut self, cpu: u32) {
        self.world.hv.machine.go_to(CpuId(cpu));
        self.cpus[cpu as usize].turn(&self.world.hv);
    }

    /// How long the only vCPU of a domain has run.
    fn ran_ns(&self, id: u16) -> u64 {
        let domain = self.domain(id);
        let runstate = *domain.vcpu(VcpuId(0)).unwrap().runstate.lock();
        runstate.ran_ns(self.world.hv.machine.now())
    }

    fn processor(&self, id: u16) -> CpuId {
        self.domain(id).vcpu(VcpuId(0)).unwrap().processor()
    }

    fn is_running(&self, id: u16) -> bool {
        self.domain(id).vcpu(VcpuId(0)).unwrap().is_running()
    }

    fn set(&self, id: u16, settings: Settings) {
        let domain = self.domain(id);
        self.world.hv.scheduler.set(&self.world.hv.machine, &domain, domain.vcpu(VcpuId(0)).unwrap(), settings);
    }

    /// Lets every CPU turn, and time pass, for this many milliseconds.
    fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            for cpu in 0..self.cpus.len() as u32 {
                self.turn(cpu);
            }
            self.world.hv.machine.pass_ns(MS);
        }
    }
}

fn weighing(weight: u16) -> Settings {
    Settings::new(weight, 0, CpuSet::ALL, CpuSet::ALL).unwrap()
}

#[test]
fn busy_vcpus_share_a_cpu_by_weight() {
    let mut machinery = Machinery::new(1, &[1, 1, 1]);
    machinery.set(2, weighing(512));
    for id in 0..3 {
        machinery.busy(id, 10_000);
    }
    machinery.run_ms(2000);
    let (light, other, heavy) = (machinery.ran_ns(0), machinery.ran_ns(1), machinery.ran_ns(2));
    assert!(light.abs_diff(other) < 50 * MS, "{light} {other}");
    assert!(heavy.abs_diff(light + other) < 100 * MS, "{light} {other} {heavy}");
}

#[test]
fn a_capped_vcpu_gets_no_more_than_its_share_of_an_idle_cpu() {
    let mut machinery = Machinery::new(1, &[1]);
    machinery.set(0, Settings::new(256, 30, CpuSet::ALL, CpuSet::ALL).unwrap());
    machinery.busy(0, 10_000);
    machinery.run_ms(1000);
    assert!(machinery.ran_ns(0).abs_diff(300 * MS) < 30 * MS, "{}", machinery.ran_ns(0));
}

#[test]
fn a_woken_vcpu_gets_an_idle_cpu_rather_than_a_busy_one() {
    let mut machinery = Machinery::new(2, &[1, 1]);
    machinery.busy(0, 10_000);
    machinery.turn(0);
    machinery.busy(1, 10_000);
    machinery.turn(1);
    assert!(machinery.is_running(0) && machinery.is_running(1));
    assert_ne!(machinery.processor(0), machinery.processor(1));
}

#[test]
fn an_idle_cpu_takes_over_what_waits_elsewhere() {
    let mut machinery = Machinery::new(2, &[1, 1, 1]);
    for id in 0..3 {
        machinery.busy(id, if id == 0 { 5 } else { 10_000 });
    }
    machinery.run_ms(50);
    // The first is done, so two are left, each of which has a CPU of its own.
    machinery.run_ms(2);
    assert!(machinery.is_running(1) && machinery.is_running(2));
    assert_ne!(machinery.processor(1), machinery.processor(2));
}

#[test]
fn a_cpu_that_is_kept_free_of_guests_gets_none_however_much_waits() {
    let mut machinery = Machinery::of(World::sparing_cpu0(2, &[1, 1, 1]), 2);
    for id in 0..3 {
        machinery.busy(id, 10_000);
    }
    for _ in 0..300 {
        machinery.run_ms(1);
        assert!((0..3).all(|id| machinery.processor(id) == CpuId(1)));
    }
    assert!((0..3).all(|id| machinery.ran_ns(id) > 50 * MS));
    assert_eq!(machinery.world.hv.scheduler.idle_ns(CpuId(1), machinery.world.hv.machine.now()), 0);
}

#[test]
fn a_vcpu_runs_only_where_its_hard_affinity_lets_it() {
    let mut machinery = Machinery::new(2, &[1, 1]);
    machinery.busy(0, 10_000);
    machinery.busy(1, 10_000);
    machinery.run_ms(5);
    for cpu in [1, 0] {
        let there = Settings::new(256, 0, CpuSet::only(CpuId(cpu)), CpuSet::ALL).unwrap();
        machinery.set(0, there);
        machinery.set(1, there);
        machinery.run_ms(3);
        for id in 0..2 {
            assert_eq!(machinery.processor(id), CpuId(cpu));
        }
        let before = [machinery.ran_ns(0), machinery.ran_ns(1)];
        machinery.run_ms(100);
        let ran = [machinery.ran_ns(0) - before[0], machinery.ran_ns(1) - before[1]];
        assert!(ran.iter().all(|ran| ran.abs_diff(50 * MS) <= 15 * MS), "{ran:?}");
    }
}

#[test]
fn a_vcpu_without_any_cpu_stays_aside_until_it_may_run_again() {
    let mut machinery = Machinery::new(1, &[1]);
    machinery.set(0, Settings::new(256, 0, CpuSet::only(CpuId(5)), CpuSet::ALL).unwrap());
    machinery.busy(0, 10);
    machinery.run_ms(3);
    assert_eq!(machinery.ran_ns(0), 0);
    machinery.set(0, Settings::default());
    machinery.run_ms(3);
    assert!(machinery.ran_ns(0) > 0);
}

#[test]
fn a_paused_vcpu_gets_no_time_until_it_is_let_go() {
    let mut machinery = Machinery::new(1, &[1, 1]);
    machinery.busy(0, 10_000);
    machinery.busy(1, 10_000);
    machinery.run_ms(30);
    waking::pause_all(&machinery.world.hv, &machinery.domain(1));
    machinery.run_ms(1);
    let before = machinery.ran_ns(1);
    machinery.run_ms(100);
    assert_eq!(machinery.ran_ns(1), before);
    waking::unpause_all(&machinery.world.hv, &machinery.domain(1));
    machinery.run_ms(100);
    assert!(machinery.ran_ns(1) > before + 30 * MS);
}

#[test]
fn one_that_wakes_takes_the_cpu_from_one_that_computes() {
    let mut machinery = Machinery::new(1, &[1, 1]);
    machinery.busy(0, 10_000);
    machinery.run_ms(40);
    machinery.busy(1, 10_000);
    machinery.run_ms(2);
    assert!(machinery.is_running(1), "it waits for the end of the slice");
}

#[test]
fn a_sleeping_vcpu_is_woken_by_its_timer_and_not_before() {
    let mut machinery = Machinery::new(1, &[1]);
    machinery.busy(0, 0);
    let domain = machinery.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let due = machinery.world.hv.machine.now().after_ns(5 * MS);
    vcpu.timers.set(Timer::Lapic, due);
    vcpu.timers.set(Timer::Poll, Time(due.0 + 20 * MS));
    // Taking the CPU clears what the local APIC's timer was when it last lost it.
    machinery.turn(0);
    assert!(vcpu.is_blocked());
    assert_eq!(machinery.world.hv.machine.timer(CpuId(0)), Time(due.0 + 20 * MS));
    vcpu.timers.set(Timer::Lapic, due);
    machinery.world.hv.scheduler.timer_changed(&machinery.world.hv.machine, &machinery.world.hv.domains, &domain, vcpu);
    machinery.turn(0);
    assert_eq!(machinery.world.hv.machine.timer(CpuId(0)), due);
    let runs = |machinery: &Machinery| machinery.ran_ns(0);
    assert_eq!(runs(&machinery), 0);
    machinery.world.hv.machine.pass_ns(6 * MS);
    machinery.turn(0);
    assert_eq!(vcpu.timers.get(Timer::Lapic), Time::NEVER);
}

#[test]
fn a_vcpu_that_pinned_itself_moves_and_may_move_back() {
    let mut machinery = Machinery::new(2, &[1]);
    machinery.busy(0, 10_000);
    machinery.run_ms(2);
    let other = CpuId(1 - machinery.processor(0).0);
    let domain = machinery.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let pin = |cpu| machinery.world.hv.scheduler.pin(&machinery.world.hv.machine, &domain, vcpu, cpu);
    assert_eq!(pin(Some(other)), None);
    assert_eq!(vcpu.schedule.settings(), Settings::default(), "what the toolstack set stays as it is");
    machinery.run_ms(2);
    assert_eq!(machinery.processor(0), other);
    let pin = |cpu| machinery.world.hv.scheduler.pin(&machinery.world.hv.machine, &domain, vcpu, cpu);
    assert_eq!(pin(None), Some(other));
    assert_eq!(vcpu.schedule.pinned(), None);
}

#[test]
fn a_cpu_clears_free_memory_while_it_has_nothing_to_do_and_no_longer() {
    let mut machinery = Machinery::new(1, &[1]);
    let pending = |machinery: &Machinery| machinery.world.hv.frames.scrub_pending();
    let at_first = pending(&machinery);
    machinery.turn(0);
    assert!((1..=16).contains(&(at_first - pending(&machinery))), "a little in each turn");
    machinery.busy(0, 5);
    let before = pending(&machinery);
    for _ in 0..5 {
        machinery.turn(0);
        assert!(machinery.is_running(0));
    }
    assert_eq!(pending(&machinery), before);
    for _ in 0..10_000 {
        machinery.turn(0);
    }
    assert_eq!(pending(&machinery), 0);
}
