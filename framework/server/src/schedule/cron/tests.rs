//! The times of expressions, also on the days on which clocks are changed.

use super::*;

fn cron(expression: &str, timezone: &str) -> Cron {
    Cron::new(expression, timezone).unwrap()
}

fn moment(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond() as u64
}

/// The next times after a moment, as the clock in the zone shows them.
fn next(expression: &str, timezone: &str, after: &str, count: usize) -> Vec<String> {
    let cron = cron(expression, timezone);
    let times = std::iter::successors(cron.next(moment(after)), |&time| cron.next(time));
    times.take(count).map(|time| cron.show(time)).collect()
}

#[test]
fn expression_of_five_fields_begins_with_the_minute_and_of_six_with_the_second() {
    assert_eq!(
        next("0 9 * * mon-fri", "Asia/Shanghai", "2026-11-20T02:00:00Z", 2),
        ["2026-11-23T09:00:00+08:00", "2026-11-24T09:00:00+08:00"]
    );
    assert_eq!(
        next("*/20 30 9 * * *", "UTC", "2026-11-20T09:30:10Z", 3),
        ["2026-11-20T09:30:20+00:00", "2026-11-20T09:30:40+00:00", "2026-11-21T09:30:00+00:00"]
    );
}

#[test]
fn expression_accepts_names_last_nearest_and_nth_days() {
    for (expression, first) in [
        ("0 0 1 JAN,jul *", "2026-07-01"),
        ("0 0 L * *", "2026-02-28"),
        ("0 0 15W * *", "2026-02-16"),
        ("0 0 * * fri#2", "2026-02-13"),
        ("0 0 * * fri#L", "2026-02-27"),
        ("0 0 13 * +fri", "2026-02-13"),
        ("0 0 13 * fri", "2026-02-06"),
        ("0 0 * * 7", "2026-02-01"),
        ("@monthly", "2026-03-01"),
    ] {
        let found = next(expression, "UTC", "2026-02-01T00:00:00Z", 1).remove(0);
        let expected = if expression.ends_with('7') { "2026-02-08" } else { first };
        assert!(found.starts_with(expected), "{expression}: {found}");
    }
}

#[test]
fn next_of_a_fixed_time_in_the_spring_gap_is_right_after_it() {
    assert_eq!(
        next("30 2 * * *", "America/New_York", "2024-03-10T05:00:00Z", 2),
        ["2024-03-10T03:00:00-04:00", "2024-03-11T02:30:00-04:00"]
    );
}

#[test]
fn next_of_repeated_times_leaves_out_the_spring_gap() {
    assert_eq!(
        next("*/30 * * * *", "America/New_York", "2024-03-10T06:15:00Z", 3),
        ["2024-03-10T01:30:00-05:00", "2024-03-10T03:00:00-04:00", "2024-03-10T03:30:00-04:00"]
    );
    assert_eq!(
        next("15,45 2 * * *", "America/New_York", "2024-03-10T05:00:00Z", 1),
        ["2024-03-11T02:15:00-04:00"]
    );
}

#[test]
fn next_of_a_fixed_time_repeated_in_autumn_comes_once() {
    assert_eq!(
        next("30 1 * * *", "America/New_York", "2024-11-03T04:00:00Z", 2),
        ["2024-11-03T01:30:00-04:00", "2024-11-04T01:30:00-05:00"]
    );
}

#[test]
fn next_of_repeated_times_in_autumn_come_in_both_hours() {
    assert_eq!(
        next("*/30 * * * *", "America/New_York", "2024-11-03T04:45:00Z", 5),
        [
            "2024-11-03T01:00:00-04:00",
            "2024-11-03T01:30:00-04:00",
            "2024-11-03T01:00:00-05:00",
            "2024-11-03T01:30:00-05:00",
            "2024-11-03T02:00:00-05:00",
        ]
    );
}

#[test]
fn next_continues_behind_a_day_that_a_zone_leaves_out() {
    assert_eq!(
        next("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 2),
        ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00"]
    );
}

#[test]
fn between_returns_the_times_that_next_does() {
    let days = [
        ("America/New_York", "2024-03-09T12:00:00Z"),
        ("America/New_York", "2024-11-02T12:00:00Z"),
        ("America/Sao_Paulo", "2018-11-03T12:00:00Z"),
        ("Australia/Lord_Howe", "2024-10-05T06:00:00Z"),
        ("Europe/Berlin", "2026-10-24T12:00:00Z"),
    ];
    let expressions =
        ["*/30 * * * *", "30 2 * * *", "30 1 * * *", "0 0 * * *", "15,45 2 * * *", "7 */2 * * *"];
    for (zone, start) in days {
        for expression in expressions {
            let cron = cron(expression, zone);
            let start = moment(start);
            let end = start + 48 * 60 * 60 * 1_000;
            let later = |time: u64| cron.next(time).filter(|&next| next > time);
            let forwards = std::iter::successors(later(start), |&time| later(time));
            let forwards: Vec<_> = forwards.take_while(|&time| time <= end).collect();
            assert_eq!(cron.between(start, end, 1_000), forwards, "{cron:?}");
            assert_eq!(cron.between(start, end, 1), forwards[forwards.len() - 1..], "{cron:?}");
        }
    }
}

#[test]
fn between_excludes_its_start_and_includes_its_end() {
    let cron = cron("* * * * * *", "UTC");
    assert_eq!(cron.between(5_000, 7_000, 10), [6_000, 7_000]);
    assert_eq!(cron.between(5_000, 5_999, 10), [0; 0]);
    assert_eq!(cron.between(7_000, 5_000, 10), [0; 0]);
    assert_eq!(cron.next(5_000), Some(6_000));
    assert_eq!(cron.next(5_001), Some(6_000));
    assert_eq!(cron.next(u64::MAX), None);
}

#[test]
fn expression_error_names_the_wrong_field() {
    for (expression, says) in [
        ("0 25 * * *", "the hour \"25\" of \"0 25 * * *\" is not made of 0 to 23"),
        ("0 9 * * mon-fry", "the day of the week \"mon-fry\""),
        ("61 0 9 * * *", "the second \"61\""),
        ("0 9 32 * *", "the day of the month \"32\""),
        ("0 9 * foo *", "the month \"foo\""),
        ("*/0 9 * * *", "the minute \"*/0\""),
        ("é 9 * * *", "the minute \"é\""),
        ("0 9 * *", "has 4 fields instead of 5"),
        ("", "has 0 fields"),
        ("0 0 9 * * * 2026", "has 7 fields"),
        ("@reboot", "\"@reboot\" is none of @yearly"),
        ("0 0 30 2 *", "no time ever fits"),
    ] {
        let error = Cron::new(expression, "UTC").unwrap_err();
        assert!(error.contains(says), "{expression}: {error}");
    }
}

#[test]
fn unknown_time_zone_suggests_the_similar_one() {
    let error = Cron::new("0 9 * * *", "Asia/Shangai").unwrap_err();
    assert_eq!(error, "there is no time zone \"Asia/Shangai\"; did you mean \"Asia/Shanghai\"?");
    assert!(Cron::new("0 9 * * *", "moon").unwrap_err().contains("\"UTC\""));
}
