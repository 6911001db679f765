//! Columns under each other.

use std::io::{self, Write};

/// Spaces between columns.
const GAP: usize = 3;

/// Prints rows so that their cells stand under each other; the last cell of a row is not padded.
pub(crate) fn write(out: &mut dyn Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default() + GAP
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 == row.len() {
                true => writeln!(out, "{cell}")?,
                false => write!(out, "{cell:<width$}", width = widths[column])?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn cells_stand_under_each_other() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let mut out = Vec::new();
        super::write(&mut out, &[row(["A", "LONG", "X"]), row(["long", "é", "y"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A      LONG   X\nlong   é      y\n");
    }
}
