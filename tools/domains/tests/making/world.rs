//! A hypervisor and a xenstore in maps, of which any call can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use domains::{Config, Host, Hypervisor, NamedFile, Node, Places, Registry, RegistryError, TscMode, Uuid};
use hypervisor_access::CpuPolicy;
use xen_abi::DomId;
use xen_abi::cpu_policy::CpuidLeaf;
use xen_abi::domctl::{DomainFlags, DomctlCreatedomain, DomctlGetdomaininfo, DomctlTscInfo};
use xen_abi::grant_entry::GrantEntryV1;
use xen_abi::hvm_save::{
    HVM_SAVE_CODE_CPU, HVM_SAVE_CODE_HEADER, HVM_SAVE_CODE_MTRR, HvmHwMtrr, HvmSaveDescriptor, HvmSaveHeader,
};
use xen_abi::hvm_save_cpu::HvmHwCpu;
use xen_abi::memory_map::MemmapEntry;
use xenstore::Permission;
use zerocopy::IntoBytes;

/// Error numbers.
const NO_MEMORY: i32 = 12;
const NOT_FOUND: i32 = 3;

/// What a program that is killed panics with.
pub struct Killed;

/// Calls that can fail: the one that is to fail, and how many there were.
#[derive(Debug, Default)]
pub struct Calls {
    pub fails: Cell<Option<usize>>,
    /// At this one the program is killed: it panics, and nothing is undone.
    pub kills: Cell<Option<usize>>,
    pub made: Cell<usize>,
}

impl Calls {
    fn one_more(&self) -> bool {
        let number = self.made.get();
        self.made.set(number + 1);
        if self.kills.get() == Some(number) {
            self.kills.set(None);
            std::panic::panic_any(Killed);
        }
        self.fails.get() == Some(number)
    }
}

/// A domain in the fake hypervisor.
#[derive(Clone, Debug, Default)]
pub struct Fake {
    pub settings: DomctlCreatedomain,
    pub paused: bool,
    pub vcpus: u32,
    pub kib: u64,
    pub pool: u64,
    pub tsc_mode: u32,
    pub frames: BTreeSet<u64>,
    pub large: u64,
    pub memory: BTreeMap<u64, Vec<u8>>,
    pub map: Vec<MemmapEntry>,
    pub parameters: BTreeMap<u32, u64>,
    pub ports: u32,
    pub grants: Vec<GrantEntryV1>,
    pub contexts: Vec<Vec<u8>>,
    pub policy: Vec<CpuidLeaf>,
    pub suspended: bool,
    pub tsc: DomctlTscInfo,
}

impl Fake {
    /// Reads bytes from a guest physical address on.
    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let byte = |at: u64| self.memory.get(&(at / 4096)).map_or(0xee, |page| page[(at % 4096) as usize]);
        (address..).take(length).map(byte).collect()
    }
}

/// A hypervisor that keeps domains in a map.
#[derive(Debug, Default)]
pub struct Machine {
    pub domains: RefCell<BTreeMap<u16, Fake>>,
    pub last: Cell<u16>,
    /// How many pages there are.
    pub free: Cell<u64>,
    /// How many 2 MiB there are in one piece.
    pub large: Cell<u64>,
    pub calls: Calls,
}

impl Machine {
    fn with<T>(&self, domain: u16, then: impl FnOnce(&mut Fake) -> T) -> io::Result<T> {
        if self.calls.one_more() {
            return Err(io::Error::from_raw_os_error(22));
        }
        let mut domains = self.domains.borrow_mut();
        domains.get_mut(&domain).map(then).ok_or_else(|| io::Error::from_raw_os_error(NOT_FOUND))
    }
}

impl Hypervisor for Machine {
    fn create(&self, settings: DomctlCreatedomain) -> io::Result<u16> {
        if self.calls.one_more() {
            return Err(io::Error::from_raw_os_error(NO_MEMORY));
        }
        self.last.set(self.last.get() + 1);
        let fake = Fake { settings, paused: true, ..Fake::default() };
        self.domains.borrow_mut().insert(self.last.get(), fake);
        Ok(self.last.get())
    }

    fn destroy(&self, domain: u16) -> io::Result<()> {
        let pages = self.with(domain, |fake| fake.frames.len() as u64)?;
        self.free.set(self.free.get() + pages);
        self.domains.borrow_mut().remove(&domain);
        Ok(())
    }

    fn pause(&self, domain: u16, stands: bool) -> io::Result<()> {
        self.with(domain, |fake| fake.paused = stands)
    }

    fn domains(&self) -> io::Result<Vec<DomctlGetdomaininfo>> {
        let info = |domain: u16, handle, suspended: bool| {
            let flags = if suspended { DomainFlags::SHUTDOWN.with_shutdown_reason(2) } else { DomainFlags::default() };
            DomctlGetdomaininfo { domain: DomId(domain), handle, flags, ..Default::default() }
        };
        let domains = self.domains.borrow();
        let others = domains.iter().map(|(&domain, fake)| info(domain, fake.settings.handle, fake.suspended));
        Ok([info(0, [0; 16], false)].into_iter().chain(others).collect())
    }

    fn domain(&self, domain: u16) -> io::Result<Option<DomctlGetdomaininfo>> {
        Ok(self.domains()?.into_iter().find(|found| found.domain.0 == domain))
    }

    fn set_max_vcpus(&self, domain: u16, vcpus: u32) -> io::Result<()> {
        self.with(domain, |fake| fake.vcpus = vcpus)
    }

    fn set_max_memory(&self, domain: u16, kib: u64) -> io::Result<()> {
        self.with(domain, |fake| fake.kib = kib)
    }

    fn set_paging_pool(&self, domain: u16, bytes: u64) -> io::Result<()> {
        self.with(domain, |fake| fake.pool = bytes)
    }

    fn set_tsc_mode(&self, domain: u16, mode: u32) -> io::Result<()> {
        self.with(domain, |fake| fake.tsc_mode = mode)
    }

    fn cpu_policy(&self, domain: u16) -> io::Result<CpuPolicy> {
        let leaf = CpuidLeaf { leaf: 1, subleaf: u32::MAX, b: 0x3_0800, ..CpuidLeaf::default() };
        self.with(domain, |_| CpuPolicy { leaves: vec![leaf], msrs: Vec::new() })
    }

    fn set_cpu_policy(&self, domain: u16, policy: &CpuPolicy) -> io::Result<()> {
        self.with(domain, |fake| fake.policy = policy.leaves.clone())
    }

    fn populate(&self, domain: u16, order: u32, frames: &[u64]) -> io::Result<usize> {
        self.with(domain, |fake| {
            let pages = 1_u64 << order;
            let mut done = 0;
            for &frame in frames {
                let large = self.large.get();
                let of_large = pages >> 9;
                if self.free.get() < pages || large < of_large {
                    break;
                }
                self.large.set(large - of_large);
                fake.large += of_large;
                self.free.set(self.free.get() - pages);
                assert!((frame..frame + pages).all(|frame| fake.frames.insert(frame)), "populated twice");
                done += 1;
            }
            assert!((fake.frames.len() as u64) * 4 <= fake.kib, "more than it may have");
            if done == 0 && !frames.is_empty() { Err(io::Error::from_raw_os_error(NO_MEMORY)) } else { Ok(done) }
        })?
    }

    fn set_memory_map(&self, domain: u16, map: &[MemmapEntry]) -> io::Result<()> {
        self.with(domain, |fake| fake.map = map.to_vec())
    }

    fn write(&self, domain: u16, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.with(domain, |fake| {
            for (at, byte) in (address..).zip(bytes) {
                let frame = at / 4096;
                assert!(fake.frames.contains(&frame), "there is no page at {at:#x}");
                fake.memory.entry(frame).or_insert_with(|| vec![0xee; 4096])[(at % 4096) as usize] = *byte;
            }
        })
    }

    fn clear(&self, domain: u16, address: u64, length: u64) -> io::Result<()> {
        self.write(domain, address, &vec![0; length as usize])
    }

    fn set_parameter(&self, domain: u16, index: u32, value: u64) -> io::Result<()> {
        self.with(domain, |fake| fake.parameters.insert(index, value)).map(|_| ())
    }

    fn allocate_port(&self, domain: u16, remote: u16) -> io::Result<u32> {
        assert_eq!(remote, 0);
        self.with(domain, |fake| {
            fake.ports += 1;
            fake.ports
        })
    }

    fn seed_grants(&self, domain: u16, entries: &[GrantEntryV1]) -> io::Result<()> {
        self.with(domain, |fake| fake.grants = entries.to_vec())
    }

    fn context(&self, domain: u16) -> io::Result<Vec<u8>> {
        let record = |typecode, body: &[u8]| {
            let length = body.len() as u32;
            [HvmSaveDescriptor { typecode, instance: 0, length }.as_bytes(), body].concat()
        };
        let header = record(HVM_SAVE_CODE_HEADER, HvmSaveHeader::default().as_bytes());
        let mtrr = record(HVM_SAVE_CODE_MTRR, HvmHwMtrr::default().as_bytes());
        let cpu = record(HVM_SAVE_CODE_CPU, HvmHwCpu::default().as_bytes());
        self.with(domain, |_| [header, cpu, mtrr, record(0, &[])].concat())
    }

    fn maximum_frame(&self, domain: u16) -> io::Result<u64> {
        self.with(domain, |fake| *fake.frames.last().unwrap())
    }

    fn has_pages(&self, domain: u16, frames: &[u64]) -> io::Result<Vec<bool>> {
        self.with(domain, |fake| frames.iter().map(|frame| fake.frames.contains(frame)).collect())
    }

    fn read_pages(&self, domain: u16, frames: &[u64], to: &mut Vec<u8>) -> io::Result<()> {
        self.with(domain, |fake| {
            to.clear();
            for frame in frames {
                to.extend_from_slice(fake.memory.get(frame).unwrap_or(&vec![0xee; 4096]));
            }
        })
    }

    fn write_pages(&self, domain: u16, frames: &[u64], pages: &[&[u8]]) -> io::Result<()> {
        self.with(domain, |fake| {
            for (frame, page) in frames.iter().zip(pages) {
                assert!(fake.frames.contains(frame), "there is no page at {frame:#x}");
                fake.memory.insert(*frame, page.to_vec());
            }
        })
    }

    fn parameter(&self, domain: u16, index: u32) -> io::Result<u64> {
        self.with(domain, |fake| fake.parameters.get(&index).copied().unwrap_or(0))
    }

    fn tsc_info(&self, domain: u16) -> io::Result<DomctlTscInfo> {
        self.with(domain, |fake| DomctlTscInfo { tsc_mode: fake.tsc_mode, gtsc_khz: 5, ..DomctlTscInfo::default() })
    }

    fn set_tsc_info(&self, domain: u16, info: DomctlTscInfo) -> io::Result<()> {
        self.with(domain, |fake| fake.tsc = info)
    }

    fn resume(&self, domain: u16) -> io::Result<()> {
        self.with(domain, |fake| fake.suspended = false)
    }

    fn set_context(&self, domain: u16, records: &[u8]) -> io::Result<()> {
        self.with(domain, |fake| fake.contexts.push(records.to_vec()))
    }
}

/// A xenstore in a map, with back ends that start and close at once.
#[derive(Debug)]
pub struct Tree {
    pub nodes: BTreeMap<String, (String, Vec<Permission>)>,
    pub introduced: Vec<(u16, u64, u32)>,
    pub calls: Calls,
    /// No back end starts.
    pub dead_back_ends: bool,
}

impl Default for Tree {
    fn default() -> Self {
        let own = ["/local", "/local/domain", "/local/domain/0", "/local/domain/0/name"];
        let nodes = own.map(|path| (path.to_owned(), (String::new(), Vec::new()))).into();
        Self { nodes, introduced: Vec::new(), calls: Calls::default(), dead_back_ends: false }
    }
}

impl Tree {
    fn asked(&self) -> Result<(), RegistryError> {
        if self.calls.one_more() { Err(RegistryError::Failed("it was made to fail".into())) } else { Ok(()) }
    }

    fn put(&mut self, path: &str, value: &str, rights: Option<&Vec<Permission>>) {
        let parent = path.rsplit_once('/').unwrap().0;
        if !parent.is_empty() && !self.nodes.contains_key(parent) {
            self.put(parent, "", None);
        }
        let inherited = self.nodes.get(parent).map(|(_, rights)| rights.clone()).unwrap_or_default();
        let before = self.nodes.get(path).map(|(_, rights)| rights.clone());
        let rights = rights.cloned().or(before).unwrap_or(inherited);
        self.nodes.insert(path.to_owned(), (value.to_owned(), rights));
    }

    fn children(&self, path: &str) -> Vec<String> {
        let below = format!("{path}/");
        let names = self.nodes.keys().filter_map(|node| node.strip_prefix(&below)).filter(|name| !name.contains('/'));
        names.map(str::to_owned).collect()
    }
}

impl Registry for Tree {
    fn read(&mut self, path: &str) -> Result<Option<String>, RegistryError> {
        self.asked()?;
        Ok(self.nodes.get(path).map(|(value, _)| value.clone()))
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>, RegistryError> {
        self.asked()?;
        Ok(self.children(path))
    }

    fn set(&mut self, path: &str, value: &str) -> Result<bool, RegistryError> {
        self.asked()?;
        Ok(self.nodes.get_mut(path).map(|node| node.0 = value.to_owned()).is_some())
    }

    fn write(&mut self, path: &str, value: &str) -> Result<(), RegistryError> {
        self.asked()?;
        self.put(path, value, None);
        Ok(())
    }

    fn register(&mut self, nodes: &[Node]) -> Result<(), RegistryError> {
        self.asked()?;
        nodes.iter().for_each(|node| self.put(&node.path, &node.value, node.rights.as_ref()));
        Ok(())
    }

    fn remove(&mut self, paths: &[String], parents: usize) -> Result<(), RegistryError> {
        self.asked()?;
        for path in paths {
            let below = format!("{path}/");
            self.nodes.retain(|node, _| node != path && !node.starts_with(&below));
            let mut path = path.as_str();
            for _ in 0..parents {
                path = path.rsplit_once('/').unwrap().0;
                if path.is_empty() || !self.children(path).is_empty() {
                    break;
                }
                self.nodes.remove(path);
            }
        }
        Ok(())
    }

    fn introduce(&mut self, domain: u16, frame: u64, port: u32) -> Result<(), RegistryError> {
        self.asked()?;
        self.introduced.push((domain, frame, port));
        Ok(())
    }

    fn wait(&mut self, path: &str, values: &[&str], _: bool, _: Duration) -> Result<bool, RegistryError> {
        self.asked()?;
        if self.dead_back_ends {
            return Ok(false);
        }
        self.put(path, values[0], None);
        Ok(true)
    }
}

/// A host that remembers which interfaces joined which bridges.
#[derive(Debug, Default)]
pub struct Bridges(pub RefCell<Vec<(String, String)>>);

impl Host for Bridges {
    fn join_bridge(&self, interface: &str, bridge: &str) -> io::Result<()> {
        if bridge == "none" {
            return Err(io::Error::other("there is no such bridge"));
        }
        self.0.borrow_mut().push((interface.to_owned(), bridge.to_owned()));
        Ok(())
    }
}

/// All of it.
#[derive(Debug)]
pub struct World {
    pub machine: Machine,
    pub tree: Tree,
    pub bridges: Bridges,
    pub places: Places,
    _directory: tempfile::TempDir,
}

impl World {
    /// Makes a world with a machine of 1 GiB.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name| directory.path().join(name);
        let places = Places { records: at("run"), configs: at("lib"), names: at("names") };
        let machine = Machine::default();
        machine.free.set(1 << 18);
        machine.large.set(1 << 9);
        Self { machine, tree: Tree::default(), bridges: Bridges::default(), places, _directory: directory }
    }

    /// Makes a domain.
    pub fn create(&mut self, config: &Config, paused: bool) -> Result<domains::Created, domains::Error> {
        let Self { machine, tree, bridges, places, .. } = self;
        domains::Tools { hypervisor: machine, registry: tree, host: bridges, places }.create(config, paused)
    }

    /// Returns what is there of domains: in the hypervisor, in xenstore and in files, and the free pages.
    pub fn left(&self) -> (Vec<u16>, Vec<String>, usize, u64) {
        let files = |path: &std::path::Path| std::fs::read_dir(path).map_or(0, Iterator::count);
        let nodes = self.tree.nodes.keys().filter(|path| !Tree::default().nodes.contains_key(*path)).cloned().collect();
        let domains = self.machine.domains.borrow().keys().copied().collect();
        let files = files(&self.places.records) + files(&self.places.configs);
        (domains, nodes, files, self.machine.free.get())
    }
}

/// A kernel of one page at 16 MiB with a page of zeros behind it, entered at its beginning.
pub fn kernel() -> Vec<u8> {
    let mut file = vec![0; 0x2000];
    file[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(32, &64_u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 2, 0]);
    let mut header = |at: usize, kind: u32, offset: u64, address: u64, file: u64, memory: u64| {
        put(at, &kind.to_le_bytes());
        for (place, value) in [(8, offset), (16, address), (24, address), (32, file), (40, memory), (48, 4)] {
            put(at + place, &value.to_le_bytes());
        }
    };
    header(64, 1, 0x1000, 0x100_0000, 0x1000, 0x2000);
    header(120, 4, 0x200, 0x200, 20, 20);
    put(0x200, &[4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, b'X', b'e', b'n', 0, 0, 0, 0, 1]);
    put(0x1000, b"the kernel");
    file
}

/// A domain that can be made.
pub fn config(name: &str) -> Config {
    Config {
        name: name.into(),
        uuid: Uuid::random().unwrap(),
        memory_mib: 33,
        vcpus: 2,
        kernel: NamedFile { path: "/boot/kernel".into(), bytes: kernel() },
        ramdisk: Some(NamedFile { path: "/boot/ramdisk".into(), bytes: b"the ramdisk".to_vec() }),
        command_line: "a=b".into(),
        tsc: TscMode::Native,
        disks: Vec::new(),
        cards: Vec::new(),
    }
}
