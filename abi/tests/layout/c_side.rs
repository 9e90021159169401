//! What the C compiler makes of the public headers.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's package puts the headers.
const HEADERS: &str = "/usr/include/xen";

/// Headers that the C program includes.
const INCLUDED: &[&str] = &[
    "xen.h",
    "errno.h",
    "event_channel.h",
    "grant_table.h",
    "features.h",
    "version.h",
    "memory.h",
    "vcpu.h",
    "sched.h",
    "callback.h",
    "nmi.h",
    "physdev.h",
    "platform.h",
    "pmu.h",
    "xsm/flask_op.h",
    "hvm/hvm_op.h",
    "hvm/dm_op.h",
    "hvm/ioreq.h",
    "hvm/params.h",
    "hvm/hvm_vcpu.h",
    "arch-x86/xen.h",
    "arch-x86/xen-x86_64.h",
    "hvm/save.h",
    "arch-x86/hvm/save.h",
    "domctl.h",
    "sysctl.h",
    "arch-x86/cpufeatureset.h",
    "elfnote.h",
    "io/ring.h",
    "io/console.h",
    "io/xs_wire.h",
    "io/xenbus.h",
    "io/blkif.h",
    "io/netif.h",
    "io/pvcalls.h",
    "io/9pfs.h",
    "arch-x86/cpuid.h",
    "arch-x86/hvm/start_info.h",
];

/// The size of a C structure, and offset and size of each member that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CStruct {
    pub size: usize,
    pub members: Vec<(usize, usize)>,
}

/// Fails with a message that names the package if the headers or the compiler are missing.
pub fn require_headers() {
    assert!(
        Path::new(HEADERS).join("xen.h").exists(),
        "{HEADERS}/xen.h is missing: apt-get install libxen-dev (`cargo xtask` can do it)"
    );
    assert!(
        Command::new("cc").arg("--version").output().is_ok(),
        "there is no C compiler `cc`: apt-get install gcc libc6-dev"
    );
}

/// Finds the headers' spelling of a name of which only the upper-case form is known.
pub struct Spelling {
    defined: HashMap<String, String>,
    mentioned: HashMap<String, String>,
}

impl Spelling {
    /// Reads every header that the C program includes.
    pub fn from_headers() -> Self {
        let mut spelling = Self { defined: HashMap::new(), mentioned: HashMap::new() };
        for header in INCLUDED {
            let text = std::fs::read_to_string(Path::new(HEADERS).join(header)).expect(header);
            for line in text.lines() {
                let mut words = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let is_define = line.trim_start().starts_with('#') && line.contains("define");
                for word in words.by_ref().filter(|word| !word.is_empty() && *word != "define") {
                    let into = if is_define { &mut spelling.defined } else { &mut spelling.mentioned };
                    into.entry(word.to_ascii_uppercase()).or_insert_with(|| word.to_owned());
                    if is_define {
                        break;
                    }
                }
            }
        }
        spelling
    }

    /// Returns the name as the headers write it, or none if they do not have it.
    pub fn of(&self, name: &str) -> Option<&str> {
        let upper = name.to_ascii_uppercase();
        self.defined.get(&upper).or_else(|| self.mentioned.get(&upper)).map(String::as_str)
    }
}

/// Compiles and runs a C program whose `main` has this body; returns what it prints.
fn run_c(name: &str, body: &str) -> String {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = directory.join(format!("{name}.c"));
    let program = directory.join(name);
    let standard = "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n#include <string.h>\n";
    let mut text = with_headers(standard, "");
    write!(text, "int main(void) {{\n{body}return 0;\n}}\n").expect("writing to a string");
    std::fs::write(&source, text).expect("writing the C program");
    let compiled = Command::new("cc")
        .args(["-std=gnu11", "-w", "-O0", "-o"])
        .arg(&program)
        .arg(&source)
        .output()
        .expect("running cc");
    assert!(compiled.status.success(), "{}\n{}", source.display(), String::from_utf8_lossy(&compiled.stderr));
    let output = Command::new(&program).output().expect("running the C program");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("the C program prints ASCII")
}

/// Returns a C program that includes the headers, except `without`, after `before`.
fn with_headers(before: &str, without: &str) -> String {
    let mut text = String::from(before);
    text.push_str("#define __XEN_TOOLS__ 1\n");
    for header in INCLUDED.iter().filter(|header| **header != without) {
        writeln!(text, "#include <xen/{header}>").expect("writing to a string");
    }
    text
}

/// Returns the layout of each C type as [`layouts`] does, but for a 32-bit guest. No program runs: the numbers are read
/// from the assembly that the compiler writes, so neither a C library for 32 bits nor a linker is needed.
pub fn compat_layouts(program: &str, types: &[(&str, Vec<String>)]) -> Vec<CStruct> {
    let mut text = with_headers("#include <stddef.h>\n#include <stdint.h>\n", "arch-x86/xen-x86_64.h");
    text.push_str("#define TELL(number) __asm__ volatile(\"\\n#number %c0\" : : \"i\"(number))\n");
    for (index, (c_type, members)) in types.iter().enumerate() {
        write!(text, "void type_{index}(void) {{ typedef {c_type} t; TELL(sizeof(t));").expect("writing to a string");
        for member in members {
            write!(text, " TELL(offsetof(t, {member})); TELL(sizeof(((t *)0)->{member}));")
                .expect("writing to a string");
        }
        text.push_str(" }\n");
    }
    let source = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{program}.c"));
    std::fs::write(&source, text).expect("writing the C program");
    let compiled = Command::new("cc")
        .args(["-m32", "-ffreestanding", "-std=gnu11", "-w", "-O0", "-fno-toplevel-reorder", "-S", "-o", "-"])
        .arg(&source)
        .output()
        .expect("running cc");
    assert!(compiled.status.success(), "{}\n{}", source.display(), String::from_utf8_lossy(&compiled.stderr));
    let assembly = String::from_utf8(compiled.stdout).expect("assembly is ASCII");
    let mut numbers = assembly
        .lines()
        .filter_map(|line| line.strip_prefix("#number "))
        .map(|number| number.trim().parse::<usize>().expect("a number"));
    let mut number = || numbers.next().expect("the compiler tells every number");
    types
        .iter()
        .map(|(_, members)| CStruct { size: number(), members: members.iter().map(|_| (number(), number())).collect() })
        .collect()
}

/// Returns the layout of each C type, with the members in the order in which they were asked for.
pub fn layouts(program: &str, types: &[(&str, Vec<String>)]) -> Vec<CStruct> {
    let mut body = String::new();
    for (c_type, members) in types {
        write!(body, "{{ typedef {c_type} t; printf(\"%zu\", sizeof(t));").expect("writing to a string");
        for member in members {
            write!(body, " printf(\" %zu %zu\", offsetof(t, {member}), sizeof(((t *)0)->{member}));")
                .expect("writing to a string");
        }
        body.push_str(" puts(\"\"); }\n");
    }
    run_c(program, &body)
        .lines()
        .map(|line| {
            let mut numbers = line.split(' ').map(|word| word.parse::<usize>().expect("a number"));
            let size = numbers.next().expect("a size");
            let rest: Vec<usize> = numbers.collect();
            CStruct { size, members: rest.chunks(2).map(|pair| (pair[0], pair[1])).collect() }
        })
        .collect()
}

/// Returns the value of each C expression, sign-extended if it is signed.
pub fn values(program: &str, expressions: &[String]) -> Vec<u64> {
    let mut body = String::new();
    for expression in expressions {
        writeln!(body, "printf(\"%llu\\n\", (unsigned long long)({expression}));").expect("writing to a string");
    }
    run_c(program, &body).lines().map(|line| line.parse().expect("a number")).collect()
}
