//! Algebra of vectors in the joint space.

/// A vector that has no direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A component is NaN or infinite.
    #[error("the vector holds a value that is not finite")]
    NotFinite,
    /// The vector is zero, or its parts cancel each other out.
    #[error("the vector has no direction: it is zero, or its parts cancel each other out")]
    Zero,
    /// Vectors of different dimensions.
    #[error("a vector of dimension {got} meets one of dimension {wanted}")]
    Dimension {
        /// Dimension of the first vector.
        wanted: usize,
        /// Dimension of the one that differs.
        got: usize,
    },
}

/// Norms below this come from rounding: parts that cancel leave about 1e-7.
const SMALLEST_NORM: f32 = 1e-5;

/// Dot product. Sixteen running sums in a fixed order, so that the loop becomes SIMD and every machine gets the same bits.
#[must_use]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let (a_blocks, a_rest) = a.as_chunks::<16>();
    let (b_blocks, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for ((lane, x), y) in lanes.iter_mut().zip(x).zip(y) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum::<f32>()
}

/// `vector` at length one.
///
/// # Errors
/// When it is zero or holds a value that is not finite.
pub fn unit(vector: &[f32]) -> Result<Vec<f32>, VectorError> {
    let norm = dot(vector, vector).sqrt();
    if !norm.is_finite() {
        return Err(VectorError::NotFinite);
    }
    if norm < SMALLEST_NORM {
        return Err(VectorError::Zero);
    }
    Ok(vector.iter().map(|x| x / norm).collect())
}

/// Unit vector of `Σ weight · vector`.
///
/// # Errors
/// When there is nothing to sum, dimensions differ, or the sum has no direction.
pub fn weighted_sum<'a>(parts: impl IntoIterator<Item = (f32, &'a [f32])>) -> Result<Vec<f32>, VectorError> {
    let mut sum: Vec<f32> = Vec::new();
    for (weight, vector) in parts {
        if sum.is_empty() {
            sum = vec![0.0; vector.len()];
        }
        if vector.len() != sum.len() {
            return Err(VectorError::Dimension { wanted: sum.len(), got: vector.len() });
        }
        sum.iter_mut().zip(vector).for_each(|(total, x)| *total += weight * x);
    }
    unit(&sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unit_vectors_have_length_one(v in prop::collection::vec(-10.0f32..10.0, 1..100)) {
            match unit(&v) {
                Ok(u) => prop_assert!((dot(&u, &u) - 1.0).abs() < 1e-5),
                Err(error) => prop_assert_eq!(error, VectorError::Zero),
            }
        }

        #[test]
        fn dot_is_the_sum_of_products(v in prop::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..70)) {
            let (a, b): (Vec<f32>, Vec<f32>) = v.iter().copied().unzip();
            let plain: f64 = v.iter().map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            prop_assert!((f64::from(dot(&a, &b)) - plain).abs() < 1e-4);
        }
    }

    #[test]
    fn what_has_no_direction_is_refused() {
        assert_eq!(unit(&[0.0, 0.0]), Err(VectorError::Zero));
        assert_eq!(unit(&[]), Err(VectorError::Zero));
        assert_eq!(unit(&[f32::NAN, 1.0]), Err(VectorError::NotFinite));
        assert_eq!(unit(&[f32::INFINITY, 1.0]), Err(VectorError::NotFinite));
        assert_eq!(weighted_sum([(0.5, &[1.0, 0.0][..]), (0.5, &[-1.0, 0.0][..])]), Err(VectorError::Zero));
        assert_eq!(weighted_sum([]), Err(VectorError::Zero));
        assert_eq!(
            weighted_sum([(1.0, &[1.0, 0.0][..]), (1.0, &[1.0][..])]),
            Err(VectorError::Dimension { wanted: 2, got: 1 })
        );
    }

    #[test]
    fn halves_meet_in_the_middle() {
        let half = weighted_sum([(0.5, &[1.0, 0.0][..]), (0.5, &[0.0, 1.0][..])]).unwrap();
        assert!(half.iter().all(|x| (x - 0.5f32.sqrt()).abs() < 1e-6));
    }
}
