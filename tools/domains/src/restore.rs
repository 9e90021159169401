//! Making a domain of a file that `xl save` wrote, or [`save`](crate::save()).

use std::collections::BTreeSet;
use std::io::{self, Read};

use domain_stream::{Item, Pages, Reader, StreamError, Tsc};
use hypervisor_access::CpuPolicy;
use serde_json::Value;
use xen_abi::domctl::DomctlTscInfo;
use xen_abi::hvm_param::{
    HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_IOREQ_PFN,
    HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};

use crate::config::{Config, NamedFile, TscMode};
use crate::create::{Created, Tools};
use crate::error::{Error, Step};
use crate::host::Host;
use crate::hypervisor::Hypervisor;
use crate::layout::{CONSOLE_FRAME, PAGE, Ram, STORE_FRAME};
use crate::nodes::Ports;
use crate::registry::Registry;

/// Pages that nobody reads after a restore, and that must hold nothing of before.
const CLEARED: [u32; 4] = [HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_PFN, HVM_PARAM_IOREQ_PFN, HVM_PARAM_BUFIOREQ_PFN];

/// Kinds of devices as a kept configuration has them.
const DEVICES: [&str; 14] = [
    "disks",
    "nics",
    "pcidevs",
    "rdms",
    "dtdevs",
    "vfbs",
    "vkbs",
    "vtpms",
    "p9s",
    "pvcallsifs",
    "vdispls",
    "vsnds",
    "channels",
    "usbctrls",
];

/// What a file has of a domain besides its pages.
#[derive(Debug, Default)]
struct State {
    policy: CpuPolicy,
    tsc: Tsc,
    context: Vec<u8>,
    parameters: Vec<(u32, u64)>,
}

/// Returns the configuration that is kept in a file, without a kernel: that is in the memory.
///
/// **Errors:** [`Step::Restore`], where it is none of a PVH domain, or of one with devices.
fn config(kept: &[u8]) -> Result<Config, Error> {
    let refused = |what: &str, remedy: &str| Err(Error::new("(saved)", Step::Restore, what).remedied(remedy));
    let text = kept.strip_suffix(&[0]).unwrap_or(kept);
    let Ok(all) = serde_json::from_slice::<Value>(text) else {
        return refused("its configuration is no JSON", "copy the file anew");
    };
    let at = |path: &str| all.pointer(path).unwrap_or(&Value::Null);
    if at("/c_info/type") != "pvh" && all.pointer("/b_info/type.pvh").is_none() {
        return refused("it is not a PVH domain", "restore it by `xl restore`");
    }
    if let Some(kind) =
        DEVICES.iter().find(|kind| at(&format!("/{kind}")).as_array().is_some_and(|all| !all.is_empty()))
    {
        return refused(&format!("it has devices ({kind}), which are not restored here"), "restore it by `xl restore`");
    }
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value, usual: u64| value.as_u64().unwrap_or(usual);
    let Ok(uuid) = word(at("/c_info/uuid")).parse() else {
        return refused("its configuration has no UUID", "copy the file anew");
    };
    let tsc = match at("/b_info/tsc_mode").as_str() {
        Some("always_emulate") => TscMode::Always,
        Some("native") => TscMode::Native,
        _ => TscMode::Default,
    };
    Ok(Config {
        name: word(at("/c_info/name")),
        uuid,
        memory_mib: number(at("/b_info/max_memkb"), 0).div_ceil(1024),
        vcpus: u32::try_from(number(at("/b_info/max_vcpus"), 1)).unwrap_or(u32::MAX),
        kernel: NamedFile { path: word(at("/b_info/kernel")), bytes: Vec::new() },
        ramdisk: None,
        command_line: String::new(),
        tsc,
        disks: Vec::new(),
        cards: Vec::new(),
    })
}

impl<V: Hypervisor, R: Registry, H: Host> Tools<'_, V, R, H> {
    /// Makes a domain of a saved one, paused where `paused` says so, else running.
    ///
    /// **Errors:** the step that failed; for [`Step::Restore`] the cause names the record of the file. Nothing of the domain is
    /// left, unless the error says what.
    pub fn restore(&mut self, file: impl Read, paused: bool) -> Result<Created, Error> {
        let unread =
            |error: StreamError| Error::new("(saved)", Step::Restore, error).remedied("nothing of it was made");
        let mut reader = Reader::begin(file).map_err(unread)?;
        let kept = reader.config().to_vec();
        let config = config(&kept)?;
        config.check()?;
        self.made(&config, |tools, domain| {
            tools.give_limits(&config, domain)?;
            let state = tools.fill(&config, &mut reader, domain)?;
            let ports = tools.restore_state(&config, &state, domain)?;
            let kept = String::from_utf8_lossy(&kept);
            tools.register(&config, &kept, domain, ports)?;
            tools.introduce(&config, domain, ports, paused)
        })
    }

    /// Reads the file to its end, and puts its pages into the domain.
    fn fill(&self, config: &Config, reader: &mut Reader<impl Read>, domain: u16) -> Result<State, Error> {
        let at = |step| move |cause: io::Error| Error::new(&config.name, step, cause);
        let unread =
            |error: StreamError| Error::new(&config.name, Step::Restore, error).remedied("nothing of it is left");
        let (mut state, mut there, mut has_policy) = (State::default(), BTreeSet::new(), false);
        while let Some(item) = reader.next().map_err(unread)? {
            match item {
                Item::Leaves(leaves) => state.policy.leaves = leaves,
                Item::Msrs(msrs) => state.policy.msrs = msrs,
                Item::Pages(pages) => {
                    if !std::mem::replace(&mut has_policy, true) {
                        self.hypervisor.set_cpu_policy(domain, &state.policy).map_err(at(Step::CpuPolicy))?;
                    }
                    self.put_pages(&pages, &mut there, domain).map_err(at(Step::Memory))?;
                }
                Item::Tsc(tsc) => state.tsc = tsc,
                Item::Context(context) => state.context = context,
                Item::Parameters(parameters) => state.parameters = parameters,
            }
        }
        Ok(state)
    }

    /// Writes pages, at frames that are allocated where they were not before.
    fn put_pages(&self, pages: &Pages, there: &mut BTreeSet<u64>, domain: u16) -> io::Result<()> {
        let filled: Vec<(u64, &[u8])> = pages.iter().filter_map(|(frame, data)| Some((frame, data?))).collect();
        let new: Vec<u64> = filled.iter().map(|(frame, _)| *frame).filter(|frame| there.insert(*frame)).collect();
        if !new.is_empty() && self.hypervisor.populate(domain, 0, &new)? < new.len() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let frames: Vec<u64> = filled.iter().map(|(frame, _)| *frame).collect();
        let data: Vec<&[u8]> = filled.iter().map(|(_, data)| *data).collect();
        if frames.is_empty() { Ok(()) } else { self.hypervisor.write_pages(domain, &frames, &data) }
    }

    /// Sets what the file has besides pages, and new ports for the rings of console and xenstore.
    fn restore_state(&self, config: &Config, state: &State, domain: u16) -> Result<Ports, Error> {
        let at = |cause: io::Error| Error::new(&config.name, Step::Registers, cause);
        let hypervisor = self.hypervisor;
        let value = |wanted| state.parameters.iter().find(|(index, _)| *index == wanted).map(|(_, value)| *value);
        if [HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_PFN].map(value) != [Some(CONSOLE_FRAME), Some(STORE_FRAME)] {
            let cause = "HVM_PARAMS: the rings of its console and of xenstore lie where libxl puts none";
            return Err(Error::new(&config.name, Step::Restore, cause).remedied("restore it by `xl restore`"));
        }
        for frame in CLEARED.into_iter().filter_map(value) {
            hypervisor.clear(domain, frame.saturating_mul(PAGE), PAGE).map_err(at)?;
        }
        let map = Ram::of(config.memory()).map(PAGE);
        hypervisor.set_memory_map(domain, &map).map_err(at)?;
        for &(index, value) in &state.parameters {
            hypervisor.set_parameter(domain, index, value).map_err(at)?;
        }
        let ports = self.allocate_ports(config, domain)?;
        let of_ports = [(HVM_PARAM_STORE_EVTCHN, ports.store), (HVM_PARAM_CONSOLE_EVTCHN, ports.console)];
        for (index, port) in of_ports {
            hypervisor.set_parameter(domain, index, port.into()).map_err(at)?;
        }
        self.seed_grants(config, domain)?;
        let tsc = DomctlTscInfo {
            tsc_mode: state.tsc.mode,
            gtsc_khz: state.tsc.khz,
            incarnation: state.tsc.incarnation,
            elapsed_nsec: state.tsc.nanoseconds,
            ..DomctlTscInfo::default()
        };
        hypervisor.set_tsc_info(domain, tsc).map_err(at)?;
        hypervisor.set_context(domain, &state.context).map_err(|cause| {
            Error::new(&config.name, Step::Restore, format!("HVM_CONTEXT: {cause}")).remedied("copy the file anew")
        })?;
        Ok(ports)
    }
}
