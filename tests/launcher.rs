//! The launcher: when it builds, when it does not, and that it never starts an old program.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use crate::harness::{Ran, house};

/// Notes what it is asked for; its program prints the sources as they were when it was built.
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

/// A find of another kind, which knows no -printf.
const FIND: &str = "#!/bin/sh\ncase \"$*\" in *-printf*) exit 1 ;; esac\nexec /usr/bin/find \"$@\"\n";

/// A project with a launcher, and a cargo that only pretends.
struct Workshop {
    directory: TempDir,
}

impl Workshop {
    fn new() -> Self {
        let workshop = Self { directory: TempDir::new().unwrap() };
        for folder in ["house/app", "house/framework", "house/commands", "house/tests", "tools", "elsewhere"]
        {
            fs::create_dir_all(workshop.path(folder)).unwrap();
        }
        for tool in ["sh", "cat", "chmod", "find", "mkdir", "mv", "readlink", "rm", "touch", "tr"] {
            symlink(Path::new("/usr/bin").join(tool), workshop.path("tools").join(tool)).unwrap();
        }
        workshop.install(&house().join("think"), "house/think");
        workshop.program("tools/cargo", CARGO);
        workshop.write("house/Cargo.toml", "");
        workshop.write("house/app/main.rs", "one");
        workshop
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn program(&self, file: &str, text: &str) {
        self.write("program", text);
        self.install(&self.path("program"), file);
    }

    /// Written by another process: one that this one has open for writing is busy, and stays so in every process
    /// that another test happens to start in that moment.
    fn install(&self, from: &Path, file: &str) {
        let installed = Command::new("install").args(["-m", "755"]).arg(from).arg(self.path(file)).status();
        assert!(installed.unwrap().success());
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
        Ran::of(&mut self.command("house/think"))
    }

    /// What the program printed, and what cargo was asked for meanwhile.
    fn started(&self) -> (String, String) {
        let _ = fs::remove_file(self.path("calls"));
        let printed = self.start().exits(0).stdout.trim().to_owned();
        (
            printed,
            fs::read_to_string(self.path("calls")).unwrap_or_default().replace('\n', " ").trim().to_owned(),
        )
    }

    /// Built, and the clock of the file system has gone on since.
    fn built() -> Self {
        let workshop = Self::new();
        workshop.build();
        workshop
    }

    fn build(&self) {
        self.start().exits(0);
        let built = self.modified("house/target/release/think.stamp");
        while self.now() <= built {}
    }

    /// By the clock of the file system, which may stand still for some milliseconds.
    fn now(&self) -> SystemTime {
        self.write("elsewhere/clock", "");
        self.modified("elsewhere/clock")
    }

    fn modified(&self, file: &str) -> SystemTime {
        fs::metadata(self.path(file)).unwrap().modified().unwrap()
    }

    /// As a copy from a backup does it.
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
fn the_first_start_builds_and_says_so_and_the_second_does_not() {
    let workshop = Workshop::new();
    let first = workshop.start().exits(0);
    assert_eq!(first.stdout.trim(), "one");
    assert!(first.stderr.contains("about a minute"), "{}", first.stderr);
    let second = workshop.start().exits(0);
    assert_eq!(second.stderr, "");
    assert_eq!(workshop.started(), pair("one", ""));
}

#[test]
fn arguments_reach_the_program_whole() {
    let ran = Ran::of(Workshop::built().command("house/think").args(["a  b", "--", "$HOME"])).exits(0);
    assert_eq!(ran.stdout, "one a  b -- $HOME\n");
}

#[test]
fn a_source_that_is_changed_added_or_deleted_is_built() {
    let workshop = Workshop::built();
    workshop.write("house/app/main.rs", "two");
    assert_eq!(workshop.started(), pair("two", "build"));
    workshop.write("house/app/more.rs", "three");
    assert_eq!(workshop.started(), pair("twothree", "build"));
    fs::remove_file(workshop.path("house/app/more.rs")).unwrap();
    assert_eq!(workshop.started().0, "two");
    assert_eq!(workshop.started(), pair("two", ""));
}

#[test]
fn a_source_that_comes_back_with_an_old_time_is_built_from_the_ground() {
    let workshop = Workshop::built();
    workshop.write_with_old_time("house/app/main.rs", "old");
    assert_eq!(workshop.started(), pair("old", "clean build"));
    assert_eq!(workshop.started(), pair("old", ""));
}

#[test]
fn a_folder_that_takes_the_place_of_another_is_built_from_the_ground() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("house/other")).unwrap();
    workshop.write("house/other/main.rs", "other");
    workshop.build();
    fs::rename(workshop.path("house/app"), workshop.path("elsewhere/app")).unwrap();
    fs::rename(workshop.path("house/other"), workshop.path("house/app")).unwrap();
    assert_eq!(workshop.started(), pair("other", "clean build"));
}

#[test]
fn an_edit_during_the_build_is_built_at_the_next_start() {
    let workshop = Workshop::new();
    workshop.write("house/edit", "echo two >app/main.rs");
    assert_eq!(workshop.started(), pair("one", "build"));
    fs::remove_file(workshop.path("house/edit")).unwrap();
    assert_eq!(workshop.started().0, "two");
}

#[test]
fn a_binary_that_somebody_else_built_is_not_trusted() {
    let workshop = Workshop::built();
    workshop.program("house/target/release/think", "#!/bin/sh\necho stranger\n");
    assert_eq!(workshop.started(), pair("one", "build"));
}

#[test]
fn tests_and_configuration_are_no_sources() {
    let workshop = Workshop::built();
    workshop.write("house/tests/main.rs", "test");
    fs::create_dir(workshop.path("house/config")).unwrap();
    workshop.write("house/config/server.toml", "");
    assert_eq!(workshop.started(), pair("one", ""));
}

#[test]
fn a_failed_build_is_shown_and_starts_nothing_also_the_second_time() {
    let workshop = Workshop::built();
    workshop.write("house/app/main.rs", "two");
    workshop.write("house/broken", "");
    for _ in 0..2 {
        let ran = workshop.start().exits(1);
        assert_eq!(ran.stdout, "");
        assert!(ran.stderr.contains("it does not compile") && ran.stderr.contains("nothing was started"));
    }
    fs::remove_file(workshop.path("house/broken")).unwrap();
    assert_eq!(workshop.started(), pair("two", "build"));
}

#[test]
fn it_works_through_symbolic_links_and_from_a_path_with_spaces() {
    let workshop = Workshop::built();
    symlink("../house/think", workshop.path("elsewhere/first link")).unwrap();
    symlink(workshop.path("elsewhere/first link"), workshop.path("tools/second")).unwrap();
    for launcher in ["elsewhere/first link", "tools/second"] {
        let ran = Ran::of(&mut workshop.command(launcher)).exits(0);
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\n", ""));
    }
    let mut by_name = Command::new("sh");
    by_name.arg("think").current_dir(workshop.path("house")).env("PATH", workshop.path("tools"));
    by_name.env_remove("CARGO_TARGET_DIR");
    assert_eq!(Ran::of(&mut by_name).exits(0).stdout, "one\n");
}

#[test]
fn a_missing_cargo_is_named() {
    let workshop = Workshop::new();
    fs::remove_file(workshop.path("tools/cargo")).unwrap();
    assert!(
        workshop.start().exits(1).stderr.contains("cargo is missing: install Rust from https://rustup.rs")
    );
}

#[test]
fn without_sources_the_binary_is_started_as_it_is() {
    let workshop = Workshop::built();
    fs::remove_dir_all(workshop.path("house/app")).unwrap();
    assert_eq!(workshop.started(), pair("one", ""));
    fs::remove_dir_all(workshop.path("house/target")).unwrap();
    assert!(workshop.start().exits(1).stderr.contains("no sources"));
}

#[test]
fn where_find_cannot_tell_cargo_is_asked_at_every_start() {
    let workshop = Workshop::built();
    workshop.program("tools/find", FIND);
    assert_eq!(workshop.started(), pair("one", "build"));
    assert_eq!(workshop.started(), pair("one", "build"));
}
