//! Documents that watchers are told by: PIDF (RFC 3863, with RFC 4479 and RFC 4480), dialog-info (RFC 4235), and the summary of
//! messages (RFC 3842).

use std::fmt::Write as _;

use crate::limits::{WATCHED_DIALOGS_MAX, WATCHED_TEXT_MAX};

use super::state::{Activity, DialogStage, Presence, Waiting, WatchedDialog};

/// How a call is named by those who talk: the call, the tag of the user's side, and that of the other.
pub(super) type Names = (String, Option<String>, String);

/// Of who is at an address.
pub(super) fn presence(entity: &str, presence: &Presence) -> String {
    let entity = escaped(entity);
    let basic = if presence.is_open { "open" } else { "closed" };
    let mut text = format!(
        "{PROLOG}<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\r\n\
         <tuple id=\"t1\"><status><basic>{basic}</basic></status><contact>{entity}</contact></tuple>\r\n"
    );
    let activity = match presence.activity {
        Activity::Unknown => "",
        Activity::Away => "<rpid:away/>",
        Activity::Busy => "<rpid:busy/>",
        Activity::OnThePhone => "<rpid:on-the-phone/>",
    };
    if !activity.is_empty() {
        text += &format!("<dm:person id=\"p1\"><rpid:activities>{activity}</rpid:activities></dm:person>\r\n");
    }
    if !presence.note.is_empty() {
        // Behind the tuples (section 4.1.6); the schema takes others at the end.
        let note = format!("<note>{}</note>\r\n", escaped(&presence.note));
        let at = text.find("<dm:person").unwrap_or(text.len());
        text.insert_str(at, &note);
    }
    text + "</presence>\r\n"
}

/// All calls of who is at an address. `version` counts the documents of one subscription.
pub(super) fn dialogs(
    entity: &str,
    user: &str,
    version: u32,
    dialogs: &[WatchedDialog],
    names: impl Fn(&WatchedDialog) -> Option<Names>,
) -> String {
    let own = escaped(entity);
    let mut text = format!(
        "{PROLOG}<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" \
         entity=\"{own}\">\r\n"
    );
    for dialog in dialogs.iter().take(WATCHED_DIALOGS_MAX) {
        text += &dialog_element(&own, dialog, names(dialog));
    }
    if dialogs.is_empty() {
        // Lamps of some telephones stay as they are without one (OpenSIPS, pull request 1193).
        text += &format!(
            "<dialog id=\"{}\"><state>terminated</state></dialog>\r\n",
            escaped(user)
        );
    }
    text + "</dialog-info>\r\n"
}

fn dialog_element(own: &str, dialog: &WatchedDialog, names: Option<Names>) -> String {
    let mut text = format!("<dialog id=\"{}\"", escaped(&dialog.id));
    // Writing into a String does not fail.
    if let Some((call, local, remote)) = names {
        let _ = write!(text, " call-id=\"{}\"", escaped(&call));
        if let Some(local) = local {
            let _ = write!(text, " local-tag=\"{}\"", escaped(&local));
        }
        let _ = write!(text, " remote-tag=\"{}\"", escaped(&remote));
    }
    let direction = if dialog.is_caller { "initiator" } else { "recipient" };
    let stage = match dialog.stage {
        DialogStage::Trying => "trying",
        DialogStage::Early => "early",
        DialogStage::Confirmed => "confirmed",
        DialogStage::Terminated => "terminated",
    };
    let _ = write!(
        text,
        " direction=\"{direction}\"><state>{stage}</state><local><identity>{own}</identity><target uri=\"{own}\"/></local>"
    );
    if let Some((address, name)) = &dialog.remote {
        let address = escaped(address);
        let _ = write!(
            text,
            "<remote><identity display=\"{}\">{address}</identity><target uri=\"{address}\"/></remote>",
            escaped(name)
        );
    }
    text + "</dialog>\r\n"
}

/// Of messages that wait.
pub(super) fn summary(waiting: &Waiting) -> String {
    let (new, old) = waiting.messages;
    let is_any = if new > 0 { "yes" } else { "no" };
    let mut text = format!("Messages-Waiting: {is_any}\r\n");
    if let Some(account) = &waiting.account {
        let account: String = account.chars().filter(|sign| !sign.is_control()).collect();
        text += &format!("Message-Account: {account}\r\n");
    }
    let (urgent_new, urgent_old) = waiting.urgent;
    text + &format!("Voice-Message: {new}/{old} ({urgent_new}/{urgent_old})\r\n")
}

/// As text or as an attribute. What is no character of XML is left out, and what is too long is cut.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let is_character = |sign: &char| !sign.is_control() && !matches!(sign, '\u{FFFE}' | '\u{FFFF}');
    for sign in text.chars().filter(is_character).take(WATCHED_TEXT_MAX) {
        match sign {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            sign => escaped.push(sign),
        }
    }
    escaped
}

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_say_what_there_is_and_nothing_breaks_out_of_them() {
        let text = presence(
            "sip:1002@realm",
            &Presence {
                is_open: true,
                activity: Activity::OnThePhone,
                note: "<b> & \"c\"\u{0}".to_owned(),
            },
        );
        assert!(
            text.contains("<basic>open</basic>") && text.contains("<rpid:on-the-phone/>"),
            "{text}"
        );
        assert!(
            text.contains("<note>&lt;b&gt; &amp; &quot;c&quot;</note>\r\n<dm:person"),
            "{text}"
        );
        let closed = presence("sip:1002@realm", &Presence::default());
        assert!(
            closed.contains("<basic>closed</basic>") && !closed.contains("dm:person id"),
            "{closed}"
        );
        let dialog = WatchedDialog {
            id: "a\"b".to_owned(),
            stage: DialogStage::Early,
            is_caller: false,
            remote: Some(("sip:1001@realm".to_owned(), "Al".to_owned())),
            leg: None,
        };
        let text = dialogs("sip:1002@realm", "1002", 7, std::slice::from_ref(&dialog), |_| {
            Some(("call".to_owned(), None, "tag".to_owned()))
        });
        assert!(
            text.contains("version=\"7\" state=\"full\" entity=\"sip:1002@realm\""),
            "{text}"
        );
        assert!(
            text.contains("<dialog id=\"a&quot;b\" call-id=\"call\" remote-tag=\"tag\" direction=\"recipient\"><state>early</state>"),
            "{text}"
        );
        assert!(
            text.contains("<identity display=\"Al\">sip:1001@realm</identity>"),
            "{text}"
        );
        let idle = dialogs("sip:1002@realm", "1002", 0, &[], |_| None);
        assert!(
            idle.contains("<dialog id=\"1002\"><state>terminated</state></dialog>"),
            "{idle}"
        );
        let many = dialogs("e", "u", 0, &vec![dialog; 100], |_| None);
        assert_eq!(many.matches("<dialog ").count(), WATCHED_DIALOGS_MAX);
        let long = presence(&"&".repeat(10_000), &Presence::default());
        assert!(long.len() < 12 * WATCHED_TEXT_MAX);
    }

    #[test]
    fn messages_that_wait_are_counted() {
        let waiting = Waiting {
            messages: (2, 8),
            urgent: (0, 2),
            account: Some("sip:vm@realm\r\nX: y".to_owned()),
        };
        assert_eq!(
            summary(&waiting),
            "Messages-Waiting: yes\r\nMessage-Account: sip:vm@realmX: y\r\nVoice-Message: 2/8 (0/2)\r\n"
        );
        assert!(summary(&Waiting::default()).starts_with("Messages-Waiting: no\r\nVoice-Message: 0/0 (0/0)"));
    }
}
