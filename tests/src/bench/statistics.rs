//! The arithmetic of the benchmarks: quantiles, and a straight line through readings.
//!
//! Pure. Quantiles are nearest-rank: each is a value that was really measured, nothing is
//! interpolated. Empty input gives no answer instead of a zero.

/// Values in ascending order.
#[derive(Debug, Clone, Default)]
pub struct Distribution(Vec<f64>);

impl Distribution {
    /// Takes measured values, which must be finite.
    pub fn new(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// How many values there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The value that `share` (0 to 1) of all values do not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = (share.clamp(0.0, 1.0) * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.max(1) - 1).copied()
    }

    /// The smallest value.
    pub fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }
}

/// A least-squares line through readings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// The change of `y` for each unit of `x`.
    pub slope: f64,
    /// The standard error of the slope. Readings that resemble the one before count for less, as
    /// many as the first-order autocorrelation of the residuals says.
    pub standard_error: f64,
}

/// The line through points that are in order of `x`; none with fewer than three, or if all `x`
/// are the same.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    if points.len() < 3 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    let residuals: Vec<f64> =
        points.iter().map(|(x, y)| y - mean_y - slope * (x - mean_x)).collect();
    let squares: f64 = residuals.iter().map(|residual| residual.powi(2)).sum();
    let independent = (squares / (count - 2.0) / spread).sqrt();
    let standard_error = independent * inflation(&residuals, squares);
    Some(Line { slope, standard_error })
}

/// By how much the standard error grows because residuals resemble their predecessors.
fn inflation(residuals: &[f64], squares: f64) -> f64 {
    // Keeps the factor finite when a step makes all residuals of one side alike.
    const CORRELATION_MAX: f64 = 0.999;
    if squares <= 0.0 {
        return 1.0;
    }
    let products: f64 = residuals.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let correlation = (products / squares).clamp(0.0, CORRELATION_MAX);
    ((1.0 + correlation) / (1.0 - correlation)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let values = Distribution::new((1..=200).rev().map(f64::from).collect());
        for (share, expected) in
            [(0.0, 1.0), (0.5, 100.0), (0.9, 180.0), (0.99, 198.0), (1.0, 200.0)]
        {
            assert_eq!(values.quantile(share), Some(expected), "share {share}");
        }
        assert_eq!((values.min(), values.max(), values.count()), (Some(1.0), Some(200.0), 200));
    }

    #[test]
    fn nothing_measured_has_no_quantile() {
        let nothing = Distribution::new(vec![f64::NAN]);
        assert_eq!((nothing.quantile(0.5), nothing.max()), (None, None));
    }

    #[test]
    fn a_straight_line_is_found_without_error() {
        let points: Vec<_> = (0..100).map(f64::from).map(|x| (x, 3.0 + 0.25 * x)).collect();
        let found = line(&points).unwrap();
        assert!((found.slope - 0.25).abs() < 1e-9, "{found:?}");
        assert!(found.standard_error < 1e-9, "{found:?}");
    }

    #[test]
    fn the_known_standard_error_of_a_small_table_is_found() {
        // Residuals -0.2, 0.6, -0.6, 0.2: their neighbours differ, so nothing is inflated.
        let found = line(&[(1.0, 1.0), (2.0, 3.0), (3.0, 3.0), (4.0, 5.0)]).unwrap();
        assert!((found.slope - 1.2).abs() < 1e-9, "{found:?}");
        assert!((found.standard_error - 0.282_842_712).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn one_step_in_flat_readings_is_not_mistaken_for_a_certain_slope() {
        let points: Vec<_> = (0..200)
            .map(|index| (f64::from(index), if index < 100 { 5000.0 } else { 5100.0 }))
            .collect();
        let found = line(&points).unwrap();
        assert!(found.slope > 0.0);
        assert!(found.slope / found.standard_error < 6.0, "{found:?}");
    }

    #[test]
    fn too_few_or_simultaneous_readings_have_no_line() {
        assert_eq!(line(&[(0.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
    }
}
