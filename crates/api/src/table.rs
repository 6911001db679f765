//! Columns as the text tables of Cilium's tools have them (those of Go's `text/tabwriter`): cells end in tabs, a column
//! reaches over neighbouring lines that have it, and is as wide as its widest cell plus three spaces.
//!
//! Text after the last tab of a line belongs to no column. Lines without a tab separate blocks, so that a long line in
//! the middle of a report does not tear the rest apart.

/// How columns are made.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Narrowest column, characters.
    pub least: usize,
    /// Spaces between columns.
    pub gap: usize,
}

/// Those of `cilium-dbg`.
pub const DBG: Columns = Columns { least: 5, gap: 3 };

/// Lays out lines with tabs, as `cilium-dbg` does.
#[must_use]
pub fn layout(text: &str) -> String {
    layout_as(text, DBG)
}

/// Lays out lines with tabs.
#[must_use]
pub fn layout_as(text: &str, columns: Columns) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let out = String::with_capacity(text.len() * 2);
    let mut layout = Layout { lines: &lines, columns, widths: Vec::new(), out };
    layout.block(0, lines.len());
    layout.out
}

/// How many columns a cell takes on a screen: its characters without the colours.
fn width(cell: &str) -> usize {
    let mut count = 0;
    let mut colour = false;
    for character in cell.chars() {
        match (colour, character) {
            (false, '\x1b') => colour = true,
            (true, 'm') => colour = false,
            (true, _) => {}
            (false, _) => count += 1,
        }
    }
    count
}

struct Layout<'a> {
    columns: Columns,
    lines: &'a [Vec<&'a str>],
    /// Widths of the columns to the left of the one that is looked at.
    widths: Vec<usize>,
    out: String,
}

impl Layout<'_> {
    /// Lays out lines `start..end`, whose columns up to `widths` are settled.
    fn block(&mut self, start: usize, end: usize) {
        let column = self.widths.len();
        let (mut start, mut line) = (start, start);
        while line < end {
            if !self.has(line, column) {
                line += 1;
                continue;
            }
            self.print(start, line);
            start = line;
            let mut widest = self.columns.least;
            while line < end && self.has(line, column) {
                widest = widest.max(width(self.lines[line][column]) + self.columns.gap);
                line += 1;
            }
            self.widths.push(widest);
            self.block(start, line);
            self.widths.pop();
            start = line;
        }
        self.print(start, end);
    }

    /// Whether a line has a cell that ends in a tab in this column.
    fn has(&self, line: usize, column: usize) -> bool {
        column + 1 < self.lines[line].len()
    }

    fn print(&mut self, start: usize, end: usize) {
        for line in &self.lines[start..end] {
            for (position, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(wide) = self.widths.get(position) {
                    let gap = wide.saturating_sub(width(cell));
                    self.out.extend(std::iter::repeat_n(' ', gap));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::layout;

    #[test]
    fn columns_are_padded_by_three() {
        assert_eq!(layout("ID\tLABELS\n1\treserved:host\n"), "ID   LABELS\n1    reserved:host\n");
        assert_eq!(layout("A\tB\t\nlonger\tx\t\n"), "A        B    \nlonger   x    \n");
    }

    #[test]
    fn columns_end_where_a_line_lacks_them() {
        let text = "a\tb\tc\nlong-one\td\nx\ty\tz\n";
        assert_eq!(layout(text), "a          b    c\nlong-one   d\nx          y    z\n");
        let text = "a\tb\nno columns at all here\nlonger\tb\n";
        assert_eq!(layout(text), "a    b\nno columns at all here\nlonger   b\n");
    }

    #[test]
    fn cells_are_counted_in_characters() {
        assert_eq!(layout("µµµµ\tx\nabcd\ty\n"), "µµµµ   x\nabcd   y\n");
        assert_eq!(layout(""), "");
        let coloured = "\x1b[32mOK\x1b[0m\tx\nabcd\ty\n";
        assert_eq!(layout(coloured), "\x1b[32mOK\x1b[0m     x\nabcd   y\n");
    }
}
