//! A call beside what goes wrong. It must not notice.

use serde_json::{Value, json};

use crate::harness::{Phone, Switch};
use crate::main_path::connect;

/// Two who talk, and have nothing to do with the rest.
pub(crate) struct Innocent {
    alice: Phone,
    bob: Phone,
    call: String,
}

impl Innocent {
    /// From 7001 to 7002.
    pub(crate) async fn talk(switch: &Switch) -> Self {
        let mut alice = switch.phone("7001").await;
        let mut bob = switch.phone("7002").await;
        let (_, call) = connect(&mut alice, &mut bob, "7002").await;
        alice.rest().await;
        bob.rest().await;
        Self { alice, bob, call }
    }

    /// They talk as before: neither was told anything, both may do what they might, and digits still pass.
    pub(crate) async fn is_untouched(&mut self, switch: &Switch) {
        let heard = [self.alice.rest().await, self.bob.rest().await].concat();
        assert_eq!(heard, Vec::<Value>::new(), "what nobody should have told them");
        let own = |leg: u16| vec![format!("call/{}/{leg}/**", self.call)];
        for (phone, leg) in [(&self.alice, 1), (&self.bob, 2)] {
            let grants = switch.grants(phone);
            assert_eq!(grants.publish, own(leg));
            assert_eq!(grants.subscribe, [format!("call/{}/**", self.call)]);
        }
        self.alice
            .send("dtmf", json!({ "callId": "call-1", "digit": "5" }))
            .await;
        assert_eq!(self.bob.expect("dtmf").await["digit"], "5");
        self.alice.rest().await;
        self.bob.rest().await;
    }

    /// They hang up, and one record says so.
    pub(crate) async fn hang_up(self, switch: &Switch) {
        let path = format!("/api/call/{}", self.call);
        self.hang_up_later(switch).await;
        assert_eq!(switch.get(&path).await.json()["reason"], "normal_clearing");
    }

    /// The same, where a record is found a moment later.
    pub(crate) async fn hang_up_later(mut self, switch: &Switch) {
        self.bob.send("hangup", json!({ "callId": self.call })).await;
        assert_eq!(self.alice.expect("callEnded").await["reason"], "normal_clearing");
        assert_eq!(self.bob.expect("callEnded").await["reason"], "normal_clearing");
        assert!(switch.grants(&self.alice).is_empty() && switch.grants(&self.bob).is_empty());
        for mut phone in [self.alice, self.bob] {
            phone.send("unregister", json!({})).await;
            phone.expect("unregistered").await;
        }
    }
}

/// Nothing is left of any call, and there are so many records.
pub(crate) async fn assert_nothing_is_left(switch: &Switch, records: u64) {
    assert_eq!(switch.get("/api/calls").await.json()["calls"], json!([]));
    let stats = switch.get("/api/stats").await.json();
    assert_eq!((&stats["now"]["calls"], &stats["calls"]), (&json!(0), &json!(records)));
}
