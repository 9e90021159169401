//! Domains on a machine of vectors and maps, whose hypercalls go through the one table.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use xen_abi::shared_info::VCPU_INFO_SIZE;
use xen_abi::{DomId, Errno, Gfn, VcpuId};
use xenolith_core::components::event_channel::EventChannels;
use xenolith_core::components::grant::{GrantTable, Limits, Source};
use xenolith_core::components::port_rights::PortRights;
use xenolith_core::domains::domain::{Domain, DomainParts};
use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::domains::vcpu::{Vcpu, VcpuCore};
use xenolith_core::hypercalls::{Call, make};
use xenolith_core::memory::frames::{ANYWHERE, Frames, PagingPool};
use xenolith_core::memory::physmap::Physmap;
use xenolith_core::outcome::Outcome;
use xenolith_core::settings::Settings;
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;
use xenolith_fake::{FakeMachine, FakeSpace, FakeVcpu};
use xenolith_hal::{
    CpuId, FrameSource, Machine, Mapping, Mfn, NestedSpace, PAGE_SIZE, PageKind, PageOrder, PageWords, Rights, Time,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Frames of the machine, and how many of them each domain gets, from guest frame 0 on.
const MACHINE_PAGES: usize = if cfg!(loom) { 8 } else { 1024 };
pub const GUEST_PAGES: u64 = if cfg!(loom) { 1 } else { 32 };
/// One past the highest number of a domain.
const DOMAINS: u16 = if cfg!(loom) { 1 } else { 16 };
/// Guest frame of the shared page.
pub const SHARED_INFO: Gfn = Gfn(GUEST_PAGES);
/// Guest address of the structure that a call is given.
const ARGUMENTS: u64 = 0x3000;

pub type Answer = Result<u64, Errno>;

pub struct World {
    pub hv: Hypervisor<FakeMachine>,
}

/// Page tables of these tests take no frames.
struct NoTables;

impl FrameSource for NoTables {
    fn take(&mut self) -> Option<Mfn> {
        Some(Mfn(0))
    }

    fn give_back(&mut self, _frame: Mfn) {}
}

fn settings() -> Settings {
    Settings {
        no_reboot: true,
        tsc_khz: 1_000_000,
        ram_pages: MACHINE_PAGES as u64,
        capabilities: Capabilities { lfence_serializing: true, ..Capabilities::default() },
        ..Settings::default()
    }
}

impl World {
    /// A world with one domain for each number of vCPUs; the first is the control domain.
    pub fn new(domains: &[u32]) -> Self {
        Self::on_cpus(1, domains)
    }

    /// The same on a machine with more than one CPU.
    pub fn on_cpus(cpus: usize, domains: &[u32]) -> Self {
        Self::on_machine(FakeMachine::new(cpus, MACHINE_PAGES), domains)
    }

    /// Creates it on a machine with this many CPUs, of which the first is kept free of guests.
    pub fn sparing_cpu0(cpus: usize, domains: &[u32]) -> Self {
        Self::on_machine(FakeMachine::new(cpus, MACHINE_PAGES).sparing(1), domains)
    }

    fn on_machine(machine: FakeMachine, domains: &[u32]) -> Self {
        let cpus = machine.cpu_count();
        let ram = [Mfn(1)..Mfn(MACHINE_PAGES as u64)];
        let frames = Frames::for_domains(Mfn(MACHINE_PAGES as u64), &ram, cpus, DOMAINS).unwrap();
        let hv = Hypervisor::new(machine, frames, settings());
        let world = Self { hv };
        for (id, vcpus) in domains.iter().enumerate() {
            world.add(DomId(id as u16), *vcpus);
        }
        world
    }

    fn add(&self, id: DomId, vcpus: u32) {
        let hv = &self.hv;
        hv.frames.account(id).unwrap().set_max(GUEST_PAGES as u32);
        let space = FakeSpace::default();
        let map = |gfn, mfn, kind| {
            let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind };
            space.map(gfn, mapping, &mut NoTables).unwrap();
        };
        for gfn in 0..GUEST_PAGES {
            let frame = hv.frames.allocate(&hv.machine, id, PageOrder::SIZE_4K, ANYWHERE).unwrap();
            map(Gfn(gfn), frame.into_mapping(), PageKind::Ram);
        }
        let shared_info = hv.frames.take_shared(&hv.machine, id).unwrap().mfn();
        let seen = hv.frames.reference(shared_info, id).unwrap();
        map(SHARED_INFO, seen.into_mapping(), PageKind::Shared);
        let grants = Source { frames: &hv.frames, pages: &hv.machine, owner: id };
        let parts = DomainParts {
            events: EventChannels::new(id, vcpus, u32::MAX).unwrap(),
            physmap: Physmap::new(PagingPool::new(16)),
            grants: GrantTable::new(Limits::DEFAULT, &grants).unwrap(),
            privileged: id == DomId::DOM0,
            vcpus: (0..vcpus).map(|vcpu| self.vcpu(VcpuId(vcpu), shared_info)).collect(),
            space,
            shared_info,
            cpuid: hv.default_policy().clone(),
            ports: PortRights::none(),
        };
        hv.domains.insert(Domain::new(parts)).unwrap();
    }

    fn vcpu(&self, id: VcpuId, shared_info: Mfn) -> Vcpu<FakeMachine> {
        let mut core = VcpuCore::new(id, FakeVcpu::new(), Mtrr::default());
        core.waits_for_startup = false;
        let vcpu = Vcpu::new(id, Box::new(core), CpuId(id.0 % self.hv.machine.cpu_count() as u32), Time(0));
        vcpu.set_info_place(shared_info, id.0 as usize * VCPU_INFO_SIZE);
        vcpu
    }

    pub fn domain(&self, id: u16) -> Arc<Domain<FakeMachine>> {
        self.hv.domains.get(DomId(id)).unwrap()
    }

    /// A page of a domain's.
    pub fn page(&self, id: u16, gfn: Gfn) -> &PageWords {
        let mapping = self.domain(id).space.lookup(gfn).unwrap();
        self.hv.machine.page(mapping.mfn).unwrap()
    }

    /// Makes a hypercall with plain arguments on vCPU 0, as often as it wants to go on.
    pub fn call(&self, id: u16, number: u32, mut args: [u64; 6]) -> Answer {
        let domain = self.domain(id);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        let mut core = vcpu.take_core().unwrap();
        let answer = loop {
            let call = &mut Call { hv: &self.hv, domain: &domain, vcpu, core: &mut core, args, in_multicall: false };
            match make(u64::from(number), call) {
                Ok(Outcome::Done(value)) => break Ok(value),
                Ok(Outcome::Again(next)) => args = next,
                Ok(other) => panic!("{other:?}"),
                Err(errno) => break Err(errno),
            }
        };
        vcpu.put_core(core);
        answer
    }

    /// Does something with a hypercall that a domain's vCPU 0 is making.
    pub fn with_call<T>(&self, id: u16, work: impl FnOnce(&mut Call<'_, FakeMachine>) -> T) -> T {
        let domain = self.domain(id);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        let mut core = vcpu.take_core().unwrap();
        let (hv, args) = (&self.hv, [0; 6]);
        let done = work(&mut Call { hv, domain: &domain, vcpu, core: &mut core, args, in_multicall: false });
        vcpu.put_core(core);
        done
    }

    /// Makes a hypercall whose second argument points to a structure, which comes back as the call left it.
    pub fn call_with<T: FromBytes + IntoBytes + Immutable>(
        &self,
        id: u16,
        number: u32,
        op: u32,
        value: &mut T,
    ) -> Answer {
        let page = self.page(id, Gfn(ARGUMENTS / PAGE_SIZE as u64));
        assert!(page.write_bytes(0, value.as_bytes()));
        let answer = self.call(id, number, [u64::from(op), ARGUMENTS, 0, 0, 0, 0]);
        assert!(page.read_bytes(0, value.as_mut_bytes()));
        answer
    }
}
