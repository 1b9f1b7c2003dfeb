//! How an IMU is mounted: the turn from its axes to the body's.

/// Entries below this are rounding of sines and cosines: a mounting by quarter turns is exact.
const ROUNDING: f64 = 1e-12;

/// A rotation from the axes of a device to those of the body, x forward, y left, z up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mounting {
    /// Rows of the matrix.
    rows: [[f32; 3]; 3],
}

impl Default for Mounting {
    /// Mounted as its case is marked.
    fn default() -> Self {
        Self { rows: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] }
    }
}

impl Mounting {
    /// From roll, pitch and yaw in degrees: the device stands turned in the body by roll about the body's x, then pitch about its y, then
    /// yaw about its z (fixed axes, the `rpy` of URDF and of ROS's static transforms).
    #[must_use]
    pub fn from_rpy_deg([roll, pitch, yaw]: [f64; 3]) -> Self {
        let [(sr, cr), (sp, cp), (sy, cy)] = [roll, pitch, yaw].map(|degrees| degrees.to_radians().sin_cos());
        // Rz(yaw) · Ry(pitch) · Rx(roll).
        let rows = [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ];
        let exact = |entry: f64| {
            let whole = entry.round();
            if (entry - whole).abs() < ROUNDING { whole as f32 } else { entry as f32 }
        };
        Self { rows: rows.map(|row| row.map(exact)) }
    }

    /// From the nine entries of a matrix, row by row; none when it is no rotation.
    #[must_use]
    pub(super) fn from_matrix([a, b, c]: [[f32; 3]; 3]) -> Option<Self> {
        let dot = |p: [f32; 3], q: [f32; 3]| p.iter().zip(q).map(|(p, q)| p * q).sum::<f32>();
        let near = |value: f32, wanted: f32| (value - wanted).abs() < 1e-3;
        let is_orthogonal = [dot(a, b), dot(b, c), dot(a, c)].iter().all(|value| near(*value, 0.0));
        let is_unit = [dot(a, a), dot(b, b), dot(c, c)].iter().all(|value| near(*value, 1.0));
        (is_orthogonal && is_unit).then_some(Self { rows: [a, b, c] })
    }

    /// A vector of the device in the body's axes.
    #[must_use]
    pub fn turn(&self, [x, y, z]: [f32; 3]) -> [f32; 3] {
        self.rows.map(|[a, b, c]| a * x + b * y + c * z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarter_turns_are_exact() {
        let turned = |rpy| Mounting::from_rpy_deg(rpy).turn([1.0, 2.0, 3.0]);
        assert_eq!(turned([0.0, 0.0, 0.0]), [1.0, 2.0, 3.0]);
        // Upside down: from x forward, y right, z down.
        assert_eq!(turned([180.0, 0.0, 0.0]), [1.0, -2.0, -3.0]);
        // Its x points to the left, its y to the back.
        assert_eq!(turned([0.0, 0.0, 90.0]), [-2.0, 1.0, 3.0]);
        // Its x points down.
        assert_eq!(turned([0.0, 90.0, 0.0]), [3.0, 2.0, -1.0]);
        // Roll first, then yaw, about the body's axes.
        assert_eq!(turned([90.0, 0.0, 90.0]), [3.0, 1.0, 2.0]);
    }

    #[test]
    fn any_turn_keeps_the_length() {
        let [x, y, z] = Mounting::from_rpy_deg([12.0, -34.0, 56.0]).turn([1.0, 2.0, 2.0]);
        assert!((x * x + y * y + z * z - 9.0).abs() < 1e-5);
    }

    #[test]
    fn what_is_no_rotation_is_none() {
        assert!(Mounting::from_matrix([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]).is_some());
        assert!(Mounting::from_matrix([[0.0; 3]; 3]).is_none());
        assert!(Mounting::from_matrix([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).is_none());
    }
}
