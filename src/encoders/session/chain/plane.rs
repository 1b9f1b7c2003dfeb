//! Where the pixels of a plane lie in memory: channels last, rows from the top, zeros around as its reader wants them.

/// Places of a plane, the zeros around it counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Rows of zeros above.
    pub(super) top: usize,
    /// Columns of zeros to the left.
    pub(super) left: usize,
    /// Rows, with zeros.
    pub(super) rows: usize,
    /// Columns, with zeros.
    pub(super) cols: usize,
    /// Values from one pixel to the next.
    pub(super) pitch: usize,
}

/// A plane, or the band of its rows that is held just now.
#[derive(Debug)]
pub(super) struct Plane {
    pub(super) layout: Layout,
    /// The first row that is held, counted from the topmost zeros.
    first: usize,
    pub(super) values: Vec<f32>,
}

impl Plane {
    /// Room for `rows` rows in `values`: zeros where the layout wants some around the pixels, anything where it wants none.
    pub(super) fn within(mut values: Vec<f32>, layout: Layout, rows: usize, has_zeros: bool) -> Self {
        if has_zeros {
            values.clear();
        }
        values.resize(rows * layout.cols * layout.pitch, 0.0);
        Self { layout, first: 0, values }
    }

    /// Values from one row to the next.
    pub(super) const fn row_length(&self) -> usize {
        self.layout.cols * self.layout.pitch
    }

    /// Where the pixel of this row and column begins, both counted from the first zeros.
    #[inline(always)]
    pub(super) const fn padded_at(&self, row: usize, col: usize) -> usize {
        ((row - self.first) * self.layout.cols + col) * self.layout.pitch
    }

    /// Where the pixel of this row and column begins.
    #[inline(always)]
    pub(super) const fn at(&self, row: usize, col: usize) -> usize {
        self.padded_at(row + self.layout.top, col + self.layout.left)
    }

    /// Lets the rows before `first` go; rows from `end` on are zero from now on (both counted from the topmost zeros).
    pub(super) fn advance(&mut self, first: usize, end: usize) {
        let length = self.row_length();
        let gone = ((first - self.first) * length).min(self.values.len());
        self.values.copy_within(gone.., 0);
        self.first = first;
        let zeros = (end.saturating_sub(first) * length).min(self.values.len());
        self.values[zeros..].fill(0.0);
    }
}
