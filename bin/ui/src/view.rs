//! What one browser looks at: flows that pass its filter, summed up as a map, and some of them as rows.

mod end;
mod filter;
mod map;
mod row;

pub(crate) use end::{Grouping, Node};
pub(crate) use filter::Filter;
pub(crate) use map::Map;
pub(crate) use row::Row;

#[cfg(test)]
pub(crate) mod tests;
