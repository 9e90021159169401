//! Two domains on a machine of vectors: the control domain with two vCPUs, and an ordinary one with one.

use std::sync::Arc;

use xen_abi::shared_info::VCPU_INFO_SIZE;
use xen_abi::{DomId, Gfn, Mfn, VcpuId};
use xenolith_core::components::event_channel::EventChannels;
use xenolith_core::components::grant::{GrantTable, Limits, Source};
use xenolith_core::components::port_rights::PortRights;
use xenolith_core::domains::domain::DomainParts;
use xenolith_core::memory::frames::{ANYWHERE, PagingPool};
use xenolith_core::memory::physmap::Physmap;
use xenolith_core::{Domain, Frames, Hypervisor, Settings, Vcpu, VcpuCore};
use xenolith_devices::cpuid::CpuidTable;
use xenolith_devices::msr::Mtrr;
use xenolith_fake::{FakeMachine, FakeSpace, FakeVcpu};
use xenolith_hal::{
    CpuId, CpuState, CpuidRegisters, FrameSource, GuestCpu, Machine, Mapping, NestedSpace, PageKind, PageOrder,
    PageWords, Rights, SegmentAttributes, Time,
};

/// Frames of the machine.
pub const MACHINE_PAGES: usize = 512;
/// Frames of each domain, from guest frame 0 on.
pub const GUEST_PAGES: u64 = 24;
/// Where each domain sees its shared page.
const SHARED_INFO: Gfn = Gfn(GUEST_PAGES);

/// Protection on, paging off: an address is where it points. Long mode, as a caller with registers of 64 bits has it.
const CR0_PROTECTED: u64 = 0x11;
const EFER_LONG: u64 = 1 << 10 | 1 << 8;

/// Domains without page tables of their own.
struct NoTables;

impl FrameSource for NoTables {
    fn take(&mut self) -> Option<Mfn> {
        Some(Mfn(0))
    }

    fn give_back(&mut self, _frame: Mfn) {}
}

/// A hypervisor with both domains.
pub fn hypervisor() -> Hypervisor<FakeMachine> {
    let machine = FakeMachine::new(2, MACHINE_PAGES);
    let limit = Mfn(MACHINE_PAGES as u64);
    let frames = Frames::new(limit, &[Mfn(1)..limit], machine.cpu_count()).expect("there is memory for the tables");
    let hv = Hypervisor::new(machine, frames, settings());
    add(&hv, DomId::DOM0, 2);
    add(&hv, DomId(1), 1);
    hv
}

fn settings() -> Settings {
    Settings {
        command_line: "com1=115200".into(),
        extra_version: ".0",
        no_reboot: true,
        tsc_khz: 1_000_000,
        ram_pages: MACHINE_PAGES as u64,
        ..Settings::default()
    }
}

fn add(hv: &Hypervisor<FakeMachine>, id: DomId, vcpus: u32) {
    hv.frames.account(id).expect("it can have an account").set_max(GUEST_PAGES as u32 + 16);
    let space = FakeSpace::default();
    let map = |gfn, mfn, kind| {
        let mapping = Mapping { mfn, order: PageOrder::SIZE_4K, rights: Rights::ALL, kind };
        space.map(gfn, mapping, &mut NoTables).expect("nothing is there yet");
    };
    for gfn in 0..GUEST_PAGES {
        let frame = hv.frames.allocate(&hv.machine, id, PageOrder::SIZE_4K, ANYWHERE).expect("there are frames");
        map(Gfn(gfn), frame.into_mapping(), PageKind::Ram);
    }
    let shared_info = hv.frames.take_shared(&hv.machine, id).expect("there are frames").mfn();
    let seen = hv.frames.reference(shared_info, id).expect("it is the domain's to see");
    map(SHARED_INFO, seen.into_mapping(), PageKind::Shared);
    let grants = Source { frames: &hv.frames, pages: &hv.machine, owner: id };
    let parts = DomainParts {
        events: EventChannels::new(id, vcpus, u32::MAX).expect("there is memory"),
        physmap: Physmap::new(PagingPool::new(16)),
        grants: GrantTable::new(Limits::DEFAULT, &grants).expect("there are frames"),
        privileged: id == DomId::DOM0,
        vcpus: (0..vcpus).map(|number| vcpu(VcpuId(number), shared_info)).collect(),
        space,
        shared_info,
        cpuid: CpuidTable::of_host(&|_, _| CpuidRegisters::default()),
        ports: PortRights::none(),
    };
    hv.domains.insert(Domain::new(parts)).expect("the number is free");
}

fn vcpu(id: VcpuId, shared_info: Mfn) -> Vcpu<FakeMachine> {
    let mut hardware = FakeVcpu::new();
    let mut state = CpuState { cr0: CR0_PROTECTED, efer: EFER_LONG, ..CpuState::at_pvh_entry(0, 0) };
    state.cs.attributes |= SegmentAttributes::LONG;
    hardware.set_state(&state).expect("it is a sound state");
    let mut core = VcpuCore::new(id, hardware, Mtrr::default());
    core.waits_for_startup = false;
    let vcpu = Vcpu::new(id, Box::new(core), CpuId(0), Time(0));
    vcpu.set_info_place(shared_info, id.0 as usize * VCPU_INFO_SIZE);
    vcpu.bring_up();
    vcpu
}

/// A domain's page, if something is there.
pub fn page<'m>(
    hv: &'m Hypervisor<FakeMachine>,
    domain: &Arc<Domain<FakeMachine>>,
    gfn: Gfn,
) -> Option<(Mfn, &'m PageWords)> {
    let mapping = domain.space.lookup(gfn)?;
    Some((mapping.mfn, hv.machine.page(mapping.mfn)?))
}
