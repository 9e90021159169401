//! A machine under Bochs: an interpreter of AMD's virtualisation that shares no code with QEMU.
//!
//! Its time goes by executed instructions alone: the time-stamp counter steps once an instruction, and
//! [`INSTRUCTIONS_A_SECOND`] of them are a second of every clock. So a run does not depend on the host's speed, nor on
//! what else the host does.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::emulator::{self, Started};
use crate::grub_disc;
use crate::machine::MachineSpec;
use crate::media::Media;
use crate::places;
use crate::screen;

/// How many executed instructions make a second of the machine's clocks.
const INSTRUCTIONS_A_SECOND: u32 = 50_000_000;

/// How long Bochs may take to connect its serial line, which it does before the machine's first instruction.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its firmware, as Debian's packages bochsbios and vgabios lay it.
const FIRMWARE: [&str; 2] = ["/usr/share/bochs/BIOS-bochs-latest", "/usr/share/bochs/VGABIOS-lgpl-latest"];

/// What Debian's build, which has a debugger in it, is told before the first instruction: to go on; or to go on until the
/// processor is about to execute its first instruction again, and to end there.
const GO_ON: &str = "c\n";
const GO_ON_TO_RESTART: &str = "s\nlb 0xfffffff0\nc\nq\n";

/// Its own log, beside the disc.
const LOG: &str = "bochs.log";

/// Starts it with its serial line on a connection of the loopback: by a file what the machine writes would come in
/// blocks of 4 KiB only.
///
/// **Errors:** Bochs or GRUB's tools are not installed, the media are no disc under the BIOS and cannot be made one, the
/// machine has what only QEMU gives.
pub(crate) fn start(spec: &MachineSpec) -> Result<Started> {
    if !spec.extra.is_empty() {
        bail!("Bochs takes no arguments of QEMU's: {}", spec.extra.join(" "));
    }
    let place = places::target().join("bochs").join(&spec.name);
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let disc = match &spec.media {
        Media::Kernel { image, options, modules } => grub_disc::make(&place, image, options, modules)?,
        Media::BiosDisc { iso } => iso.clone(),
        Media::UefiDisc { .. } => bail!("Bochs has a BIOS only"),
        Media::OwnDisc => bail!("a disc of the machine's own is for QEMU alone"),
    };
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for the serial line")?;
    let port = listener.local_addr().context("the listener has no address")?.port();
    let write = |name: &str, text: &str| {
        fs::write(place.join(name), text).with_context(|| format!("cannot write {name} in {}", place.display()))
    };
    write("bochsrc", &configuration(spec, &disc, port))?;
    write("debugger", if spec.restarts { GO_ON } else { GO_ON_TO_RESTART })?;
    let mut child = emulator::command("bochs-bin")
        .args(["-q", "-f", "bochsrc", "-rc", "debugger"])
        .current_dir(&place)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start bochs-bin; install it: apt-get install bochs bochs-term")?;
    let log = place.join(LOG);
    let ready = connected(&listener, &mut child, &log).and_then(|line| {
        screen::drop_what_is_shown(child.id())?;
        Ok(line)
    });
    let line = ready.inspect_err(|_| {
        let _ = child.kill();
        let _ = child.wait();
    })?;
    let keyboard = line.try_clone().context("cannot share the serial line")?;
    Ok(Started { child, serial: Box::new(line), keyboard: Some(Box::new(keyboard)), own_log: Some(log) })
}

/// Waits until Bochs has connected its serial line.
fn connected(listener: &TcpListener, child: &mut Child, log: &Path) -> Result<TcpStream> {
    listener.set_nonblocking(true).context("cannot look for the serial line")?;
    let until = Instant::now() + PATIENCE;
    loop {
        if let Ok((line, _)) = listener.accept() {
            line.set_nonblocking(false).context("cannot wait for the serial line")?;
            return Ok(line);
        }
        let ended = child.try_wait().context("cannot look at Bochs")?;
        if ended.is_some() || Instant::now() >= until {
            let said = fs::read_to_string(log).unwrap_or_default();
            let fault = panics(&said).next().unwrap_or("it did not connect its serial line");
            bail!("Bochs did not start: {fault}; its log: {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns what Bochs' file of settings says.
fn configuration(spec: &MachineSpec, disc: &Path, port: u16) -> String {
    let [bios, vga_bios] = FIRMWARE;
    format!(
        "config_interface: textconfig\n\
         display_library: term\n\
         megs: {memory}\n\
         romimage: file={bios}\n\
         vgaromimage: file={vga_bios}\n\
         cpu: model={model}, count={cpus}, ips={INSTRUCTIONS_A_SECOND}, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         clock: sync=none, time0=1767225600\n\
         pci: enabled=1, chipset=i440fx\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=cdrom, path=\"{disc}\", status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n\
         log: {LOG}\n\
         panic: action=fatal\n\
         error: action=ignore\n\
         info: action=report\n\
         speaker: enabled=0\n\
         sound: waveoutdrv=dummy\n",
        memory = spec.memory_mib,
        model = spec.cpu_model,
        cpus = spec.cpus,
        disc = disc.display(),
    )
}

/// Why Bochs ended.
pub(crate) enum Why {
    /// The machine switched itself off.
    Off,
    /// What Bochs calls a panic, such as a triple fault of the hypervisor, in its words.
    Panic(String),
    /// It does not say: its exit status does, as QEMU's. The debugger ends it with 0 where the machine restarts.
    Unknown,
}

/// Reads from Bochs' own log why it ended.
pub(crate) fn why(log: &Path) -> Why {
    let said = fs::read(log).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    match panics(&said).last() {
        Some(line) if line.contains("soft power off") => Why::Off,
        Some(line) => Why::Panic(line.to_owned()),
        None => Why::Unknown,
    }
}

/// Returns what stands behind Bochs' word for a panic, line by line.
fn panics(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter_map(|line| Some(line.split_once(">>PANIC<< ")?.1.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> MachineSpec {
        let media = Media::BiosDisc { iso: "disc.iso".into() };
        MachineSpec { cpu_model: "ryzen".into(), cpus: 3, ..MachineSpec::new("name", media) }
    }

    #[test]
    fn the_settings_hold_the_machine_and_its_serial_line() {
        let settings = configuration(&spec(), Path::new("a/disc.iso"), 4711);
        for line in ["megs: 1024", "ata0-master: type=cdrom, path=\"a/disc.iso\", status=inserted"] {
            assert!(settings.lines().any(|is| is == line), "{settings}");
        }
        assert!(settings.contains("model=ryzen, count=3,") && settings.contains("dev=127.0.0.1:4711"), "{settings}");
    }

    #[test]
    fn power_off_is_told_from_a_triple_fault_by_the_log() {
        let said = |text: &str| panics(text).last().map(str::to_owned);
        let off = "00012i[CPU0 ] x\n0123p[ACPI  ] >>PANIC<< ACPI control: soft power off\n0123i[SYS ] y\n";
        assert_eq!(said(off).unwrap(), "ACPI control: soft power off");
        assert_eq!(said("1p[CPU0 ] >>PANIC<< exception(): 3rd (13)\n").unwrap(), "exception(): 3rd (13)");
        assert_eq!(said("1i[CPU0 ] nothing\n"), None);
    }

    #[test]
    fn arguments_of_qemu_are_refused() {
        let error = start(&MachineSpec { extra: vec!["-nic".into()], ..spec() }).err().unwrap();
        assert!(error.to_string().contains("-nic"), "{error}");
    }
}
