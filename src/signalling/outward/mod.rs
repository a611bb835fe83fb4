//! What the switch itself says by HTTP: webhooks, and the dialplan's questions to hooks.

mod hooks;
mod http;
mod webhooks;

pub(crate) use hooks::answer_questions;
pub use webhooks::Webhook;
pub(crate) use webhooks::deliver;
