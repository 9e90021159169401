//! Making a PVH domain, step by step, with nothing left where a step fails.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xen_abi::DomId;
use xen_abi::domctl::{CreateFlags, DomctlCreatedomain, EmulationFlags};
use xen_abi::grant_entry::{GTF_PERMIT_ACCESS, GrantEntryV1};
use xen_abi::hvm_param::{
    HVM_PARAM_ALTP2M, HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_IDENT_PT,
    HVM_PARAM_IOREQ_PFN, HVM_PARAM_MONITOR_RING_PFN, HVM_PARAM_PAGING_RING_PFN, HVM_PARAM_SHARING_RING_PFN,
    HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN, HVM_PARAM_TIMER_MODE, HVMPTM_NO_DELAY_FOR_MISSED_TICKS,
    XEN_ALTP2M_DISABLED,
};
use xen_abi::io::xenbus::XENBUS_STATE_INIT_WAIT;
use xen_abi::memory_map::MemmapEntry;

use crate::acpi::Tables;
use crate::config::Config;
use crate::destroy;
use crate::devices::Card;
use crate::error::{Error, Step};
use crate::host::Host;
use crate::hypervisor::Hypervisor;
use crate::kernel::Kernel;
use crate::layout::{
    ACPI_ADDRESS, BUFFERED_IO_FRAME, CONSOLE_FRAME, Extents, IDENTITY_FRAME, IO_FRAME, MONITOR_FRAME, PAGE,
    PAGING_FRAME, Placement, Ram, SHARING_FRAME, SPECIAL_FRAMES, STORE_FRAME,
};
use crate::names::{NameError, Names};
use crate::nodes::{self, Ports};
use crate::records::{self, Places, Record};
use crate::registers;
use crate::registry::Registry;
use crate::start_info::StartInfo;
use crate::{policy, uuid::Uuid};

/// The label of ordinary domains. **Source:** Xen's initial security identifiers (`SECINITSID_DOMU`).
const ORDINARY: u32 = 12;
/// The highest event channel port that libxl lets a domain have.
const PORTS_MAX: u32 = 1023;
/// The highest version of the grant table.
const GRANT_VERSION: u32 = 2;
/// What a domain may have beside its memory, for rings and tables, in KiB.
const EXTRA_KIB: u64 = 1024;
/// Pages of the pool for page tables: for each vCPU, and for each MiB of memory. **Source:** measured on `xl` 4.17.
const POOL_PAGES_A_VCPU: u64 = 256;
const POOL_PAGES_A_MIB: u64 = 2;
/// How many extents are asked for in one call.
const BATCH: usize = 256;
/// How long the back end of a device may take to start.
const BACK_END_LIMIT: Duration = Duration::from_secs(10);

/// Entries of the page table that Intel's processors use while the domain's paging is off: 4 MiB each, present,
/// writable, for user code, accessed, dirty, large.
const IDENTITY_ENTRIES: u32 = 1024;
const IDENTITY_BITS: u32 = 0xe7;
const IDENTITY_SHIFT: u32 = 22;

/// What domains are made with.
#[derive(Debug)]
pub struct Tools<'a, V, R, H> {
    pub hypervisor: &'a V,
    pub registry: &'a mut R,
    pub host: &'a H,
    pub places: &'a Places,
}

/// A domain that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    pub domain: u16,
    pub uuid: Uuid,
}

/// What is loaded, and where; made before there is a domain.
struct Plan<'a> {
    kernel: Kernel<'a>,
    ram: Ram,
    map: Vec<MemmapEntry>,
    acpi: Tables,
    placement: Placement,
    start_info: Vec<u8>,
}

impl<V: Hypervisor, R: Registry, H: Host> Tools<'_, V, R, H> {
    /// Makes a domain, paused where `paused` says so, else running.
    ///
    /// **Errors:** the step that failed, with its cause and a remedy. Nothing of the domain is left, unless the error says
    /// what.
    pub fn create(&mut self, config: &Config, paused: bool) -> Result<Created, Error> {
        config.check()?;
        let plan = Plan::of(config)?;
        self.made(config, |tools, domain| tools.build(config, &plan, domain, paused))
    }

    /// Makes a domain that `build` fills, or leaves nothing of it.
    pub(crate) fn made(
        &mut self,
        config: &Config,
        build: impl FnOnce(&mut Self, u16) -> Result<(), Error>,
    ) -> Result<Created, Error> {
        let at = |step| move |cause: std::io::Error| Error::new(&config.name, step, cause);
        let record = Record::begin(self.places, config.uuid, &config.name).map_err(at(Step::Record))?;
        if let Err(error) = self.claim_name(config) {
            return Err(with_undone(error, record.finish(), "its record"));
        }
        let domain = match self.hypervisor.create(settings(config)) {
            Ok(domain) => domain,
            Err(cause) => {
                let error = Error::new(&config.name, Step::Create, cause);
                let dropped = destroy::drop_name(self.places, Some(&config.name), config.uuid, || Ok(()));
                return Err(with_undone(with_undone(error, dropped, "its name"), record.finish(), "its record"));
            }
        };
        match build(self, domain) {
            Ok(()) => record.finish().map_err(at(Step::Record)).map(|()| Created { domain, uuid: config.uuid }),
            Err(error) => Err(self.undo(error, domain, config.uuid, record)),
        }
    }

    /// Takes the name: no other domain has it or gets it meanwhile.
    fn claim_name(&mut self, config: &Config) -> Result<(), Error> {
        let name = &config.name;
        let unwritten = |cause| Error::new(name, Step::Record, cause);
        Names::lock(self.places).map_err(unwritten)?.claim(self.registry, name, config.uuid).map_err(
            |error| match error {
                NameError::Taken(other) => {
                    let who = other.map_or("a domain that is being made".into(), |other| format!("domain {other}"));
                    let error = Error::new(name, Step::Nodes, format!("{who} has that name"));
                    error.remedied("give it another name, or destroy the other one")
                }
                NameError::Registry(cause) => Error::new(name, Step::Nodes, cause),
                NameError::Files(cause) => unwritten(cause),
            },
        )
    }

    /// Removes what was made of a domain. The record goes last: what is left without it is found by nobody.
    fn undo(&mut self, error: Error, domain: u16, uuid: Uuid, record: Record) -> Error {
        let mut left = destroy::remove(self.hypervisor, self.registry, self.places, domain, uuid);
        // Where its nodes were not written yet, its name was not found by them.
        if let Err(cause) = destroy::drop_name(self.places, Some(&error.domain), uuid, || Ok(())) {
            left.push(format!("its name ({cause})"));
        }
        if left.is_empty() { with_undone(error, record.finish(), "its record") } else { Error { left, ..error } }
    }

    fn build(&mut self, config: &Config, plan: &Plan<'_>, domain: u16, paused: bool) -> Result<(), Error> {
        self.give_memory(config, plan, domain)?;
        self.load(config, plan, domain)?;
        let ports = self.connect(config, domain)?;
        self.set_registers(config, plan, domain)?;
        self.register(config, &nodes::kept_config(config), domain, ports)?;
        self.start_devices(config, domain)?;
        self.introduce(config, domain, ports, paused)
    }

    /// Introduces a domain to xenstored, and lets it run.
    pub(crate) fn introduce(&mut self, config: &Config, domain: u16, ports: Ports, paused: bool) -> Result<(), Error> {
        let name = &config.name;
        self.registry
            .introduce(domain, STORE_FRAME, ports.store)
            .map_err(|cause| Error::new(name, Step::Introduce, cause))?;
        if paused {
            return Ok(());
        }
        self.hypervisor.pause(domain, false).map_err(|cause| Error::new(name, Step::Unpause, cause))
    }

    /// Makes vCPUs, and sets how much memory there may be.
    pub(crate) fn give_limits(&self, config: &Config, domain: u16) -> Result<(), Error> {
        let hypervisor = self.hypervisor;
        let at = |step| move |cause: std::io::Error| Error::new(&config.name, step, cause);
        hypervisor.set_max_vcpus(domain, config.vcpus).map_err(at(Step::Vcpus))?;
        let pool = u64::from(config.vcpus)
            .saturating_mul(POOL_PAGES_A_VCPU)
            .saturating_add(config.memory_mib.saturating_mul(POOL_PAGES_A_MIB));
        hypervisor.set_paging_pool(domain, pool.saturating_mul(PAGE)).map_err(at(Step::Memory))?;
        let kib = config.memory_mib.saturating_mul(1024).saturating_add(EXTRA_KIB);
        hypervisor.set_max_memory(domain, kib).map_err(at(Step::Memory))
    }

    /// Makes vCPUs, memory and the CPU policy.
    fn give_memory(&self, config: &Config, plan: &Plan<'_>, domain: u16) -> Result<(), Error> {
        self.give_limits(config, domain)?;
        let hypervisor = self.hypervisor;
        let at = |step| move |cause: std::io::Error| Error::new(&config.name, step, cause);
        hypervisor.set_tsc_mode(domain, config.tsc.number()).map_err(at(Step::CpuPolicy))?;
        let default = hypervisor.cpu_policy(domain).map_err(at(Step::CpuPolicy))?;
        hypervisor.set_cpu_policy(domain, &policy::adjusted(&default)).map_err(at(Step::CpuPolicy))?;
        hypervisor.set_memory_map(domain, &plan.map).map_err(at(Step::Memory))?;
        match self.give_pages(plan, domain).map_err(at(Step::Memory))? {
            0 => Ok(()),
            missing => Err(Error::new(&config.name, Step::Memory, format!("{missing} of its pages cannot be had"))),
        }
    }

    /// Allocates all pages of the domain, and returns how many of them could not be had.
    fn give_pages(&self, plan: &Plan<'_>, domain: u16) -> std::io::Result<u64> {
        let acpi = ACPI_ADDRESS / PAGE;
        let tables = acpi..acpi.saturating_add((plan.acpi.bytes.len() as u64).div_ceil(PAGE));
        let special = PAGING_FRAME..PAGING_FRAME.saturating_add(SPECIAL_FRAMES);
        // The largest first, so they are at the end.
        let mut waiting = vec![Extents { order: 0, frames: tables.chain(special).collect() }];
        waiting.extend(plan.ram.extents().into_iter().rev());
        let mut missing: u64 = waiting.iter().map(Extents::pages).sum();
        while let Some(extents) = waiting.pop() {
            let order = extents.order;
            let left = Extents { order, frames: self.populate(domain, &extents)? };
            missing = missing.saturating_sub(extents.pages().saturating_sub(left.pages()));
            if order == 0 && !left.frames.is_empty() {
                break;
            }
            // Where the machine has none of such a size any more, smaller ones do.
            waiting.extend(left.frames.iter().rev().map(|&frame| Extents::split(order, frame)));
        }
        Ok(missing)
    }

    /// Allocates extents, and returns the frames at which that was not possible.
    fn populate(&self, domain: u16, extents: &Extents) -> std::io::Result<Vec<u64>> {
        let mut done = 0_usize;
        for batch in extents.frames.chunks(BATCH) {
            let populated = match self.hypervisor.populate(domain, extents.order, batch) {
                // None of it could be had.
                Err(error) if error.kind() == std::io::ErrorKind::OutOfMemory => 0,
                outcome => outcome?,
            };
            done = done.saturating_add(populated);
            if populated < batch.len() {
                break;
            }
        }
        Ok(extents.frames.get(done..).unwrap_or_default().to_vec())
    }

    /// Copies all that the domain starts with into its memory.
    fn load(&self, config: &Config, plan: &Plan<'_>, domain: u16) -> Result<(), Error> {
        let at = |cause: std::io::Error| Error::new(&config.name, Step::Load, cause);
        let write = |address, bytes: &[u8]| self.hypervisor.write(domain, address, bytes).map_err(at);
        for segment in plan.kernel.segments() {
            let bytes = plan.kernel.bytes(segment);
            write(segment.address, bytes)?;
            let (loaded, length) = (segment.address.saturating_add(bytes.len() as u64), bytes.len() as u64);
            self.hypervisor.clear(domain, loaded, segment.memory.saturating_sub(length)).map_err(at)?;
        }
        if let Some(ramdisk) = &config.ramdisk {
            write(plan.placement.ramdisk, &ramdisk.bytes)?;
        }
        write(plan.placement.start_info, &plan.start_info)?;
        write(ACPI_ADDRESS, &plan.acpi.bytes)?;
        self.hypervisor.clear(domain, PAGING_FRAME * PAGE, SPECIAL_FRAMES * PAGE).map_err(at)?;
        let entry = |number: u32| (number << IDENTITY_SHIFT | IDENTITY_BITS).to_le_bytes();
        let identity: Vec<u8> = (0..IDENTITY_ENTRIES).flat_map(entry).collect();
        write(IDENTITY_FRAME * PAGE, &identity)
    }

    /// Sets the event channels, parameters and grants by which the domain finds its console and xenstore.
    fn connect(&self, config: &Config, domain: u16) -> Result<Ports, Error> {
        let at = |cause: std::io::Error| Error::new(&config.name, Step::Channels, cause);
        let hypervisor = self.hypervisor;
        let Ports { store, console } = self.allocate_ports(config, domain)?;
        let parameters = [
            (HVM_PARAM_TIMER_MODE, HVMPTM_NO_DELAY_FOR_MISSED_TICKS),
            (HVM_PARAM_ALTP2M, XEN_ALTP2M_DISABLED),
            (HVM_PARAM_PAGING_RING_PFN, PAGING_FRAME),
            (HVM_PARAM_MONITOR_RING_PFN, MONITOR_FRAME),
            (HVM_PARAM_SHARING_RING_PFN, SHARING_FRAME),
            (HVM_PARAM_BUFIOREQ_PFN, BUFFERED_IO_FRAME),
            (HVM_PARAM_IOREQ_PFN, IO_FRAME),
            (HVM_PARAM_IDENT_PT, IDENTITY_FRAME * PAGE),
            (HVM_PARAM_STORE_PFN, STORE_FRAME),
            (HVM_PARAM_STORE_EVTCHN, store.into()),
            (HVM_PARAM_CONSOLE_PFN, CONSOLE_FRAME),
            (HVM_PARAM_CONSOLE_EVTCHN, console.into()),
        ];
        for (index, value) in parameters {
            hypervisor.set_parameter(domain, index, value).map_err(at)?;
        }
        self.seed_grants(config, domain)?;
        Ok(Ports { store, console })
    }

    /// Allocates the ports of the domain to which xenstored and the console's daemon bind.
    pub(crate) fn allocate_ports(&self, config: &Config, domain: u16) -> Result<Ports, Error> {
        let port = || self.hypervisor.allocate_port(domain, DomId::DOM0.0);
        let at = |cause: std::io::Error| Error::new(&config.name, Step::Channels, cause);
        Ok(Ports { store: port().map_err(at)?, console: port().map_err(at)? })
    }

    /// Writes the entries of the grant table that are kept for the toolstack: 0 for the console, 1 for xenstore.
    pub(crate) fn seed_grants(&self, config: &Config, domain: u16) -> Result<(), Error> {
        let granted = |frame: u64| GrantEntryV1 {
            flags: GTF_PERMIT_ACCESS,
            domid: DomId::DOM0,
            frame: u32::try_from(frame).unwrap_or(0),
        };
        let entries = [granted(CONSOLE_FRAME), granted(STORE_FRAME)];
        let outcome = self.hypervisor.seed_grants(domain, &entries);
        outcome.map_err(|cause| Error::new(&config.name, Step::Channels, cause))
    }

    fn set_registers(&self, config: &Config, plan: &Plan<'_>, domain: u16) -> Result<(), Error> {
        let at = |cause: std::io::Error| Error::new(&config.name, Step::Registers, cause);
        let saved = self.hypervisor.context(domain).map_err(at)?;
        let (entry, start_info) = (plan.kernel.entry(), plan.placement.start_info);
        let loads = registers::start(&saved, config.vcpus, entry, start_info).ok_or_else(|| {
            Error::new(&config.name, Step::Registers, "its saved state has no header or no memory types")
        })?;
        loads.iter().try_for_each(|load| self.hypervisor.set_context(domain, load)).map_err(at)
    }

    /// Writes the nodes of a domain, and the configuration that is kept of it.
    pub(crate) fn register(&mut self, config: &Config, kept: &str, domain: u16, ports: Ports) -> Result<(), Error> {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut nodes = nodes::of_domain(config, domain, ports, started);
        for disk in &config.disks {
            disk.add_nodes(domain, &mut nodes)?;
        }
        for (number, card) in (0..).zip(&config.cards) {
            card.add_nodes(domain, number, &mut nodes);
        }
        let keep = || records::keep_config(self.places, domain, config.uuid, kept);
        Names::lock(self.places)
            .and_then(|names| names.give(&config.name, domain, config.uuid, keep))
            .map_err(|cause| Error::new(&config.name, Step::Nodes, cause).remedied("make /var/lib/xen writable"))?;
        self.registry.register(&nodes.0).map_err(|error| Error::new(&config.name, Step::Nodes, error))
    }

    /// Waits for the back ends of the devices, and tells them what Debian's hotplug scripts would.
    fn start_devices(&mut self, config: &Config, domain: u16) -> Result<(), Error> {
        let name = &config.name;
        for disk in &config.disks {
            let back = disk.place(domain)?.back();
            self.await_back_end(name, &back)?;
            let (major, minor) = disk.physical;
            let told = [
                ("physical-device", format!("{major:x}:{minor:x}")),
                ("physical-device-path", disk.path.clone()),
                ("hotplug-status", "connected".to_owned()),
            ];
            self.tell(name, &back, &told)?;
        }
        for (number, card) in (0..).zip(&config.cards) {
            let back = Card::place(domain, number).back();
            self.await_back_end(name, &back)?;
            self.host
                .join_bridge(&format!("vif{domain}.{number}"), &card.bridge)
                .map_err(|cause| Error::new(name, Step::Devices, cause).remedied("see whether the bridge is there"))?;
            self.tell(name, &back, &[("hotplug-status", "connected".to_owned())])?;
        }
        Ok(())
    }

    fn await_back_end(&mut self, name: &str, back: &str) -> Result<(), Error> {
        let at = |cause: &dyn Display| Error::new(name, Step::Devices, cause);
        let state = format!("{back}/state");
        let ready = XENBUS_STATE_INIT_WAIT.to_string();
        match self.registry.wait(&state, &[&ready], false, BACK_END_LIMIT) {
            Ok(true) => Ok(()),
            Ok(false) => Err(at(&format_args!("{back} is not ready after {} s", BACK_END_LIMIT.as_secs()))),
            Err(cause) => Err(at(&cause)),
        }
    }

    fn tell(&mut self, name: &str, back: &str, nodes: &[(&str, String)]) -> Result<(), Error> {
        for (node, value) in nodes {
            self.registry
                .write(&format!("{back}/{node}"), value)
                .map_err(|cause| Error::new(name, Step::Devices, cause))?;
        }
        Ok(())
    }
}

impl<'a> Plan<'a> {
    fn of(config: &'a Config) -> Result<Self, Error> {
        let broken = |error| Error::new(&config.name, Step::Kernel, format!("{}: {error}", config.kernel.path));
        let kernel = Kernel::read(&config.kernel.bytes, config.memory()).map_err(broken)?;
        let ram = Ram::of(config.memory());
        let acpi = Tables::build(config.vcpus, ACPI_ADDRESS);
        let map = ram.map(acpi.bytes.len() as u64);
        let ramdisk_bytes = config.ramdisk.as_ref().map(|ramdisk| ramdisk.bytes.len() as u64);
        let told = |ramdisk: u64| StartInfo {
            command_line: &config.command_line,
            ramdisk: ramdisk_bytes.map(|bytes| (ramdisk, bytes)),
            map: &map,
            acpi_root: acpi.root,
        };
        let placement = Placement::of(&kernel, told(0).size(), ramdisk_bytes.unwrap_or(0), &ram).map_err(|cause| {
            let mib = cause.needed.div_ceil(1 << 20);
            Error::new(&config.name, Step::Load, cause).remedied(format!("give it at least {mib} MiB"))
        })?;
        let start_info = told(placement.ramdisk).to_bytes(placement.start_info);
        Ok(Self { kernel, ram, map, acpi, placement, start_info })
    }
}

/// Returns an error, with what is left where undoing failed.
fn with_undone(mut error: Error, undone: std::io::Result<()>, what: &str) -> Error {
    if let Err(cause) = undone {
        error.left.push(format!("{what} ({cause})"));
    }
    error
}

fn settings(config: &Config) -> DomctlCreatedomain {
    let mut settings = DomctlCreatedomain {
        ssidref: ORDINARY,
        handle: config.uuid.0,
        flags: CreateFlags::HVM | CreateFlags::HAP,
        max_vcpus: config.vcpus,
        max_evtchn_port: PORTS_MAX,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: GRANT_VERSION,
        ..DomctlCreatedomain::default()
    };
    settings.arch.emulation_flags = EmulationFlags::LAPIC;
    settings
}
