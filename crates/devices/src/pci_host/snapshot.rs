use super::PciHost;
use bus::{
    RestoreError, Snapshot,
    pci::{ConfigState, PciFunction},
};
use serde::{Deserialize, Serialize};

/// Version 1: the bridge alone. Functions are saved by the board, each as its own section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub address: u32,
    pub bridge: ConfigState,
}

impl<F: PciFunction> Snapshot for PciHost<F> {
    const NAME: &'static str = "pci_host";
    const VERSION: u16 = 1;
    type State = State;

    fn save(&self) -> State {
        State { address: self.address, bridge: self.bridge.save() }
    }

    fn restore(&mut self, s: State) -> Result<(), RestoreError> {
        if !self.bridge.restore(&s.bridge) {
            return Err(RestoreError::Damaged { chip: Self::NAME, what: "size of the configuration space" });
        }
        self.address = s.address & super::spec::CONFIG_ADDRESS_WRITABLE;
        Ok(())
    }
}
