//! The Rust files of the tree and the crates they make up.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::source::Source;

/// One crate of the workspace, and which other crates of the workspace it names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// From the root of the tree.
    pub directory: PathBuf,
    /// What its manifest says under `[package.metadata.xenolith]` of its tier.
    pub tier: Option<String>,
    /// From the root of the tree: `lib.rs`, `main.rs` and the like.
    pub crate_roots: Vec<PathBuf>,
    pub dependencies: Vec<String>,
    pub dev_dependencies: Vec<String>,
}

/// What the rules judge.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub members: Vec<Member>,
    pub sources: Vec<Source>,
}

impl Tree {
    /// Reads the tree that stands at `root`.
    ///
    /// **Errors:** cargo cannot read the workspace, or a file cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let members = members(root)?;
        let mut sources = Vec::new();
        for member in &members {
            read_sources(root, &root.join(&member.directory), &mut sources)?;
        }
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources.dedup_by(|one, other| one.path == other.path);
        Ok(Self { members, sources })
    }

    /// Returns the crate whose directory holds the file; of nested ones the innermost.
    #[must_use]
    pub fn owner(&self, source: &Source) -> Option<&Member> {
        let holders = self.members.iter().filter(|member| source.path.starts_with(&member.directory));
        holders.max_by_key(|member| member.directory.components().count())
    }
}

fn members(root: &Path) -> Result<Vec<Member>> {
    let metadata = MetadataCommand::new().current_dir(root).no_deps().exec().context("cargo metadata failed")?;
    let names: Vec<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let from_root = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let member = |package: &cargo_metadata::Package| {
        let of_kind = |wanted: &[DependencyKind]| {
            let named = package.dependencies.iter().filter(|edge| wanted.contains(&edge.kind));
            named.map(|edge| edge.name.clone()).filter(|name| names.contains(name)).collect()
        };
        Member {
            name: package.name.to_string(),
            directory: from_root(package.manifest_path.as_std_path().parent().unwrap_or(root)),
            tier: package.metadata.pointer("/xenolith/tier").and_then(|tier| tier.as_str()).map(str::to_owned),
            crate_roots: package
                .targets
                .iter()
                .filter(|target| !target.is_custom_build() && !target.is_test() && !target.is_bench())
                .map(|target| from_root(target.src_path.as_std_path()))
                .collect(),
            dependencies: of_kind(&[DependencyKind::Normal, DependencyKind::Build]),
            dev_dependencies: of_kind(&[DependencyKind::Development]),
        }
    };
    Ok(metadata.packages.iter().map(member).collect())
}

fn read_sources(root: &Path, directory: &Path, into: &mut Vec<Source>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                read_sources(root, &path, into)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            into.push(Source::new(path.strip_prefix(root).unwrap_or(&path), &text));
        }
    }
    Ok(())
}
