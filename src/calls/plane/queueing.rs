//! Callers that wait for agents.

use crate::cause::Cause;
use crate::ids::{CallId, Text};

use super::CallPlane;

impl CallPlane {
    pub(super) fn enter_queue(&mut self, id: CallId, _name: Text) {
        self.fail_attempt(id, Cause::Unreachable);
    }

    pub(super) fn agent_failed(&mut self, _id: CallId) {}

    pub(super) fn leave_queue(&mut self, _id: CallId, _name: &Text) {}

    pub(super) fn serve_queue(&mut self, _name: &Text) {}
}
