//! Maglev tables: one array inside [`abi::maps::MAGLEV`] each, written before a frontend names its slot.

use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::service::MAGLEV_SIZE;

use crate::{
    map::{Map, MapError, MapSpec},
    table::Table,
};

/// Rows of the kernel's arrays: a power of two, so that a program can bound a row by a mask.
const ROOM: usize = 16_384;
const _: () = assert!(ROOM >= MAGLEV_SIZE as usize && ROOM.is_power_of_two());

/// The tables of the services that choose by hash.
#[derive(Debug)]
pub struct MaglevTables {
    outer: Table<u32, u32>,
}

impl MaglevTables {
    /// Takes `outer`, the map [`abi::maps::MAGLEV`].
    ///
    /// # Errors
    /// When it is not that map.
    pub fn new(outer: &Map) -> Result<Self, MapError> {
        Ok(MaglevTables { outer: Table::new(outer.try_clone()?)? })
    }

    /// Puts a table into a slot, in place of what is there: packets see the old one or the new one.
    ///
    /// # Errors
    /// When the kernel has no room.
    pub fn write(&self, slot: u32, rows: &[u16]) -> Result<(), MapError> {
        let inner = Map::create("ax_maglev", spec())?;
        let table: Table<u32, [u16; ROOM]> = Table::new(inner.try_clone()?)?;
        let mut value = Box::new([0; ROOM]);
        for (room, row) in value.iter_mut().zip(rows) {
            *room = *row;
        }
        table.insert(&0, &value)?;
        self.outer.insert(&slot, &(inner.as_fd().as_raw_fd() as u32))
    }

    /// The rows of the table in a slot; `None` if there is none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, slot: u32) -> Result<Option<Vec<u16>>, MapError> {
        // Gone again, if somebody else clears the slot just now.
        let Some(Ok(inner)) = self.outer.get(&slot)?.map(Map::by_id) else { return Ok(None) };
        let table: Table<u32, [u16; ROOM]> = Table::new(inner)?;
        Ok(table.get(&0)?.map(|rows| rows[..MAGLEV_SIZE as usize].to_vec()))
    }

    /// Frees a slot.
    ///
    /// # Errors
    /// When the kernel refuses; an empty slot is no error.
    pub fn clear(&self, slot: u32) -> Result<(), MapError> {
        self.outer.delete(&slot).map(|_| ())
    }
}

/// What the kernel demands of every inner map.
fn spec() -> MapSpec {
    MapSpec::new(crate::MapKind::BPF_MAP_TYPE_ARRAY, 4, 2 * ROOM, 1)
}
