//! Call records: in files for ever, or for as long as is set; or in memory. Queries look through all of them.

mod files;
mod row;
mod search;
mod store;
mod sums;

pub(crate) use row::{CSV_HEAD, Filter, Row};
pub(crate) use search::{NoAnswer, Search};
pub(crate) use store::{Kept, Opened, Store, StoreCounts};
pub(crate) use sums::{MOS_STEPS, Sums};
