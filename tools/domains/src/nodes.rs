//! The nodes of a domain in xenstore, as `xl` of Xen 4.17 writes them, so that its tools take the domain for one of
//! theirs. **Source:** measured.

use xenstore::{Access, Permission};

use crate::config::Config;
use crate::layout::{CONSOLE_FRAME, STORE_FRAME};
use crate::registry::{DOMAINS, owned_by, read_by};

/// A node that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub path: String,
    pub value: String,
    /// None where a node has the rights of its parent, as a new node gets them.
    pub rights: Option<Vec<Permission>>,
}

/// A list of nodes, each after its parent.
#[derive(Clone, Debug, Default)]
pub struct Nodes(pub Vec<Node>);

impl Nodes {
    /// Adds a node with the rights of its parent.
    pub fn add(&mut self, path: &str, value: impl ToString) {
        self.0.push(Node { path: path.to_owned(), value: value.to_string(), rights: None });
    }

    /// Adds a node with rights of its own.
    pub fn add_for(&mut self, path: &str, value: impl ToString, rights: Vec<Permission>) {
        self.0.push(Node { path: path.to_owned(), value: value.to_string(), rights: Some(rights) });
    }

    /// Adds nodes below `path`, with its rights.
    pub fn add_below(&mut self, path: &str, nodes: &[(&str, &str)]) {
        nodes.iter().for_each(|(name, value)| self.add(&format!("{path}/{name}"), value));
    }
}

/// The ports of a domain's two first rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub store: u32,
    pub console: u32,
}

/// Returns the directory of a domain.
#[must_use]
pub fn home(domain: u16) -> String {
    format!("{DOMAINS}/{domain}")
}

/// Returns the directory that the toolstack keeps about a domain.
#[must_use]
pub fn toolstack(domain: u16) -> String {
    format!("/libxl/{domain}")
}

/// Returns the nodes of a domain but those of its disks and cards. `started` is the time in seconds.
#[must_use]
pub fn of_domain(config: &Config, domain: u16, ports: Ports, started: f64) -> Nodes {
    let mut nodes = Nodes::default();
    let (home, kept, vm) = (home(domain), toolstack(domain), format!("/vm/{}", config.uuid));
    let kib = config.memory_mib.saturating_mul(1024);
    nodes.add_for(&vm, "", read_by(domain));
    nodes.add_below(&vm, &[("uuid", &config.uuid.to_string()), ("name", &config.name)]);
    nodes.add(&format!("{vm}/start_time"), format_args!("{started:.2}"));

    nodes.add_for(&home, "", read_by(domain));
    nodes.add_below(&home, &[("vm", &vm), ("name", &config.name)]);
    nodes.add(&format!("{home}/domid"), domain);
    for name in ["cpu", "memory", "device", "control"] {
        nodes.add(&format!("{home}/{name}"), "");
    }
    for vcpu in 0..config.vcpus {
        nodes.add(&format!("{home}/cpu/{vcpu}"), "");
        nodes.add(&format!("{home}/cpu/{vcpu}/availability"), "online");
    }
    nodes.add(&format!("{home}/memory/static-max"), kib);
    nodes.add(&format!("{home}/memory/target"), kib);
    nodes.add(&format!("{home}/memory/videoram"), 0);
    nodes.add(&format!("{home}/control/platform-feature-multiprocessor-suspend"), 1);
    nodes.add(&format!("{home}/control/platform-feature-xs_reset_watches"), 1);
    nodes.add(&format!("{home}/device/suspend"), "");
    let owned = ["shutdown", "feature-poweroff", "feature-reboot", "feature-suspend", "sysrq"];
    let owned = owned.map(|name| format!("control/{name}")).into_iter();
    let owned =
        owned.chain(["device/suspend/event-channel", "data", "drivers", "feature", "attr", "error"].map(Into::into));
    for name in owned {
        nodes.add_for(&format!("{home}/{name}"), "", owned_by(domain));
    }
    nodes.add(&format!("{home}/store"), "");
    nodes.add(&format!("{home}/store/port"), ports.store);
    nodes.add(&format!("{home}/store/ring-ref"), STORE_FRAME);

    nodes.add_for(&kept, "", vec![Permission { access: Access::None, domain: 0 }]);
    nodes.add_below(&kept, &[("type", "pvh"), ("dm-version", "qemu_xen")]);
    console(&mut nodes, domain, ports.console);
    nodes
}

/// Adds the console, which is no device of the bus: its front end lies in the domain's directory itself.
fn console(nodes: &mut Nodes, domain: u16, port: u32) {
    let (home, kept) = (home(domain), toolstack(domain));
    let (front, back) = (format!("{home}/console"), format!("{DOMAINS}/0/backend/console/{domain}/0"));
    let id = domain.to_string();
    let told = [("frontend", &*front), ("frontend-id", &id), ("online", "1"), ("state", "1"), ("protocol", "vt100")];
    nodes.add_for(&back, "", read_by(domain));
    nodes.add_below(&back, &told);
    nodes.add(&format!("{kept}/device/console/0"), "");
    nodes.add_below(&format!("{kept}/device/console/0"), &told);
    nodes.add(&format!("{kept}/device/console/0/backend"), &back);
    nodes.add(&front, "");
    nodes.add_below(
        &front,
        &[("backend", &*back), ("limit", "1048576"), ("type", "xenconsoled"), ("output", "pty"), ("tty", "")],
    );
    let backend_id = vec![Permission { access: Access::None, domain }, Permission { access: Access::Read, domain: 0 }];
    nodes.add_for(&format!("{front}/backend-id"), 0, backend_id);
    nodes.add(&format!("{front}/port"), port);
    nodes.add(&format!("{front}/ring-ref"), CONSOLE_FRAME);
}

/// Returns the configuration of a domain as `xl` keeps it in a file, for `xl list -l` and the commands that change it.
#[must_use]
pub fn kept_config(config: &Config) -> String {
    let kib = config.memory_mib.saturating_mul(1024);
    let disks: Vec<_> = config.disks.iter().map(|disk| disk.kept()).collect();
    let cards: Vec<_> = (0_u32..).zip(&config.cards).map(|(number, card)| card.kept(number)).collect();
    let mut built = serde_json::json!({
        "max_vcpus": config.vcpus,
        "avail_vcpus": (0..config.vcpus).collect::<Vec<u32>>(),
        "tsc_mode": config.tsc.word(),
        "max_memkb": kib,
        "target_memkb": kib,
        "video_memkb": 0,
        "sched_params": {},
        "claim_mode": "True",
        "kernel": config.kernel.path,
        "cmdline": config.command_line,
        "type.pvh": {},
        "arch_arm": {},
        "arch_x86": { "msr_relaxed": "False" },
    });
    if let (Some(ramdisk), Some(built)) = (&config.ramdisk, built.as_object_mut()) {
        built.insert("ramdisk".into(), ramdisk.path.clone().into());
    }
    let mut all = serde_json::json!({
        "c_info": {
            "type": "pvh",
            "name": config.name,
            "uuid": config.uuid.to_string(),
            "run_hotplug_scripts": "True",
        },
        "b_info": built,
        "on_reboot": "restart",
        "on_soft_reset": "soft_reset",
    });
    if let Some(all) = all.as_object_mut() {
        for (name, devices) in [("disks", disks), ("nics", cards)] {
            if !devices.is_empty() {
                all.insert(name.into(), devices.into());
            }
        }
    }
    format!("{all:#}\n\0")
}
