//! What the graphs show: which figure, how far back, and of whom.

use std::time::Duration;

use weir_control::{Filter, HistoryRow, What};

use crate::model::filter::Cycle;
use crate::model::{Model, Want};

/// How far back a graph goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Span {
    #[default]
    TenMinutes,
    Hour,
    SixHours,
    Day,
}

/// What a graph shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Figure {
    #[default]
    Syns,
    Sessions,
    Packets,
    Refused,
    /// Of the appliance only.
    Drops,
}

/// What the graph of a screen shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Graphing {
    pub(crate) span: Span,
    pub(crate) figure: Figure,
}

impl Cycle for Span {
    const ALL: &'static [Self] = &[Self::TenMinutes, Self::Hour, Self::SixHours, Self::Day];
}

impl Cycle for Figure {
    const ALL: &'static [Self] = &[
        Self::Syns,
        Self::Sessions,
        Self::Packets,
        Self::Refused,
        Self::Drops,
    ];
}

impl Span {
    /// Returns how many seconds it has.
    pub(crate) const fn seconds(self) -> u64 {
        match self {
            Self::TenMinutes => 600,
            Self::Hour => 3600,
            Self::SixHours => 6 * 3600,
            Self::Day => 24 * 3600,
        }
    }

    /// Returns how long it is, in words.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TenMinutes => "10 minutes",
            Self::Hour => "hour",
            Self::SixHours => "6 hours",
            Self::Day => "24 hours",
        }
    }
}

impl Figure {
    /// Returns what it is, with its unit.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Syns => "SYN/s",
            Self::Sessions => "new sessions/s",
            Self::Packets => "packets in/s",
            Self::Refused => "refused sessions/s",
            Self::Drops => "dropped frames/s",
        }
    }

    /// Returns it of a point.
    pub(crate) fn of(self, row: &HistoryRow) -> f64 {
        match self {
            Self::Syns => row.syn_per_s,
            Self::Sessions => row.sessions_per_s,
            Self::Packets => row.packets_in_per_s,
            Self::Refused => row.refused_per_s,
            Self::Drops => row.dropped_per_s.values().sum(),
        }
    }
}

impl Graphing {
    /// Goes further back; behind the longest span is the shortest.
    pub(crate) fn turn_span(&mut self) {
        self.span = self.span.next();
    }

    /// Shows the next figure; a service has no drops of its own.
    pub(crate) fn turn_figure(&mut self, of_service: bool) {
        self.figure = self.figure.next();
        if of_service && self.figure == Figure::Drops {
            self.figure = self.figure.next();
        }
    }
}

fn filter(service: Option<&str>, span: Span) -> Filter {
    Filter {
        service: service.map(str::to_owned),
        seconds: Some(span.seconds()),
        ..Filter::default()
    }
}

/// Wants the history of a service or of the appliance, no more often than a graph has columns.
pub(crate) fn want(service: Option<&str>, span: Span, every: Duration) -> Want {
    let column = Duration::from_secs(span.seconds() / 120);
    Want {
        what: What::History,
        filter: filter(service, span),
        every: every.max(column).min(Duration::from_mins(1)),
    }
}

/// Returns the history as it was told last.
pub(crate) fn rows<'a>(
    model: &'a Model,
    service: Option<&str>,
    span: Span,
) -> Option<&'a [HistoryRow]> {
    let wanted = filter(service, span);
    let mut kept = model.data.history.iter();
    let (_, told) = kept.find(|(filter, _)| *filter == wanted)?;
    Some(&told.value)
}
