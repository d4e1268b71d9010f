//! How families are written: counters, gauges and what is neither.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The encoder of families.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    pub(super) fn counter<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.counter_in(name, help, None, samples)
    }

    pub(super) fn counter_in<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            (name, help, unit),
            MetricType::Counter,
            samples,
            |it, value| it.encode_counter::<NoLabelSet, _, u64>(&value, None),
        )
    }

    pub(super) fn counter_of_seconds<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let head = (name, help, Some(&Unit::Seconds));
        self.family(head, MetricType::Counter, samples, |it, value| {
            it.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    pub(super) fn gauge<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        self.family(
            (name, help, None),
            MetricType::Gauge,
            samples,
            |it, value| it.encode_gauge(&value),
        )
    }

    pub(super) fn measure<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        unit: &Unit,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let head = (name, help, Some(unit));
        self.family(head, MetricType::Gauge, samples, |it, value| {
            it.encode_gauge(&value)
        })
    }

    /// Writes a family: its head, and each of its samples as `write` does.
    fn family<L: EncodeLabelSet, V>(
        &mut self,
        (name, help, unit): (&str, &str, Option<&Unit>),
        kind: MetricType,
        samples: impl IntoIterator<Item = (L, V)>,
        write: fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in samples {
            write(&mut family.encode_family(&labels)?, value)?;
        }
        Ok(())
    }

    pub(super) fn either<L: EncodeLabelSet>(
        &mut self,
        is_gauge: bool,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        if is_gauge {
            return self.gauge(name, help, samples);
        }
        self.counter_in(name, help, unit, samples)
    }

    /// A gauge of the appliance itself, without labels.
    pub(super) fn alone(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: f64,
    ) -> fmt::Result {
        let kind = MetricType::Gauge;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        family.encode_gauge(&value)
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Info)?;
        family.encode_info(&labels)
    }
}
