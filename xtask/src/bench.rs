//! `cargo xtask bench`: what operations cost in instructions, on Debian's Xen and on Xenolith, side by side.

mod budgets;
mod chart;
mod columns;
mod control;
mod debian;
mod growth;
mod json;
mod many;
mod page;
mod profile;
mod rows;
mod sizes;
mod store;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use xenolith_tests::places;

use crate::build::{self, BuildArguments};
use budgets::Budgets;
use columns::Column;
use table::Table;

/// The rows that are taken at each test: one for each of the ways on which guests spend their time, a few seconds in all.
const SHORT: &str = "hypercall/version,multicall/8,exit/cpuid,exit/port-refused,event/send-self-to-upcall,\
                     timer/set-singleshot,pair/ping-pong,pair/yield-to-yield,pair/map-unmap-1,pair/copy-4096,\
                     pair/foreign-map-unmap,life/create-destroy-64M,ioreq/port";

/// Measures operations on Debian's Xen and on Xenolith, in instructions.
#[derive(Args, Clone, Debug, Default)]
pub struct BenchArguments {
    /// Only the rows whose names hold one of these texts, parted by commas
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the ratios and the growth as a chart into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Measure nothing: draw docs/performance.svg from the figures that stand in docs/performance.md
    #[arg(long, conflicts_with_all = ["filter", "json", "svg", "debian", "twice", "lower", "short", "recorded", "profile"])]
    pub draw: bool,
    /// Run Xenolith alone, and compare it with what Xen took when bench/xen-4.17.json was written (by --json)
    #[arg(long)]
    pub recorded: bool,
    /// Trace one row instruction by instruction, and print the functions that they belong to
    #[arg(long, value_name = "ROW")]
    pub profile: Option<String>,
    /// With --profile: on Xen with spec-ctrl=no, whose functions have no names here
    #[arg(long, requires = "profile")]
    pub on_xen: bool,
    /// What the tests run: a dozen rows that stand for the others, on Xenolith alone, as with --recorded
    #[arg(long, conflicts_with_all = ["filter", "json", "svg", "debian", "twice", "lower"])]
    pub short: bool,
    /// Take Debian's rows as well: its dom0 on each hypervisor, minutes for each
    #[arg(long)]
    pub debian: bool,
    /// Measure what xl and our own program take to make, change and end a domain, in one dom0, and nothing else
    #[arg(long, conflicts_with_all = ["filter", "json", "svg", "debian", "twice", "lower", "short", "recorded", "profile", "draw"])]
    pub control: bool,
    /// With --control: what requests take of the daemons of xenstore instead
    #[arg(long, requires = "control")]
    pub store: bool,
    /// With --control: what one more domain takes where there are up to 1999 others instead, on a machine of 16 GiB
    #[arg(long, requires = "control", conflicts_with = "store")]
    pub many: bool,
    /// Run everything twice, and fail where a figure is another the second time
    #[arg(long)]
    pub twice: bool,
    /// Lower the ceilings of bench/budgets.toml to what was measured, and add the ceilings that it lacks
    #[arg(long)]
    pub lower: bool,
    /// Take the images as they lie in target/image/
    #[arg(long)]
    pub no_build: bool,
}

/// Runs `cargo xtask bench`.
///
/// **Errors:** a machine did not come to its end, a row is above its ceiling, a figure differs in a second run.
pub fn command(arguments: &BenchArguments) -> Result<()> {
    if arguments.draw {
        let root = places::root();
        return chart::write(&root.join(page::CHART), &page::read(&root.join(page::PLACE))?);
    }
    if !arguments.no_build {
        build::command(BuildArguments::default())?;
    }
    if arguments.control {
        return match (arguments.store, arguments.many) {
            (true, _) => store::command(),
            (_, true) => many::command(),
            _ => control::command(),
        };
    }
    if let Some(row) = &arguments.profile {
        return profile::command(row, if arguments.on_xen { Column::XenPlain } else { Column::Xenolith });
    }
    if arguments.short { short() } else { compare(arguments) }
}

/// Measures a dozen rows of the image in target/image/ against their ceilings: the part of `cargo xtask test`.
///
/// **Errors:** as of [`command`].
pub fn short() -> Result<()> {
    compare(&BenchArguments { recorded: true, filter: Some(SHORT.to_owned()), ..BenchArguments::default() })
}

fn compare(arguments: &BenchArguments) -> Result<()> {
    let columns = if arguments.recorded { &Column::OWN[..] } else { &Column::ALL };
    let mut runs = measure(columns, arguments)?;
    if arguments.recorded {
        let xen = json::read(&places::root().join("bench/xen-4.17.json"), &[Column::Xen, Column::XenPlain])?;
        runs.splice(..0, xen);
    }
    let table = Table::new(runs).without_absent();
    print!("{}", table.shown(&Column::SHOWN));
    if let Some(place) = &arguments.json {
        json::write(place, &table)?;
    }
    if let Some(place) = &arguments.svg {
        chart::write(place, &table)?;
    }
    if arguments.twice {
        let differing = table.differences(&Table::new(measure(columns, arguments)?));
        if !differing.is_empty() {
            bail!("figures of a second run differ:\n{}", differing.join("\n"));
        }
        println!("a second run gave the same figures");
    }
    let place = places::root().join("bench/budgets.toml");
    let mut budgets = Budgets::read(&place)?;
    if arguments.lower {
        budgets.lower(&table)?;
        budgets.write(&place)?;
    }
    let (broken, grown) = (budgets.broken(&table), growth::grown(&table));
    println!("{}", table.summary());
    if !broken.is_empty() {
        bail!("rows above their ceilings in bench/budgets.toml:\n{}", broken.join("\n"));
    }
    if !grown.is_empty() {
        bail!("locks that are held for longer the more there is:\n{}", grown.join("\n"));
    }
    Ok(())
}

fn measure(columns: &[Column], arguments: &BenchArguments) -> Result<Vec<(Column, rows::Run)>> {
    let one = |&column| {
        let mut run = columns::run(column, arguments.filter.as_deref())?;
        if arguments.debian {
            run.rows.extend(debian::rows(column)?);
        }
        Ok((column, run))
    };
    columns.iter().map(one).collect()
}
