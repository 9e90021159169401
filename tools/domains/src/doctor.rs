//! What is left of domains whose toolstack was killed: found, named and removed.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use crate::destroy;
use crate::hypervisor::Hypervisor;
use crate::nodes::{home, toolstack};
use crate::records::{self, Interrupted, Places};
use crate::registry::{DOMAINS, Registry};
use crate::uuid::Uuid;

/// Something that is left.
#[derive(Debug)]
pub enum Finding {
    /// A create or a destroy was interrupted; `domain` is what there is of it in the hypervisor.
    Interrupted { record: Interrupted, domain: Option<u16> },
    /// Nodes of a domain that is not there.
    Nodes { domain: u16, directories: Vec<String> },
    /// A directory in `/vm` of a domain that is not there.
    Vm { path: String },
    /// A file about a domain that is not there.
    File { path: PathBuf },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted { record, domain: Some(domain) } => {
                write!(
                    f,
                    "domain {domain}: its making or ending was interrupted (name {:?}, UUID {})",
                    record.name, record.uuid
                )
            }
            Self::Interrupted { record, domain: None } => {
                write!(
                    f,
                    "record: a domain's making or ending was interrupted, and it is not there (name {:?})",
                    record.name
                )
            }
            Self::Nodes { domain, directories } => {
                write!(f, "nodes of domain {domain}, which is not there: {}", directories.join(" "))
            }
            Self::Vm { path } => write!(f, "node of a domain that is not there: {path}"),
            Self::File { path } => write!(f, "file about a domain that is not there: {}", path.display()),
        }
    }
}

/// Looks for what is left. Nothing is changed.
///
/// **Errors:** the hypervisor, xenstore or a directory cannot be asked; the text says which.
pub fn examine(
    hypervisor: &impl Hypervisor,
    registry: &mut impl Registry,
    places: &Places,
) -> Result<Vec<Finding>, String> {
    let seen = Seen::of(registry, places)?;
    // The hypervisor is asked last: what belongs to a domain that it does not have then, belongs to none.
    let domains = hypervisor.domains().map_err(|cause| format!("the hypervisor does not list its domains: {cause}"))?;
    let by_uuid = |uuid: Uuid| domains.iter().find(|found| found.handle == uuid.0).map(|found| found.domain.0);
    let is_there = |domain: u16| domains.iter().any(|found| found.domain.0 == domain);

    let mut findings = Vec::new();
    for record in seen.interrupted {
        findings.push(Finding::Interrupted { domain: by_uuid(record.uuid), record });
    }
    for (domain, directories) in seen.directories {
        if !is_there(domain) {
            findings.push(Finding::Nodes { domain, directories });
        }
    }
    let known = |uuid: &Uuid| uuid.0 == [0; 16] || by_uuid(*uuid).is_some();
    let vms = seen.vms.into_iter().filter(|uuid| !known(uuid));
    findings.extend(vms.map(|uuid| Finding::Vm { path: format!("/vm/{uuid}") }));
    let files = seen.files.into_iter().filter(|(uuid, _)| !known(uuid));
    findings.extend(files.map(|(_, path)| Finding::File { path }));
    Ok(findings)
}

/// Returns the domains without a name that no record tells of. A toolstack that keeps no records is making them, or was
/// killed while it did: which of the two, nobody can tell, so they are not findings.
///
/// **Errors:** the hypervisor, xenstore or a directory cannot be asked; the text says which.
pub fn unnamed(
    hypervisor: &impl Hypervisor,
    registry: &mut impl Registry,
    places: &Places,
) -> Result<Vec<u16>, String> {
    let domains = hypervisor.domains().map_err(|cause| format!("the hypervisor does not list its domains: {cause}"))?;
    let mut found = Vec::new();
    for domain in domains {
        let (id, uuid) = (domain.domain.0, Uuid(domain.handle));
        let name = registry.read(&format!("{}/name", home(id))).map_err(|cause| format!("xenstore: {cause}"))?;
        if id != 0 && name.is_none() && !records::has(places, uuid) {
            found.push(id);
        }
    }
    Ok(found)
}

/// What there is, whether or not its domain is.
struct Seen {
    interrupted: Vec<Interrupted>,
    directories: Vec<(u16, Vec<String>)>,
    vms: Vec<Uuid>,
    files: Vec<(Uuid, PathBuf)>,
}

impl Seen {
    fn of(registry: &mut impl Registry, places: &Places) -> Result<Self, String> {
        let unread = |directory: &PathBuf, cause| format!("{} cannot be read: {cause}", directory.display());
        let interrupted = records::interrupted(places).map_err(|cause| unread(&places.records, cause))?;
        let files = records::configs(places).map_err(|cause| unread(&places.configs, cause))?;
        let unasked = |cause| format!("xenstore does not answer: {cause}");
        let mut found: Vec<(u16, String)> = Vec::new();
        for (directory, of) in [(DOMAINS, home as fn(u16) -> String), ("/libxl", toolstack)] {
            let ids = registry.list(directory).map_err(unasked)?;
            found.extend(ids.iter().filter_map(|id| id.parse().ok()).map(|id| (id, of(id))));
        }
        let backs = format!("{DOMAINS}/0/backend");
        for kind in registry.list(&backs).map_err(unasked)? {
            let ids = registry.list(&format!("{backs}/{kind}")).map_err(unasked)?;
            let ids = ids.iter().filter_map(|id| id.parse::<u16>().ok());
            found.extend(ids.map(|id| (id, format!("{backs}/{kind}/{id}"))));
        }
        found.sort();
        let mut directories: Vec<(u16, Vec<String>)> = Vec::new();
        for (domain, directory) in found {
            match directories.last_mut().filter(|(last, _)| *last == domain) {
                Some((_, all)) => all.push(directory),
                None => directories.push((domain, vec![directory])),
            }
        }
        let vms = registry.list("/vm").map_err(unasked)?.iter().filter_map(|uuid| uuid.parse().ok()).collect();
        Ok(Self { interrupted, directories, vms, files })
    }
}

impl Finding {
    /// Removes what was found. What is gone meanwhile counts as removed.
    ///
    /// **Errors:** what could not be removed, and why.
    pub fn remove(
        self,
        hypervisor: &impl Hypervisor,
        registry: &mut impl Registry,
        places: &Places,
    ) -> Result<(), String> {
        match self {
            Self::Interrupted { record, domain } => {
                if let Some(domain) = domain {
                    let left = destroy::remove(hypervisor, registry, places, domain, record.uuid);
                    if !left.is_empty() {
                        return Err(left.join(", "));
                    }
                }
                record.finish().map_err(|cause| format!("its record: {cause}"))
            }
            Self::Nodes { domain, directories } => destroy::remove_nodes(registry, domain)
                .and_then(|()| registry.remove(&directories, 2))
                .map_err(|cause| format!("nodes of domain {domain}: {cause}")),
            Self::Vm { path } => {
                registry.remove(std::slice::from_ref(&path), 1).map_err(|cause| format!("{path}: {cause}"))
            }
            Self::File { path } => match fs::remove_file(&path) {
                Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                    Err(format!("{}: {cause}", path.display()))
                }
                _ => Ok(()),
            },
        }
    }
}
