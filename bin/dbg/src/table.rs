//! Columns as the text tables of Cilium's tools have them (those of Go's `text/tabwriter`): cells end in tabs, a column
//! reaches over neighbouring lines that have it, and is as wide as its widest cell plus three spaces.
//!
//! Text after the last tab of a line belongs to no column. Lines without a tab separate blocks, so that a long line in
//! the middle of a report does not tear the rest apart.

/// Narrowest column.
const MIN_WIDTH: usize = 5;
/// Spaces between columns.
const PADDING: usize = 3;

/// Lays out lines with tabs.
pub(crate) fn layout(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    let mut layout = Layout { lines: &lines, widths: Vec::new(), out: String::with_capacity(text.len() * 2) };
    layout.block(0, lines.len());
    layout.out
}

struct Layout<'a> {
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
            let mut width = MIN_WIDTH;
            while line < end && self.has(line, column) {
                width = width.max(self.lines[line][column].chars().count() + PADDING);
                line += 1;
            }
            self.widths.push(width);
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
                if let Some(width) = self.widths.get(position) {
                    let gap = width.saturating_sub(cell.chars().count());
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
    }
}
