//! What is measured: requests of a program by its socket.

use std::fs;
use std::os::unix::net::UnixStream;

use xenstore::{Error, Store, StorePath};

/// Requests of each kind.
const REQUESTS: usize = 100;
/// Writes in a transaction, and watchers that are told of a change.
const TOGETHER: usize = 10;

/// Connects to the daemon.
///
/// **Errors:** nobody listens there; a line that says so.
pub fn connect(socket: &str) -> Result<Store, String> {
    let connected = UnixStream::connect(socket).map_err(|error| format!("{socket}: {error}; is xenstored running?"))?;
    Ok(Store::on_socket(connected))
}

/// Returns how long a process has run, in nanoseconds.
fn ran(process: &str) -> Result<u64, String> {
    let place = format!("/proc/{process}/schedstat");
    let said = fs::read_to_string(&place).map_err(|error| format!("{place}: {error}"))?;
    said.split_whitespace().next().and_then(|first| first.parse().ok()).ok_or_else(|| format!("{place} says {said:?}"))
}

/// Returns what each kind of request takes of the daemon's time, in nanoseconds.
///
/// **Errors:** a request failed; a line that says so.
pub fn measure(socket: &str, process: &str, domains: &[u16]) -> Result<Vec<(&'static str, u64)>, String> {
    let mut store = connect(socket)?;
    let mut watchers = Vec::new();
    for _ in 0..TOGETHER {
        let mut watcher = connect(socket)?;
        watcher.watch("/tool/cost", "t").and_then(|()| watcher.next_event(None)).map_err(said)?;
        watchers.push(watcher);
    }
    let path = |at: usize, name: &str| -> Result<StorePath, String> {
        // Over all of the domains, also those in the middle.
        let domain = domains.get(at.wrapping_mul(7919) % domains.len()).copied().unwrap_or(0);
        StorePath::of_domain(domain).join(name).map_err(|error| error.to_string())
    };
    let mut rows: Vec<(&'static str, u64)> = Vec::new();
    let mut row = |what, one: &mut dyn FnMut(usize) -> Result<(), String>| -> Result<(), String> {
        // The first ones find nothing in the caches of either side.
        (0..5).try_for_each(&mut *one)?;
        let before = ran(process)?;
        (0..REQUESTS).try_for_each(one)?;
        let after = ran(process)?;
        rows.push((what, after.saturating_sub(before) / REQUESTS as u64));
        Ok(())
    };
    row("read", &mut |at| store.read(&path(at, "name")?).map(drop).map_err(said))?;
    row("write", &mut |at| store.write(&path(at, "memory/target")?, b"262144").map_err(said))?;
    row("directory", &mut |at| store.list(&path(at, "device")?).map(drop).map_err(said))?;
    row("transaction", &mut |at| {
        let paths =
            ["memory/target", "memory/static-max", "control/sysrq", "data", "drivers"].map(|name| path(at, name));
        let paths: Vec<StorePath> = paths.into_iter().collect::<Result<_, _>>()?;
        let both = [b"1", b"2"];
        store
            .transaction(|transaction| {
                both.iter().try_for_each(|value| paths.iter().try_for_each(|path| transaction.write(path, &value[..])))
            })
            .map_err(said)
    })?;
    let told: StorePath = "/tool/cost".parse().map_err(|_| "no path")?;
    row("fan-out", &mut |_| {
        store.write(&told, b"x").map_err(said)?;
        watchers.iter_mut().try_for_each(|watcher| watcher.next_event(None).map(drop).map_err(said))
    })?;
    Ok(rows)
}

fn said(error: Error) -> String {
    error.to_string()
}
