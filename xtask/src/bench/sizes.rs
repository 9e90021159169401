//! How large each hypervisor is: its image in bytes, and of Xenolith its code, on both sides of the fence around `unsafe`.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use object::{Object, ObjectSection, ObjectSegment, SectionKind};
use xenolith_tests::places;

use super::columns::Column;
use super::rows::Figure;
use crate::boot::Hypervisor;
use crate::build;
use crate::check::{Fence, fence};

type Row = (String, Figure);

/// Returns the rows of one machine, those whose names are wanted.
///
/// **Errors:** an image or a source cannot be read.
pub fn rows(column: Column, wanted: impl Fn(&str) -> bool) -> Result<Vec<Row>> {
    let mut rows = match column {
        Column::Bare => Vec::new(),
        Column::Xen | Column::XenPlain => image(Hypervisor::Xen)?,
        Column::Xenolith => {
            let mut rows = image(Hypervisor::Xenolith)?;
            rows.push(text()?);
            rows.extend(code(&fence(&places::root())?));
            rows
        }
    };
    rows.retain(|(name, _)| wanted(name));
    Ok(rows)
}

fn row(name: &str, count: u64) -> Row {
    (name.to_owned(), Figure::Exact(count.try_into().unwrap_or(i64::MAX)))
}

/// Returns the image as a boot loader gets it, packed by the same packer, and as it lies in memory.
fn image(hypervisor: Hypervisor) -> Result<Vec<Row>> {
    let place = hypervisor.image()?;
    let bytes = fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    let file = object::File::parse(&*bytes).with_context(|| format!("{} is no program", place.display()))?;
    let loaded = file.segments().map(|segment| segment.size()).sum();
    Ok(vec![row("image/packed", packed.finish()?.len() as u64), row("image/in-memory", loaded)])
}

/// Returns the instructions; Debian's image of Xen does not tell them from the rest.
fn text() -> Result<Row> {
    let place = build::linked_hypervisor();
    let bytes = fs::read(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let file = object::File::parse(&*bytes).context("the hypervisor is no program")?;
    let text =
        file.sections().filter(|section| section.kind() == SectionKind::Text).map(|section| section.size()).sum();
    Ok(row("image/text", text))
}

fn code(fence: &Fence) -> Vec<Row> {
    vec![
        row("code/lines-without-unsafe", fence.lines_outside),
        row("code/lines-that-may-hold-unsafe", fence.lines_inside),
        row("code/unsafe-blocks", fence.unsafe_blocks),
    ]
}
