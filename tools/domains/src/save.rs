//! Saving a domain into a file, in the form of `xl save`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use domain_stream::{PAGES_MAX, Tsc, Writer};
use xen_abi::domctl::DomainFlags;
use xen_abi::hvm_param::{
    HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_BUFIOREQ_PFN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_IDENT_PT,
    HVM_PARAM_IOREQ_PFN, HVM_PARAM_IOREQ_SERVER_PFN, HVM_PARAM_MCA_CAP, HVM_PARAM_MONITOR_RING_PFN,
    HVM_PARAM_NR_IOREQ_SERVER_PAGES, HVM_PARAM_PAGING_RING_PFN, HVM_PARAM_SHARING_RING_PFN, HVM_PARAM_STORE_PFN,
    HVM_PARAM_VIRIDIAN, HVM_PARAM_VM_GENERATION_ID_ADDR, HVM_PARAM_VM86_TSS_SIZED, HVM_PARAM_X87_FIP_WIDTH,
};

use crate::error::{Error, Step};
use crate::hypervisor::Hypervisor;
use crate::nodes::home;
use crate::records::{self, Places};
use crate::registers;
use crate::registry::Registry;
use crate::uuid::Uuid;

/// Parameters that are saved where they are not 0, as libxc does. Others (PAE, timers) cannot be asked for.
const PARAMETERS: [u32; 16] = [
    HVM_PARAM_STORE_PFN,
    HVM_PARAM_IOREQ_PFN,
    HVM_PARAM_BUFIOREQ_PFN,
    HVM_PARAM_PAGING_RING_PFN,
    HVM_PARAM_MONITOR_RING_PFN,
    HVM_PARAM_SHARING_RING_PFN,
    HVM_PARAM_VM86_TSS_SIZED,
    HVM_PARAM_CONSOLE_PFN,
    HVM_PARAM_ACPI_IOPORTS_LOCATION,
    HVM_PARAM_VIRIDIAN,
    HVM_PARAM_IDENT_PT,
    HVM_PARAM_VM_GENERATION_ID_ADDR,
    HVM_PARAM_IOREQ_SERVER_PFN,
    HVM_PARAM_NR_IOREQ_SERVER_PAGES,
    HVM_PARAM_X87_FIP_WIDTH,
    HVM_PARAM_MCA_CAP,
];

/// Why a domain that is shut down is: it has suspended itself. **Source:** `sched.h`.
const SUSPENDED: u32 = 2;
/// How long a domain may take to suspend itself, and how often it is looked whether it has.
const LIMIT: Duration = Duration::from_secs(60);
const LOOKED: Duration = Duration::from_millis(20);

/// Suspends the domain with this ID, which is called `name`, writes it to `file`, and destroys it. It goes on if it cannot be
/// written.
///
/// **Errors:** [`Step::Find`], [`Step::Suspend`], [`Step::Save`]; then there is no file, and the domain runs, unless the error
/// says something else. [`Step::Destroy`] where it is saved, and not all of it could be removed.
pub fn save(
    hypervisor: &impl Hypervisor,
    registry: &mut impl Registry,
    places: &Places,
    name: &str,
    domain: u16,
    file: &Path,
) -> Result<(), Error> {
    let found = hypervisor.domain(domain).map_err(|cause| Error::new(name, Step::Find, cause))?;
    let found = found.filter(|_| domain != 0);
    let uuid = Uuid(found.ok_or_else(|| Error::new(name, Step::Find, "the hypervisor has no such domain"))?.handle);
    let config = records::read_config(places, domain, uuid).map_err(|cause| {
        Error::new(name, Step::Save, format!("its configuration cannot be read: {cause}"))
            .remedied("save a domain that `xl` or this program made")
    })?;
    // What cannot be written is told before the domain stands.
    let new = PathBuf::from([file.as_os_str(), OsStr::new(".partial")].into_iter().collect::<OsString>());
    let unwritten = |cause: io::Error| Error::new(name, Step::Save, format!("{}: {cause}", file.display()));
    let to = File::create(&new).map_err(unwritten)?;
    let outcome = suspend(hypervisor, registry, name, domain).and_then(|()| {
        let written = write(hypervisor, domain, &config, &to).and_then(|()| fs::rename(&new, file));
        written.map_err(unwritten).map_err(|error| match go_on(hypervisor, domain) {
            Ok(()) => error,
            Err(cause) => Error { left: vec![format!("domain {domain}, which stands ({cause})")], ..error },
        })
    });
    if let Err(error) = outcome {
        // It may have its name already.
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    crate::destroy::destroy(hypervisor, registry, places, name, domain)
}

/// Asks a domain to suspend itself, and waits until it has.
fn suspend(hypervisor: &impl Hypervisor, registry: &mut impl Registry, name: &str, domain: u16) -> Result<(), Error> {
    let fails = |cause: &dyn std::fmt::Display| Error::new(name, Step::Suspend, cause);
    let node = format!("{}/control/shutdown", home(domain));
    registry.write(&node, "suspend").map_err(|cause| fails(&cause))?;
    let began = Instant::now();
    loop {
        let found = hypervisor.domain(domain).map_err(|cause| fails(&cause))?;
        let found = found.ok_or_else(|| fails(&"it is gone"))?;
        if found.flags.contains(DomainFlags::SHUTDOWN) {
            if found.flags.shutdown_reason() == SUSPENDED {
                return Ok(());
            }
            return Err(fails(&"it is shut down"));
        }
        if began.elapsed() > LIMIT {
            // It may be taken back only while the domain has not seen it.
            let _ = registry.set(&node, "");
            return Err(fails(&format_args!("it has not within {} s", LIMIT.as_secs())));
        }
        sleep(LOOKED);
    }
}

/// Lets a domain go on that suspended itself: its call returns that it was not saved.
fn go_on(hypervisor: &impl Hypervisor, domain: u16) -> io::Result<()> {
    let saved = hypervisor.context(domain)?;
    let told = registers::with_result(&saved, 1).ok_or(io::ErrorKind::InvalidData)?;
    hypervisor.set_context(domain, &told)?;
    hypervisor.resume(domain)
}

/// Says what of the domain could not be had.
fn named(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |cause| io::Error::new(cause.kind(), format!("{what} cannot be read: {cause}"))
}

fn write(hypervisor: &impl Hypervisor, domain: u16, config: &[u8], to: &File) -> io::Result<()> {
    let mut writer = Writer::begin(BufWriter::with_capacity(1 << 20, to), config)?;
    let policy = hypervisor.cpu_policy(domain).map_err(named("the CPU policy"))?;
    writer.policy(&policy.leaves, &policy.msrs)?;
    let end = hypervisor.maximum_frame(domain).map_err(named("the highest frame"))?.saturating_add(1);
    let (mut first, mut data) = (0_u64, Vec::new());
    while first < end {
        let next = first.saturating_add(PAGES_MAX as u64).min(end);
        let all: Vec<u64> = (first..next).collect();
        let has = hypervisor.has_pages(domain, &all).map_err(named("the kinds of pages"))?;
        let frames: Vec<u64> = all.into_iter().zip(has).filter_map(|(frame, has)| has.then_some(frame)).collect();
        if !frames.is_empty() {
            hypervisor.read_pages(domain, &frames, &mut data).map_err(named("the memory"))?;
            writer.pages(&frames, &data)?;
        }
        first = next;
    }
    let tsc = hypervisor.tsc_info(domain).map_err(named("the time stamp counter"))?;
    let tsc = Tsc {
        mode: tsc.tsc_mode,
        khz: tsc.gtsc_khz,
        nanoseconds: tsc.elapsed_nsec,
        incarnation: tsc.incarnation,
        reserved: 0,
    };
    let mut parameters = Vec::new();
    for index in PARAMETERS {
        let value = hypervisor.parameter(domain, index).map_err(named(&format!("parameter {index}")))?;
        if value != 0 {
            parameters.push((index, value));
        }
    }
    let context = hypervisor.context(domain).map_err(named("the state of its vCPUs"))?;
    writer.state(&tsc, &context, &parameters)?;
    writer.end()?.into_inner().map_err(io::IntoInnerError::into_error)?.flush()?;
    to.sync_all()
}
