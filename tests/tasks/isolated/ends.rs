//! The ways in which an attempt in a child process ends against its will.

use super::*;

#[test]
fn attempt_that_kills_its_process_fails_with_the_truth_and_nothing_else_does() {
    let settings = CRASH.replace("isolated_worker_num = 1", "isolated_worker_num = 2");
    let server = Server::with_settings(&format!("{settings}max_isolated_memory = \"2GB\"\n"));
    for (how, says) in [
        ("segmentation_fault", "was killed by signal 11 (SIGSEGV)"),
        ("abort", "was killed by signal 6 (SIGABRT)"),
        ("stack_overflow", "has overflowed its stack"),
        ("memory", "memory allocation of 68719476736 bytes failed"),
        ("exit", "has exited with code 3"),
    ] {
        let task = run(&server, &crash(how));
        let error = task["error"].as_str().unwrap();
        assert!(error.starts_with("The process of the attempt ") && error.contains(says), "{how}: {error}");
        assert!(error.ends_with("That was so 2 times: the task is set aside."), "{how}: {error}");
        let counts = (&task["state"], &task["attempts"], &task["crashes"]);
        assert_eq!(counts, (&json!("failed"), &json!(2), &json!(2)), "{how}: {task}");
        assert_eq!(run(&server, &crash("none"))["state"], "done", "after {how}");
    }
    let panicked = run(&server, &crash("panic"));
    assert!(panicked["error"].as_str().unwrap().contains("as it was told"), "{panicked}");
    assert_eq!((&panicked["attempts"], &panicked["crashes"]), (&json!(1), &json!(0)));
    let status = server.status();
    assert_eq!((&status["pid"], &status["ledger"]["done"]), (&json!(server.pid()), &json!(5)));
    assert!(status["programs"][0]["restarts"].as_u64() >= Some(9), "{status}");
}

#[test]
fn blocking_attempt_that_outlives_its_timeout_is_killed() {
    let server = Server::with_settings(CRASH);
    let mut client = server.connect();
    let mut task = crash("hang");
    task["timeout"] = "1s".into();
    let id = send(&mut client, &task);
    let child = begun(&server, id);
    assert_eq!(client.json()["error"], "The attempt took longer than its timeout of 1s.");
    assert!(!lives(child), "it is gone when its attempt has ended");
    let task = show(&server, id);
    assert_eq!((&task["attempts"], &task["crashes"]), (&json!(1), &json!(0)), "{task}");
    assert_eq!(run(&server, &crash("none"))["state"], "done");
}

#[test]
fn blocking_attempt_that_is_cancelled_is_killed() {
    let server = Server::with_settings(CRASH);
    let mut client = server.connect();
    let id = send(&mut client, &crash("hang"));
    let child = begun(&server, id);
    server.think(&["task:cancel", &id.to_string()]);
    assert_eq!(client.json()["status"], "cancelled");
    assert!(!lives(child), "it is gone when its attempt has ended");
    let task = show(&server, id);
    assert_eq!((&task["state"], &task["crashes"]), (&json!("cancelled"), &json!(0)), "{task}");
    assert_eq!(run(&server, &crash("none"))["state"], "done");
}

#[test]
fn attempt_of_a_killed_process_runs_again_once() {
    let server = Server::with_settings(CRASH);
    let mut client = server.connect();
    let id = send(&mut client, &crash("hang"));
    kill_process(begun(&server, id), Signal::KILL).unwrap();
    wait_until("the crash is counted", || show(&server, id)["crashes"] == 1);
    // One that had not begun would not count.
    wait_until("it is set aside", || {
        let children = children(&mut server.connect());
        children.iter().for_each(|child| _ = kill_process(*child, Signal::KILL));
        show(&server, id)["state"] == "failed"
    });
    assert_eq!(show(&server, id)["attempts"], 2);
    let end = client.json();
    let error = end["error"].as_str().unwrap();
    assert!(error.starts_with("The process of the attempt was killed by signal 9 (SIGKILL). "), "{error}");
}

#[test]
fn attempt_of_a_process_that_stands_still_is_lost_with_it() {
    let server = Server::with_settings(&format!("{CRASH}worker_lease_time = \"2s\"\n"));
    let mut client = server.connect();
    let id = send(&mut client, &crash("hang"));
    let child = begun(&server, id);
    kill_process(child, Signal::STOP).unwrap();
    wait_until("the crash is counted", || show(&server, id)["crashes"] == 1);
    assert!(!lives(child));
    let attempt = show(&server, id)["history"][0]["error"].to_string();
    assert!(attempt.contains("was silent for 2s"), "{}", show(&server, id));
}

#[test]
fn idle_process_that_is_killed_is_replaced() {
    let server = Server::with_settings(CRASH);
    run(&server, &crash("none"));
    let child = busy_or_idle(&server);
    kill_process(child, Signal::KILL).unwrap();
    let task = run(&server, &crash("none"));
    assert_eq!((&task["state"], &task["crashes"]), (&json!("done"), &json!(0)), "{task}");
    assert_ne!(task["result"], child.as_raw_nonzero().get());
}

#[test]
fn processes_that_cannot_work_are_started_after_growing_pauses() {
    let project = Project::with_settings(CRASH);
    let server = Server::with(project, "");
    run(&server, &crash("none"));
    server.project.write("config/server.toml", "no such setting\n");
    kill_process(busy_or_idle(&server), Signal::KILL).unwrap();
    let program = eventually("it was tried again and again", || {
        let reply = server.connect().send("{\"command\":\"status\"}\n").json();
        let program = reply["result"]["programs"][0].clone();
        (program["restarts"].as_u64() >= Some(3)).then_some(program)
    });
    assert_eq!(program["last_exit"], "exit code 1", "{program}");
    server.project.write("config/server.toml", CRASH);
    let printed = run(&server, &crash("none"));
    assert_eq!((&printed["state"], &printed["attempts"]), (&json!("done"), &json!(1)));
}

#[test]
fn processes_end_with_the_server_also_when_it_is_killed() {
    let settings = CRASH.replace("isolated_worker_num = 1", "isolated_worker_num = 3");
    for signal in [Signal::KILL, Signal::TERM] {
        let mut server = Server::with_settings(&format!("{settings}max_wait_time = \"200ms\"\n"));
        let mut client = server.connect();
        send(&mut client, &crash("hang"));
        let busy = busy_child(&server);
        let all = eventually("all have joined", || {
            Some(children(&mut server.connect())).filter(|children| children.len() == 3)
        });
        assert!(all.contains(&busy) && all.iter().all(|pid| lives(*pid)));
        server.signal(signal);
        all_end(&all);
        server.exit_code();
        let server = server.again("");
        busy_child(&server);
        let task = show(&server, 0);
        assert_eq!((&task["crashes"], &task["attempts"]), (&json!(0), &json!(1)), "{signal:?}: {task}");
    }
}

#[test]
fn result_that_is_too_long_for_the_server_fails_its_task_and_no_other() {
    let server = Server::with_settings(
        "isolated = [\"echo\"]\nisolated_worker_num = 1\npackage_max_length = \"4KB\"\n",
    );
    let echo = |args: &str| json!({"function": "echo", "args": args, "reply": "result"}).to_string() + "\n";
    let mut client = server.connect();
    let (short, long) = (echo("short"), echo(&"x".repeat(4_000)));
    client.send([short.repeat(50), long, short.repeat(50)].concat());
    let ends: Vec<_> = (0..101).map(|_| client.json()).collect();
    let failed: Vec<_> = ends.iter().filter(|end| end["status"] == "failed").collect();
    let [failed] = &failed[..] else { panic!("one is too long: {failed:?}") };
    assert!(failed["error"].as_str().unwrap().contains("(package_max_length)"), "{failed}");
    assert_eq!(show(&server, failed["task_id"].as_u64().unwrap())["attempts"], 1);
    assert_eq!(server.status()["programs"][0]["restarts"], 0);
}
