//! From OpenMetrics to Prometheus' text format 0.0.4.
//!
//! The formats differ in few things as far as they are used here: a counter's family is named
//! with its `_total`, and units and the end are not marked. Samples are the same.

/// Rewrites what prometheus-client wrote.
pub fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        else {
            push(&mut classic, &[line]);
            continue;
        };
        let suffix = if kind == "counter" { "_total" } else { "" };
        if let Some((_, help)) = help.take() {
            push(&mut classic, &["# HELP ", name, suffix, " ", help]);
        }
        push(&mut classic, &["# TYPE ", name, suffix, " ", kind]);
    }
    classic
}

fn push(text: &mut String, parts: &[&str]) {
    text.extend(parts.iter().copied());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_counter_is_named_as_its_samples_are() {
        let open = "# HELP a Some help.\n# TYPE a counter\na_total{k=\"# EOF\"} 1\n\
                    # HELP b_seconds More.\n# TYPE b_seconds gauge\n# UNIT b_seconds seconds\n\
                    b_seconds 2\n# EOF\n";
        let classic = "# HELP a_total Some help.\n# TYPE a_total counter\na_total{k=\"# EOF\"} 1\n\
                       # HELP b_seconds More.\n# TYPE b_seconds gauge\nb_seconds 2\n";
        assert_eq!(super::from_open_metrics(open), classic);
    }
}
