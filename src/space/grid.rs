//! One number for every cell of a picture.

/// A similarity map: one number a cell, row-major from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Cells from top to bottom.
    pub rows: usize,
    /// Cells from left to right.
    pub cols: usize,
    /// `rows · cols` values.
    pub values: Vec<f32>,
}

impl Grid {
    /// The value of a cell; cells outside take the nearest inside.
    #[must_use]
    pub fn at(&self, row: isize, col: isize) -> f32 {
        let row = row.clamp(0, self.rows as isize - 1) as usize;
        let col = col.clamp(0, self.cols as isize - 1) as usize;
        self.values.get(row * self.cols + col).copied().unwrap_or(f32::MIN)
    }

    /// Mean of each cell with its eight neighbours, weighted 1-4-1 both ways: a thing seldom ends where a cell does.
    #[must_use]
    pub fn smoothed(&self) -> Self {
        let mut across = Vec::with_capacity(self.values.len());
        for row in self.values.chunks_exact(self.cols.max(1)) {
            let (before, after) = (row.iter().take(1).chain(row), row.iter().skip(1).chain(row.last()));
            across.extend(before.zip(row).zip(after).map(weighted));
        }
        let last = across.len().saturating_sub(self.cols);
        let (first_row, last_row) = (across.get(..self.cols), across.get(last..));
        let before = first_row.into_iter().flatten().chain(&across);
        let after = across.iter().skip(self.cols).chain(last_row.into_iter().flatten());
        let values = before.zip(&across).zip(after).map(weighted).collect();
        Self { rows: self.rows, cols: self.cols, values }
    }

    /// The largest value; `f32::MIN` for a grid without cells.
    #[must_use]
    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(f32::MIN, f32::max)
    }

    /// Row and column of the largest value; the origin for a grid without cells.
    #[must_use]
    pub fn peak(&self) -> (usize, usize) {
        let best = self.values.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or((0, 0), |(index, _)| (index / self.cols, index % self.cols))
    }

    /// The middle value (of an even number, the upper of the two); 0 for a grid without cells.
    #[must_use]
    pub fn median(&self) -> f32 {
        let mut values = self.values.clone();
        if values.is_empty() {
            return 0.0;
        }
        let middle = values.len() / 2;
        *values.select_nth_unstable_by(middle, f32::total_cmp).1
    }
}

/// Neighbours first, so that a mirrored map gives the same bits.
fn weighted(((before, here), after): ((&f32, &f32), &f32)) -> f32 {
    ((before + after) + 4.0 * here) / 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_keeps_flat_maps_and_the_sum_of_inner_peaks() {
        let flat = Grid { rows: 3, cols: 4, values: vec![2.0; 12] };
        assert_eq!(flat.smoothed(), flat);
        let mut peak = Grid { rows: 5, cols: 5, values: vec![0.0; 25] };
        peak.values[12] = 36.0;
        let smooth = peak.smoothed();
        assert_eq!(smooth.values.iter().sum::<f32>(), 36.0);
        assert_eq!((smooth.at(2, 2), smooth.at(1, 2), smooth.at(1, 1), smooth.max()), (16.0, 4.0, 1.0, 16.0));
        assert_eq!(smooth.median(), 0.0);
    }

    #[test]
    fn the_peak_is_where_the_largest_value_is() {
        assert_eq!(Grid { rows: 2, cols: 3, values: vec![1.0, 2.0, 0.0, 3.0, 9.0, 4.0] }.peak(), (1, 1));
        assert_eq!(Grid { rows: 0, cols: 0, values: Vec::new() }.peak(), (0, 0));
    }
}
