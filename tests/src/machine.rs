//! A machine under the emulator: started, watched, typed into, and stopped by its process identifier.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bochs::{self, Why};
use crate::console::{Console, Wait};
use crate::debug_keys::Account;
use crate::emulator::{self, Emulator, Keyboard, Started};
use crate::ending::Ending;
use crate::media::Media;
use crate::places;

/// What the machine is made of, and how long it may take.
#[derive(Clone, Debug)]
pub struct MachineSpec {
    /// Names the log: `target/logs/<name>.log`.
    pub name: String,
    pub media: Media,
    pub emulator: Emulator,
    pub cpus: u32,
    pub memory_mib: u64,
    /// `thread=single` and the like: what follows `-accel tcg`. Of QEMU only.
    pub accelerator: String,
    pub cpu_model: String,
    /// More arguments for QEMU.
    pub extra: Vec<String>,
    pub timeout: Duration,
    /// [`Machine::run_until`] stops a machine that writes nothing for this long: it is lost.
    pub silence: Option<Duration>,
    /// Show the serial line as it comes.
    pub echo: bool,
    /// Where it restarts, it starts again; else it ends there.
    pub restarts: bool,
}

/// Returns how many CPUs the emulated machine needs for guests to have this many: with more than one, QEMU's emulator
/// would lose guests on the first, so none run there (`docs/decisions/0007-cpu-0.md`).
#[must_use]
pub const fn cpus_for_guests(guests: u32) -> u32 {
    if guests > 1 { guests + 1 } else { 1 }
}

impl MachineSpec {
    /// Creates a machine of 1 CPU and 1 GiB with nested paging, 60 s to live, that shows nothing.
    #[must_use]
    pub fn new(name: &str, media: Media) -> Self {
        Self {
            name: name.to_owned(),
            media,
            emulator: Emulator::Qemu,
            cpus: 1,
            memory_mib: 1024,
            accelerator: "tcg".into(),
            cpu_model: Emulator::Qemu.usual_cpu().into(),
            extra: Vec::new(),
            timeout: Duration::from_secs(60),
            silence: None,
            echo: false,
            restarts: false,
        }
    }

    /// Returns the same machine under another emulator, with that one's usual processor.
    #[must_use]
    pub fn under(self, emulator: Emulator) -> Self {
        Self { emulator, cpu_model: emulator.usual_cpu().into(), ..self }
    }

    /// Returns QEMU's arguments.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let fixed = [
            "-machine",
            "q35",
            "-display",
            "none",
            "-vga",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
            "-nic",
            "none",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=4",
        ];
        let mut words: Vec<String> = fixed.iter().map(|&word| word.to_owned()).collect();
        if !self.restarts {
            words.push("-no-reboot".into());
        }
        let made = [
            ("-accel", self.accelerator.clone()),
            ("-cpu", self.cpu_model.clone()),
            ("-smp", self.cpus.to_string()),
            ("-m", format!("{}M", self.memory_mib)),
        ];
        words.extend(made.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        words.extend(self.media.arguments());
        words.extend(self.extra.iter().cloned());
        words.into_iter().map(OsString::from).collect()
    }
}

/// A machine that runs. Dropping it stops it.
pub struct Machine {
    child: Child,
    keyboard: Option<Keyboard>,
    /// Where Bochs writes why it ended.
    own_log: Option<PathBuf>,
    reader: Option<JoinHandle<()>>,
    pub console: Console,
    log: PathBuf,
    deadline: Instant,
    timeout: Duration,
    silence: Option<Duration>,
    /// What the hypervisor said of itself when time was up.
    pub(crate) account: Option<Account>,
}

impl Machine {
    /// Starts it.
    ///
    /// **Errors:** the emulator is not installed, a file it is to load is missing, the log cannot be written.
    pub fn start(spec: &MachineSpec) -> Result<Self> {
        check_media(&spec.media)?;
        fs::create_dir_all(places::logs()).context("cannot make the directory of logs")?;
        let log = places::logs().join(format!("{}.log", spec.name));
        let log_file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let Started { child, serial, keyboard, own_log } = match spec.emulator {
            Emulator::Qemu => start_qemu(spec, &log_file)?,
            Emulator::Bochs => bochs::start(spec)?,
        };
        let console = Console::default();
        let reader = {
            let (console, echo) = (console.clone(), spec.echo);
            Some(std::thread::spawn(move || console.fill_from(serial, log_file, echo)))
        };
        let deadline = Instant::now() + spec.timeout;
        let MachineSpec { timeout, silence, .. } = *spec;
        Ok(Self { child, keyboard, own_log, reader, console, log, deadline, timeout, silence, account: None })
    }

    /// Types into the serial line.
    ///
    /// **Errors:** the machine is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let keyboard = self.keyboard.as_mut().context("the machine's serial input is closed")?;
        keyboard.write_all(bytes).and_then(|()| keyboard.flush()).context("the machine takes no serial input")
    }

    /// Hands over the serial input, for a thread of its own; [`Self::send`] fails from then on.
    pub fn take_keyboard(&mut self) -> Option<Keyboard> {
        self.keyboard.take()
    }

    /// Waits for a line that holds `wanted` and returns it.
    ///
    /// **Errors:** the machine ended, or its time was up; the message holds the last lines and the log's place.
    pub fn expect(&mut self, wanted: &str) -> Result<String> {
        self.expect_after(wanted, 0).map(|(line, _)| line)
    }

    /// Returns the same for a line past byte `from` of the console; also returns where the line ends.
    ///
    /// **Errors:** as [`Self::expect`].
    pub fn expect_after(&mut self, wanted: &str, from: usize) -> Result<(String, usize)> {
        match self.console.wait_for_after(wanted, from, self.deadline) {
            (Wait::Line(line), after) => Ok((line, after)),
            (Wait::Closed, _) => {
                let ending = self.end();
                bail!("\"{wanted}\" never came: {ending}\n{}", self.report())
            }
            (Wait::TimedOut, _) => {
                self.take_account();
                bail!("\"{wanted}\" did not come within {} s\n{}", self.timeout.as_secs(), self.report())
            }
        }
    }

    /// Returns true once the machine has had its time.
    #[must_use]
    pub fn is_overdue(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Lets the machine run to its end, at most its time.
    pub fn run_to_end(&mut self) -> Ending {
        self.run_until(None)
    }

    /// Lets the machine run until a line that holds `wanted` came, or to its end, at most its time.
    pub fn run_until(&mut self, wanted: Option<&str>) -> Ending {
        let mut searched = 0;
        loop {
            let written = self.console.position();
            let limit = self.silence.map_or(self.deadline, |silence| self.deadline.min(Instant::now() + silence));
            // No line holds a line feed, so without a wish this waits for the end alone.
            let (wait, after) = self.console.wait_for_after(wanted.unwrap_or("\n"), searched, limit);
            match wait {
                Wait::Line(line) => {
                    self.stop();
                    return Ending::Seen(line);
                }
                Wait::Closed => return self.end(),
                Wait::TimedOut if !self.is_overdue() && self.console.position() > written => searched = after,
                Wait::TimedOut => {
                    let was_silent = !self.is_overdue();
                    self.take_account();
                    self.stop();
                    let silence = self.silence.filter(|_| was_silent);
                    return silence.map_or(Ending::TimedOut(self.timeout), Ending::Silent);
                }
            }
        }
    }

    /// Returns the ending of a machine whose serial line is closed.
    fn end(&mut self) -> Ending {
        if self.console.is_flooded() {
            self.stop();
            return Ending::Flooded;
        }
        match (self.child.wait(), &self.own_log) {
            (Ok(status), None) => Ending::from_status(status),
            (Ok(status), Some(log)) => match bochs::why(log) {
                Why::Off => Ending::Off,
                Why::Panic(said) => Ending::EmulatorFailed(format!("Bochs says: {said}; all of it: {}", log.display())),
                Why::Unknown => Ending::from_status(status),
            },
            (Err(error), _) => Ending::EmulatorFailed(error.to_string()),
        }
    }

    /// Stops it at once. Does nothing when it has ended.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    /// Returns the last lines of the console and where the whole log lies.
    #[must_use]
    pub fn report(&self) -> String {
        let rule = "-".repeat(72);
        let (tail, account) = match &self.account {
            Some(account) => (account.tail.clone(), format!("{}\n", account.line)),
            None => (self.tail(), String::new()),
        };
        format!("{rule}\n{tail}\n{rule}\n{account}the whole log: {}", self.log.display())
    }

    /// Returns the last lines of the console.
    pub(crate) fn tail(&self) -> String {
        let tail = self.console.tail(30);
        // What the emulator itself said stands in the log only.
        if tail.is_empty() { fs::read_to_string(&self.log).unwrap_or_default() } else { tail }
    }

    /// Returns where the log lies.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts QEMU, with its serial line on its standard input and output.
fn start_qemu(spec: &MachineSpec, log: &File) -> Result<Started> {
    let messages = log.try_clone().context("cannot share the log")?;
    let mut child = emulator::command("qemu-system-x86_64")
        .args(spec.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(messages)
        .spawn()
        .context("cannot start qemu-system-x86_64; install it: apt-get install qemu-system-x86")?;
    let serial = child.stdout.take().context("QEMU has no standard output")?;
    let keyboard = child.stdin.take().map(|input| Box::new(input) as Keyboard);
    Ok(Started { child, serial: Box::new(serial), keyboard, own_log: None })
}

/// Says which file is missing before the emulator says something less clear.
fn check_media(media: &Media) -> Result<()> {
    let files: Vec<&Path> = match media {
        Media::Kernel { image, modules, .. } => {
            std::iter::once(image.as_path()).chain(modules.iter().map(|module| module.file.as_path())).collect()
        }
        Media::OwnDisc => Vec::new(),
        Media::BiosDisc { iso } => vec![iso],
        Media::UefiDisc { iso, code, variables } => vec![iso, code, variables],
    };
    match files.into_iter().find(|file| !file.is_file()) {
        Some(missing) => bail!("there is no file {}", missing.display()),
        None => Ok(()),
    }
}
