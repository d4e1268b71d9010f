//! The outbox: what a worker has still to be told of health. A newer word on a subject replaces
//! the one before, so that it cannot grow beyond the number of subjects.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use weir_model::{Offer, RealId, RealState, ServiceId};

use crate::command::Command;

/// What one worker has still to be told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outbox {
    reals: BTreeMap<RealId, RealState>,
    offers: BTreeMap<ServiceId, Offer>,
    vips: BTreeMap<Ipv4Addr, bool>,
}

impl Outbox {
    /// Puts down what holds for a real server.
    pub(crate) fn real(&mut self, real: RealId, state: RealState) {
        self.reals.insert(real, state);
    }

    /// Puts down whether a VIP is withdrawn.
    pub(crate) fn vip(&mut self, vip: Ipv4Addr, withdrawn: bool) {
        self.vips.insert(vip, withdrawn);
    }

    /// Puts down what a service offers.
    pub(crate) fn offer(&mut self, service: ServiceId, offer: Offer) {
        self.offers.insert(service, offer);
    }

    /// Says whether the worker was told everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.reals.is_empty() && self.offers.is_empty() && self.vips.is_empty()
    }

    /// Sends the worker commands until `send` says that it has no room for more.
    pub(crate) fn empty(&mut self, mut send: impl FnMut(Command) -> bool) {
        while let Some((real, state)) = self.reals.first_key_value() {
            let (real, state) = (*real, *state);
            if !send(Command::Real { real, state }) {
                return;
            }
            self.reals.pop_first();
        }
        while let Some((service, offer)) = self.offers.first_key_value() {
            let (service, offer) = (*service, *offer);
            if !send(Command::Offer { service, offer }) {
                return;
            }
            self.offers.pop_first();
        }
        while let Some((address, withdrawn)) = self.vips.first_key_value() {
            let (address, withdrawn) = (*address, *withdrawn);
            if !send(Command::Vip { address, withdrawn }) {
                return;
            }
            self.vips.pop_first();
        }
    }
}
