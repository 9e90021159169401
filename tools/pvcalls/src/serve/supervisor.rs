//! The process that waits for devices, and starts a process for each guest.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use xenstore::{ErrorName, StorePath};

use super::link::read;
use super::{Serving, Store};

/// Where devices appear.
const DEVICES: &str = "/local/domain/0/backend/pvcalls";
/// How often processes are looked after.
const LOOK: Duration = Duration::from_secs(1);
/// After how long a process that failed is started again.
const AGAIN: Duration = Duration::from_secs(5);

/// A guest that has a process, or had one.
enum Served {
    Running(Child),
    /// It ended while the device is there, and is not started again before that.
    Ended(Instant),
}

/// Watches xenstore, and has each guest with a device served by a process of its own, until a signal asks for the end.
/// The processes then go on.
///
/// **Errors:** xenstore fails; a process cannot be started.
pub fn supervise(serving: &Serving) -> Result<()> {
    // Bad words are told now, and not with the first guest.
    serving.policy(None, None)?;
    let mut store = Store::connect().context("xenstore is not reached; is xenstored running?")?;
    store.watch(DEVICES, "devices")?;
    let (ended, signal) = UnixStream::pair()?;
    ended.set_nonblocking(true)?;
    for number in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
    }
    let mut guests: HashMap<u16, Served> = HashMap::new();
    loop {
        // The limit also bounds how long the end that was asked for takes.
        if store.next_event(Some(LOOK))?.is_some() {
            while store.next_event(Some(Duration::ZERO))?.is_some() {}
        }
        if std::io::Read::read(&mut &ended, &mut [0]).is_ok() {
            return Ok(());
        }
        let devices = devices(&mut store)?;
        guests.retain(|domain, served| matches!(served, Served::Running(_)) || devices.contains(domain));
        for served in guests.values_mut() {
            if let Served::Running(child) = served
                && let Some(status) = child.try_wait()?
            {
                let wait = if status.success() { Duration::ZERO } else { AGAIN };
                *served = Served::Ended(Instant::now().checked_add(wait).unwrap_or_else(Instant::now));
            }
        }
        for domain in devices {
            let is_due = match guests.get(&domain) {
                None => true,
                Some(Served::Running(_)) => false,
                Some(Served::Ended(due)) => *due <= Instant::now(),
            };
            if is_due {
                guests.insert(domain, Served::Running(start(domain)?));
            }
        }
    }
}

/// Returns the guests with a device that is to be served.
fn devices(store: &mut Store) -> Result<Vec<u16>> {
    let root = StorePath::absolute(DEVICES.as_bytes())?;
    let names = match store.list(&root) {
        Err(error) if error.name() == Some(ErrorName::Missing) => Vec::new(),
        names => names?,
    };
    let mut found = Vec::new();
    for domain in names.iter().filter_map(|name| name.parse::<u16>().ok()) {
        let device = root.join(&format!("{domain}/0"))?;
        let online = read(store, &device.child("online")?)?;
        if online.is_some_and(|online| online.trim() == "1") {
            found.push(domain);
        }
    }
    Ok(found)
}

/// Starts the process of a guest, with the same options.
fn start(domain: u16) -> Result<Child> {
    let options = std::env::args_os().skip(2);
    let words = [OsString::from("serve"), domain.to_string().into()].into_iter().chain(options);
    let program = std::env::current_exe().context("this program's file is not known")?;
    Command::new(program).args(words).spawn().context("cannot start a process for a guest")
}
