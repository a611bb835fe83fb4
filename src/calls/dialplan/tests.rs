use super::*;
use crate::{Cause, LocalTime, Number, Text};

const PLAN: &str = r#"
[times.office]
days = ["mon-fri"]
hours = ["08:00-12:00", "13:00-18:00"]
except = ["2026-12-24"]

[groups.sales]
members = ["1001", "1002"]
strategy = "in-turn"
ring = 15
no_answer = "queue/support"

[queues.support]
agents = ["1003", "1004"]
music = "jazz"
wrap_up = 10
timeout = "number/1001"

[[rules]]
name = "outside"
to = "_0."
from = "_5XXX"
strip = 1
prepend = "+49"
target = "trunk/city"

[[rules]]
name = "sales by day"
to = "100"
when = "office"
target = "group/sales"

[[rules]]
name = "sales by night"
to = "100"
target = "dial/5001"
record = true

[[rules]]
name = "boss"
to = "5001"
ring = 10
no_answer = "dial/5002"
busy = "reject/busy"

[[rules]]
to = "_8XX"
hook = "https://rules.example/route"
hook_timeout_ms = 60000
hook_fallback = "100"

[[rules]]
to = "_7X"
target = "dial/70"

[[profiles]]
from = "_5XXX"
name = "Desk"
codecs = ["opus", "pcmu"]
record = true
calls = 2
forbidden = ["0900", "00"]
"#;

fn plan() -> Dialplan {
    Dialplan::parse(PLAN).unwrap()
}

fn number(text: &str) -> Number {
    Number::new(text).unwrap()
}

fn at(day: i64, hour: u16) -> LocalTime {
    LocalTime {
        day,
        weekday: u8::try_from((day + 3) % 7).unwrap(),
        minute: hour * 60,
    }
}

/// 2026-11-30, a Monday.
const MONDAY: i64 = 20_787;

fn dial(plan: &Dialplan, from: &str, to: &str, when: LocalTime) -> Route {
    let (from, to) = (number(from), number(to));
    let query = Query {
        from: &from,
        to: &to,
        when,
        by: None,
        is_sent_on: false,
    };
    plan.dial(query, &mut Trail::default())
}

#[test]
fn the_first_rule_that_matches_decides() {
    let plan = plan();
    let day = at(MONDAY, 9);
    let route = dial(&plan, "5001", "030123", day);
    assert_eq!(route.destination, Destination::Trunk(number("city")));
    assert_eq!(route.dialled, number("+4930123"));
    // The rule is for callers of the house.
    assert_eq!(
        dial(&plan, "6001", "030123", day).destination,
        Destination::Number(number("030123"))
    );
    assert_eq!(
        dial(&plan, "5001", "100", day).destination,
        Destination::Group(Text::new("sales"))
    );
    assert_eq!(
        dial(&plan, "5001", "100", day).fallbacks.no_answer,
        Some(Target::Queue(Text::new("support")))
    );
}

#[test]
fn times_decide_and_forwards_are_dialled_again() {
    let plan = plan();
    for (when, by_day) in [
        (at(MONDAY, 9), true),
        (at(MONDAY, 12), false),
        (at(MONDAY + 5, 9), false),
        // Christmas Eve, a Thursday.
        (at(20_811, 9), false),
    ] {
        let route = dial(&plan, "5009", "100", when);
        assert_eq!(
            route.destination == Destination::Group(Text::new("sales")),
            by_day,
            "{when:?}"
        );
        if !by_day {
            // From "sales by night" on to "boss".
            assert_eq!(route.destination, Destination::Number(number("5001")));
            assert_eq!(route.rule.unwrap().0.as_str(), "boss");
            assert!(route.record);
        }
    }
}

#[test]
fn loops_and_long_ways_end() {
    let plan = plan();
    assert_eq!(
        dial(&plan, "1", "70", at(0, 0)).destination,
        Destination::Reject(Cause::LoopDetected)
    );
    assert_eq!(
        dial(&plan, "1", "71", at(0, 0)).destination,
        Destination::Reject(Cause::LoopDetected)
    );
    let rules: String = (1..30)
        .map(|step| format!("[[rules]]\nto = \"{step}\"\ntarget = \"dial/{}\"\n", step + 1))
        .collect();
    let long = Dialplan::parse(&rules).unwrap();
    assert_eq!(
        dial(&long, "a", "1", at(0, 0)).destination,
        Destination::Reject(Cause::TooManyHops)
    );
    assert_eq!(
        dial(&long, "a", "20", at(0, 0)).destination,
        Destination::Number(number("30"))
    );
}

#[test]
fn hooks_have_a_bounded_time() {
    let Destination::Hook(hook) = dial(&plan(), "1", "800", at(0, 0)).destination else {
        panic!("a hook decides")
    };
    assert_eq!(hook.timeout, crate::limits::HOOK_TIMEOUT_MAX);
    assert_eq!(hook.fallback, Some(Target::Number(number("100"))));
}

#[test]
fn profiles_say_what_callers_may() {
    let plan = plan();
    let profile = plan.profile(&number("5001"), None).unwrap();
    assert!(profile.forbids(&number("0900123")) && profile.forbids(&number("001")));
    assert!(!profile.forbids(&number("0301")));
    assert_eq!((profile.calls_max, profile.record), (Some(2), true));
    assert!(plan.profile(&number("6001"), None).is_none());
}

#[test]
fn explanations_name_rules_lines_and_reasons() {
    let explain = |to, from, when| plan().explain(&number(to), &number(from), when).to_string();
    assert_eq!(
        explain("100", "6001", at(MONDAY, 7)),
        "line 19: rule outside: 100 is not _0.\n\
         line 27: rule sales by day: it is not office\n\
         line 33: rule sales by night: matches\n\
         line 33: goes to dial/5001\n\
         line 19: rule outside: 5001 is not _0.\n\
         line 27: rule sales by day: 5001 is not 100\n\
         line 33: rule sales by night: 5001 is not 100\n\
         line 39: rule boss: matches\n\
         line 39: goes to number/5001\n\
         rule boss (line 39): rings 5001; no answer: dial/5002; busy: reject/busy"
    );
    let forbidden = explain("0900", "5001", at(MONDAY, 7));
    assert!(
        forbidden.starts_with("line 56: the profile of 5001 forbids the number"),
        "{forbidden}"
    );
    let looping = explain("70", "1", at(0, 0));
    assert!(
        looping.ends_with("ends with loop_detected (SIP 482, Q.850 25)"),
        "{looping}"
    );
    let none = explain("4242", "1", at(0, 0));
    assert!(none.ends_with("no rule: rings 4242"), "{none}");
}

const TRANSIT: &str = r#"
[[rules]]
name = "house"
to = "_0."
target = "trunk/city"

[[rules]]
name = "far"
to = "_0."
by = "trunk/far"
transit = true
target = "trunk/city"

[[rules]]
name = "outside"
to = "80"
by = "trunk/*"
target = "number/1"

[[rules]]
name = "away"
to = "81"
target = "dial/0123"

[[profiles]]
from = "_."
by = "trunk/far"
forbidden = ["00"]
"#;

#[test]
fn rules_say_by_which_trunk_calls_come_and_whether_they_go_out_by_one() {
    let plan = Dialplan::parse(TRANSIT).unwrap();
    let (far, near) = (number("far"), number("near"));
    let rule = |to, by| {
        let (from, to) = (number("5001"), number(to));
        let query = Query {
            from: &from,
            to: &to,
            when: at(0, 0),
            by,
            is_sent_on: false,
        };
        let route = plan.dial(query, &mut Trail::default());
        let rule = route.rule.map(|(name, _)| name.to_string());
        (rule.unwrap_or_default(), route.transit)
    };
    assert_eq!(rule("01", None), ("house".to_owned(), false));
    assert_eq!(rule("01", Some(&far)), ("far".to_owned(), true));
    assert_eq!(rule("01", Some(&near)), (String::new(), false));
    assert_eq!(rule("80", None).0, "");
    assert_eq!(rule("80", Some(&near)).0, "outside");
    // Who was reached sends the call on: it is not the caller's choice.
    assert_eq!(rule("81", Some(&near)), ("house".to_owned(), true));
    let (from, to) = (number("5001"), number("001"));
    let explain = |by| {
        let query = Query {
            from: &from,
            to: &to,
            when: at(0, 0),
            by,
            is_sent_on: false,
        };
        plan.explain_query(query).to_string()
    };
    let explained = explain(Some(&near));
    assert!(
        explained.starts_with(
            "line 2: rule house: the caller is on trunk/near, and it does not say transit = true\n\
             line 7: rule far: the call did not come by trunk/far\n"
        ),
        "{explained}"
    );
    let explained = explain(Some(&far));
    assert!(
        explained.starts_with("line 25: the profile of 5001 forbids the number"),
        "{explained}"
    );
    assert!(explain(None).ends_with("001 by trunk city"));
}

#[test]
fn closed_plans_refuse_what_no_rule_matches() {
    let plan = Dialplan::parse("closed = true").unwrap();
    assert_eq!(
        dial(&plan, "1", "2", at(0, 0)).destination,
        Destination::Reject(Cause::Unallocated)
    );
}

/// Nothing that is written into a plan by accident or by malice is worse than a fault.
#[test]
fn broken_plans_are_faults() {
    let mut random = 1_u64;
    let mut below = |bound: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % bound.max(1)
    };
    for _ in 0..3000 {
        let mut bytes = PLAN.as_bytes().to_vec();
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            if bytes.is_empty() {
                break;
            }
            match below(3) {
                0 => bytes[at] = b"[]\"=_-.0X\n#{}"[below(13)],
                1 => drop(bytes.drain(at..(at + below(20)).min(bytes.len()))),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(plan) = Dialplan::parse(&text) {
            let explained = plan.explain(&number("100"), &number("5001"), at(MONDAY, 9));
            assert!(!explained.to_string().is_empty());
        }
    }
}

#[test]
fn faults_are_told_with_their_line() {
    for (text, message) in [
        (
            "x = 1",
            "line 1: there is no `x` here; known are closed, times, groups, queues, rules, profiles",
        ),
        ("\n\n[[rules]]\nname = \"a\"", "line 3: `to` is missing"),
        ("[[rules]]\nto = \"_9.9\"", "line 2: `.` and `!` end a pattern"),
        (
            "[[rules]]\nto = \"1\"\n\ntarget = \"group/x\"",
            "line 4: there is no group `x`",
        ),
        (
            "[[rules]]\nto = \"1\"\nwhen = \"office\"",
            "line 3: there is no time `office`",
        ),
        (
            "[[rules]]\nto = \"1\"\nring = \"long\"",
            "line 3: `ring` is a number, 0 or more",
        ),
        (
            "[[rules]]\nto = \"1\"\nring = -1",
            "line 3: `ring` is a number, 0 or more",
        ),
        (
            "[[rules]]\nto = \"1\"\nhook = \"ftp://x\"",
            "line 3: `hook` is a URL of HTTP",
        ),
        (
            "[[rules]]\nto = \"1\"\nhook = \"http://x\"\ntarget = \"2\"",
            "line 2: `target` and `hook` exclude each other",
        ),
        (
            "[[rules]]\nto = \"1\"\nbusy = \"voicemail/1\"",
            "line 3: `voicemail` is no kind of target: number, dial, trunk, group, queue and reject are",
        ),
        ("[groups.a]\nmembers = []", "line 1: `members` is missing"),
        (
            "[groups.a]\nmembers = [\"1\",\n \"a b\"]",
            "line 3: a number has letters, digits and + * # - _ . @ only",
        ),
        (
            "[groups.a]\nmembers = [\"1\"]\nstrategy = \"some\"",
            "line 3: `strategy` is all, in-turn or least-recent",
        ),
        (
            "[times.a]\nhours = [\"8-9\"]",
            "line 2: hours are written as 08:00-18:00, at most 24:00",
        ),
        (
            "[[profiles]]\nfrom = \"1\"\ncodecs = [\"gsm\"]",
            "line 3: codecs are opus, pcmu, pcma and g722",
        ),
        (
            "[[rules]]\nto = \"1\"\nby = \"city\"",
            "line 3: `by` is trunk/<name>, or trunk/* for any trunk",
        ),
        ("[[profiles]]\nfrom = \"1\"\nby = 1", "line 3: `by` is a string"),
        (
            "[[rules]]\nto = \"1\"\ntransit = \"yes\"",
            "line 3: `transit` is true or false",
        ),
        ("closed = 1", "line 1: `closed` is true or false"),
        ("rules = 1", "line 1: `rules` is an array of tables"),
        ("[[rules]", ""),
    ] {
        let error = Dialplan::parse(text).unwrap_err().to_string();
        if message.is_empty() {
            assert!(error.starts_with("line 1: "), "{error}");
        } else {
            assert_eq!(error, message, "of {text}");
        }
    }
    let long = " ".repeat(crate::limits::DIALPLAN_BYTES_MAX + 1);
    assert_eq!(Dialplan::parse(&long).unwrap_err().line, None);
}
