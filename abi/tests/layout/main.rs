//! The Rust types and numbers are those of the C headers.

mod c_side;
mod listed;

use c_side::{CStruct, Spelling};
use listed::Structure;
use std::path::Path;

/// Returns the fields that have a counterpart in C, with that member's name.
fn compared_fields(structure: &Structure) -> Vec<(&xen_abi::describe::Field, String)> {
    structure
        .fields
        .iter()
        .filter(|field| field.c_path != "-" && !(field.c_path.is_empty() && field.name.starts_with("pad")))
        .map(|field| {
            let c_path = if field.c_path.is_empty() { field.name } else { field.c_path };
            (field, c_path.to_owned())
        })
        .collect()
}

/// Returns every difference between a Rust structure and its C counterpart, in words.
fn differences(structure: &Structure, c: &CStruct) -> Vec<String> {
    let mut found = Vec::new();
    let name = structure.rust_path;
    if structure.size != c.size {
        found.push(format!("{name}: {} bytes, in C {}", structure.size, c.size));
    }
    for ((field, c_path), (offset, size)) in compared_fields(structure).iter().zip(&c.members) {
        if field.offset != *offset {
            found.push(format!("{name}.{} is at {}, in C {c_path} is at {offset}", field.name, field.offset));
        }
        if field.size != *size {
            found.push(format!("{name}.{} has {} bytes, in C {c_path} has {size}", field.name, field.size));
        }
    }
    found
}

/// Returns what the C compiler is asked about each structure.
fn asked(structures: &[Structure]) -> Vec<(&'static str, Vec<String>)> {
    structures
        .iter()
        .map(|structure| (structure.c_name, compared_fields(structure).into_iter().map(|(_, c_path)| c_path).collect()))
        .collect()
}

fn all_differences(program: &str, structures: &[Structure]) -> Vec<String> {
    let in_c = c_side::layouts(program, &asked(structures));
    assert_eq!(in_c.len(), structures.len(), "the C program answers for every structure");
    structures.iter().zip(&in_c).flat_map(|(structure, c)| differences(structure, c)).collect()
}

/// Describes every difference between the layout for 32-bit callers and its C counterpart.
fn compat_differences(structure: &Structure, c: &CStruct) -> Vec<String> {
    let mut found = Vec::new();
    let (name, size) = (structure.rust_path, structure.compat.size());
    if size != c.size {
        found.push(format!("{name}: {size} bytes for a 32-bit caller, in C {}", c.size));
    }
    for ((field, c_path), (c_offset, c_size)) in compared_fields(structure).iter().zip(&c.members) {
        let (offset, size) = (field.compat_offset, field.compat.size());
        if (offset, size) != (*c_offset, *c_size) {
            let ours = format!("{name}.{} is at {offset} and has {size} bytes", field.name);
            found.push(format!("{ours} for a 32-bit caller, in C {c_path} is at {c_offset} and has {c_size}"));
        }
    }
    found
}

fn all_compat_differences(program: &str, structures: &[Structure]) -> Vec<String> {
    let in_c = c_side::compat_layouts(program, &asked(structures));
    structures.iter().zip(&in_c).flat_map(|(structure, c)| compat_differences(structure, c)).collect()
}

/// Structures that no 32-bit caller passes, so that their compat layout does not matter: a 64-bit toolstack or the
/// hypervisor makes them, or they are rings, whose two ends agree on a layout by name.
const NEVER_TRANSLATED: &[&str] = &[
    "xen_abi::callback::CallbackRegister",
    "xen_abi::domctl::memory::DomctlCacheflush",
    "xen_abi::guest_context::",
    "xen_abi::hvm_save::HvmHwIsaIrqs",
    "xen_abi::hvm_save::HvmMsrs",
    "xen_abi::io::blkif::",
    "xen_abi::platform::XenpfFirmwareInfo",
    "xen_abi::shared_info::ArchVcpuInfo",
    "xen_abi::shared_info::VcpuInfo",
    "xen_abi::shared_info::ArchSharedInfo",
    "xen_abi::shared_info::SharedInfo",
    "xen_abi::sysctl::machine::SysctlPageOfflineOp",
];

/// Returns the C expression for a name that may have an operator before its last word.
fn expression(spelling: &Spelling, name: &str) -> Result<String, String> {
    let (before, word) = name.rsplit_once(' ').map_or(("", name), |(before, word)| (before, word));
    let spelled = spelling.of(word).ok_or_else(|| format!("the headers have no {word}"))?;
    Ok(format!("{before} {spelled}"))
}

#[test]
fn every_structure_lies_in_memory_as_in_c() {
    c_side::require_headers();
    let found = all_differences("structures", &listed::structures());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_structure_lies_in_a_32_bit_callers_memory_as_in_c() {
    c_side::require_headers();
    let mut structures = listed::structures();
    structures.retain(|structure| !NEVER_TRANSLATED.iter().any(|module| structure.rust_path.starts_with(module)));
    let found = all_compat_differences("compat_structures", &structures);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn every_structure_of_32_bit_domains_lies_in_memory_as_in_c() {
    c_side::require_headers();
    let structures = listed::compat_structures();
    let in_c = c_side::compat_layouts("pages_of_32_bit_domains", &asked(&structures));
    let found: Vec<String> =
        structures.iter().zip(&in_c).flat_map(|(structure, c)| differences(structure, c)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_wrong_offset_for_32_bit_callers_is_found() {
    c_side::require_headers();
    let mut structure = listed::structures().into_iter().find(|s| s.rust_path.ends_with("::SchedPoll")).unwrap();
    let mut fields = structure.fields.to_vec();
    fields.iter_mut().find(|field| field.name == "timeout").unwrap().compat_offset += 8;
    structure.fields = fields.leak();
    let found = all_compat_differences("wrong_compat_offset", &[structure]);
    let wrong = "xen_abi::sched::SchedPoll.timeout is at 16 and has 8 bytes for a 32-bit caller";
    assert_eq!(found, [format!("{wrong}, in C timeout is at 8 and has 8")]);
}

#[test]
fn every_number_is_as_in_c() {
    c_side::require_headers();
    let spelling = Spelling::from_headers();
    let mut wanted: Vec<(String, String, u64)> = Vec::new();
    let mut found = Vec::new();
    for table in listed::tables() {
        for constant in table.constants {
            let c = if constant.c_expression.is_empty() {
                expression(&spelling, constant.name)
            } else {
                Ok(constant.c_expression.to_owned())
            };
            match c {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "compared as 64 bits")]
                Ok(c) => wanted.push((format!("{}: {}", table.module, constant.name), c, constant.value as u64)),
                Err(why) => found.push(format!("{}: {why}", table.module)),
            }
        }
    }
    for word in listed::flag_words() {
        for (flag, value) in &word.flags {
            match expression(&spelling, &format!("{}{flag}", word.c_prefix)) {
                Ok(c) => wanted.push((format!("{}::{flag}", word.rust_path), c, *value)),
                Err(why) => found.push(format!("{}: {why}", word.rust_path)),
            }
        }
    }
    for errno in xen_abi::Errno::ALL {
        // The headers keep these two to the hypervisor itself.
        if !["EINTR", "ERESTART"].contains(&errno.name()) {
            let value = u64::try_from(errno.number()).expect("a positive number");
            wanted.push((format!("Errno::{errno}"), format!("XEN_{errno}"), value));
        }
    }
    let expressions: Vec<String> = wanted.iter().map(|(_, c, _)| c.clone()).collect();
    let values = c_side::values("numbers", &expressions);
    assert_eq!(values.len(), wanted.len(), "the C program answers for every number");
    for ((name, c, ours), theirs) in wanted.iter().zip(values) {
        if *ours != theirs {
            found.push(format!("{name} is {ours:#x}, in C {c} is {theirs:#x}"));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_wrong_offset_is_found() {
    c_side::require_headers();
    let mut structure = listed::structures().into_iter().find(|s| s.rust_path.ends_with("::EvtchnStatus")).unwrap();
    let mut fields = structure.fields.to_vec();
    let status = fields.iter_mut().find(|field| field.name == "status").unwrap();
    status.offset += 4;
    structure.fields = fields.leak();
    let found = all_differences("wrong_offset", &[structure]);
    assert_eq!(found, ["xen_abi::event_channel::EvtchnStatus.status is at 12, in C status is at 8"]);
}

#[test]
fn a_wrong_size_is_found() {
    c_side::require_headers();
    let mut structure = listed::structures().into_iter().find(|s| s.rust_path.ends_with("::EvtchnSend")).unwrap();
    structure.size += 4;
    let found = all_differences("wrong_size", &[structure]);
    assert_eq!(found, ["xen_abi::event_channel::EvtchnSend: 8 bytes, in C 4"]);
}

/// Adds the source files below a directory, with the path of the module that each holds.
fn source_files(directory: &Path, module: &str, into: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("the source directory") {
        let path = entry.expect("a directory entry").path();
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        if path.is_dir() {
            source_files(&path, &format!("{module}::{stem}"), into);
        } else {
            let inside = if stem == "lib" { module.to_owned() } else { format!("{module}::{stem}") };
            into.push((inside, std::fs::read_to_string(&path).expect("a source file")));
        }
    }
}

#[test]
fn everything_that_the_source_declares_is_compared() {
    let structures = listed::structures().into_iter().chain(listed::compat_structures());
    let mut listed: Vec<String> = structures.map(|s| s.rust_path.to_owned()).collect();
    listed.extend(listed::flag_words().iter().map(|word| word.rust_path.to_owned()));
    listed.extend(listed::tables().iter().map(|table| format!("{}::CONSTANTS", table.module)));

    let mut files = Vec::new();
    source_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "xen_abi", &mut files);
    files.retain(|(module, _)| !module.ends_with("::describe"));
    let mut declared = Vec::new();
    for (module, text) in &files {
        for line in text.lines() {
            if let Some(rest) = line.trim_start().strip_prefix("pub struct ") {
                if let Some((name, _)) = rest.split_once(": \"").or_else(|| rest.split_once("(\"")) {
                    declared.push(format!("{module}::{name}"));
                }
            } else if line.contains("table CONSTANTS") || line.contains("pub const CONSTANTS: Table") {
                declared.push(format!("{module}::CONSTANTS"));
            }
        }
    }
    assert!(declared.len() > 50, "the declarations are found");
    let missing: Vec<&String> = declared.iter().filter(|name| !listed.contains(name)).collect();
    assert!(missing.is_empty(), "not compared with C: {missing:#?}");
}
