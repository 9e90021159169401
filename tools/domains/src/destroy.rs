//! Ending a domain, with its devices, its nodes and its files.

use std::io::ErrorKind;
use std::time::Duration;

use xen_abi::io::xenbus::{XENBUS_STATE_CLOSED, XENBUS_STATE_CLOSING};

use crate::config::check_name;
use crate::devices::Place;
use crate::error::{Error, Step};
use crate::hypervisor::Hypervisor;
use crate::names::Names;
use crate::nodes::{home, toolstack};
use crate::records::{self, Places, Record};
use crate::registry::{DOMAINS, Registry, RegistryError};
use crate::uuid::Uuid;

/// How long a back end may take to close; libxl waits as long.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// The error number of calls for a domain that is not there.
const NO_SUCH_DOMAIN: i32 = 3;

/// The console has no back end that closes: xenconsoled looks after all of them.
const CONSOLE: &str = "console";

/// Returns the devices of a domain, by what the toolstack keeps and by the back ends of domain 0.
///
/// **Errors:** those of the registry.
pub fn devices(registry: &mut impl Registry, domain: u16) -> Result<Vec<Place>, RegistryError> {
    let mut places = Vec::new();
    let kept = format!("{}/device", toolstack(domain));
    let backs = format!("{DOMAINS}/0/backend");
    for (directory, inside) in [(kept, String::new()), (backs, format!("/{domain}"))] {
        for kind in registry.list(&directory)? {
            for number in registry.list(&format!("{directory}/{kind}{inside}"))? {
                places.push(Place { kind: kind.clone(), domain, number });
            }
        }
    }
    places.sort();
    places.dedup();
    Ok(places)
}

/// Closes a device and removes its nodes. One that does not close within the limit is removed all the same: its back end
/// sees that, and has no front end any more.
fn remove_device(registry: &mut impl Registry, place: &Place) -> Result<(), RegistryError> {
    let (back, front) = (place.back(), place.front());
    registry.remove(&[front], 0)?;
    if place.kind != CONSOLE {
        registry.set(&format!("{back}/online"), "0")?;
        let (closing, closed) = (XENBUS_STATE_CLOSING.to_string(), XENBUS_STATE_CLOSED.to_string());
        let state = format!("{back}/state");
        if registry.read(&state)?.is_some_and(|state| state != closed) {
            registry.set(&state, &closing)?;
            registry.wait(&state, &[&closed], true, CLOSE_LIMIT)?;
        }
    }
    registry.remove(&[back, place.kept()], 3)
}

/// Removes the nodes of a domain with those of its devices.
///
/// **Errors:** those of the registry.
pub fn remove_nodes(registry: &mut impl Registry, domain: u16) -> Result<(), RegistryError> {
    for place in devices(registry, domain)? {
        remove_device(registry, &place)?;
    }
    let mut paths = vec![toolstack(domain), home(domain)];
    // Only where it is a directory of domains: what the node holds is not checked by anybody.
    paths.extend(registry.read(&format!("{}/vm", home(domain)))?.filter(|vm| vm.starts_with("/vm/")));
    // The directory of all domains stays, domain 0's is in it.
    registry.remove(&paths, 1)
}

/// Removes all of a domain that is there, and returns what could not be removed.
pub fn remove(
    hypervisor: &impl Hypervisor,
    registry: &mut impl Registry,
    places: &Places,
    domain: u16,
    uuid: Uuid,
) -> Vec<String> {
    let mut left = Vec::new();
    // A domain that stands cannot disturb what follows; one that is gone need not.
    let _ = hypervisor.pause(domain, true);
    let name = registry.read(&format!("{}/name", home(domain))).ok().flatten();
    if let Err(cause) = remove_nodes(registry, domain) {
        left.push(format!("nodes of domain {domain} in xenstore ({cause})"));
    }
    match hypervisor.destroy(domain) {
        // Another has destroyed it meanwhile.
        Err(cause) if cause.raw_os_error() == Some(NO_SUCH_DOMAIN) => {}
        Err(cause) => left.push(format!("domain {domain} ({cause})")),
        Ok(()) => {}
    }
    let files = || records::remove_configs(places, domain, uuid);
    if let Err(cause) = drop_name(places, name.as_deref(), uuid, files) {
        left.push(format!("files about domain {domain} in {} ({cause})", places.configs.display()));
    }
    left
}

/// Lets go of a domain's name, and removes the files about it by `remove`.
pub fn drop_name(
    places: &Places,
    name: Option<&str>,
    uuid: Uuid,
    remove: impl FnOnce() -> std::io::Result<()>,
) -> std::io::Result<()> {
    // A name that could not be one of ours is the name of no file.
    let name = name.filter(|name| check_name(name).is_ok());
    Names::lock(places)?.drop(name, uuid, remove)
}

/// Destroys the domain with this ID, which is called `name`.
///
/// **Errors:** [`Step::Find`] if there is no such domain; [`Step::Record`] if another program is at it; [`Step::Destroy`],
/// with what is left.
pub fn destroy(
    hypervisor: &impl Hypervisor,
    registry: &mut impl Registry,
    places: &Places,
    name: &str,
    domain: u16,
) -> Result<(), Error> {
    let found = hypervisor.domain(domain).map_err(|cause| Error::new(name, Step::Find, cause))?;
    let found = found.filter(|_| domain != 0);
    let uuid = found.map(|found| Uuid(found.handle)).ok_or_else(|| {
        let cause = if domain == 0 { "it is domain 0" } else { "the hypervisor has no such domain" };
        Error::new(name, Step::Find, cause)
    })?;
    // Without it nobody would find a domain whose nodes are gone already, if this program is killed.
    let at = |cause: std::io::Error| match cause.kind() {
        ErrorKind::AlreadyExists => Error::new(name, Step::Record, "another program makes or ends it").remedied("wait"),
        _ => Error::new(name, Step::Record, cause),
    };
    let record = Record::begin(places, uuid, name).map_err(at)?;
    let left = remove(hypervisor, registry, places, domain, uuid);
    if left.is_empty() {
        return record.finish().map_err(at);
    }
    Err(Error { left, ..Error::new(name, Step::Destroy, "not all of it could be removed") })
}
