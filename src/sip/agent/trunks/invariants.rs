//! What holds of the tables of trunks, whatever came.

use crate::agent::invariants::is;
use crate::limits::TRUNKS_MAX;

use super::{LineKey, TrunkId, Trunks};

impl Trunks {
    pub(in crate::agent) fn has_line(&self, line: LineKey) -> bool {
        self.registrations.contains_key(&line)
    }

    /// Do the tables agree with each other?
    pub(in crate::agent) fn check(&self) -> Result<(), String> {
        is(self.held.len() <= TRUNKS_MAX, "more trunks than there may be")?;
        for held in self.held.values() {
            let is_there = held.line.is_none_or(|line| self.has_line(line));
            is(is_there, "a trunk without its registration")?;
            let is_wanted = held.trunk.registers.is_some();
            is(held.line.is_some() == is_wanted, "a registration that nobody wants")?;
        }
        let lines = self.held.values().filter(|held| held.line.is_some()).count();
        is(self.lines.len() == lines, "names of no registration")?;
        let is_held = |id: &TrunkId| self.held.contains_key(id);
        is(self.lines.values().all(is_held), "a name of no trunk")?;
        let mut of_addresses = self.addresses.iter().map(|(_, id)| id);
        is(of_addresses.all(is_held), "an address of no trunk")
    }
}
