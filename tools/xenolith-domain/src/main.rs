//! `xenolith-domain`: PVH domains from a shell in domain 0. Its last line says how it went, or what is wrong and what helps.
#![forbid(unsafe_code)]

mod arguments;
mod configured;
mod listing;
mod many;
mod small_kernel;

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use arguments::{Arguments, Command, Create};
use clap::Parser;
use domains::{DOMAINS, Error, Hypervisor, Linux, Places, Registry, Step, Tools, examine, named, unnamed};
use hypervisor_access::Hypercalls;
use xenstore::Store;

/// The name of domain 0 where xenstore has none for it.
const DOMAIN_0: &str = "Domain-0";

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xenolith-domain: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what is to be done. Returns false where it has said itself that something is not well.
fn run(command: &Command) -> Result<bool> {
    let hypervisor =
        Hypercalls::open().context("the hypervisor is not reached; is this domain 0, with xen-privcmd loaded?")?;
    let mut store = Store::connect().context("xenstore is not reached; is xenstored running?")?;
    let places = Places::default();
    match command {
        Command::Create(create) => make(&hypervisor, &mut store, &places, create)?,
        Command::Pause(which) => pause(&hypervisor, &mut store, &which.domain, true)?,
        Command::Unpause(which) => pause(&hypervisor, &mut store, &which.domain, false)?,
        Command::Destroy(which) => {
            let domain = find(&mut store, &which.domain)?;
            domains::destroy(&hypervisor, &mut store, &places, &which.domain, domain)?;
        }
        Command::Save { domain, file } => {
            let found = find(&mut store, domain)?;
            domains::save(&hypervisor, &mut store, &places, domain, found, file)?;
        }
        Command::Restore { file, paused } => restore(&hypervisor, &mut store, &places, file, *paused)?,
        Command::List => list(&hypervisor, &mut store)?,
        Command::Doctor { dry_run } => return doctor(&hypervisor, &mut store, &places, *dry_run),
        Command::Many { count, memory } => many::make(&hypervisor, &mut store, &places, *count, *memory)?,
        Command::ManyEnd => many::end(&hypervisor, &mut store, &places)?,
        Command::Policy(which) => policy(&hypervisor, find(&mut store, &which.domain)?)?,
    }
    Ok(true)
}

fn make(hypervisor: &Hypercalls, store: &mut Store, places: &Places, create: &Create) -> Result<()> {
    let unread = |cause| Error::new(&create.name, Step::Settings, format!("{cause:#}"));
    let config = configured::config(create).map_err(unread)?;
    let created = Tools { hypervisor, registry: store, host: &Linux, places }.create(&config, create.paused)?;
    println!("{} is domain {}", create.name, created.domain);
    Ok(())
}

fn restore(hypervisor: &Hypercalls, store: &mut Store, places: &Places, file: &Path, paused: bool) -> Result<()> {
    let from = File::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut tools = Tools { hypervisor, registry: store, host: &Linux, places };
    let created = tools.restore(BufReader::with_capacity(1 << 20, from), paused)?;
    println!("{} is domain {}", file.display(), created.domain);
    Ok(())
}

/// Finds a domain by its name, or takes its ID.
fn find(store: &mut Store, which: &str) -> Result<u16> {
    if let Ok(id) = which.parse() {
        return Ok(id);
    }
    let outcome = named(store, which).map_err(|cause| Error::new(which, Step::Find, cause))?;
    Ok(outcome.ok_or_else(|| Error::new(which, Step::Find, "no domain has that name"))?)
}

fn pause(hypervisor: &Hypercalls, store: &mut Store, which: &str, stands: bool) -> Result<()> {
    let domain = find(store, which)?;
    let step = if stands { Step::Pause } else { Step::Unpause };
    if domain == 0 {
        bail!(Error::new(which, step, "it is domain 0, in which this program runs"));
    }
    Hypervisor::pause(hypervisor, domain, stands).map_err(|cause| Error::new(which, step, cause))?;
    Ok(())
}

fn list(hypervisor: &Hypercalls, store: &mut Store) -> Result<()> {
    let found = Hypervisor::domains(hypervisor).context("the hypervisor does not list its domains")?;
    println!("{}", listing::heading());
    for domain in found {
        let id = domain.domain.0;
        let name = Registry::read(store, &format!("{DOMAINS}/{id}/name")).ok().flatten();
        let unnamed = if id == 0 { DOMAIN_0 } else { "(no name)" };
        println!("{}", listing::line(name.as_deref().unwrap_or(unnamed), &domain));
    }
    Ok(())
}

fn doctor(hypervisor: &Hypercalls, store: &mut Store, places: &Places, dry_run: bool) -> Result<bool> {
    let findings = examine(hypervisor, store, places).map_err(anyhow::Error::msg)?;
    let found = findings.len();
    let mut removed = 0_usize;
    for finding in findings {
        println!("{finding}");
        if dry_run {
            continue;
        }
        match finding.remove(hypervisor, store, places) {
            Ok(()) => removed = removed.saturating_add(1),
            Err(cause) => println!("  cannot be removed: {cause}"),
        }
    }
    for domain in unnamed(hypervisor, store, places).map_err(anyhow::Error::msg)? {
        println!("domain {domain} has no name: a toolstack makes it, or was killed; `xl destroy {domain}` ends it");
    }
    println!("doctor: {found} found, {removed} removed");
    Ok(dry_run || found == removed)
}

fn policy(hypervisor: &Hypercalls, domain: u16) -> Result<()> {
    let policy = Hypervisor::cpu_policy(hypervisor, domain).context("the hypervisor does not tell the policy")?;
    for leaf in policy.leaves {
        println!("{:x}.{:x} {:08x} {:08x} {:08x} {:08x}", leaf.leaf, leaf.subleaf, leaf.a, leaf.b, leaf.c, leaf.d);
    }
    policy.msrs.iter().for_each(|msr| println!("msr {:x} {:x}", msr.idx, msr.val));
    Ok(())
}
