//! The launcher `./think`: when it builds, and that it never starts an old program.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::harness::eventually::wait_until;
use crate::harness::process::install;
use crate::harness::{Ran, project_root};

/// A cargo that records its calls; its program prints the sources as they were when it was built.
const CARGO: &str = r#"#!/bin/sh
echo "$1" >>"$CALLS"
[ "$1" = build ] || exit 0
[ -f broken ] && { echo 'error: it does not compile' >&2; exit 101; }
mkdir -p target/release
printf '#!/bin/sh\necho "%s" "$@"\n' "$(cat app/*.rs | tr '\n' ' ')" >target/release/think
chmod +x target/release/think
[ -f edit ] && sh ./edit
true
"#;

/// A find without -printf.
const FIND: &str = "#!/bin/sh\ncase \"$*\" in *-printf*) exit 1 ;; esac\nexec /usr/bin/find \"$@\"\n";

/// A project with a launcher and a fake cargo.
struct LauncherProject {
    directory: TempDir,
}

impl LauncherProject {
    fn new() -> Self {
        let project = Self { directory: TempDir::new().unwrap() };
        for folder in
            ["project/app", "project/framework", "project/commands", "project/tests", "tools", "elsewhere"]
        {
            fs::create_dir_all(project.path(folder)).unwrap();
        }
        for tool in ["sh", "cat", "chmod", "find", "mkdir", "mv", "readlink", "rm", "sed", "touch", "tr"] {
            symlink(Path::new("/usr/bin").join(tool), project.path("tools").join(tool)).unwrap();
        }
        install(&project_root().join("think"), &project.path("project/think"));
        project.program("tools/cargo", CARGO);
        project.write("project/Cargo.toml", "");
        project.write("project/app/main.rs", "one");
        project
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn program(&self, file: &str, text: &str) {
        self.write("program", text);
        install(&self.path("program"), &self.path(file));
    }

    fn command(&self, launcher: &str) -> Command {
        let mut command = Command::new(self.path(launcher));
        command
            .current_dir(self.path("elsewhere"))
            .env("PATH", self.path("tools"))
            .env("CALLS", self.path("calls"))
            .env_remove("CARGO_TARGET_DIR");
        command
    }

    fn start(&self) -> Ran {
        Ran::of(&mut self.command("project/think"))
    }

    /// The output of the program, and the calls of cargo meanwhile.
    fn started(&self) -> (String, String) {
        let _ = fs::remove_file(self.path("calls"));
        let printed = self.start().exits(0).stdout.trim().to_owned();
        (
            printed,
            fs::read_to_string(self.path("calls")).unwrap_or_default().replace('\n', " ").trim().to_owned(),
        )
    }

    /// A project that is built, and older than the clock of the file system.
    fn built() -> Self {
        let project = Self::new();
        project.build();
        project
    }

    fn build(&self) {
        self.start().exits(0);
        let built = self.modified("project/target/release/think.stamp");
        wait_until("the clock of the file system advances", || self.now() > built);
    }

    /// The time of the clock of the file system, which advances in steps of some milliseconds.
    fn now(&self) -> SystemTime {
        self.write("elsewhere/clock", "");
        self.modified("elsewhere/clock")
    }

    fn modified(&self, file: &str) -> SystemTime {
        fs::metadata(self.path(file)).unwrap().modified().unwrap()
    }

    /// Writes a file with an old time, as a restored backup has.
    fn write_with_old_time(&self, file: &str, text: &str) {
        self.write(file, text);
        let long_ago =
            FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        File::options().write(true).open(self.path(file)).unwrap().set_times(long_ago).unwrap();
    }
}

fn pair(printed: &str, calls: &str) -> (String, String) {
    (printed.to_owned(), calls.to_owned())
}

#[test]
fn launcher_builds_at_the_first_start_only() {
    let project = LauncherProject::new();
    let first = project.start().exits(0);
    assert_eq!(first.stdout.trim(), "one");
    assert!(first.stderr.contains("5 to 10 minutes"), "{}", first.stderr);
    let second = project.start().exits(0);
    assert_eq!(second.stderr, "");
    assert_eq!(project.started(), pair("one", ""));
}

#[test]
fn launcher_passes_arguments_unchanged() {
    let ran =
        Ran::of(LauncherProject::built().command("project/think").args(["a  b", "--", "$HOME"])).exits(0);
    assert_eq!(ran.stdout, "one a  b -- $HOME\n");
}

#[test]
fn launcher_builds_when_a_source_is_changed_added_or_deleted() {
    let project = LauncherProject::built();
    project.write("project/app/main.rs", "two");
    assert_eq!(project.started(), pair("two", "build"));
    project.write("project/app/more.rs", "three");
    assert_eq!(project.started(), pair("twothree", "build"));
    fs::remove_file(project.path("project/app/more.rs")).unwrap();
    assert_eq!(project.started().0, "two");
    assert_eq!(project.started(), pair("two", ""));
}

#[test]
fn launcher_cleans_when_a_source_has_an_older_time() {
    let project = LauncherProject::built();
    project.write_with_old_time("project/app/main.rs", "old");
    assert_eq!(project.started(), pair("old", "clean build"));
    assert_eq!(project.started(), pair("old", ""));
}

#[test]
fn launcher_cleans_when_a_folder_is_replaced() {
    let project = LauncherProject::new();
    fs::create_dir(project.path("project/other")).unwrap();
    project.write("project/other/main.rs", "other");
    project.build();
    fs::rename(project.path("project/app"), project.path("elsewhere/app")).unwrap();
    fs::rename(project.path("project/other"), project.path("project/app")).unwrap();
    assert_eq!(project.started(), pair("other", "clean build"));
}

#[test]
fn launcher_builds_again_after_an_edit_during_the_build() {
    let project = LauncherProject::new();
    project.write("project/edit", "echo two >app/main.rs");
    assert_eq!(project.started(), pair("one", "build"));
    fs::remove_file(project.path("project/edit")).unwrap();
    assert_eq!(project.started().0, "two");
}

#[test]
fn launcher_does_not_trust_a_foreign_binary() {
    let project = LauncherProject::built();
    project.program("project/target/release/think", "#!/bin/sh\necho foreign\n");
    assert_eq!(project.started(), pair("one", "build"));
}

#[test]
fn launcher_ignores_tests_and_configuration() {
    let project = LauncherProject::built();
    project.write("project/tests/main.rs", "test");
    fs::create_dir(project.path("project/config")).unwrap();
    project.write("project/config/server.toml", "");
    assert_eq!(project.started(), pair("one", ""));
}

#[test]
fn launcher_starts_nothing_after_a_failed_build() {
    let project = LauncherProject::built();
    project.write("project/app/main.rs", "two");
    project.write("project/broken", "");
    for _ in 0..2 {
        let ran = project.start().exits(1);
        assert_eq!(ran.stdout, "");
        assert!(
            ran.stderr.contains("it does not compile") && ran.stderr.contains("nothing was started"),
            "{}",
            ran.stderr
        );
    }
    fs::remove_file(project.path("project/broken")).unwrap();
    assert_eq!(project.started(), pair("two", "build"));
}

#[test]
fn launcher_works_through_symlinks_and_paths_with_spaces() {
    let project = LauncherProject::built();
    symlink("../project/think", project.path("elsewhere/first link")).unwrap();
    symlink(project.path("elsewhere/first link"), project.path("tools/second")).unwrap();
    for launcher in ["elsewhere/first link", "tools/second"] {
        let ran = Ran::of(&mut project.command(launcher)).exits(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\n", ""));
    }
    let mut by_name = Command::new("sh");
    by_name.arg("think").current_dir(project.path("project")).env("PATH", project.path("tools"));
    by_name.env_remove("CARGO_TARGET_DIR");
    assert_eq!(Ran::of(&mut by_name).exits(0).stdout, "one\n");
}

#[test]
fn launcher_names_a_missing_cargo() {
    let project = LauncherProject::new();
    fs::remove_file(project.path("tools/cargo")).unwrap();
    assert!(
        project.start().exits(1).stderr.contains("cargo is missing: install Rust from https://rustup.rs")
    );
}

#[test]
fn launcher_without_sources_starts_the_binary() {
    let project = LauncherProject::built();
    fs::remove_dir_all(project.path("project/app")).unwrap();
    assert_eq!(project.started(), pair("one", ""));
    fs::remove_dir_all(project.path("project/target")).unwrap();
    assert!(project.start().exits(1).stderr.contains("no sources"));
}

#[test]
fn launcher_without_find_printf_asks_cargo_at_every_start() {
    let project = LauncherProject::built();
    project.program("tools/find", FIND);
    assert_eq!(project.started(), pair("one", "build"));
    assert_eq!(project.started(), pair("one", "build"));
}

#[test]
fn launcher_says_where_its_project_is_and_to_which_process() {
    let project = LauncherProject::new();
    fs::remove_dir_all(project.path("project/app")).unwrap();
    fs::create_dir_all(project.path("project/target/release")).unwrap();
    project.program("project/target/release/think", "#!/bin/sh\necho \"$$:$THINK_LAUNCHER\"\n");
    let printed = project.start().exits(0).stdout;
    let (pid, said) = printed.trim().split_once(':').unwrap();
    let root = project.path("project").canonicalize().unwrap();
    assert_eq!(said, format!("{pid}:{}", root.display()));
}
