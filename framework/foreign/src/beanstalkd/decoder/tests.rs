use super::*;

/// The requests in these bytes, fed in pieces of this many.
fn decode(bytes: &[u8], piece: usize) -> Vec<Request> {
    let mut decoder = Decoder::new(100);
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        while let Some(request) = decoder.next(&mut buffer) {
            requests.push(request);
        }
    }
    requests
}

fn one(bytes: &[u8]) -> Request {
    let mut requests = decode(bytes, usize::MAX);
    assert_eq!(requests.len(), 1, "{bytes:?}");
    requests.remove(0)
}

const BAD: Request = Request::Refused(Refusal::BadFormat);
const UNKNOWN: Request = Request::Refused(Refusal::UnknownCommand);

#[test]
fn decoder_reads_the_same_however_the_bytes_are_divided() {
    let mut bytes = b"put 1 2 0 5\r\na\r\nb\0\r\nreserve\r\nput 0 0 1 101\r\n".to_vec();
    bytes.extend_from_slice(&[b'x'; 101]);
    bytes.extend_from_slice(b"\r\nput 1 1 1 1\r\nabcd\r\ndelete 7\r\n");
    bytes.extend_from_slice(&[b'y'; 300]);
    bytes.extend_from_slice(b"\r\nuse a\r\n");
    let put = Put { priority: 1, delay: 2, time_to_run: 1 };
    let expected = [
        Request::Put(put, b"a\r\nb\0"[..].into()),
        Request::Command(Command::Reserve { timeout: None, has_timeout: false }),
        Request::Refused(Refusal::JobTooBig),
        Request::Refused(Refusal::ExpectedCrlf),
        UNKNOWN,
        Request::Command(Command::Delete(7)),
        BAD,
        Request::Command(Command::Use("a".into())),
    ];
    for piece in [1, 2, 3, 5, 7, 100, 1_000] {
        assert_eq!(decode(&bytes, piece), expected, "in pieces of {piece}");
    }
}

#[test]
fn decoder_reads_each_command() {
    for (line, command) in [
        ("use a;+/.$_()-b", Command::Use("a;+/.$_()-b".into())),
        ("watch a", Command::Watch("a".into())),
        ("ignore a", Command::Ignore("a".into())),
        ("reserve-with-timeout 0", Command::Reserve { timeout: Some(0), has_timeout: true }),
        ("reserve-with-timeout -1", Command::Reserve { timeout: None, has_timeout: true }),
        ("reserve-with-timeout x", Command::Reserve { timeout: Some(0), has_timeout: true }),
        ("reserve-job 3", Command::ReserveJob(3)),
        ("release 3 4294967295 5", Command::Release { id: 3, priority: u32::MAX, delay: 5 }),
        ("bury 3 4", Command::Bury { id: 3, priority: 4 }),
        ("touch  3", Command::Touch(3)),
        ("kick 5x", Command::Kick(5)),
        ("kick-job 3", Command::KickJob(3)),
        ("peek 3", Command::Peek(3)),
        ("peek-ready", Command::PeekReady),
        ("peek-delayed", Command::PeekDelayed),
        ("peek-buried", Command::PeekBuried),
        ("pause-tube a 60", Command::PauseTube { tube: "a".into(), delay: 60 }),
        ("list-tubes", Command::ListTubes),
        ("list-tube-used", Command::ListTubeUsed),
        ("list-tubes-watched", Command::ListTubesWatched),
        ("stats", Command::Stats),
        ("stats-job 18446744073709551615", Command::StatsJob(u64::MAX)),
        ("stats-tube a", Command::StatsTube("a".into())),
        ("quitx", Command::Quit),
    ] {
        assert_eq!(one(format!("{line}\r\n").as_bytes()), Request::Command(command), "{line}");
    }
}

#[test]
fn decoder_refuses_what_beanstalkd_refuses() {
    for line in
        ["", "foo", "put", "kick", "watch", "watchx", "peekx", "peek", "PUT 1 1 1 1", " reserve", "a\nb"]
    {
        assert_eq!(one(format!("{line}\r\n").as_bytes()), UNKNOWN, "{line:?}");
    }
    let long = format!("use {}", "a".repeat(201));
    for line in [
        "put 1 2 3",
        "put a 2 3 4",
        "put -1 2 3 4",
        "put 4294967296 0 1 1",
        "put 1 0 1 1 ",
        "reserve ",
        "reservex",
        "reserve-job x",
        "delete x",
        "delete 1 2",
        "delete 18446744073709551616",
        "use ",
        "use -a",
        "use a b",
        "use a:b",
        "use \u{e4}",
        &long,
        "kick x",
        "release 1",
        "bury 1",
        "peek-ready 1",
        "stats 1",
        "stats-tube",
        "stats-jobx 1",
        "list-tubes x",
        "pause-tube a",
        "use a\0b",
    ] {
        assert_eq!(one(format!("{line}\r\n").as_bytes()), BAD, "{line:?}");
    }
}

#[test]
fn decoder_takes_commands_of_up_to_224_bytes() {
    let line = |length: usize| format!("delete {:>width$}\r\n", 7, width = length - 9).into_bytes();
    assert_eq!(one(&line(224)), Request::Command(Command::Delete(7)));
    assert_eq!(one(&line(225)), BAD);
}

#[test]
fn decoder_survives_any_bytes_and_holds_no_more_than_a_job_and_a_command() {
    fastrand::seed(16);
    let words = [
        "put 1 0 1 ",
        "5",
        "99",
        "101",
        "4294967295",
        "\r\n",
        "\r",
        "\n",
        "reserve",
        " ",
        "a",
        "\0",
        "delete 1",
    ];
    for _ in 0..5_000 {
        let mut decoder = Decoder::new(100);
        let mut buffer = BytesMut::new();
        for _ in 0..fastrand::usize(..60) {
            buffer.extend_from_slice(words[fastrand::usize(..words.len())].as_bytes());
            while decoder.next(&mut buffer).is_some() {}
            assert!(buffer.len() < LINE_MAX + 102, "{buffer:?}");
        }
    }
}
