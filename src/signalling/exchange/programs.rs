//! What programs ask for, and the records that they find.

use std::sync::Arc;

use moqswitch_calls::{Event, Reply, RequestId};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Asker, Exchange};
use crate::records::{Filter, Kept, Row, Store, StoreCounts};

impl Exchange {
    /// Asks the plane for a program.
    pub(crate) fn ask(&mut self, event: impl FnOnce(RequestId) -> Event) -> oneshot::Receiver<Reply> {
        let (reply, replied) = oneshot::channel();
        let request = self.request_id(Asker::Program(reply));
        self.handle(event(request));
        replied
    }

    /// Where records go from here on, with those that were there.
    pub(crate) fn keep_records(&mut self, store: Store, kept: Kept) {
        self.store = Some(store);
        self.kept = kept;
    }

    /// The disk has these.
    pub(crate) fn stored(&mut self, rows: Vec<Arc<Row>>) {
        for row in rows {
            self.events.push_text("callRecord", row.line.to_string());
            self.kept.push(row);
        }
    }

    /// Records that match, the newest first.
    pub(crate) fn records<'a>(&'a self, filter: &'a Filter) -> impl Iterator<Item = &'a Arc<Row>> {
        self.kept.find(filter)
    }

    pub(crate) fn store_counts(&self) -> Option<&StoreCounts> {
        self.store.as_ref().map(Store::counts)
    }

    /// No record comes any more.
    pub(crate) fn take_store(&mut self) -> Option<Store> {
        self.store.take()
    }

    /// A record is found, and told of, when the disk has it. What there is no room for is found all the same.
    pub(super) fn keep(&mut self, record: &Value) {
        let Some(row) = Row::of(record) else { return };
        let row = Arc::new(row);
        if !self.store.as_ref().is_some_and(|store| store.write(Arc::clone(&row))) {
            self.stored(vec![row]);
        }
    }
}
