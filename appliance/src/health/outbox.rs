//! The outbox: what a worker has still to be told of health. A newer word on a subject replaces
//! the one before, so that it cannot grow beyond the number of subjects.

use std::collections::BTreeMap;

use weir_model::{Offer, RealId, ServiceId};

use crate::command::Command;

/// What one worker has still to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    healths: BTreeMap<RealId, bool>,
    offers: BTreeMap<ServiceId, Offer>,
}

impl Outbox {
    /// Puts down whether a real server is up.
    pub(crate) fn health(&mut self, real: RealId, up: bool) {
        self.healths.insert(real, up);
    }

    /// Puts down what a service offers.
    pub(crate) fn offer(&mut self, service: ServiceId, offer: Offer) {
        self.offers.insert(service, offer);
    }

    /// Says whether the worker was told everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.healths.is_empty() && self.offers.is_empty()
    }

    /// Sends the worker commands until `send` says that it has no room for more.
    pub(crate) fn empty(&mut self, mut send: impl FnMut(Command) -> bool) {
        while let Some((real, up)) = self.healths.first_key_value() {
            let (real, up) = (*real, *up);
            if !send(Command::Health { real, up }) {
                return;
            }
            self.healths.pop_first();
        }
        while let Some((service, offer)) = self.offers.first_key_value() {
            let (service, offer) = (*service, *offer);
            if !send(Command::Offer { service, offer }) {
                return;
            }
            self.offers.pop_first();
        }
    }
}
