//! Hooks: where a call goes that the dialplan's rules leave to a program.

use std::rc::Rc;
use std::time::Duration;

use moqswitch_calls::{Cause, Codec, Codecs, HookAnswer, HookDecision, HookId, HookQuestion, Target, Text};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};

use super::http::Address;
use crate::limits::HOOKS_ASKED_MAX;

/// A question of the plane.
pub(crate) type Question = Box<HookQuestion>;

/// `{"target": "group/sales"}` or `{"reject": "busy"}`. With a target more may be said.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Decision {
    target: Option<String>,
    reject: Option<String>,
    /// What the caller hears once before.
    play: Option<String>,
    /// Seconds that it rings.
    timeout: Option<u16>,
    record: Option<bool>,
    codecs: Option<Vec<String>>,
    display_name: Option<String>,
}

/// Asks what comes, several at once, and gives the answers back.
pub(crate) async fn answer_questions(
    mut questions: mpsc::Receiver<Question>,
    answer: impl Fn(HookId, HookAnswer) + 'static,
) {
    let (places, answer) = (Rc::new(Semaphore::new(HOOKS_ASKED_MAX)), Rc::new(answer));
    while let Some(question) = questions.recv().await {
        let (places, answer) = (Rc::clone(&places), Rc::clone(&answer));
        tokio::task::spawn_local(async move {
            // It fails only when it is closed, which it never is.
            let _place = places.acquire().await;
            answer(question.hook, ask(&question).await);
        });
    }
}

async fn ask(question: &HookQuestion) -> HookAnswer {
    let Some(address) = Address::parse(&question.url) else {
        return HookAnswer::Failed;
    };
    let body = json!({
        "callId": question.call.to_string(),
        "from": question.from.number.as_str(),
        "displayName": question.from.name.as_str(),
        "device": question.from.device.as_str(),
        "to": question.dialled.as_str(),
    });
    match address.post(&[], &body.to_string(), question.timeout).await {
        Ok(answer) if answer.status == 200 => decide(&answer.body).unwrap_or(HookAnswer::Failed),
        Ok(answer) => {
            tracing::warn!(url = question.url, status = answer.status, "a hook did not decide");
            HookAnswer::Failed
        }
        Err(error) => {
            tracing::warn!(url = question.url, %error, "a hook did not answer");
            HookAnswer::Failed
        }
    }
}

/// `None`: it is nonsense.
fn decide(body: &str) -> Option<HookAnswer> {
    if !crate::messages::is_bounded(body) {
        return None;
    }
    let decision: Decision = serde_json::from_str(body).ok()?;
    let target = match (&decision.target, &decision.reject) {
        (Some(target), None) => target.parse::<Target>().ok()?,
        (None, Some(cause)) => Target::Reject(cause.parse::<Cause>().ok()?),
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let codecs = decision.codecs.map(|names| {
        let codecs = names.iter().map(|name| name.parse::<Codec>().ok());
        codecs.collect::<Option<Codecs>>()
    });
    let play = match &decision.play {
        Some(name) => Some(Text::of_file(name)?),
        None => None,
    };
    if let (Target::Reject(cause), None, Some(_)) = (&target, &play, &decision.reject) {
        return Some(HookAnswer::Reject(*cause));
    }
    let decided = HookDecision {
        target,
        play,
        ring: decision.timeout.map(|seconds| Duration::from_secs(seconds.into())),
        record: decision.record,
        codecs: match codecs {
            // One that nobody knows is nonsense.
            Some(codecs) => Some(codecs?),
            None => None,
        },
        name: decision.display_name.as_deref().map(Text::new),
    };
    Some(match decided {
        HookDecision {
            target,
            play: None,
            ring: None,
            record: None,
            codecs: None,
            name: None,
        } => HookAnswer::Target(target),
        decided => HookAnswer::Decided(Box::new(decided)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_decide_by_target_or_cause() {
        let target = Target::Group(Text::new("sales"));
        assert_eq!(
            decide(r#"{"target":"group/sales","note":1}"#),
            Some(HookAnswer::Target(target))
        );
        assert_eq!(decide(r#"{"reject":"busy"}"#), Some(HookAnswer::Reject(Cause::Busy)));
        let more = r#"{"target":"1","timeout":20,"record":true,"codecs":["pcmu","opus"],"displayName":"A\u202eB"}"#;
        let Some(HookAnswer::Decided(decided)) = decide(more) else {
            panic!("more was said")
        };
        assert_eq!(
            (decided.ring, decided.record),
            (Some(Duration::from_secs(20)), Some(true))
        );
        assert!(
            decided
                .codecs
                .is_some_and(|codecs| codecs.contains(Codec::Pcmu) && !codecs.contains(Codec::G722))
        );
        assert_eq!(decided.name.unwrap().as_str(), "A B", "names are only names");
        let Some(HookAnswer::Decided(decided)) = decide(r#"{"play":"closed","reject":"busy"}"#) else {
            panic!("something is played first")
        };
        assert_eq!(
            (decided.target, decided.play.unwrap().as_str()),
            (Target::Reject(Cause::Busy), "closed")
        );
        for nonsense in [
            r#"{"target":"1","play":"../secret"}"#,
            r#"{"target":"1","codecs":["ilbc"]}"#,
            r#"{"target":"1","timeout":-1}"#,
            "",
            "{}",
            "[]",
            r#"{"target":"nowhere/1"}"#,
            r#"{"reject":"x"}"#,
            r#"{"target":"1","reject":"busy"}"#,
        ] {
            assert_eq!(decide(nonsense), None, "{nonsense}");
        }
    }
}
