//! Packets made by the kernel itself (live frames of `BPF_PROG_TEST_RUN`, kernel 5.18), as if they came by an interface: a
//! generator that costs next to nothing.
//!
//! The kernel uses its frames again as they were left, so a program of a few instructions writes the packet anew each time,
//! and hands it to the one that is to be measured.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
    time::Duration,
};

use aya_obj::generated::{bpf_attach_type, bpf_map_type, bpf_prog_type};
use zerocopy::IntoBytes as _;

use super::{Early, HEADROOM, TestRunError};
use crate::sys;

/// Makes one packet again and again.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    packet: Vec<u8>,
    /// What the program calls by it.
    _table: Option<OwnedFd>,
}

impl Generator {
    /// Of a packet that starts with its Ethernet header, for an XDP program, or for the node's stack.
    ///
    /// # Errors
    /// When the kernel refuses, for want of privilege.
    pub fn new(packet: &[u8], program: Option<&impl AsFd>) -> io::Result<Self> {
        let table = program.map(table).transpose()?;
        let code = code(packet, table.as_ref().map(|table| table.as_raw_fd() as u32));
        let program = sys::load_program(bpf_prog_type::BPF_PROG_TYPE_XDP, bpf_attach_type::BPF_XDP, &code)?;
        Ok(Self { program, packet: packet.to_vec(), _table: table })
    }

    /// The mean time that the program takes for one of `count` packets which then go nowhere.
    ///
    /// # Errors
    /// When the kernel refuses the packet.
    pub fn run_dry(&self, ifindex: u32, count: u32) -> Result<Duration, TestRunError> {
        let len = self.packet.len();
        let mut ctx = Early { data_end: len as u32, ingress_ifindex: ifindex, ..Early::default() };
        let mut data = vec![0; len + HEADROOM];
        let run = sys::test_run(self.program.as_fd(), &self.packet, &mut data, ctx.as_mut_bytes(), count)
            .map_err(|source| TestRunError { len, ifindex, source })?;
        Ok(Duration::from_nanos(u64::from(run.duration)))
    }

    /// Makes `count` packets that come by the interface `ifindex`; the mean time of one, with what the node does with it in
    /// the same breath.
    ///
    /// # Errors
    /// When the kernel refuses the packet, or is older than 5.18.
    pub fn run(&self, ifindex: u32, count: u32) -> Result<Duration, TestRunError> {
        let len = self.packet.len();
        let ctx = Early { data_end: len as u32, ingress_ifindex: ifindex, ..Early::default() };
        let run = sys::run_live_frames(self.program.as_fd(), &self.packet, ctx.as_bytes(), count)
            .map_err(|source| TestRunError { len, ifindex, source })?;
        Ok(Duration::from_nanos(u64::from(run.duration)))
    }
}

/// A table of programs with one entry, for a tail call.
fn table(program: &impl AsFd) -> io::Result<OwnedFd> {
    let kind = bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32;
    let attr = sys::CreateAttr { kind, key_size: 4, value_size: 4, max_entries: 1, ..Default::default() };
    let table = sys::map_create(attr, None)?;
    let program = program.as_fd().as_raw_fd() as u32;
    sys::map_update(table.as_fd(), 0_u32.as_bytes(), program.as_bytes())?;
    Ok(table)
}

/// Instructions that write the packet over whatever there is, then go on in the table's program, or let it pass.
fn code(packet: &[u8], table: Option<u32>) -> Vec<u64> {
    /// `struct bpf_insn`.
    const fn instruction(code: u64, to: u64, from: u64, offset: u64, value: u32) -> u64 {
        code | to << 8 | from << 12 | offset << 16 | (value as u64) << 32
    }
    const LOAD_WORD: u64 = 0x61;
    const MOVE: u64 = 0xbf;
    const MOVE_VALUE: u64 = 0xb7;
    const ADD_VALUE: u64 = 0x07;
    const JUMP_IF_GREATER: u64 = 0x2d;
    const LOAD_LONG: u64 = 0x18;
    const FROM_MAP: u64 = 1;
    const STORE_BYTE: u64 = 0x73;
    const STORE_LONG: u64 = 0x7b;
    const CALL: u64 = 0x85;
    const TAIL_CALL: u32 = 12;
    const EXIT: u64 = 0x95;
    const XDP_PASS: u32 = 2;

    let mut writing = Vec::new();
    let mut offset = 0;
    while offset < packet.len() {
        let rest = &packet[offset..];
        let (length, store) = if rest.len() >= 8 { (8, STORE_LONG) } else { (1, STORE_BYTE) };
        let mut value = [0; 8];
        value[..length].copy_from_slice(&rest[..length]);
        let value = u64::from_le_bytes(value);
        writing.extend([
            instruction(LOAD_LONG, 5, 0, 0, value as u32),
            instruction(0, 0, 0, 0, (value >> 32) as u32),
            instruction(store, 2, 5, offset as u64, 0),
        ]);
        offset += length;
    }
    if let Some(table) = table {
        writing.extend([
            instruction(MOVE, 1, 6, 0, 0),
            instruction(LOAD_LONG, 2, FROM_MAP, 0, table),
            instruction(0, 0, 0, 0, 0),
            instruction(MOVE_VALUE, 3, 0, 0, 0),
            instruction(CALL, 0, 0, 0, TAIL_CALL),
        ]);
    }
    let mut code = vec![
        instruction(MOVE, 6, 1, 0, 0),
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(LOAD_WORD, 3, 1, 4, 0),
        instruction(MOVE, 4, 2, 0, 0),
        instruction(ADD_VALUE, 4, 0, 0, packet.len() as u32),
        instruction(JUMP_IF_GREATER, 4, 3, writing.len() as u64, 0),
    ];
    code.extend(writing);
    code.extend([instruction(MOVE_VALUE, 0, 0, 0, XDP_PASS), instruction(EXIT, 0, 0, 0, 0)]);
    code
}
