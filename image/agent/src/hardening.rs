//! What an appliance's kernel is told: settings of the network and of the machine.
