//! Recorded motion of six axes, and the CSV files that hold it.

use std::path::Path;

use super::{MediaError, read};

const WHAT: &str = "IMU file";
/// The columns, in order; a first line that starts with the first of them is a header.
const COLUMNS: [&str; 7] = ["t_secs", "ax_mps2", "ay_mps2", "az_mps2", "gx_radps", "gy_radps", "gz_radps"];

/// Readings of accelerometer and gyroscope in the order of their times.
#[derive(Clone, Debug, PartialEq)]
pub struct Motion {
    /// When each reading was true, in seconds, strictly rising.
    pub t_secs: Vec<f64>,
    /// Accelerometer x y z in m/s², gyroscope x y z in rad/s, for each reading.
    pub readings: Vec<[f32; 6]>,
}

impl Motion {
    /// Reads a CSV file of `t_secs,ax_mps2,ay_mps2,az_mps2,gx_radps,gy_radps,gz_radps`; the header line is optional.
    ///
    /// # Errors
    /// When it cannot be read, a line does not hold seven finite numbers, or times do not rise.
    pub fn open(path: &Path) -> Result<Self, MediaError> {
        let bytes = read(path)?;
        Self::from_csv(std::str::from_utf8(&bytes).map_err(|why| MediaError::malformed(WHAT, why))?)
    }

    /// The same from the file's text.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_csv(text: &str) -> Result<Self, MediaError> {
        let mut motion = Self { t_secs: Vec::new(), readings: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || (index == 0 && line.starts_with(COLUMNS[0])) {
                continue;
            }
            let (t_secs, reading) =
                parse(line).map_err(|why| MediaError::malformed(WHAT, format!("line {}: {why}", index + 1)))?;
            if motion.t_secs.last().is_some_and(|before| t_secs <= *before) {
                return Err(MediaError::malformed(WHAT, format!("line {}: t_secs does not rise", index + 1)));
            }
            motion.t_secs.push(t_secs);
            motion.readings.push(reading);
        }
        if motion.readings.is_empty() { Err(MediaError::Empty(WHAT)) } else { Ok(motion) }
    }

    /// From the first reading to the last, in seconds.
    #[must_use]
    pub fn secs(&self) -> f64 {
        self.t_secs.last().zip(self.t_secs.first()).map_or(0.0, |(last, first)| last - first)
    }

    /// Six rows of `count` values, one row after another, at `start + k / rate_hz`, where `start` counts in seconds from the
    /// first reading: linear between readings, held beyond the first and the last.
    #[must_use]
    pub fn resampled(&self, start_secs: f64, rate_hz: f64, count: usize) -> Vec<f32> {
        let zero = self.t_secs.first().copied().unwrap_or(0.0);
        let wanted: Vec<[f32; 6]> = (0..count).map(|k| self.at(zero + start_secs + k as f64 / rate_hz)).collect();
        (0..6).flat_map(|axis| wanted.iter().filter_map(move |reading| reading.get(axis).copied())).collect()
    }

    fn at(&self, t_secs: f64) -> [f32; 6] {
        let after = self.t_secs.partition_point(|t| *t < t_secs);
        let point = |index: usize| self.t_secs.get(index).copied().zip(self.readings.get(index).copied());
        match (after.checked_sub(1).and_then(point), point(after)) {
            (Some((t0, before)), Some((t1, next))) => {
                let share = (t_secs - t0) / (t1 - t0);
                let mut mixed = before;
                for (value, next) in mixed.iter_mut().zip(next) {
                    *value = (f64::from(*value) + share * (f64::from(next) - f64::from(*value))) as f32;
                }
                mixed
            }
            (Some((_, only)), None) | (None, Some((_, only))) => only,
            (None, None) => [0.0; 6],
        }
    }
}

fn parse(line: &str) -> Result<(f64, [f32; 6]), String> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    if cells.len() != COLUMNS.len() {
        return Err(format!("{} columns instead of {}", cells.len(), COLUMNS.join(",")));
    }
    let number = |(cell, column): (&&str, &str)| match cell.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("{column} is `{cell}`, not a finite number")),
    };
    let values = cells.iter().zip(COLUMNS).map(number).collect::<Result<Vec<f64>, String>>()?;
    match values.as_slice() {
        [t_secs, ax, ay, az, gx, gy, gz] => Ok((*t_secs, [ax, ay, az, gx, gy, gz].map(|v| *v as f32))),
        _ => Err("not seven numbers".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_are_read_with_and_without_header() {
        let body = "0.0,1,2,3,4,5,6\n0.1, 3,2,3,4,5,6\n";
        let motion = Motion::from_csv(body).unwrap();
        assert_eq!(motion, Motion::from_csv(&format!("t_secs,ax_mps2,ay,az,gx,gy,gz\r\n{body}")).unwrap());
        assert_eq!(motion.resampled(0.0, 20.0, 4)[..5], [1.0, 2.0, 3.0, 3.0, 2.0]);
        assert!((motion.secs() - 0.1).abs() < 1e-12);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (bad, says) in [
            ("0,1,2,3,4,5,NaN", "line 1: gz_radps"),
            ("0,1,2,3,4,5,6\n1,1,2,3", "line 2: 4 columns"),
            ("1,1,2,3,4,5,6\n1,1,2,3,4,5,6", "line 2: t_secs does not rise"),
            ("t_secs\n", "empty"),
            ("", "empty"),
            ("time,a\n", "line 1"),
        ] {
            let error = Motion::from_csv(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
