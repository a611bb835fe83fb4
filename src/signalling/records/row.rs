//! One record as it is kept: the line of its file, and what queries look at.

use std::fmt::Write;
use std::sync::Arc;

use moqswitch_calls::limits::CALL_DURATION_MAX;
use serde_json::Value;

/// A record.
#[derive(Debug)]
pub(crate) struct Row {
    /// JSON, one line, without the line's end.
    pub(crate) line: Arc<str>,
    pub(crate) call: String,
    pub(crate) start_ms: u64,
    pub(crate) duration_ms: u64,
    pub(crate) is_answered: bool,
    pub(crate) cause: String,
    /// The mean of what its parties heard, or where none said so of what the relay got.
    pub(crate) mos: Option<f64>,
    /// Every number that had a part in it, and the dialled one.
    numbers: Vec<String>,
}

/// What a query is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) since_ms: u64,
    pub(crate) until_ms: Option<u64>,
    pub(crate) dn: Option<String>,
    pub(crate) cause: Option<String>,
    pub(crate) call: Option<String>,
}

impl Row {
    /// `None`: it is no record.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let number = |name: &str| value.get(name)?.as_u64();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let parties = value
            .get("parties")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let mut numbers: Vec<String> = parties.iter().filter_map(|party| text(party.get("dn")?)).collect();
        numbers.extend(value.get("to").and_then(text));
        numbers.extend(value.get("from").and_then(|from| text(from.get("dn")?)));
        numbers.sort_unstable();
        numbers.dedup();
        let scores = |of: &str| {
            parties
                .iter()
                .map(|party| party.get(of)?.get("mos")?.as_f64())
                .collect()
        };
        Some(Self {
            line: value.to_string().into(),
            call: text(value.get("callId")?)?,
            start_ms: number("startMs")?,
            duration_ms: number("durationMs")?,
            is_answered: number("answerMs").is_some(),
            cause: text(value.get("reason")?)?,
            mos: mean(scores("heard")).or_else(|| mean(scores("sent"))),
            numbers,
        })
    }

    pub(crate) fn csv(&self) -> String {
        let value: Value = serde_json::from_str(&self.line).unwrap_or_default();
        let mut line = String::new();
        for (index, path) in CSV_PATHS.iter().enumerate() {
            let cell = match value.pointer(path) {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            let separator = if index == 0 { "" } else { "," };
            // It fails only where memory does.
            let _ = write!(line, "{separator}{}", quoted(&cell));
        }
        for cell in self.media_cells(&value) {
            let _ = write!(line, ",{}", quoted(&cell));
        }
        line + "\r\n"
    }
}

impl Row {
    /// What its parties sent, and how that came: codecs, frames, what was lost of them, the worst jitter, and the score.
    fn media_cells(&self, record: &Value) -> [String; 5] {
        let parties = record.get("parties").and_then(Value::as_array);
        let parties = parties.map_or(&[][..], Vec::as_slice);
        let mut codecs: Vec<&str> = parties
            .iter()
            .filter_map(|party| party.get("codec")?.as_str())
            .collect();
        codecs.dedup();
        let sent = |name: &'static str| parties.iter().filter_map(move |party| party.get("sent")?.get(name));
        let sum = |name| {
            let counts: Vec<u64> = sent(name).filter_map(Value::as_u64).collect();
            (!counts.is_empty()).then(|| counts.iter().sum::<u64>().to_string())
        };
        let jitter = sent("jitterMs").filter_map(Value::as_f64).reduce(f64::max);
        [
            codecs.join(" "),
            sum("frames").unwrap_or_default(),
            sum("lost").unwrap_or_default(),
            jitter.map(|jitter| jitter.to_string()).unwrap_or_default(),
            self.mos.map(|mos| format!("{mos:.2}")).unwrap_or_default(),
        ]
    }
}

/// Of those that there are.
pub(super) fn mean(scores: Vec<Option<f64>>) -> Option<f64> {
    let scores: Vec<f64> = scores.into_iter().flatten().collect();
    let count = f64::from(u16::try_from(scores.len()).unwrap_or(u16::MAX));
    (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / count)
}

impl Filter {
    /// What stands in the line of every record that matches. Names and numbers have no signs that JSON writes otherwise.
    pub(super) fn needles(&self) -> Vec<String> {
        let texts = [&self.dn, &self.cause, &self.call].into_iter().flatten();
        texts.map(|text| format!("\"{text}\"")).collect()
    }

    /// Is a call that began then of the time that is asked for?
    pub(super) fn covers(&self, start_ms: u64) -> bool {
        start_ms >= self.since_ms && self.until_ms.is_none_or(|until| start_ms < until)
    }

    /// Is what had ended by then too old?
    pub(super) fn is_over_by(&self, unix_ms: u64) -> bool {
        unix_ms < self.since_ms.saturating_sub(CLOCK_SLACK_MS)
    }

    /// Is what ended then or later too new? It began as long before as calls may last.
    pub(super) fn begins_after(&self, unix_ms: u64) -> bool {
        let longest = u64::try_from(CALL_DURATION_MAX.as_millis()).unwrap_or(u64::MAX);
        let earliest = unix_ms.saturating_sub(longest).saturating_sub(CLOCK_SLACK_MS);
        self.until_ms.is_some_and(|until| earliest >= until)
    }

    pub(crate) fn matches(&self, row: &Row) -> bool {
        self.covers(row.start_ms)
            && self.dn.as_ref().is_none_or(|dn| row.numbers.contains(dn))
            && self.cause.as_ref().is_none_or(|cause| row.cause == *cause)
            && self.call.as_ref().is_none_or(|call| row.call == *call)
    }
}

/// RFC 4180. A name that a stranger chose must not be a formula where a table is opened. A number that begins with a plus is
/// none.
fn quoted(cell: &str) -> String {
    let is_number = cell
        .strip_prefix('+')
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let is_formula = cell
        .trim_start()
        .starts_with(['=', '+', '-', '@', '|', '%', '＝', '＋', '－', '＠']);
    let guard = if is_formula && !is_number { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

/// Clocks are set, and calls ring before they last: an hour is enough.
const CLOCK_SLACK_MS: u64 = 3_600_000;

/// The first line of a table.
pub(crate) const CSV_HEAD: &str = "callId,startMs,ringMs,answerMs,endMs,durationMs,from,fromName,to,answeredBy,reason,code,q850,by,recorded,recording,codecs,frames,lost,jitterMs,mos\r\n";

const CSV_PATHS: [&str; 16] = [
    "/callId",
    "/startMs",
    "/ringMs",
    "/answerMs",
    "/endMs",
    "/durationMs",
    "/from/dn",
    "/from/displayName",
    "/to",
    "/answeredBy/dn",
    "/reason",
    "/code",
    "/q850",
    "/by",
    "/recorded",
    "/recording",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(in super::super) fn record(call: u32, start_ms: u64) -> Value {
        json!({
            "callId": format!("{call:032x}"), "startMs": start_ms, "ringMs": null, "answerMs": start_ms + 1,
            "endMs": start_ms + 10, "durationMs": 9, "reason": "normal_clearing", "code": 200, "to": "5002",
            "from": { "dn": "5001", "displayName": "=1+1\"", "device": "" },
            "parties": [{ "dn": "5003", "heard": { "mos": 4.0 } }, { "dn": "5001", "heard": { "mos": 2.0 } }],
        })
    }

    #[test]
    fn queries_find_by_time_number_and_cause() {
        let row = Row::of(&record(1, 1000)).unwrap();
        assert_eq!((row.duration_ms, row.mos, row.is_answered), (9, Some(3.0), true));
        let all = Filter::default();
        assert!(all.matches(&row));
        let dn = |dn: &str| Filter {
            dn: Some(dn.to_owned()),
            ..all.clone()
        };
        assert!(dn("5001").matches(&row) && dn("5002").matches(&row) && dn("5003").matches(&row));
        assert!(!dn("5004").matches(&row));
        assert!(
            !Filter {
                since_ms: 1001,
                ..all.clone()
            }
            .matches(&row)
        );
        assert!(
            !Filter {
                until_ms: Some(1000),
                ..all.clone()
            }
            .matches(&row)
        );
        assert!(
            !Filter {
                cause: Some("busy".to_owned()),
                ..all
            }
            .matches(&row)
        );
        assert!(Row::of(&json!({ "callId": "x" })).is_none());
    }

    #[test]
    fn tables_say_how_it_sounded() {
        let mut record = record(1, 1000);
        let sent =
            |lost: u32, jitter: f64, mos: f64| json!({ "frames": 100, "lost": lost, "jitterMs": jitter, "mos": mos });
        record["recording"] = json!("/api/recordings/1");
        record["parties"] = json!([
            { "dn": "5001", "codec": "opus", "sent": sent(1, 2.5, 4.0), "heard": null },
            { "dn": "5002", "codec": "pcmu", "sent": sent(2, 1.5, 3.0), "heard": null },
        ]);
        let line = Row::of(&record).unwrap().csv();
        let end = r#","/api/recordings/1","opus pcmu","200","3","2.5","3.50""#;
        assert!(line.trim_end().ends_with(end), "{line}");
        // What was heard counts more.
        record["parties"][1]["heard"] = json!({ "mos": 2.0 });
        assert_eq!(Row::of(&record).unwrap().mos, Some(2.0));
    }

    #[test]
    fn tables_are_quoted_and_have_no_formulas() {
        let line = Row::of(&record(1, 1000)).unwrap().csv();
        assert!(line.contains(r#","'=1+1""","#), "{line}");
        assert_eq!(line.matches("\",").count() + 1, CSV_HEAD.split(',').count());
        assert!(line.ends_with(",\"\",\"\",\"\",\"\",\"3.00\"\r\n"), "{line}");
    }
}
