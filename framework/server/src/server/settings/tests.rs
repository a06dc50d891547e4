//! The values that the section `server` accepts and rejects.

use std::collections::BTreeMap;
use std::path::Path;

use framework_console::config::Config;
use serde_json::Value;

use super::*;

fn values(settings: &ServerSettings) -> BTreeMap<String, Value> {
    serde_json::from_value(serde_json::to_value(settings).unwrap()).unwrap()
}

#[test]
fn check_accepts_the_defaults() {
    assert_eq!(ServerSettings::default().check(), Ok(()));
}

#[test]
fn check_names_every_number_out_of_range() {
    let settings = ServerSettings {
        worker_num: 0,
        task_worker_num: 100_001,
        package_max_length: 63,
        log_file: Some("".into()),
        ..ServerSettings::default()
    };
    assert_eq!(
        settings.check().unwrap_err().to_string().lines().collect::<Vec<_>>(),
        [
            "`worker_num` must be from 1 to 1024, not 0",
            "`task_worker_num` must be from 0 to 100000, not 100001",
            "`package_max_length` must be from 64 to 1073741824, not 63",
            "`log_file` must not be empty",
        ]
    );
}

#[test]
fn check_bounds_workers_and_weights_of_queues() {
    let problem = |settings: ServerSettings| settings.check().unwrap_err().to_string();
    let queues = |queues: &[(String, usize)]| ServerSettings {
        task_queues: queues.iter().cloned().collect(),
        ..ServerSettings::default()
    };
    let many: Vec<_> = (0..61).map(|queue| (queue.to_string(), 1)).collect();
    for wrong in [
        queues(&[("mail".into(), 0)]),
        queues(&[("mail".into(), usize::MAX), ("*".into(), 1)]),
        queues(&many),
    ] {
        assert!(problem(wrong).starts_with("`task_queues` must give each of at most 60 queues 1 to 100000"));
    }
    assert_eq!(queues(&many[1..]).check(), Ok(()));
    let queue_weights = [("mail".to_owned(), 0)].into();
    let weightless = ServerSettings { queue_weights, ..ServerSettings::default() };
    assert!(problem(weightless).contains("a weight from 1 to 1000"));
    let forgetful = ServerSettings { retention_time: Duration::MAX, ..ServerSettings::default() };
    assert_eq!(problem(forgetful), "`retention_time` must be at most 100 years");
    let function_retention = [("echo".to_owned(), RetentionTime(Duration::MAX))].into();
    let forgetful = ServerSettings { function_retention, ..ServerSettings::default() };
    assert_eq!(problem(forgetful), "`function_retention` must be at most 100 years");
    let eager = ServerSettings { max_attempts: 0, ..ServerSettings::default() };
    assert_eq!(problem(eager), "`max_attempts` must be from 1 to 1000000, not 0");
}

#[test]
fn section_refuses_a_foreign_key_with_advice() {
    let variables = [("THINK_SERVER_DISPATCH_MODE", "2"), ("THINK_SERVER_WORKER_NUMBER", "2")];
    let problems = Config::at("/no/project", variables).section::<ServerSettings>().unwrap_err().to_string();
    let lines: Vec<_> = problems.lines().collect();
    assert!(
        lines[0].starts_with("THINK_SERVER_DISPATCH_MODE: `dispatch_mode` is not supported: "),
        "{problems}"
    );
    assert!(lines[1].ends_with("did you mean THINK_SERVER_WORKER_NUM?"), "{problems}");
}

#[test]
fn section_refuses_the_earlier_name_of_a_setting_with_the_present_one() {
    let settings = values(&ServerSettings::default());
    let renamed = |sentence: &'static str| sentence.strip_prefix("the name is `")?.strip_suffix("` here");
    let names = foreign_keys::REPLACED.iter().filter_map(|(_, sentence)| renamed(sentence));
    assert_eq!(names.clone().find(|name| !settings.contains_key(*name)), None);
    let variables = [("THINK_SERVER_KEEP_TIME", "1day")];
    let problems = Config::at("/no/project", variables).section::<ServerSettings>().unwrap_err().to_string();
    let expected = "THINK_SERVER_KEEP_TIME: `keep_time` is not supported: the name is `retention_time` here";
    assert_eq!(problems, expected);
}

#[test]
fn replaced_keys_are_unique_and_no_settings() {
    let mut names: Vec<_> = foreign_keys::REPLACED.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.extend(values(&ServerSettings::default()).into_keys());
    names.sort();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn log_file_is_relative_to_the_root() {
    let settings = ServerSettings { log_file: Some("runtime/server.log".into()), ..Default::default() };
    let logging = settings.logging(&Config::at("/srv/app", []));
    assert_eq!(logging.file.as_deref(), Some(Path::new("/srv/app/runtime/server.log")));
}
