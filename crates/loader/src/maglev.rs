//! Maglev tables: one array inside [`abi::maps::MAGLEV`] each, written before a frontend names its slot.

use std::os::fd::{AsFd as _, AsRawFd as _};

use abi::service::MAGLEV_PIECE;

use crate::{
    map::{Map, MapError, MapSpec},
    table::Table,
};

/// Rows of one element.
const PIECE: usize = MAGLEV_PIECE as usize;
const _: () = assert!(PIECE.is_power_of_two());
/// Arrays inside of another may have any number of elements (kernel 5.10).
const ANY_LENGTH: u32 = 0x1000;

/// One element of a table's array.
type Piece = [u16; PIECE];

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
        let inner = Map::create("ax_maglev", spec(rows.len().div_ceil(PIECE)))?;
        let table: Table<u32, Piece> = Table::new(inner.try_clone()?)?;
        for (index, rows) in (0u32..).zip(rows.chunks(PIECE)) {
            let mut piece: Piece = [0; PIECE];
            piece[..rows.len()].copy_from_slice(rows);
            table.insert(&index, &piece)?;
        }
        self.outer.insert(&slot, &(inner.as_fd().as_raw_fd() as u32))
    }

    /// The first `size` rows of the table in a slot, fewer if it has not as many; `None` if there is none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, slot: u32, size: u32) -> Result<Option<Vec<u16>>, MapError> {
        // Gone again, if somebody else clears the slot just now.
        let Some(Ok(inner)) = self.outer.get(&slot)?.map(Map::by_id) else { return Ok(None) };
        let pieces = inner.spec().max_entries;
        let table: Table<u32, Piece> = Table::new(inner)?;
        let mut rows = Vec::with_capacity(size as usize);
        for index in 0..pieces {
            let Some(piece) = table.get(&index)? else { return Ok(None) };
            rows.extend_from_slice(&piece);
        }
        // A longer table was made for another size, and is as little of use as a shorter one.
        if pieces == size.div_ceil(MAGLEV_PIECE) {
            rows.truncate(size as usize);
        }
        Ok(Some(rows))
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
fn spec(pieces: usize) -> MapSpec {
    let pieces = u32::try_from(pieces).unwrap_or(u32::MAX);
    MapSpec::new(crate::MapKind::BPF_MAP_TYPE_ARRAY, 4, 2 * PIECE, pieces).flags(ANY_LENGTH)
}
