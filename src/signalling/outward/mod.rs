//! What the switch itself says by HTTP: webhooks, the dialplan's questions to hooks, and whether a device is let in.

mod callback;
mod hooks;
mod http;
mod webhooks;

pub use callback::Callback;
pub(crate) use callback::Verdict;
pub(crate) use hooks::answer_questions;
pub(crate) use http::Address;
pub use webhooks::Webhook;
pub(crate) use webhooks::deliver;
