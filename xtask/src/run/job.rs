//! The main job: from an image and packages to a page that a guest of dom0's `xl` serves.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use xenolith_tests::console::Wait;
use xenolith_tests::{Machine, MachineSpec, Media, Module, cpus_for_guests, places};

use super::account::{self, Memory, Said, Timing};
use super::page::{self, Page};
use super::standstill::Silence;
use super::{Dom0, RunArguments, Xenstored, terminal};
use crate::boot::Hypervisor;
use crate::build::{self, BuildArguments};
use crate::debian::{self, Debian};
use crate::progress::Step;
use crate::setup;

/// The most memory that dom0 gets of the machine's, in MiB. The guests live in the rest.
const DOM0_MEMORY: u64 = 1024;

/// The guest's address in the emulator's network, and the port its web server listens at.
const GUEST: (&str, u16) = ("10.0.2.80", 80);

/// Where the page answers on this machine, if that is free.
const USUAL_PORT: u16 = 8080;

/// A part of the job, which ends when dom0 says so of a step.
pub struct Stage {
    pub shown: &'static str,
    /// The step of dom0 that ends it.
    pub until: &'static str,
    /// What it takes on a quiet machine without hardware help, and what it may take, in seconds.
    pub usual: u64,
    pub limit: u64,
}

/// One with its name, the step that ends it, its usual time and its limit in seconds.
pub const fn stage(shown: &'static str, until: &'static str, usual: u64, limit: u64) -> Stage {
    Stage { shown, until, usual, limit }
}

/// The hypervisor and dom0, as far as every job goes.
pub const UP: [Stage; 2] =
    [stage("reset to dom0's userspace", "userspace", 15, 400), stage("Debian's daemons for xl", "xenconsoled", 3, 200)];

/// The guest with a disk and a card.
pub const WEB: [Stage; 4] = [
    stage("bridge and disk", "disk", 3, 200),
    stage("xl create", "web-create", 10, 400),
    stage("guest to its userspace", "web-userspace", 20, 600),
    stage("page fetched by dom0", "web-page", 1, 200),
];

/// What fetching the page through the forwarded port is called.
const SERVED: Stage = stage("page fetched by this machine", "", 1, 120);

/// The jobs of dom0 that make the main job.
pub const MAIN_JOBS: &str = "daemons+network+disk+web";

/// A step that failed, and why.
pub struct Failure {
    pub step: String,
    pub cause: String,
    /// The last lines of the console, and where all of it lies.
    pub report: String,
    pub log: Option<PathBuf>,
}

impl Failure {
    /// A failure before any machine ran.
    pub fn before(step: &str, error: &anyhow::Error) -> Self {
        Self { step: step.into(), cause: format!("{error:#}"), report: String::new(), log: None }
    }

    /// Returns the last line of a command that failed by it.
    pub fn line(&self, command: &str) -> String {
        let log = self.log.as_ref().map_or("none, no machine ran".into(), |log| log.display().to_string());
        let cause = self.cause.lines().next().unwrap_or_default();
        format!("{command}: failed: {}: {cause}; log: {log}", self.step)
    }
}

/// A machine on which the job runs.
pub struct Run {
    pub machine: Machine,
    pub timings: Vec<Timing>,
    pub port: u16,
    memory: Memory,
    /// How long a second of a stage's limit may be: a machine whose time goes by instructions is slow where it has company.
    patience: Duration,
    /// What is done where nothing is said.
    silence: Silence,
    /// Up to where the console was read.
    read: usize,
    started: Instant,
}

/// Builds and fetches what the job takes.
///
/// **Errors:** the step that failed.
pub fn prepare(arguments: &RunArguments) -> Result<Debian, Failure> {
    setup::ensure(&[&setup::EMULATOR]).map_err(|error| Failure::before("the emulator", &error))?;
    let wanted = arguments.hypervisor == Hypervisor::Xenolith && !arguments.no_build;
    if wanted || !debian::kernels::misfit().is_file() {
        build::command(BuildArguments::default()).map_err(|error| Failure::before("building Xenolith", &error))?;
    }
    if !places::target().join("debian/dom0").is_dir() {
        eprintln!("The first run fetches 130 MB of Debian's packages: about a minute. Later runs reuse what it made.");
    }
    let debian = debian::make().map_err(|error| Failure::before("making Debian's dom0 and guest", &error))?;
    match arguments.xenstored {
        Xenstored::Debian => Ok(debian),
        Xenstored::Ours => {
            debian::store::with_ours(&debian).map_err(|error| Failure::before("putting our xenstored in", &error))
        }
    }
}

/// What one kind of run has of its own.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Names the log and the memory of times.
    pub name: &'static str,
    /// Disks and cards, as the emulator's arguments.
    pub devices: Vec<String>,
    /// More words on dom0's command line, for its jobs.
    pub words: String,
    /// Where dom0 restarts the machine, it starts again; else it ends there.
    pub restarts: bool,
    /// The processor, by the emulator's name for it, where it is not the usual one.
    pub cpu: Option<String>,
}

impl Run {
    /// Starts the machine with the guest's disk and card; dom0 is to do `jobs` and then what `end` says.
    ///
    /// **Errors:** the hypervisor cannot be had, no port is free, the emulator does not start.
    pub fn start(arguments: &RunArguments, debian: &Debian, jobs: &str, end: &str) -> Result<Self> {
        Self::start_with(arguments, debian, jobs, end, "", Vec::new())
    }

    /// The same with more words for the jobs, and more devices.
    ///
    /// **Errors:** as [`Self::start`].
    pub fn start_with(
        arguments: &RunArguments,
        debian: &Debian,
        jobs: &str,
        end: &str,
        words: &str,
        more: Vec<String>,
    ) -> Result<Self> {
        let port = page::port(arguments.port, USUAL_PORT)?;
        let devices = devices(debian, port).into_iter().chain(more).collect();
        let board = Board { name: "run", devices, words: words.to_owned(), ..Board::default() };
        Ok(Self { port, ..Self::on(&board, arguments, debian, jobs, end)? })
    }

    /// The same with the disks and cards of `board`.
    ///
    /// **Errors:** the hypervisor cannot be had, the emulator does not start.
    pub fn on(board: &Board, arguments: &RunArguments, debian: &Debian, jobs: &str, end: &str) -> Result<Self> {
        let name = format!("{}-{}-{}", board.name, arguments.hypervisor.name(), dom0_name(arguments));
        let words = format!("job={jobs} end={end} {}", board.words);
        let mut machine_spec = spec(&name, arguments, debian, words.trim_end())?;
        machine_spec.restarts = board.restarts;
        if let Some(model) = &board.cpu {
            machine_spec.cpu_model.clone_from(model);
        }
        machine_spec.extra.extend(board.devices.iter().cloned());
        if arguments.dom0() == Dom0::Pvh {
            // Without it the devices of a PVH dom0 could not reach what guests grant it.
            machine_spec.extra.extend(["-device", "amd-iommu"].map(str::to_owned));
        }
        let memory = Memory::at(places::target().join("debian/times").join(name.trim_start_matches("run-")));
        let machine = Machine::start(&machine_spec)?;
        let patience = Duration::from_secs(if arguments.steady { 3 } else { 1 });
        Ok(Self {
            machine,
            timings: Vec::new(),
            port: 0,
            memory,
            patience,
            silence: Silence::of(arguments.hypervisor),
            read: 0,
            started: Instant::now(),
        })
    }

    /// Goes through `stages`, saying how each comes on.
    ///
    /// **Errors:** the first that did not come to its end.
    pub fn go_through(&mut self, stages: &[Stage]) -> Result<(), Failure> {
        stages.iter().try_for_each(|stage| self.go(stage))
    }

    fn go(&mut self, stage: &Stage) -> Result<(), Failure> {
        let (began, shown) = self.begin(stage);
        let until = began + self.patience * u32::try_from(stage.limit).unwrap_or(u32::MAX);
        loop {
            let (wait, after) = self.machine.console.wait_for_after("STEP ", self.read, self.silence.until(until));
            self.read = after;
            let line = match wait {
                Wait::Line(line) => line,
                Wait::Closed => {
                    let ending = self.machine.run_to_end();
                    return Err(self.failure(stage.shown, format!("the machine ended: {ending}")));
                }
                Wait::TimedOut if Instant::now() < until => {
                    self.silence.passed(&mut self.machine);
                    continue;
                }
                Wait::TimedOut => {
                    self.machine.take_account();
                    return Err(self.failure(stage.shown, format!("not done within {} s", began.elapsed().as_secs())));
                }
            };
            match account::step(&line) {
                Some((step, Said::Failed(cause))) => {
                    return Err(self.failure(&format!("{} ({step})", stage.shown), cause));
                }
                Some((step, Said::Well)) if step == stage.until => break,
                _ => {}
            }
        }
        self.end(stage, began, shown);
        Ok(())
    }

    /// Fetches the page through the forwarded port.
    ///
    /// **Errors:** it was not served.
    pub fn fetch(&mut self) -> Result<Page, Failure> {
        let (began, shown) = self.begin(&SERVED);
        let page = page::fetch(self.port, began + Duration::from_secs(SERVED.limit))
            .map_err(|error| self.failure(SERVED.shown, format!("{error:#}")))?;
        self.end(&SERVED, began, shown);
        Ok(page)
    }

    /// Remembers how long the stages took, to tell the next run how long to expect.
    pub fn remember(&self) {
        if let Err(error) = self.memory.keep(&self.timings) {
            eprintln!("the times of this run are not kept: {error:#}");
        }
    }

    fn begin(&self, stage: &Stage) -> (Instant, Step) {
        let expected = self.memory.expected(stage.shown, Duration::from_secs(stage.usual));
        (Instant::now(), Step::begin(format!("{} (about {:.0} s)", stage.shown, expected.as_secs_f64().ceil())))
    }

    fn end(&mut self, stage: &Stage, began: Instant, shown: Step) {
        shown.end("done");
        self.timings.push(Timing { step: stage.shown.into(), took: began.elapsed() });
    }

    /// Returns what failed as a failure of this machine's.
    pub fn failure(&self, step: &str, cause: String) -> Failure {
        let log = Some(self.machine.log().to_path_buf());
        Failure { step: step.into(), cause, report: self.machine.report(), log }
    }
}

fn dom0_name(arguments: &RunArguments) -> &'static str {
    match arguments.dom0() {
        Dom0::Pv => "pv",
        Dom0::Pvh => "pvh",
    }
}

/// Returns the machine without its disk and card; `words` are for dom0's jobs.
///
/// **Errors:** the hypervisor cannot be had, or runs no dom0 of this kind.
pub fn spec(name: &str, arguments: &RunArguments, debian: &Debian, words: &str) -> Result<MachineSpec> {
    let how = match (arguments.hypervisor, arguments.dom0()) {
        (Hypervisor::Xenolith, Dom0::Pv) => bail!("Xenolith has no PV dom0; leave --dom0 pv out"),
        (Hypervisor::Xenolith, Dom0::Pvh) => "dom0=pvh",
        (Hypervisor::Xen, Dom0::Pv) => "",
        (Hypervisor::Xen, Dom0::Pvh) => "dom0=pvh dom0-iommu=map-reserved",
    };
    let vcpus = arguments.dom0_vcpus();
    let options = format!(
        "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem={}M dom0_max_vcpus={vcpus} {how} {}",
        DOM0_MEMORY.min(arguments.memory / 2),
        arguments.options
    );
    let words = format!("console=hvc0 rdinit=/init panic=5 {words}");
    let modules = vec![
        Module { file: debian.kernel.clone(), command_line: words.trim_end().to_owned() },
        Module { file: debian.initrd.clone(), command_line: String::new() },
    ];
    let image = arguments.hypervisor.image()?;
    let media = Media::Kernel { image, options: options.trim_end().to_owned(), modules };
    let usual = MachineSpec::new(name, media);
    let (accelerator, extra) = if arguments.steady {
        ("tcg,thread=single".into(), ["-icount", "shift=0,sleep=off"].map(str::to_owned).into())
    } else {
        (usual.accelerator.clone(), Vec::new())
    };
    Ok(MachineSpec {
        accelerator,
        extra,
        cpus: cpus_for_guests(arguments.cpus),
        memory_mib: arguments.memory,
        timeout: Duration::from_secs(arguments.timeout),
        ..usual
    })
}

/// The guest's disk on the board's own AHCI, and a card on a network of the emulator's own.
fn devices(debian: &Debian, port: u16) -> Vec<String> {
    // The disk is written to a copy that is dropped at the end, so each run finds it fresh.
    let disk =
        format!("if=none,id=disk,format=raw,snapshot=on,file={}", debian.disk.display().to_string().replace(',', ",,"));
    let network = format!("user,id=network,hostfwd=tcp:127.0.0.1:{port}-{}:{}", GUEST.0, GUEST.1);
    let card = ["-netdev", &network, "-device", "e1000e,netdev=network"];
    card.into_iter().chain(["-drive", &disk, "-device", "ide-hd,drive=disk"]).map(str::to_owned).collect()
}

/// The whole job up to the page.
fn main_job(arguments: &RunArguments) -> Result<(Run, Page), Failure> {
    main_job_with(arguments, &prepare(arguments)?)
}

/// The same with what was made before.
///
/// **Errors:** the step that failed.
pub fn main_job_with(arguments: &RunArguments, debian: &Debian) -> Result<(Run, Page), Failure> {
    let mut run = Run::start(arguments, debian, MAIN_JOBS, "console")
        .map_err(|error| Failure::before("starting the machine", &error))?;
    if run.memory.is_empty() {
        eprintln!("An emulated machine without hardware help now does the job: 1 to 5 minutes.");
    }
    eprintln!("The machine's console is logged in {}", run.machine.log().display());
    run.go_through(&UP)?;
    run.go_through(&WEB)?;
    let page = run.fetch()?;
    run.remember();
    Ok((run, page))
}

/// What is told of a job that came to its page.
fn told(run: &Run, page: &Page) -> String {
    let first = page.body.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let table = account::table(&run.timings);
    format!("{table}\n    http://127.0.0.1:{}/ answers ({}); its first line:\n    {first}\n", run.port, page.server)
}

/// Does the job and says in the last line how it went; false if it failed.
pub fn check(arguments: &RunArguments) -> bool {
    let done = main_job(arguments).map(|(run, page)| {
        print!("{}", told(&run, &page));
        run.started.elapsed()
    });
    match &done {
        Ok(took) => println!("run: ok, page served after {:.1} s", took.as_secs_f64()),
        Err(failure) => println!("{}\n{}", failure.report, failure.line("run")),
    }
    done.is_ok()
}

/// Does the job, and hands dom0's console over.
///
/// **Errors:** a step failed, or the terminal cannot be set.
pub fn with_console(arguments: &RunArguments) -> Result<()> {
    let (mut run, page) = main_job(arguments).map_err(spelled)?;
    println!("\n{}", told(&run, &page));
    terminal::hand_over(&mut run.machine)
}

/// A failure as an error of the command.
pub fn spelled(failure: Failure) -> anyhow::Error {
    anyhow::anyhow!("{}: {}\n{}", failure.step, failure.cause, failure.report)
}
