//! Understands `/proc/pressure/{cpu,io,memory}` (kernel documentation `accounting/psi`).

use pvewatch_protocol::sample::Stall;

/// Reads the text of one pressure file; none if the line `some` is not there.
pub fn parse(text: &str) -> Option<Stall> {
    let (some_10s_ratio, some_300s_ratio) = averages(text, "some ")?;
    // The file `cpu` has no line `full` on kernels before 5.13.
    let (full_10s_ratio, full_300s_ratio) = averages(text, "full ").unwrap_or((0.0, 0.0));
    Some(Stall { some_10s_ratio, some_300s_ratio, full_10s_ratio, full_300s_ratio })
}

/// The averages over 10 s and 300 s of one line, from percent to ratios.
fn averages(text: &str, kind: &str) -> Option<(f64, f64)> {
    let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
    let field = |name: &str| {
        let value = line.split(' ').find_map(|field| field.strip_prefix(name))?;
        let percent: f64 = value.parse().ok()?;
        percent.is_finite().then_some(percent / 100.0)
    };
    Some((field("avg10=")?, field("avg300=")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_become_ratios() {
        let text = "some avg10=1.50 avg60=0.80 avg300=25.00 total=123\n\
                    full avg10=0.50 avg60=0.00 avg300=12.50 total=45\n";
        let expected = Stall {
            some_10s_ratio: 0.015,
            some_300s_ratio: 0.25,
            full_10s_ratio: 0.005,
            full_300s_ratio: 0.125,
        };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn an_old_kernel_has_no_full_line_for_cpu() {
        let stall = parse("some avg10=2.00 avg60=0.00 avg300=0.00 total=1\n").unwrap();
        assert_eq!((stall.some_10s_ratio, stall.full_10s_ratio), (0.02, 0.0));
    }

    #[test]
    fn what_is_not_pressure_is_nothing() {
        for text in [
            "",
            "some",
            "some avg10=x avg300=1",
            "full avg10=1.0 avg300=1.0",
            "some avg10=NaN avg300=0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
