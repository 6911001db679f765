//! What this node offers, asked before anything is loaded, so that a missing piece is named with its cure.

use std::{fmt, io, path::Path};

use aya_obj::generated::bpf_attach_type;
use rustix::mount::MountFlags;

use crate::{
    MapKind,
    map::{Map, MapSpec},
    sys,
};

/// One thing the agent needs, or would like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// What it is.
    pub name: &'static str,
    /// Whether the agent cannot do without.
    pub required: bool,
    /// `None` if it is there; else what is missing and how to cure it.
    pub problem: Option<String>,
}

/// The answers, in the order they were asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeatureReport {
    /// One entry a feature.
    pub features: Vec<Feature>,
}

impl FeatureReport {
    /// Whether everything required is there.
    pub fn is_ok(&self) -> bool {
        self.problems().next().is_none()
    }

    /// What is required and missing.
    pub fn problems(&self) -> impl Iterator<Item = &Feature> {
        self.features.iter().filter(|feature| feature.required && feature.problem.is_some())
    }

    fn add(&mut self, name: &'static str, required: bool, result: Result<(), String>) {
        self.features.push(Feature { name, required, problem: result.err() });
    }
}

impl fmt::Display for FeatureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Feature { name, required, problem } in &self.features {
            match (problem, required) {
                (None, _) => writeln!(f, "ok       {name}")?,
                (Some(problem), true) => writeln!(f, "MISSING  {name}: {problem}")?,
                (Some(problem), false) => writeln!(f, "missing  {name}: {problem}")?,
            }
        }
        Ok(())
    }
}

/// Asks for everything the loader needs. Mounts bpffs at `bpffs` if none is there; changes nothing else.
pub fn preflight(bpffs: &Path) -> FeatureReport {
    let mut report = FeatureReport::default();
    report.add("privileges for BPF", true, privileges());
    report.add("bpffs", true, mounted(bpffs));
    report.add("BTF of the kernel", false, btf(Path::new("/sys/kernel/btf/vmlinux")));
    report.add("TCX links", true, tcx());
    report.add("batch operations", false, batch());
    report
}

fn privileges() -> Result<(), String> {
    probe_map(MapKind::BPF_MAP_TYPE_ARRAY).map(|_| ()).map_err(|error| {
        format!("{error}: run as root, or with CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN")
    })
}

fn mounted(bpffs: &Path) -> Result<(), String> {
    let cure = |error: io::Error| {
        let path = bpffs.display();
        format!(
            "{error}: run `mount -t bpf bpf {path}` on the node, and give the agent's container that mount"
        )
    };
    if is_bpffs(bpffs).map_err(cure)? {
        return Ok(());
    }
    rustix::mount::mount(
        "bpf",
        bpffs,
        "bpf",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        None,
    )
    .map_err(|error| cure(error.into()))
}

fn is_bpffs(path: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(path)?;
    // BPF_FS_MAGIC of include/uapi/linux/magic.h.
    Ok(rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff == 0xcafe_4a11)
}

fn btf(path: &Path) -> Result<(), String> {
    let why =
        "maps and programs are loaded without type information: use a kernel with CONFIG_DEBUG_INFO_BTF";
    if path.exists() { Ok(()) } else { Err(format!("{} is not there; {why}", path.display())) }
}

/// The loopback interface of the calling thread's namespace exists always, and may be asked about its hook.
fn tcx() -> Result<(), String> {
    const LOOPBACK: u32 = 1;
    match sys::query(LOOPBACK, bpf_attach_type::BPF_TCX_INGRESS as u32) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error}: use Linux 6.6 or newer")),
    }
}

fn batch() -> Result<(), String> {
    let map = probe_map(MapKind::BPF_MAP_TYPE_HASH).map_err(|error| error.to_string())?;
    let table: crate::Table<u32, u32> = crate::Table::new(map).map_err(|error| error.to_string())?;
    match table.dump() {
        Ok(_) if table.has_batch() => Ok(()),
        _ => Err("garbage collection and large updates take longer: use Linux 5.6 or newer".to_owned()),
    }
}

fn probe_map(kind: MapKind) -> Result<Map, Box<dyn std::error::Error>> {
    Map::create("ax_probe", MapSpec::new(kind, 4, 4, 1)).map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string).into()
    })
}
