//! Small domains with the nodes of guests.

use hypervisor_access::{Hypercalls, Resource};
use xen_abi::domctl::{CreateFlags, DomctlCreatedomain, EmulationFlags};
use xenstore::{Access, Permission, Store, StorePath};

use super::operations::connect;

/// Frame of the ring.
const FRAME: u64 = 16;
/// Length of the pool of page tables, in bytes.
const POOL: u64 = 256 << 10;
/// Entry of the grant table by which xenstored finds the ring, and its length.
const STORE_ENTRY: usize = 1;
const ENTRY_LENGTH: usize = 8;
/// `GTF_permit_access`.
const PERMIT_ACCESS: u16 = 1;

/// Nodes of a guest below its directory, with values of the usual length.
const NODES: [(&str, &str); 30] = [
    ("name", "guest"),
    ("vm", "/vm/00000000-0000-0000-0000-000000000000"),
    ("domid", "1000"),
    ("cpu/0/availability", "online"),
    ("cpu/1/availability", "online"),
    ("memory/static-max", "262144"),
    ("memory/target", "262144"),
    ("memory/videoram", "0"),
    ("control/shutdown", ""),
    ("control/feature-poweroff", "1"),
    ("control/feature-reboot", "1"),
    ("control/sysrq", ""),
    ("data", ""),
    ("drivers", ""),
    ("feature", ""),
    ("attr", ""),
    ("error", ""),
    ("store/ring-ref", "1044476"),
    ("store/port", "1"),
    ("console/ring-ref", "1044479"),
    ("console/port", "2"),
    ("console/type", "xenconsoled"),
    ("device/suspend/event-channel", ""),
    ("device/vbd/51712/backend", "/local/domain/0/backend/vbd/1000/51712"),
    ("device/vbd/51712/ring-ref", "8"),
    ("device/vbd/51712/state", "4"),
    ("device/vif/0/backend", "/local/domain/0/backend/vif/1000/0"),
    ("device/vif/0/mac", "00:16:3e:00:00:80"),
    ("device/vif/0/tx-ring-ref", "9"),
    ("device/vif/0/state", "4"),
];

/// Nodes of its back ends, below a directory that dom0's kernel does not watch.
const BACK_ENDS: [(&str, &str); 10] = [
    ("vbd/51712/frontend", "/local/domain/1000/device/vbd/51712"),
    ("vbd/51712/params", "/dev/vg/guest"),
    ("vbd/51712/mode", "w"),
    ("vbd/51712/sectors", "2097152"),
    ("vbd/51712/state", "4"),
    ("vif/0/frontend", "/local/domain/1000/device/vif/0"),
    ("vif/0/bridge", "xenbr0"),
    ("vif/0/mac", "00:16:3e:00:00:80"),
    ("vif/0/hotplug-status", "connected"),
    ("vif/0/state", "4"),
];

/// What is watched for each domain: by the kernel's two back ends, and by a tool that waits for its end.
const WATCHED: [&str; 3] = ["device/vbd/51712/state", "device/vif/0/state", "control/shutdown"];

/// The domains.
pub struct Domains {
    socket: String,
    hypercalls: Hypercalls,
    store: Store,
    pub numbers: Vec<u16>,
}

impl Domains {
    /// Begins without any.
    ///
    /// **Errors:** the store or the hypervisor cannot be reached; a line that says so.
    pub fn new(socket: &str) -> Result<Self, String> {
        let hypercalls = Hypercalls::open().map_err(|error| format!("the hypervisor cannot be reached: {error}"))?;
        Ok(Self { socket: socket.to_owned(), hypercalls, store: connect(socket)?, numbers: Vec::new() })
    }

    /// Makes domains until there are `count`.
    ///
    /// **Errors:** one cannot be made.
    pub fn grow(&mut self, count: usize) -> Result<(), String> {
        while self.numbers.len() < count {
            let (domain, port) =
                self.make().map_err(|error| format!("domain {} of {count}: {error}", self.numbers.len()))?;
            self.furnish(domain).map_err(|error| format!("the nodes of domain {domain}: {error}"))?;
            let introduced = self.store.introduce(domain, FRAME, port);
            introduced.map_err(|error| format!("domain {domain} is not introduced: {error}"))?;
            self.numbers.push(domain);
        }
        Ok(())
    }

    fn make(&self) -> std::io::Result<(u16, u32)> {
        let mut handle = [0; 16];
        handle[..8].copy_from_slice(&(self.numbers.len() as u64 + 1).to_le_bytes());
        let mut settings = DomctlCreatedomain {
            ssidref: 12,
            handle,
            flags: CreateFlags::HVM | CreateFlags::HAP,
            max_vcpus: 1,
            max_evtchn_port: 1023,
            max_grant_frames: -1,
            max_maptrack_frames: -1,
            grant_opts: 2,
            ..DomctlCreatedomain::default()
        };
        settings.arch.emulation_flags = EmulationFlags::LAPIC;
        let calls = &self.hypercalls;
        let domain = calls.create_domain(settings)?;
        calls.set_paging_pool(domain, POOL)?;
        calls.set_max_memory(domain, 1024)?;
        calls.populate(domain, 0, &[FRAME])?;
        calls.map_foreign(domain, &[FRAME])?.write(0, &[0; 4096]);
        let table = calls.map_resource(domain, Resource::GrantTable, 0, 1)?;
        let mut entry = [0; ENTRY_LENGTH];
        entry[..2].copy_from_slice(&PERMIT_ACCESS.to_le_bytes());
        entry[4..].copy_from_slice(&(FRAME as u32).to_le_bytes());
        table.write(STORE_ENTRY * ENTRY_LENGTH, &entry);
        Ok((domain, calls.allocate_port(domain, 0)?))
    }

    fn furnish(&mut self, domain: u16) -> Result<(), xenstore::Error> {
        let directory = StorePath::of_domain(domain);
        self.store.make(&directory)?;
        let owner = Permission { access: Access::None, domain };
        self.store.set_permissions(&directory, &[owner])?;
        let back_ends: StorePath = format!("/local/domain/0/back-ends/{domain}").parse()?;
        let places = [(&directory, &NODES[..]), (&back_ends, &BACK_ENDS[..])];
        for (directory, nodes) in places {
            for (name, value) in nodes {
                self.store.write(&directory.join(name)?, value.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Watches what is watched for each domain. The watches last as long as the connection that is returned.
    ///
    /// **Errors:** a watch cannot be set.
    pub fn watched(&self) -> Result<Store, String> {
        let mut watcher = connect(&self.socket)?;
        for domain in &self.numbers {
            for name in WATCHED {
                let path = format!("/local/domain/{domain}/{name}");
                watcher.watch(&path, name).map_err(|error| format!("{path}: {error}"))?;
                // The event that it begins with.
                watcher.next_event(None).map_err(|error| format!("{path}: {error}"))?;
            }
        }
        Ok(watcher)
    }
}
