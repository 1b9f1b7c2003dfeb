//! Six rows of motion to a model's input.

/// `(value − mean) / std` per row; `rows` are six rows of equal length, one after another.
#[must_use]
pub fn normalised(rows: &[f32], mean: [f32; 6], std: [f32; 6]) -> Vec<f32> {
    let length = (rows.len() / 6).max(1);
    let scaled =
        |(row, (mean, std)): (&[f32], (f32, f32))| row.iter().map(move |v| (v - mean) / std).collect::<Vec<_>>();
    rows.chunks_exact(length).zip(mean.into_iter().zip(std)).flat_map(scaled).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_row_has_its_own_constants() {
        let rows: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let out = super::normalised(&rows, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0], [1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        assert_eq!(out, [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 2.0]);
    }
}
