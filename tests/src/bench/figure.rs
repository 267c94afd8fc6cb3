//! What a benchmark found, beside what was promised: a table for people, JSON for machines.
//!
//! Pure. A figure over its budget is said, not punished: machines differ, and a benchmark is
//! no test.

use std::fmt::Write;

use serde_json::{Value, json};

/// What was promised of a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// Exactly this, as a count of what was injected.
    Exactly(f64),
}

/// How a figure compares with its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Within the budget.
    Ok,
    /// Not within the budget.
    Over,
    /// Nothing was promised.
    NoBudget,
}

/// One measured value.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// The value; none if nothing could be measured, which is over every budget.
    pub value: Option<f64>,
    /// Its unit, such as `ms`; empty for counts.
    pub unit: &'static str,
    /// What was promised, if anything was.
    pub budget: Option<Budget>,
}

impl Figure {
    /// A value of which nothing was promised.
    pub fn new(what: impl Into<String>, value: impl Into<Option<f64>>, unit: &'static str) -> Self {
        Self { what: what.into(), value: value.into(), unit, budget: None }
    }

    /// The same with a promise.
    #[must_use]
    pub fn within(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// How the value compares with what was promised.
    pub fn verdict(&self) -> Verdict {
        let kept = match (self.budget, self.value) {
            (None, _) => return Verdict::NoBudget,
            (Some(_), None) => false,
            (Some(Budget::AtMost(limit)), Some(value)) => value <= limit,
            (Some(Budget::AtLeast(limit)), Some(value)) => value >= limit,
            (Some(Budget::Exactly(expected)), Some(value)) => value == expected,
        };
        if kept { Verdict::Ok } else { Verdict::Over }
    }

    fn shown_value(&self) -> String {
        self.value.map_or_else(|| "none".to_owned(), |value| with_unit(value, self.unit))
    }

    fn shown_budget(&self) -> String {
        match self.budget {
            None => String::new(),
            Some(Budget::AtMost(limit)) => format!("<= {}", with_unit(limit, self.unit)),
            Some(Budget::AtLeast(limit)) => format!(">= {}", with_unit(limit, self.unit)),
            Some(Budget::Exactly(expected)) => format!("= {}", with_unit(expected, self.unit)),
        }
    }
}

/// The figures of one benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The benchmark's name, as on the command line.
    pub name: &'static str,
    /// On what it ran, such as the release and the broker.
    pub setting: String,
    /// What it found.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Whether every figure is within its budget.
    pub fn is_within_budgets(&self) -> bool {
        self.figures.iter().all(|figure| figure.verdict() != Verdict::Over)
    }

    /// A table for people, with a heading and without a final line end.
    pub fn table(&self) -> String {
        let rows: Vec<[String; 4]> = self
            .figures
            .iter()
            .map(|figure| {
                let verdict = match figure.verdict() {
                    Verdict::Ok => "ok",
                    Verdict::Over => "OVER",
                    Verdict::NoBudget => "",
                };
                let (value, budget) = (figure.shown_value(), figure.shown_budget());
                [figure.what.clone(), value, budget, verdict.to_owned()]
            })
            .collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let (what, value, budget) = (width(0), width(1), width(2));
        let mut table = format!("{} ({})", self.name, self.setting);
        for row in &rows {
            let line =
                format!("  {:<what$}  {:>value$}  {:<budget$}  {}", row[0], row[1], row[2], row[3]);
            // Writing to a string cannot fail.
            let _ = write!(table, "\n{}", line.trim_end());
        }
        table
    }

    /// The same for machines.
    pub fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                let (kind, limit) = match figure.budget {
                    None => (Value::Null, Value::Null),
                    Some(Budget::AtMost(limit)) => (json!("at_most"), json!(limit)),
                    Some(Budget::AtLeast(limit)) => (json!("at_least"), json!(limit)),
                    Some(Budget::Exactly(limit)) => (json!("exactly"), json!(limit)),
                };
                let within = match figure.verdict() {
                    Verdict::Ok => json!(true),
                    Verdict::Over => json!(false),
                    Verdict::NoBudget => Value::Null,
                };
                json!({
                    "what": figure.what, "value": figure.value, "unit": figure.unit,
                    "budget": {"kind": kind, "limit": limit}, "within_budget": within,
                })
            })
            .collect();
        json!({"benchmark": self.name, "setting": self.setting, "figures": figures})
    }
}

/// Three significant digits, all digits of whole numbers.
fn with_unit(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_budget() {
        let figure = |value, budget| Figure::new("x", value, "ms").within(budget).verdict();
        for (value, budget, expected) in [
            (Some(3.0), Budget::AtMost(3.0), Verdict::Ok),
            (Some(3.1), Budget::AtMost(3.0), Verdict::Over),
            (Some(5.0), Budget::AtLeast(5.0), Verdict::Ok),
            (Some(4.9), Budget::AtLeast(5.0), Verdict::Over),
            (Some(200.0), Budget::Exactly(200.0), Verdict::Ok),
            (Some(201.0), Budget::Exactly(200.0), Verdict::Over),
            (None, Budget::AtMost(3.0), Verdict::Over),
        ] {
            assert_eq!(figure(value, budget), expected, "{value:?} {budget:?}");
        }
        assert_eq!(Figure::new("x", None, "ms").verdict(), Verdict::NoBudget);
    }

    #[test]
    fn a_table_shows_each_value_beside_its_budget() {
        let report = Report {
            name: "latency",
            setting: "Debian 12".to_owned(),
            figures: vec![
                Figure::new("p50", 1.2345, "ms").within(Budget::AtMost(3.0)),
                Figure::new("received", 199.0, "").within(Budget::Exactly(200.0)),
                Figure::new("max", 12.34, "ms"),
            ],
        };
        let expected = "latency (Debian 12)\n\
                        \x20 p50       1.23 ms  <= 3 ms  ok\n\
                        \x20 received      199  = 200    OVER\n\
                        \x20 max       12.3 ms";
        assert_eq!(report.table(), expected);
        assert!(!report.is_within_budgets());
        assert_eq!(report.json()["figures"][1]["within_budget"], json!(false));
        assert_eq!(report.json()["figures"][2]["within_budget"], Value::Null);
    }
}
