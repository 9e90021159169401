//! The daemon on files in place of a hypervisor.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Path of the daemon.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_xenstored");

/// Timeout of anything on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Retries until there is a result.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = attempt() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A running daemon, killed when the value is dropped.
pub struct Daemon {
    directory: TempDir,
    first: Child,
}

impl Daemon {
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for domain in 0..4 {
            let file = fs::File::create(directory.path().join(format!("ring{domain}"))).unwrap();
            file.set_len(4096).unwrap();
        }
        let first = begin(directory.path());
        let daemon = Self { directory, first };
        daemon.await_socket();
        daemon
    }

    pub fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/socket")
    }

    fn await_socket(&self) {
        eventually("a connection", || std::os::unix::net::UnixStream::connect(self.socket()).ok());
    }

    /// Returns the process ID of the keeper.
    pub fn keeper(&self) -> Option<u32> {
        fs::read_to_string(self.directory.path().join("pid")).ok()?.trim().parse().ok()
    }

    /// Returns the process ID of the worker: the process with this directory and `--serve` on its command line.
    pub fn server(&self) -> u32 {
        eventually("a program that serves", || {
            fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
                let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
                let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
                let ours = words.contains(self.directory.path().to_str()?) && words.contains("--serve\0");
                ours.then_some(pid)
            })
        })
    }

    pub fn kill_server(&self) {
        kill(self.server());
    }

    /// Kills the process that the keeper started as soon as it exists, most likely before it serves.
    pub fn kill_child_of_keeper(&self) {
        let keeper = eventually("a keeper", || self.keeper());
        let children = format!("/proc/{keeper}/task/{keeper}/children");
        let child = eventually("a child of the keeper", || {
            fs::read_to_string(&children).expect("the kernel lists children").trim().parse().ok()
        });
        let pid = rustix::process::Pid::from_raw(child).expect("a number of a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is not reaped yet");
        eventually("the end of it", || {
            let now = fs::read_to_string(&children).unwrap_or_default();
            (now.trim() != child.to_string()).then_some(())
        });
    }

    pub fn kill_keeper(&self) {
        kill(eventually("a keeper", || self.keeper()));
    }

    pub fn await_another_keeper(&self, before: Option<u32>) {
        eventually("another keeper", || self.keeper().filter(|now| Some(*now) != before));
    }

    /// Kills the keeper, and then the worker before it can start another keeper.
    pub fn kill_both_and_start_again(&mut self) {
        let (keeper, server) = (self.keeper().unwrap(), self.server());
        let both = [keeper.to_string(), server.to_string()];
        assert!(Command::new("kill").arg("-STOP").arg(&both[1]).status().unwrap().success());
        assert!(Command::new("kill").arg("-9").args(&both).status().unwrap().success());
        self.first.wait().unwrap();
        eventually("the end of both", || (!PathBuf::from(format!("/proc/{server}")).exists()).then_some(()));
        self.first = begin(self.directory.path());
        self.await_socket();
    }
}

fn begin(directory: &std::path::Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("-N").arg("--rings-in-files").arg(directory).arg("--pid-file").arg(directory.join("pid"));
    command.env("XENSTORED_RUNDIR", directory.join("run")).stdin(Stdio::null()).spawn().unwrap()
}

fn kill(pid: u32) {
    // It may have ended meanwhile.
    let _ = Command::new("kill").arg("-9").arg(pid.to_string()).stderr(Stdio::null()).status();
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(keeper) = self.keeper() else { return };
        let _ = Command::new("kill").arg(keeper.to_string()).stderr(Stdio::null()).status();
        let _ = self.first.wait();
        // One that took the first one's place is no child of ours; it ends when the program that serves has.
        let began = Instant::now();
        while PathBuf::from(format!("/proc/{keeper}")).exists() && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(2));
        }
    }
}
