//! `cargo xtask bench`: what operations cost in instructions, on Debian's Xen and on Xenolith, side by side.

mod budgets;
mod chart;
mod columns;
mod json;
mod profile;
mod rows;
mod table;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use xenolith_tests::places;

use crate::build::{self, BuildArguments};
use budgets::Budgets;
use columns::Column;
use table::Table;

/// What the names of rows hold that take little time.
const SHORT: &str = "hypercall/,multicall/,exit/,interrupt/,event/,timer/,schedule/,pair/send,pair/ping,pair/yield,\
                     pair/map,pair/copy-64,pair/copy-4096,pair/foreign,world-switch/";

/// Measures operations on Debian's Xen and on Xenolith, in instructions.
#[derive(Args, Clone, Debug, Default)]
pub struct BenchArguments {
    /// Only the rows whose names hold one of these texts, parted by commas
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the ratios as a chart into this file
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Run Xenolith alone, and compare it with what Xen took when bench/xen-4.17.json was written (by --json)
    #[arg(long)]
    pub recorded: bool,
    /// Trace one row instruction by instruction, and print the functions that they belong to
    #[arg(long, value_name = "ROW")]
    pub profile: Option<String>,
    /// With --profile: on Xen with spec-ctrl=no, whose functions have no names here
    #[arg(long, requires = "profile")]
    pub on_xen: bool,
    /// Only the rows that take little time, and on Xenolith alone, as with --recorded
    #[arg(long, conflicts_with = "filter")]
    pub short: bool,
    /// Run everything twice, and fail where a figure is another the second time
    #[arg(long)]
    pub twice: bool,
    /// Lower the ceilings of bench/budgets.toml to what was measured, and add those that it lacks
    #[arg(long)]
    pub lower: bool,
    /// Take the images as they lie in target/image/
    #[arg(long)]
    pub no_build: bool,
}

impl BenchArguments {
    /// Whether what Xen takes is read from the file.
    const fn is_recorded(&self) -> bool {
        self.recorded || self.short
    }

    /// What the names of the wanted rows hold; none for all.
    fn wanted(&self) -> Option<&str> {
        if self.short { Some(SHORT) } else { self.filter.as_deref() }
    }
}

/// The command.
///
/// **Errors:** a machine did not come to its end, a row is above its ceiling, a figure differs in a second run.
pub fn command(arguments: &BenchArguments) -> Result<()> {
    if !arguments.no_build {
        build::command(BuildArguments::default())?;
    }
    if let Some(row) = &arguments.profile {
        return profile::command(row, if arguments.on_xen { Column::XenPlain } else { Column::Xenolith });
    }
    let columns = if arguments.is_recorded() { &Column::OWN[..] } else { &Column::ALL };
    let mut runs = measure(columns, arguments)?;
    if arguments.is_recorded() {
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
        budgets.lower(&table);
        budgets.write(&place)?;
    }
    let broken = budgets.broken(&table);
    println!("{}", table.summary());
    if !broken.is_empty() {
        bail!("rows above their ceilings in bench/budgets.toml:\n{}", broken.join("\n"));
    }
    Ok(())
}

fn measure(columns: &[Column], arguments: &BenchArguments) -> Result<Vec<(Column, rows::Run)>> {
    columns.iter().map(|&column| Ok((column, columns::run(column, arguments.wanted())?))).collect()
}
