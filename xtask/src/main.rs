//! The commands of this repository. `cargo xtask help` lists them.
#![forbid(unsafe_code)]

mod bench;
mod boot;
mod build;
mod check;
mod deb;
mod debian;
mod diff;
mod explained;
mod fuzz;
mod kernel_package;
mod load_layout;
mod oracle;
mod process;
mod progress;
mod run;
mod sched_sim;
mod setup;
mod soak;
mod symbols;
mod test;
mod toolchain;
mod transcript;

use clap::{Parser, Subcommand};

/// The commands of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boots Xenolith (or Xen) with Debian's dom0, whose xl makes a guest that serves a page
    Run(run::RunCommand),
    /// Builds and tests everything: host, models, rules, fuzzers, whole machines
    Test(test::TestArguments),
    /// Builds the hypervisor's image and the test kernel into target/image/
    Build(build::BuildArguments),
    /// Makes Debian's packages of the hypervisor and of its tools, in target/deb/
    Deb(deb::DebArguments),
    /// Measures operations on Debian's Xen and on Xenolith, in instructions
    Bench(bench::BenchArguments),
    /// Checks the rules of the code and reports its size
    Check(check::CheckArguments),
    /// Runs the test kernel on real Xen and on Xenolith and compares each case
    Diff(diff::DiffArguments),
    /// Fuzzes what a guest or a boot loader can reach, on the host
    Fuzz(fuzz::FuzzArguments),
    /// Plays the scheduling policies on simulated machines; with --check, what must hold of them
    SchedSim(sched_sim::SchedSimArguments),
    /// Boots Xenolith with the test kernel, or does the main job, many times and counts the losses
    Soak(soak::SoakArguments),
    /// Boots Xenolith, or Debian's Xen 4.17, in an emulated machine
    Boot(boot::BootArguments),
}

fn main() -> std::process::ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(arguments) => run::command(&arguments),
        Command::Test(arguments) => test::command(&arguments),
        Command::Build(arguments) => build::command(arguments),
        Command::Deb(arguments) => deb::command(arguments),
        Command::Bench(arguments) => bench::command(&arguments),
        Command::Check(arguments) => check::command(arguments),
        Command::Diff(arguments) => diff::command(&arguments),
        Command::Soak(arguments) => soak::command(&arguments),
        Command::SchedSim(arguments) => sched_sim::command(&arguments),
        Command::Fuzz(arguments) => fuzz::command(&arguments),
        Command::Boot(arguments) => boot::command(&arguments),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
