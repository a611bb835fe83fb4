//! Call records: kept in memory for queries, and in files for ever, or for as long as is set.

mod files;
mod row;
mod store;

pub(crate) use row::{CSV_HEAD, Filter, Row};
pub(crate) use store::{Kept, Opened, Store, StoreCounts};
