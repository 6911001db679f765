//! Runs a loaded program on a packet without an interface (`BPF_PROG_TEST_RUN`): for tests of the kernel's side against the
//! simulator, and for measurements.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use aya_obj::generated::{bpf_attach_type, bpf_prog_type};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::sys;

mod generator;
pub use generator::Generator;

/// `struct __sk_buff` up to the fields a test run reads or writes (`include/uapi/linux/bpf.h`). The kernel refuses a run when
/// any other field than `mark`, `priority`, `ingress_ifindex`, `ifindex`, `cb`, `tstamp`, `wire_len`, `gso_segs`,
/// `gso_size` or `hwtstamp` is not zero; an `ifindex` must exist in the calling thread's network namespace.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, IntoBytes, FromBytes, Immutable)]
#[expect(missing_docs, reason = "the fields are the kernel's")]
pub struct SkBuff {
    pub len: u32,
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    pub protocol: u32,
    pub vlan_present: u32,
    pub vlan_tci: u32,
    pub vlan_proto: u32,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
    pub hash: u32,
    pub tc_classid: u32,
    pub data: u32,
    pub data_end: u32,
    pub napi_id: u32,
    pub family: u32,
    pub remote_ip4: u32,
    pub local_ip4: u32,
    pub remote_ip6: [u32; 4],
    pub local_ip6: [u32; 4],
    pub remote_port: u32,
    pub local_port: u32,
    pub data_meta: u32,
    pub flow_keys: [u32; 2],
    pub tstamp: [u32; 2],
    pub wire_len: u32,
    pub gso_segs: u32,
    pub sk: [u32; 2],
    pub gso_size: u32,
    pub tstamp_type: u32,
    pub hwtstamp: [u32; 2],
}

/// What a run gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestRun {
    /// The program's return value (of the last run).
    pub retval: u32,
    /// The context after the last run.
    pub ctx: SkBuff,
    /// The packet after the last run.
    pub data: Vec<u8>,
    /// Mean time of one run, whole ns.
    pub duration: Duration,
}

/// The run was refused.
#[derive(Debug, thiserror::Error)]
#[error("a test run on a packet of {len} bytes (interface {ifindex}) was refused by the kernel")]
pub struct TestRunError {
    /// Length of the packet.
    pub len: usize,
    /// Interface in the context.
    pub ifindex: u32,
    /// Why.
    #[source]
    source: io::Error,
}

/// Room for what a program may put before the packet: encapsulation headers, with some to spare.
const HEADROOM: usize = 256;

/// Runs `program` `repeat` times (at least once) on `packet`, which starts with its Ethernet header and has at least 14
/// bytes. Repeated runs work on one packet that is not reset in between, so only a program that leaves it alone is measured
/// truthfully.
///
/// # Errors
/// When the kernel refuses the packet or the context (see [`SkBuff`]).
pub fn test_run(
    program: &impl AsFd,
    packet: &[u8],
    ctx: &SkBuff,
    repeat: u32,
) -> Result<TestRun, TestRunError> {
    let mut ctx_out = *ctx;
    let mut data = vec![0; packet.len() + HEADROOM];
    let run = sys::test_run(program.as_fd(), packet, &mut data, ctx_out.as_mut_bytes(), repeat.max(1))
        .map_err(|source| TestRunError { len: packet.len(), ifindex: ctx.ifindex, source })?;
    data.truncate(run.data_out_len as usize);
    Ok(TestRun {
        retval: run.retval,
        ctx: ctx_out,
        data,
        duration: Duration::from_nanos(u64::from(run.duration)),
    })
}

/// `struct xdp_md`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, IntoBytes, FromBytes, Immutable)]
struct Early {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// Runs an XDP program once on a packet that came by the interface `ifindex`: its return value, and the packet then.
///
/// # Errors
/// When the kernel refuses the packet.
pub fn test_run_xdp(
    program: &impl AsFd,
    packet: &[u8],
    ifindex: u32,
) -> Result<(u32, Vec<u8>), TestRunError> {
    let mut ctx = Early { data_end: packet.len() as u32, ingress_ifindex: ifindex, ..Early::default() };
    let mut data = vec![0; packet.len() + HEADROOM];
    let run = sys::test_run(program.as_fd(), packet, &mut data, ctx.as_mut_bytes(), 1)
        .map_err(|source| TestRunError { len: packet.len(), ifindex, source })?;
    data.truncate(run.data_out_len as usize);
    Ok((run.retval, data))
}

/// Loads the smallest classifier there is (`r0 = 0; exit`): what a measurement subtracts.
///
/// # Errors
/// When the kernel refuses, for want of privilege.
pub fn empty_program() -> io::Result<OwnedFd> {
    const MOVE_ZERO_TO_R0: u64 = 0xb7;
    const EXIT: u64 = 0x95;
    sys::load_program(
        bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
        bpf_attach_type::BPF_CGROUP_INET_INGRESS,
        &[MOVE_ZERO_TO_R0, EXIT],
    )
}

/// Has the kernel count how often and how long programs run, as long as the descriptor is open, whatever
/// `kernel.bpf_stats_enabled` says. The counts are in `/proc/PID/fdinfo` of a program. Costs about 20 ns a run.
///
/// # Errors
/// When the kernel refuses (before 5.8, or for want of privilege).
pub fn count_run_time() -> io::Result<OwnedFd> {
    sys::enable_run_time_stats()
}
