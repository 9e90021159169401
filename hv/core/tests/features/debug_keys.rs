//! What the hypervisor says of its domains when a key is pressed.

use xen_abi::shared_info::{SHARED_INFO_EVTCHN_MASK, VCPU_INFO_UPCALL_PENDING};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Port, VcpuId};
use xenolith_core::components::event_channel::{alloc_unbound, bind_virq, poll, raise_vcpu};
use xenolith_core::components::vcpu_timers::Timer;
use xenolith_core::lifecycle::debug_keys;
use xenolith_core::lifecycle::event_domain::HostedDomain;
use xenolith_core::lifecycle::waking;
use xenolith_core::run::CpuLoop;
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, Exit, GuestCpu, Time};
use xenolith_world::{SHARED_INFO, World};

const MS: u64 = 1_000_000;

/// What is said when the key is pressed.
fn told(world: &World, key: u8) -> Vec<String> {
    world.hv.machine.forget_output();
    debug_keys::press(&world.hv, key);
    world.hv.machine.logged()
}

/// The lines from the one that holds `first` on, up to the next that holds `end`.
fn between(lines: &[String], first: &str, end: &str) -> String {
    let from = lines.iter().position(|line| line.contains(first)).unwrap_or_else(|| panic!("{first}: {lines:#?}"));
    let rest = &lines[from..];
    let count = rest.iter().skip(1).position(|line| line.contains(end)).map_or(rest.len(), |count| count + 1);
    rest[..count].join("\n")
}

fn of_vcpu(lines: &[String], vcpu: u32) -> String {
    between(lines, &format!("    VCPU{vcpu}: "), "    VCPU")
}

fn wake(world: &World, vcpu: u32) {
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(vcpu)).unwrap();
    vcpu.bring_up();
    world.hv.scheduler.wake(&world.hv.machine, &domain, vcpu);
}

/// One turn of a CPU, whose vCPU is interrupted in its guest.
fn turn(world: &World, cpu: &mut CpuLoop<FakeMachine>, number: u32) {
    world.hv.machine.go_to(CpuId(number));
    cpu.turn(&world.hv);
}

#[test]
fn the_state_of_each_vcpu_is_told() {
    let world = World::new(&[4]);
    let domain = world.domain(0);
    for vcpu in [0, 1] {
        let vcpu = domain.vcpu(VcpuId(vcpu)).unwrap();
        vcpu.with_core(|core| {
            core.hardware.exits.extend([Exit::Interrupted; 8]);
            core.hardware.registers_mut().rip = 0x1234_5678;
        });
    }
    wake(&world, 0);
    turn(&world, &mut CpuLoop::new(CpuId(0)), 0);
    wake(&world, 1);
    let third = domain.vcpu(VcpuId(2)).unwrap();
    third.bring_up();
    third.block();
    third.pause();
    let lines = told(&world, b'q');
    assert!(lines[0].starts_with("'q' pressed -> dumping domain info (now = "), "{lines:#?}");
    let running = of_vcpu(&lines, 0);
    assert!(running.contains("CPU0 [has=T] running, in a queue or on a CPU, has run for"), "{running}");
    assert!(running.contains("its CPU has its registers; RIP when it last left its guest 0x0000000012345678"));
    let runnable = of_vcpu(&lines, 1);
    assert!(runnable.contains("CPU0 [has=F] runnable, in a queue or on a CPU"), "{runnable}");
    assert!(runnable.contains("RIP 0x0000000012345678"), "{runnable}");
    let paused = of_vcpu(&lines, 2);
    assert!(paused.contains("[has=F] blocked pause_count=1, in no queue"), "{paused}");
    assert!(of_vcpu(&lines, 3).contains("[has=F] down pause_count=0, in no queue, has been off for"));
}

#[test]
fn timers_are_told_from_now_on() {
    let world = World::new(&[1]);
    world.hv.machine.pass_ns(10 * MS - 1);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.timers.set(Timer::OneShot, Time(12 * MS));
    vcpu.timers.set(Timer::Poll, Time(7 * MS));
    let told = of_vcpu(&told(&world, b'q'), 0);
    assert!(told.contains("one-shot timer in 2.000 ms"), "{told}");
    assert!(told.contains("poll timer 3.000 ms overdue"), "{told}");
    assert!(!told.contains("periodic"), "{told}");
}

#[test]
fn an_upcall_that_waits_and_a_poll_are_told() {
    let world = World::new(&[1]);
    let domain = world.domain(0);
    domain.vcpu(VcpuId(0)).unwrap().bring_up();
    let quiet = of_vcpu(&told(&world, b'q'), 0);
    assert!(quiet.contains("upcall_pend=00 upcall_mask=00 pending_sel=0x0 upcall vector none, no poll, no requests"));
    let hosted = HostedDomain::new(&world.hv, &domain);
    poll::begin(&hosted, VcpuId(0));
    poll::narrow(&hosted, VcpuId(0), Port(9));
    world.page(0, SHARED_INFO).store_u8(VCPU_INFO_UPCALL_PENDING, 1).unwrap();
    let told = of_vcpu(&told(&world, b'q'), 0);
    assert!(told.contains("upcall_pend=01"), "{told}");
    assert!(told.contains("polls port 9"), "{told}");
}

#[test]
fn every_domain_is_told_with_its_pages() {
    let world = World::new(&[1, 1]);
    waking::pause_all(&world.hv, &world.domain(1));
    let lines = told(&world, b'q');
    let pages = format!("nr_pages={0} max_pages={0} xenheap_pages=2", xenolith_world::GUEST_PAGES);
    for domain in 0..2 {
        let general = between(&lines, &format!("General information for domain {domain}:"), "VCPU information");
        assert!(general.contains(&format!("life=Alive pause_count={domain}")), "{general}");
        assert!(general.contains(&pages), "{general}");
        let used = world.domain(domain).physmap.with_pool(|pool| pool.used());
        assert!(general.contains(&format!(" paging_pages={used}")), "{general}");
    }
}

#[test]
fn what_another_cpu_holds_is_told_as_busy_and_not_waited_for() {
    let world = World::new(&[1]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let held = vcpu.runstate.lock();
    assert!(of_vcpu(&told(&world, b'q'), 0).contains("account busy"));
    drop(held);
    vcpu.with_core(|_| {
        assert!(of_vcpu(&told(&world, b'q'), 0).contains("its registers are busy"));
    });
}

#[test]
fn who_runs_and_who_waits_on_each_cpu_is_told() {
    let world = World::on_cpus(2, &[3]);
    let domain = world.domain(0);
    for vcpu in &domain.vcpus {
        vcpu.with_core(|core| core.hardware.exits.extend([Exit::Interrupted; 8]));
    }
    let mut cpus = [CpuLoop::new(CpuId(0)), CpuLoop::new(CpuId(1))];
    for (number, cpu) in (0..).zip(&mut cpus) {
        wake(&world, number);
        turn(&world, cpu, number);
    }
    wake(&world, 2);
    let lines = told(&world, b'r');
    assert!(lines[0].starts_with("'r' pressed -> dumping run queues"), "{lines:#?}");
    let queues = lines[1..].join("\n");
    assert!(queues.contains("CPU[00] runs d0v0"), "{queues}");
    assert!(queues.contains("CPU[01] runs d0v1"), "{queues}");
    assert_eq!(queues.matches("; wait: d0v2").count(), 1, "{queues}");
}

#[test]
fn a_cpu_without_work_tells_of_those_that_it_lets_sleep() {
    let world = World::sparing_cpu0(2, &[1]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.timers.set(Timer::OneShot, Time(5 * MS));
    vcpu.bring_up();
    vcpu.block();
    world.hv.machine.go_to(CpuId(1));
    world.hv.scheduler.sleep(&world.hv.machine, &world.hv.domains, &domain, vcpu);
    let lines = told(&world, b'r').join("\n");
    assert!(lines.contains("CPU[00] (kept free of guests) runs nothing; asks again never"), "{lines}");
    assert!(lines.contains("lets 1 sleep, the first until in 4.999 ms"), "{lines}");
    assert!(of_vcpu(&told(&world, b'q'), 0).contains("some CPU wakes it in 4.999 ms"));
}

#[test]
fn every_bound_port_is_told_with_its_bits() {
    let world = World::new(&[2, 1]);
    let domain = world.domain(0);
    let hosted = HostedDomain::new(&world.hv, &domain);
    let timer = bind_virq(&hosted, VIRQ_TIMER, VcpuId(1)).unwrap();
    let unbound = alloc_unbound(&hosted, DomId(1), true).unwrap();
    raise_vcpu(&hosted, VcpuId(1), VIRQ_TIMER);
    world.page(0, SHARED_INFO).store_u64(SHARED_INFO_EVTCHN_MASK, 1 << unbound.0).unwrap();
    let lines = told(&world, b'e');
    assert_eq!(lines[0], "'e' pressed -> dumping event-channel info");
    let ports = between(&lines, "Event channel information for domain 0 (2-level):", "for domain 1");
    assert!(ports.contains(&format!("{timer:4} [1/0/-]: virq {VIRQ_TIMER}, notifies v1")), "{ports}");
    assert!(ports.contains(&format!("{unbound:4} [0/1/-]: unbound, for d1, notifies v0")), "{ports}");
    assert_eq!(ports.lines().count(), 4, "only ports that are bound: {ports}");
}

#[test]
fn a_key_of_nobodys_says_nothing_and_the_star_says_all() {
    let world = World::new(&[1]);
    assert!(told(&world, b'z').is_empty());
    let all = told(&world, b'*');
    for title in ["'q' pressed", "'r' pressed", "'e' pressed", "'m' pressed", "Owners of the interrupts of devices"] {
        assert!(all.iter().any(|line| line.starts_with(title)), "{title}");
    }
}
