//! Links of programs on sockets to a cgroup, pinned so that they outlive the agent.

use std::{
    fs, io,
    os::fd::AsFd as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya_obj::generated::bpf_attach_type;

use crate::{
    link::{Change, LinkError, absent, detach, failed, open, pin},
    object::{Object, Program},
    sys,
};

/// Each program on sockets, and the hook it belongs to.
const PLACES: [(&str, bpf_attach_type); 11] = [
    ("socket_connect4", bpf_attach_type::BPF_CGROUP_INET4_CONNECT),
    ("socket_connect6", bpf_attach_type::BPF_CGROUP_INET6_CONNECT),
    ("socket_send4", bpf_attach_type::BPF_CGROUP_UDP4_SENDMSG),
    ("socket_send6", bpf_attach_type::BPF_CGROUP_UDP6_SENDMSG),
    ("socket_receive4", bpf_attach_type::BPF_CGROUP_UDP4_RECVMSG),
    ("socket_receive6", bpf_attach_type::BPF_CGROUP_UDP6_RECVMSG),
    ("socket_peer4", bpf_attach_type::BPF_CGROUP_INET4_GETPEERNAME),
    ("socket_peer6", bpf_attach_type::BPF_CGROUP_INET6_GETPEERNAME),
    ("socket_release", bpf_attach_type::BPF_CGROUP_INET_SOCK_RELEASE),
    ("socket_bind4", bpf_attach_type::BPF_CGROUP_INET4_POST_BIND),
    ("socket_bind6", bpf_attach_type::BPF_CGROUP_INET6_POST_BIND),
];

/// The links of programs on sockets, pinned in `<bpffs>/cilium/socketlb/links/cgroup`.
#[derive(Debug)]
pub struct CgroupLinks {
    pins: PathBuf,
}

impl CgroupLinks {
    /// Links below `<bpffs>/cilium`.
    pub fn new(bpffs: &Path) -> Self {
        CgroupLinks { pins: bpffs.join("cilium/socketlb/links/cgroup") }
    }

    /// Makes the object's programs on sockets run for `cgroup` (a directory of cgroup v2) and all below it. A link that
    /// is there already gets the new program atomically.
    ///
    /// # Errors
    /// When the cgroup does not exist, or the kernel refuses. What ran before still runs then.
    pub fn ensure(&self, object: &Object, cgroup: &Path) -> Result<(), LinkError> {
        let directory = fs::File::open(cgroup).map_err(failed(cgroup, "opening the cgroup"))?;
        let number = directory.metadata().map_err(failed(cgroup, "reading the cgroup"))?.ino();
        for (name, hook) in PLACES {
            let program =
                object.program(name).ok_or_else(|| LinkError::NoProgram { program: name.to_owned() })?;
            let change = self.ensure_one(program, &directory, number, hook as u32)?;
            if change != Change::Nothing {
                tracing::debug!(program = name, cgroup = %cgroup.display(), ?change, "link");
            }
        }
        Ok(())
    }

    fn ensure_one(
        &self,
        program: &Program,
        cgroup: &fs::File,
        number: u64,
        hook: u32,
    ) -> Result<Change, LinkError> {
        let path = self.pins.join(program.name());
        if let Some(link) = open(&path)? {
            let info: sys::CgroupLinkInfoRaw =
                sys::info(link.as_fd()).map_err(failed(&path, "reading its state"))?;
            if (info.cgroup, info.hook) == (number, hook) {
                if info.program == program.id() {
                    return Ok(Change::Nothing);
                }
                sys::link_update(link.as_fd(), program.as_fd())
                    .map_err(failed(&path, "swapping its program"))?;
                return Ok(Change::Swapped);
            }
        }
        let link = sys::link_create_cgroup(program.as_fd(), cgroup.as_fd(), hook)
            .map_err(failed(&path, "attaching to the cgroup"))?;
        detach(&path)?;
        pin(&link, &path)?;
        Ok(Change::Created)
    }

    /// Takes all programs off their sockets; fine if there are none.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(&self) -> Result<(), LinkError> {
        for (name, _) in PLACES {
            detach(&self.pins.join(name))?;
        }
        match fs::remove_dir(&self.pins) {
            Err(error) if !absent(&error) && error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(failed(&self.pins, "removing the directory")(error))
            }
            _ => Ok(()),
        }
    }
}
