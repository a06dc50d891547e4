//! Tests of requests, data, and values that are refused.

use super::*;
use crate::error::ErrorCode;

fn refused(line: &str) -> RequestError {
    Message::parse(line.as_bytes()).expect_err(line).refusal
}

fn task(line: &str) -> TaskRequest<'_> {
    match Message::parse(line.as_bytes()) {
        Ok(Message::Task(task)) => task,
        other => panic!("{line} is {other:?}"),
    }
}

#[test]
fn task_needs_a_function_and_arguments_only() {
    let request = task(r#"{"function":"send_mail","args":{"to":"ada@example.com"}}"#);
    assert_eq!(request.function.as_deref(), Some("send_mail"));
    assert_eq!(request.args.map(RawValue::get), Some(r#"{"to":"ada@example.com"}"#));
}

#[test]
fn task_with_null_as_function_means_the_default() {
    assert_eq!(task(r#"{"function":null,"args":{}}"#).function, None);
}

#[test]
fn message_without_function_is_data_whatever_its_other_fields_hold() {
    for line in [
        "hello",
        "{",
        "{}",
        "[12:00] [info] started",
        r#"{"to":"the function: x"#,
        r#"{"priority":"high","to":"x","id":{}}"#,
        "\u{0}\u{ff}",
        "??",
    ] {
        assert!(matches!(Message::parse(line.as_bytes()), Ok(Message::Data(_))), "{line:?}");
    }
}

#[test]
fn message_of_white_space_is_empty() {
    for line in ["", " \t\r", "\u{feff}"] {
        assert!(matches!(Message::parse(line.as_bytes()), Ok(Message::Empty)), "{line:?}");
    }
}

#[test]
fn byte_order_mark_is_no_part_of_the_message() {
    assert_eq!(task("\u{feff}{\"function\":\"f\"}").function.as_deref(), Some("f"));
    assert!(matches!(Message::parse(b"\xef\xbb\xbfhello"), Ok(Message::Data(b"hello"))));
}

#[test]
fn broken_request_is_refused_with_the_place_where_it_breaks() {
    for (line, place) in [
        (&b"{\"function\":\"send_mail\",\"args\":{\"to\":\"x\",}}"[..], "line 1 column 42"),
        (b"{\"function\":\"\xff\"}", "line 1 column 1"),
        (b"{\"function\":\"f\"} {\"function\":\"f\"}", "trailing characters at line 1 column 18"),
        (b"{\"a\":1, \"command\" : ", "EOF"),
        (b"{'function':'f'}", "column 2"),
        (b"{function:f}", "column 2"),
        (b"[{\"function\":\"f\"},", "EOF"),
        (b"[1, 2]", "not an array"),
        (b"[]", "not an array"),
        (b"\xff\xfe{\0\"\0", "UTF-16"),
        (b"\xfe\xff\0{\0\"", "UTF-16"),
    ] {
        let refusal = Message::parse(line).expect_err("it is refused").refusal;
        assert_eq!(refusal.code, ErrorCode::BadRequest);
        assert!(refusal.message.contains(place), "{refusal}");
    }
}

#[test]
fn id_is_bounded_and_not_repeated_beyond_its_bound() {
    let request = |name: &str, length| format!(r#"{{"{name}":"f","id":"{}"}}"#, "x".repeat(length));
    for name in ["function", "command"] {
        assert!(Message::parse(request(name, 254).as_bytes()).is_ok(), "with its quotes 256 bytes");
        let line = request(name, 255);
        let refused = Message::parse(line.as_bytes()).expect_err("it is refused");
        assert!(refused.refusal.message.contains("256 bytes") && refused.id.is_none(), "{refused:?}");
    }
}

#[test]
fn message_of_a_question_mark_asks_for_help() {
    assert!(matches!(Message::parse(b" ? "), Ok(Message::Help)));
}

#[test]
fn task_reads_every_option() {
    let request = task(
        r#"{"function":"f","id":"a","reply":"both","queue":"mail","priority":9,"delay":"10m","attempts":2,"timeout":1.5}"#,
    );
    assert_eq!(request.reply, Some(ReplyMode::Both));
    assert_eq!(request.queue.as_deref(), Some("mail"));
    assert_eq!(request.priority, Some(9));
    assert_eq!(request.due, Some(TimeSpec::After(Duration::from_secs(600))));
    assert_eq!(request.attempts, Some(2));
    assert_eq!(request.timeout, Some(Duration::from_millis(1500)));
    assert!(request.extra.is_none());
    let request = task(r#"{"function":"f","delay":null,"at":"1970-01-01T00:00:01Z","then":null}"#);
    assert_eq!(request.due, Some(TimeSpec::At(1000)));
}

#[test]
fn task_reads_the_fields_that_few_requests_have() {
    let request = task(
        r#"{"function":"f","at":"2026-12-01T09:00:00+08:00","expires":"1h","key":"a","concurrency_key":"ada","backoff":"3s","batch":7,"then":["g","h"]}"#,
    );
    assert_eq!(request.due, Some(TimeSpec::At(1_796_086_800_000)));
    let rare = request.extra.unwrap();
    assert_eq!(rare.expires, Some(TimeSpec::After(Duration::from_secs(3600))));
    assert_eq!((rare.key.as_deref(), rare.concurrency_key.as_deref()), (Some("a"), Some("ada")));
    assert_eq!((rare.backoff, rare.batch), (Some(Duration::from_secs(3)), Some(7)));
    assert_eq!(rare.then, ["g", "h"]);
    let rare = task(r#"{"function":"f","expires":"1969-01-01T00:00:00Z","then":"g"}"#).extra.unwrap();
    assert_eq!((rare.expires, rare.then), (Some(TimeSpec::At(0)), vec!["g".into()]));
}

#[test]
fn parse_names_a_misspelled_field_with_the_nearest_one() {
    let refusal = refused(r#"{"function":"echo","dealy":5}"#);
    assert_eq!(refusal.code, ErrorCode::BadRequest);
    assert_eq!(refusal.suggestion.as_deref(), Some("delay"));
}

#[test]
fn parse_names_the_field_with_a_wrong_value() {
    for (line, named) in [
        (r#"{"function":5}"#, "\"function\""),
        (r#"{"function":"f","priority":10}"#, "\"priority\""),
        (r#"{"function":"f","attempts":0}"#, "\"attempts\""),
        (r#"{"function":"f","delay":-1}"#, "\"delay\""),
        (r#"{"function":"f","delay":1e300}"#, "\"delay\""),
        (r#"{"function":"f","delay":"soon"}"#, "\"delay\""),
        (r#"{"function":"f","delay":1,"at":"2026-12-01T09:00:00Z"}"#, "not both"),
        (r#"{"function":"f","at":"2026-12-01T09:00:00"}"#, "\"at\""),
        (r#"{"function":"f","at":1796086800000}"#, "\"at\""),
        (r#"{"function":"f","at":"9999-12-31T00:00:00Z"}"#, "before 9999-12-30T22:00:00Z"),
        (r#"{"function":"f","expires":"9999-12-31T00:00:00-08:00"}"#, "before 9999-12-30T22:00:00Z"),
        (r#"{"function":"f","at":"2026-02-30T00:00:00Z"}"#, "with its offset"),
        (r#"{"function":"f","expires":"soon"}"#, "\"expires\""),
        (r#"{"function":"f","key":""}"#, "\"key\""),
        (r#"{"function":"f","concurrency_key":5}"#, "\"concurrency_key\""),
        (r#"{"function":"f","backoff":-1}"#, "\"backoff\""),
        (r#"{"function":"f","backoff":"50days"}"#, "\"backoff\" must be at most 49 days"),
        (r#"{"function":"f","attempts":4294967295}"#, "from 1 to 1000000"),
        (r#"{"function":"f","batch":-1}"#, "\"batch\""),
        (r#"{"function":"f","then":[1]}"#, "\"then\""),
        (r#"{"function":"f","reply":"maybe"}"#, "\"reply\""),
        (r#"{"function":"f","id":[1]}"#, "\"id\""),
        (r#"{"function":"f","id":1,"id":2}"#, "\"id\""),
        (r#"{"command":null}"#, "\"command\""),
    ] {
        let refusal = refused(line);
        assert!(refusal.message.contains(named), "{line}: {refusal}");
    }
}

#[test]
fn parse_bounds_keys_and_chains() {
    let key = |length| format!(r#"{{"function":"f","key":"{}"}}"#, "k".repeat(length));
    assert_eq!(task(&key(256)).extra.unwrap().key.unwrap().len(), 256);
    assert!(refused(&key(257)).message.contains("1 to 256 bytes"));
    let internal = r#"{"function":"f","concurrency_key":"\u0000quarantine"}"#;
    assert!(refused(internal).message.contains("without control characters"));
    let then = |count| format!(r#"{{"function":"f","then":[{}]}}"#, vec!["\"g\""; count].join(","));
    assert_eq!(task(&then(16)).extra.unwrap().then.len(), 16);
    assert!(refused(&then(17)).message.contains("up to 16"));
}

#[test]
fn parse_error_keeps_the_id_of_the_request() {
    let misunderstood = Message::parse(br#"{"function":5,"id":"a1"}"#).expect_err("refused");
    assert_eq!(misunderstood.id.map(RawValue::get), Some("\"a1\""));
}

#[test]
fn with_options_reads_values_like_those_of_a_line() {
    let values = [
        ("priority", Value::from(9)),
        ("delay", "1.5".into()),
        ("expires", "1h".into()),
        ("then", ["g", "h"].into_iter().collect()),
    ];
    let options = || values.iter().map(|(name, value)| (*name, value));
    let request = TaskRequest::with_options(options()).unwrap();
    assert_eq!(
        (request.priority, request.due),
        (Some(9), Some(TimeSpec::After(Duration::from_millis(1500))))
    );
    let extra = request.extra.unwrap();
    assert_eq!(
        (extra.expires, extra.then),
        (Some(TimeSpec::After(Duration::from_secs(3600))), vec!["g".into(), "h".into()])
    );
    let wrong = Value::from(10);
    assert!(TaskRequest::with_options([("priority", &wrong)]).unwrap_err().message.contains("\"priority\""));
    assert_eq!(
        TaskRequest::with_options([("dealy", &wrong)]).unwrap_err().suggestion.as_deref(),
        Some("delay")
    );
}
