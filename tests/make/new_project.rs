//! `new`: a project of its own, outside of this repository, that builds, starts, passes its tests and grows.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Project, Ran, project_root, watchdog};

/// The bound on one build; the first one compiles everything.
const BUILD_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// Both projects are built in one folder, one after the other.
static BUILD: Mutex<()> = Mutex::new(());

/// A project that `new` has made; its server is killed with it.
struct NewProject {
    outside: Project,
}

impl NewProject {
    fn make(options: &str) -> Self {
        watchdog::allow(6 * BUILD_TIMEOUT);
        let outside = Project::new();
        let ran =
            Ran::of(outside.command().env_remove("THINK_ROOT").args(["new", "shop"]).args(words(options)));
        assert!(ran.exits(0).stderr.contains("./think"), "it says how to go on");
        Self { outside }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.outside.path("shop").join(file)
    }

    /// A program in the project's folder that builds there in little time: nothing is optimized.
    fn command(&self, program: &str) -> Command {
        let mut command = self.outside.command_by(program);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
        command.current_dir(self.path("")).env_remove("THINK_ROOT").env("CARGO_TARGET_DIR", target);
        let optimization = ["CARGO_PROFILE_RELEASE_OPT_LEVEL", "CARGO_PROFILE_RELEASE_DEBUG"];
        optimization.iter().for_each(|name| _ = command.env(name, "0"));
        let cargo = Path::new(env!("CARGO")).parent().unwrap().display().to_string();
        let path = crate::harness::variable("PATH").unwrap_or_default();
        command.env("PATH", format!("{cargo}:{path}")).env("THINK_SERVER_PORT", "0");
        command
    }

    #[track_caller]
    fn think(&self, arguments: &str) -> Ran {
        Ran::within(BUILD_TIMEOUT, self.command("./think").args(words(arguments)))
    }

    /// Runs it through what somebody does with a new project.
    fn grow(&self) {
        assert_eq!(self.think("hello Ada").exits(0).stdout, "Hello, Ada!\n");
        let hint = self.think("task:status").exits(3).stderr;
        assert!(hint.contains("start one with: ./think task:start"), "{hint}");

        self.think("make:command report:daily").exits(0);
        self.think("make:task resize_image").exits(0);
        assert_eq!(self.think("report:daily done").exits(0).stdout, "done\n");
        let started = self.think("task:start -d").exits(0).stderr;
        assert!(started.contains("; ./think task:stop ends it"), "{started}");
        assert_eq!(self.think("task:send echo hi --wait").exits(0).stdout, "0\n\"hi -> OK\"\n");
        let sent = self.think(r#"task:send resize_image {"text":"a.png"} --wait"#).exits(0).stdout;
        assert_eq!(sent, "1\n\"a.png\"\n");
        self.think("task:stop").exits(0);
    }

    fn test(&self) {
        let mut cargo = self.command(env!("CARGO"));
        let tested = Ran::within(BUILD_TIMEOUT, cargo.args(["test", "--release"])).exits(0);
        assert!(tested.stdout.contains("3 passed"), "{tested:?}");
        let format = Ran::of(self.command(env!("CARGO")).args(["fmt", "--all", "--check"]));
        assert_eq!(format.exits(0).stdout, "");
    }
}

impl Drop for NewProject {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.path("runtime/server.pid")).unwrap_or_default();
        if let Some(pid) = pid.trim().parse().ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

#[test]
fn new_project_by_path_builds_starts_grows_and_passes_its_tests() {
    let _build = BUILD.lock();
    let project = NewProject::make("");
    let manifest = fs::read_to_string(project.path("Cargo.toml")).unwrap();
    assert!(manifest.contains(&format!("path = \"{}/framework\"", project_root().display())), "{manifest}");
    project.grow();
    project.test();
}

#[test]
fn new_project_by_git_builds_and_grows() {
    let _build = BUILD.lock();
    let repository = Project::new();
    let git = |arguments: &str| {
        let mut git = repository.command_by("git");
        git.args(["-c", "user.name=test", "-c", "user.email=test@example.com"]).args(words(arguments));
        Ran::of(&mut git).exits(0).stdout
    };
    // As it is now, also what no commit has yet.
    let listed = Ran::of(Command::new("git").current_dir(project_root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    let files = listed.exits(0).stdout;
    let mut copy = Command::new("cp");
    copy.current_dir(project_root()).args(["--parents", "--no-dereference", "--target-directory"]);
    copy.arg(repository.path("")).args(files.lines().filter(|file| project_root().join(file).exists()));
    Ran::of(&mut copy).exits(0);
    git("init --quiet");
    git("add --all");
    git("commit --quiet --message all");
    let commit = git("rev-parse HEAD");
    let url = format!("file://{}", repository.path("").display());

    let project = NewProject::make(&format!("--git {url} --rev {}", commit.trim()));
    // The versions that are there already: only what comes from the repository is fetched.
    fs::copy(project_root().join("Cargo.lock"), project.path("Cargo.lock")).unwrap();
    project.grow();
}

#[test]
fn new_refuses_a_folder_with_files_and_a_name_that_is_no_package() {
    let outside = Project::new();
    let ran = outside.think("new app/shop").exits(0);
    assert!(ran.stderr.contains("Wrote 20 files"), "{ran:?}");
    let ran = outside.think("new app/shop").exits(1);
    assert!(ran.stderr.contains("app/shop is not empty"), "{ran:?}");
    let ran = outside.think("new app/2nd").exits(2);
    assert!(ran.stderr.contains("\"2nd\" is not a valid name") && ran.stderr.contains("--name"), "{ran:?}");
    outside.think("new app/2nd --name second --registry 0.1").exits(0);
    let manifest = outside.read("app/2nd/Cargo.toml");
    assert!(
        manifest.contains("name = \"second\"") && manifest.contains("think-commands = \"0.1\""),
        "{manifest}"
    );
    let ran = outside.think("new app/third --framework app").exits(2);
    assert!(ran.stderr.contains("no folders `framework` and `commands`"), "{ran:?}");
    assert!(!outside.path("app/third").exists());
}
