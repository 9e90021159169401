//! `sched-sim`: simulates a workload under one or more policies, or tests the properties of the policies.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use fastrand::Rng;
use sched_sim::check;
use sched_sim::per_cpu::PerCpu;
use sched_sim::play::{Scenario, play};
use sched_sim::report::{Report, table};
use sched_sim::shape::Shape;
use sched_sim::task::{MS, SECOND};
use sched_sim::{chart, cost, workload};
use xenolith_sched::credit2::{Credit2, Options};
use xenolith_sched::null::Null;
use xenolith_sched::policy::Sharing;
use xenolith_sched::rtds::Rtds;

/// Simulates the hypervisor's scheduling policies on machines of up to 512 CPUs, and tests their properties.
#[derive(Parser)]
#[command(name = "cargo xtask sched-sim", bin_name = "cargo xtask sched-sim")]
struct Arguments {
    /// Test the properties of the policies, with random machines and workloads
    #[arg(long)]
    check: bool,
    /// With --check: only the properties whose names contain this
    #[arg(long, requires = "check")]
    only: Option<String>,
    /// With --check: the most cases of each property
    #[arg(long, requires = "check", default_value_t = u32::MAX)]
    cases: u32,
    /// The seed of everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The policies to simulate, one after another
    #[arg(long, value_delimiter = ',', default_value = "credit2,null,rtds")]
    policy: Vec<PolicyName>,
    /// CPUs, or THREADSxCORESxSOCKETSxNODES
    #[arg(long, default_value = "16", value_parser = Shape::parse)]
    topology: Shape,
    /// vCPUs; without a number, twice as many as CPUs
    #[arg(long)]
    vcpus: Option<usize>,
    /// mix, busy, sleepers, chains, bursty, real-time, boot, hotplug, or a recording
    #[arg(long, default_value = "mix")]
    workload: String,
    /// Simulated time in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// credit2: which CPUs share a run queue
    #[arg(long, value_enum, default_value = "socket")]
    runqueue: Runqueue,
    /// credit2: rate limit, the least time that a vCPU runs before it is preempted, in microseconds
    #[arg(long, default_value_t = 1000)]
    ratelimit_us: u64,
    /// Draw a trace of which vCPU ran on which CPU, up to this millisecond
    #[arg(long, default_value_t = 0)]
    trace_ms: u64,
    /// Directory of the charts
    #[arg(long, default_value = "target/sched-sim")]
    out: PathBuf,
    /// Simulate one policy without a report and print the number of decisions
    #[arg(long, hide = true)]
    count_decisions: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PolicyName {
    Credit2,
    Null,
    Rtds,
    PerCpu,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Runqueue {
    Cpu,
    Core,
    Socket,
    Node,
    All,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(policy) = &arguments.count_decisions {
        println!("{}", cost::run(policy, arguments.topology.cpus, arguments.vcpus.unwrap_or(64))?);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.check {
        return Ok(check_all(&arguments));
    }
    show(&arguments)?;
    Ok(ExitCode::SUCCESS)
}

fn check_all(arguments: &Arguments) -> ExitCode {
    let chosen = |name: &str| arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let properties: Vec<_> = check::properties().into_iter().filter(|property| chosen(property.name)).collect();
    let mut failed = 0;
    for property in &properties {
        let start = Instant::now();
        let (cases, took) = (property.cases.min(arguments.cases), || start.elapsed().as_secs_f64());
        match property.check(arguments.seed, arguments.cases) {
            Ok(()) => println!("holds  {} ({cases} cases, {:.1} s)", property.name, took()),
            Err(error) => {
                failed += 1;
                println!("FAILS  {}\n       {error}", property.name);
            }
        }
    }
    println!("sched-sim: {} properties, {failed} failed", properties.len());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(arguments: &Arguments) -> Result<()> {
    let cpus = arguments.topology.cpus;
    let vcpus = arguments.vcpus.unwrap_or(2 * cpus as usize);
    let scenario = Scenario {
        shape: arguments.topology,
        tasks: workload::of_name(&arguments.workload, vcpus, cpus, &mut Rng::with_seed(arguments.seed))?,
        hotplug: workload::has_hotplug(&arguments.workload),
        end: arguments.seconds * SECOND,
        seed: arguments.seed,
        record_until: arguments.trace_ms * MS,
    };
    let title =
        format!("{}: {} vCPUs on {cpus} CPUs, {} s", arguments.workload, scenario.tasks.len(), arguments.seconds);
    let reports: Vec<Report> = arguments.policy.iter().map(|policy| one(*policy, arguments, &scenario)).collect();
    println!("{title}\n\n{}", table(&reports));
    let out = &arguments.out;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let picture = out.join("report.svg");
    chart::write(&picture, &title, &reports)?;
    println!("\n{}", picture.display());
    for report in reports.iter().filter(|_| arguments.trace_ms > 0) {
        let picture = out.join(format!("trace-{}.svg", report.policy));
        let title = format!("{}, {title}", report.policy);
        chart::write_trace(&picture, &title, cpus, scenario.record_until, &report.measures.spans)?;
        println!("{}", picture.display());
    }
    Ok(())
}

fn one(policy: PolicyName, arguments: &Arguments, scenario: &Scenario) -> Report {
    let sharing = match arguments.runqueue {
        Runqueue::Cpu => Sharing::Cpu,
        Runqueue::Core => Sharing::Core,
        Runqueue::Socket => Sharing::Socket,
        Runqueue::Node => Sharing::Node,
        Runqueue::All => Sharing::All,
    };
    let ratelimit_ns = arguments.ratelimit_us.saturating_mul(1000);
    match policy {
        PolicyName::Credit2 => play::<Credit2>(scenario, &Options { sharing, ratelimit_ns, ..Options::default() }),
        PolicyName::Null => play::<Null>(scenario, &()),
        PolicyName::Rtds => play::<Rtds>(scenario, &()),
        PolicyName::PerCpu => play::<PerCpu>(scenario, &()),
    }
}
