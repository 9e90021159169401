//! Domains on a machine of vectors and maps, whose hypercalls go through the one table: the world of the core's tests,
//! of its models of concurrency and of the fuzzers.
//!
//! ```
//! use xenolith_world::World;
//!
//! // A control domain with two vCPUs, and an ordinary one with one, on a machine of one CPU.
//! let world = World::new(&[2, 1]);
//! assert!(world.domain(0).privileged && !world.domain(1).privileged);
//! ```
#![forbid(unsafe_code)]

use xen_abi::shared_info::VCPU_INFO_SIZE;
use xen_abi::{DomId, Errno, Gfn, VcpuId};
use xenolith_core::components::chipset::Chipset;
use xenolith_core::components::event_channel::EventChannels;
use xenolith_core::components::grant::{GrantTable, Limits, Source};
use xenolith_core::components::port_rights::PortRights;
use xenolith_core::components::requests::Taken;
use xenolith_core::domains::domain::{Domain, DomainParts};
use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::domains::vcpu::{Vcpu, VcpuCore};
use xenolith_core::hypercalls::{Call, make};
use xenolith_core::memory::frames::{ANYWHERE, Frames, PagingPool};
use xenolith_core::memory::guest_memory::Layout;
use xenolith_core::memory::physmap::Physmap;
use xenolith_core::outcome::Outcome;
use xenolith_core::settings::Settings;
use xenolith_core::x86::chipset;
use xenolith_devices::cpuid::Capabilities;
use xenolith_devices::msr::Mtrr;
use xenolith_devices::ports::Dom0Ports;
use xenolith_fake::{FakeMachine, FakeSpace, FakeVcpu};
use xenolith_hal::{
    CpuId, CpuState, FrameSource, GuestCpu, Machine, Mapping, Mfn, NestedSpace, PAGE_SIZE, PageKind, PageOrder,
    PageWords, Rights, SegmentAttributes, Time,
};
use xenolith_sync::{Arc, Room};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a world has.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub cpus: usize,
    /// CPUs that are kept free of guests, from the first on.
    pub spared_cpus: u32,
    /// Frames of the machine.
    pub machine_pages: usize,
    /// Frames of each domain, from guest frame 0 on. The shared page stands behind them.
    pub guest_pages: u64,
    /// Frames that each domain may have beyond those.
    pub spare_pages: u32,
    /// One past the highest number of a domain.
    pub domains: u16,
    /// The control domain reaches the machine's ports, but for those of a serial line and of the timer.
    pub machine_ports: bool,
    /// vCPUs are up and in long mode without paging: an address is where it points.
    pub long_mode: bool,
    /// Domains but for the first are HVM guests: they have a platform, and may have device models.
    pub hvm: bool,
}

impl Plan {
    /// The world of the tests: 32 frames for each of at most 16 domains.
    pub const TESTS: Self = Self {
        cpus: 1,
        spared_cpus: 0,
        machine_pages: if cfg!(loom) { 8 } else { 1024 },
        guest_pages: GUEST_PAGES,
        spare_pages: 0,
        domains: if cfg!(loom) { 1 } else { 16 },
        machine_ports: false,
        long_mode: false,
        hvm: false,
    };
}

/// Frames of each domain in the world of the tests.
pub const GUEST_PAGES: u64 = if cfg!(loom) { 1 } else { 32 };
/// Guest frame of the shared page.
pub const SHARED_INFO: Gfn = Gfn(GUEST_PAGES);
/// Protection on, paging off.
const CR0_PROTECTED: u64 = 0x11;
const EFER_LONG: u64 = 1 << 10 | 1 << 8;
/// Guest address of the structure that a call is given.
const ARGUMENTS: u64 = 0x3000;

/// What stands in RAX after a call.
pub type Answer = Result<u64, Errno>;

/// A hypervisor with its domains.
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

fn ports(plan: Plan, id: DomId) -> PortRights {
    if plan.machine_ports && id == DomId::DOM0 {
        PortRights::control(Dom0Ports { pm_timer: Some(0x608), console: Some(0x3f8) })
    } else if plan.hvm && id != DomId::DOM0 {
        PortRights::hvm()
    } else {
        PortRights::none()
    }
}

fn settings(plan: Plan) -> Settings {
    Settings {
        command_line: "com1=115200".into(),
        extra_version: ".0",
        no_reboot: true,
        tsc_khz: 1_000_000,
        ram_pages: plan.machine_pages as u64,
        capabilities: Capabilities { lfence_serializing: true, ..Capabilities::default() },
        ..Settings::default()
    }
}

impl World {
    /// Makes a world with one domain for each number of vCPUs; the first is the control domain.
    pub fn new(domains: &[u32]) -> Self {
        Self::on_cpus(1, domains)
    }

    /// Makes the same on a machine with more than one CPU.
    pub fn on_cpus(cpus: usize, domains: &[u32]) -> Self {
        Self::planned(Plan { cpus, ..Plan::TESTS }, domains)
    }

    /// Makes the same on a machine whose first CPU is kept free of guests.
    pub fn sparing_cpu0(cpus: usize, domains: &[u32]) -> Self {
        Self::planned(Plan { cpus, spared_cpus: 1, ..Plan::TESTS }, domains)
    }

    /// Makes a world after a plan.
    pub fn planned(plan: Plan, domains: &[u32]) -> Self {
        let machine = FakeMachine::new(plan.cpus, plan.machine_pages).sparing(plan.spared_cpus);
        let limit = Mfn(plan.machine_pages as u64);
        let frames = Frames::for_domains(limit, &[Mfn(1)..limit], plan.cpus, plan.domains).unwrap();
        let world = Self { hv: Hypervisor::new(machine, frames, settings(plan)) };
        for (id, vcpus) in domains.iter().enumerate() {
            world.add(plan, DomId(id as u16), *vcpus);
        }
        world
    }

    fn add(&self, plan: Plan, id: DomId, vcpus: u32) {
        let hv = &self.hv;
        hv.frames.account(id).unwrap().set_max(plan.guest_pages as u32 + plan.spare_pages);
        let space = FakeSpace::default();
        let map = |gfn, mfn, kind| {
            let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind };
            space.map(gfn, mapping, &mut NoTables).unwrap();
        };
        for gfn in 0..plan.guest_pages {
            let frame = hv.frames.allocate(&hv.machine, id, PageOrder::SIZE_4K, ANYWHERE).unwrap();
            map(Gfn(gfn), frame.into_mapping(), PageKind::Ram);
        }
        let shared_info = hv.frames.take_shared(&hv.machine, id).unwrap().mfn();
        let seen = hv.frames.reference(shared_info, id).unwrap();
        map(Gfn(plan.guest_pages), seen.into_mapping(), PageKind::Shared);
        let grants = Source { frames: &hv.frames, pages: &hv.machine, owner: id };
        let parts = DomainParts {
            events: EventChannels::new(id, vcpus, u32::MAX).unwrap(),
            physmap: Physmap::new(PagingPool::new(16)),
            grants: GrantTable::new(Limits::DEFAULT, &grants).unwrap(),
            privileged: id == DomId::DOM0,
            vcpus: (0..vcpus).map(|vcpu| self.vcpu(plan, VcpuId(vcpu), shared_info)).collect(),
            space,
            shared_info,
            cpuid: hv.default_policy().clone(),
            ports: ports(plan, id),
        };
        let domain = Domain::new(Room::try_new().unwrap(), parts);
        if plan.hvm && id != DomId::DOM0 {
            assert!(domain.device_model.set(Box::default()).is_ok());
            domain.params.give_platform();
            assert!(domain.chipset.set(Box::new(Chipset::new(chipset::moment(hv)))).is_ok());
        }
        hv.domains.insert(domain).unwrap();
    }

    fn vcpu(&self, plan: Plan, id: VcpuId, shared_info: Mfn) -> Vcpu<FakeMachine> {
        let mut hardware = FakeVcpu::new();
        if plan.long_mode {
            let mut state = CpuState { cr0: CR0_PROTECTED, efer: EFER_LONG, ..CpuState::at_pvh_entry(0, 0) };
            state.cs.attributes |= SegmentAttributes::LONG;
            hardware.set_state(&state).unwrap();
        }
        let mut core = VcpuCore::new(id, hardware, Mtrr::default());
        core.waits_for_startup = false;
        let vcpu = Vcpu::new(id, Box::new(core), CpuId(id.0 % self.hv.machine.cpu_count() as u32), Time(0));
        vcpu.set_info_place(shared_info, id.0 as usize * VCPU_INFO_SIZE);
        if plan.long_mode {
            vcpu.bring_up();
        }
        vcpu
    }

    /// Returns a domain that exists.
    pub fn domain(&self, id: u16) -> Arc<Domain<FakeMachine>> {
        self.hv.domains.get(DomId(id)).unwrap()
    }

    /// Returns a page of a domain's where one is mapped.
    pub fn page(&self, id: u16, gfn: Gfn) -> &PageWords {
        let mapping = self.domain(id).space.lookup(gfn).unwrap();
        self.hv.machine.page(mapping.mfn).unwrap()
    }

    /// Makes a hypercall with plain arguments on vCPU 0, as often as it wants to go on.
    pub fn call(&self, id: u16, number: u32, mut args: [u64; 6]) -> Answer {
        let domain = self.domain(id);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        let mut core = vcpu.take_core().unwrap();
        let layout = Layout::Native;
        let answer = loop {
            let call =
                &mut Call { hv: &self.hv, domain: &domain, vcpu, core: &mut core, args, layout, in_multicall: false };
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

    /// Works with a hypercall that a domain's vCPU 0 is making.
    pub fn with_call<T>(&self, id: u16, work: impl FnOnce(&mut Call<'_, FakeMachine>) -> T) -> T {
        let domain = self.domain(id);
        let vcpu = domain.vcpu(VcpuId(0)).unwrap();
        let mut core = vcpu.take_core().unwrap();
        let (hv, args, layout) = (&self.hv, [0; 6], Layout::Native);
        let done = work(&mut Call { hv, domain: &domain, vcpu, core: &mut core, args, layout, in_multicall: false });
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

/// Returns the vectors that were taken out of a vCPU's requests.
pub fn vectors(taken: Taken) -> Vec<u8> {
    let mut all = Vec::new();
    taken.for_each_vector(|vector, _| all.push(vector));
    all
}
