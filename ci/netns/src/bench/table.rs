//! The table of figures: for people on standard output, for programs as JSON.

use std::fmt;

use serde::Serialize;

/// Figures of the same thing, taken one after the other between those of others.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Series {
    figures: Vec<f64>,
}

impl Series {
    /// Adds a figure.
    pub fn push(&mut self, figure: f64) {
        self.figures.push(figure);
    }

    /// Returns the middle one, 0 without any.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.figures.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        match sorted.len() {
            even if even > 0 && even.is_multiple_of(2) => {
                let lower = sorted.get(even / 2 - 1).copied().unwrap_or_default();
                f64::midpoint(lower, upper)
            }
            _ => upper,
        }
    }

    /// Returns the smallest and the largest.
    #[must_use]
    pub fn spread(&self) -> (f64, f64) {
        let min = self.figures.iter().copied().fold(f64::INFINITY, f64::min);
        let max = self
            .figures
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        if self.is_empty() {
            (0.0, 0.0)
        } else {
            (min, max)
        }
    }

    /// Returns the ratios of these figures to others, round by round.
    #[must_use]
    pub fn over(&self, other: &Self) -> Self {
        let pairs = self.figures.iter().zip(&other.figures);
        pairs.map(|(one, other)| one / other).collect()
    }

    /// Returns by how much these figures are above others, round by round.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        let pairs = self.figures.iter().zip(&other.figures);
        pairs.map(|(one, other)| one - other).collect()
    }

    /// Tells whether there is no figure.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.figures.is_empty()
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        Self {
            figures: figures.into_iter().collect(),
        }
    }
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Target {
    /// Tells whether a figure is as wanted.
    #[must_use]
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(limit) => figure >= limit,
            Self::AtMost(limit) => figure <= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, ">= {}", short(*limit)),
            Self::AtMost(limit) => write!(f, "<= {}", short(*limit)),
        }
    }
}

/// Writes at most three digits after the point.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What was measured, and of whom.
    pub name: String,
    /// What it is counted in.
    pub unit: &'static str,
    /// The middle figure.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// What it must be; none: the figure only stands beside others.
    pub target: Option<Target>,
    /// Whether it is.
    pub holds: Option<bool>,
    /// What to know about it.
    pub note: String,
}

/// The table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Table {
    /// Its lines, in the order of their making.
    pub rows: Vec<Row>,
}

impl Table {
    /// Adds and prints a line with a figure that only stands beside others.
    pub fn figure(&mut self, name: &str, unit: &'static str, series: &Series) {
        self.add(name, unit, series, None, "");
    }

    /// Adds and prints a line with a figure that has a target.
    pub fn check(&mut self, name: &str, unit: &'static str, series: &Series, target: Target) {
        self.add(name, unit, series, Some(target), "");
    }

    /// Adds and prints a line.
    pub fn add(
        &mut self,
        name: &str,
        unit: &'static str,
        series: &Series,
        target: Option<Target>,
        note: &str,
    ) {
        let (min, max) = series.spread();
        let median = series.median();
        let row = Row {
            name: name.to_owned(),
            unit,
            median,
            min,
            max,
            target,
            holds: target.map(|target| !series.is_empty() && target.holds(median)),
            note: note.to_owned(),
        };
        println!("{row}");
        self.rows.push(row);
    }

    /// Returns the line of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Returns how many targets hold and how many do not.
    #[must_use]
    pub fn verdicts(&self) -> (usize, usize) {
        let count = |wanted| {
            let rows = self.rows.iter();
            rows.filter(|row| row.holds == Some(wanted)).count()
        };
        (count(true), count(false))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median.abs() {
            large if large >= 100.0 => 0,
            middling if middling >= 10.0 => 1,
            small if small >= 0.1 => 2,
            tiny if tiny > 0.0 => 4,
            _ => 0,
        };
        let figure = |value: f64| format!("{value:.digits$}");
        let spread = format!("[{} .. {}]", figure(self.min), figure(self.max));
        write!(
            f,
            "{:<54}{:>10} {:<10}{spread:<22}",
            self.name,
            figure(self.median),
            self.unit
        )?;
        if let (Some(target), Some(holds)) = (self.target, self.holds) {
            let verdict = if holds { "yes" } else { "NO" };
            write!(f, "{:<10}{verdict}", target.to_string())?;
        }
        if !self.note.is_empty() {
            write!(f, "  {}", self.note)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn middle_of_an_odd_and_of_an_even_number_of_figures() {
        let odd: Series = [9.0, 1.0, 2.0].into_iter().collect();
        let even: Series = [9.0, 1.0, 2.0, 4.0].into_iter().collect();
        assert!((odd.median() - 2.0).abs() < 1e-9);
        assert!((even.median() - 3.0).abs() < 1e-9);
        assert_eq!(even.spread(), (1.0, 9.0));
    }

    #[test]
    fn target_without_any_figure_does_not_hold() {
        let mut table = Table::default();
        table.check("a", "x", &Series::default(), Target::AtMost(1.0));
        table.check("b", "x", &[0.5].into_iter().collect(), Target::AtMost(1.0));
        table.check("c", "x", &[0.5].into_iter().collect(), Target::AtLeast(1.0));
        table.figure("d", "x", &Series::default());
        assert_eq!(table.verdicts(), (1, 2));
    }
}
