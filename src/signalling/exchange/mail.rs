//! What there is to tell of boxes of voice mail: telephones show how many messages wait, programs follow events.

use std::sync::Arc;

use moqswitch_calls::Number;
use serde_json::json;
use tokio::sync::Notify;

use super::Exchange;

impl Exchange {
    /// Rung when something of a box has changed. It never is where there are none.
    pub(crate) fn mail_news(&self) -> Arc<Notify> {
        self.mail.as_ref().map_or_else(Arc::default, |mail| mail.news())
    }

    /// Tells of boxes that have changed.
    pub(crate) fn take_mail(&mut self) {
        let changed = self.mail.as_ref().map(|mail| mail.take_changed());
        for number in changed.unwrap_or_default() {
            let (new, old) = self.waiting_messages(&number);
            self.outlet.touch(&number);
            let told = json!({ "dn": number.as_str(), "new": new, "old": old });
            self.events.push("voicemail", &told);
        }
    }

    /// How many messages nobody has listened to, and how many others there are.
    pub(crate) fn waiting_messages(&self, number: &Number) -> (u32, u32) {
        self.mail.as_ref().map_or((0, 0), |mail| mail.waiting(number))
    }
}
