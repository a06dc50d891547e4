//! `task:start --watch`: builds what has changed, and has the running server take it over.

mod build;
mod changes;
mod project;

use std::process::Command;
use std::time::Duration;

use framework::config::Config;
use framework::prelude::*;
use rustix::process::Signal;

use self::build::{Build, Built};
use self::changes::{Changed, Changes};
use self::project::Project;
use super::daemon::verbosity;
use super::keeper::{Keeper, News, is_heard, tell};

/// What tells a server to reload.
const RELOAD: Signal = Signal::USR1;

/// Runs a server with these arguments until it ends, and tells it whenever there is something new.
///
/// # Errors
/// When files cannot be watched; or as the server has ended.
pub(super) async fn watch(config: &Config, arguments: &[String], output: &mut Output) -> Result<()> {
    let project = Project::at(config.root())?;
    let mut changes = Changes::watch(&project)?;
    let mut keeper = Keeper::new()?;
    project.tell(output);
    start(&project, arguments, output)?;
    // What changed while the launcher built this program is built now.
    let mut build = begin(Changed::sources(project.is_behind()), &project, output);
    let mut has_started = false;
    loop {
        keeper.spare(build.as_ref().and_then(Build::pid));
        tokio::select! {
            news = keeper.next() => match news {
                News::Ended(ended) => return ended,
                News::Told(Signal::INT | Signal::TERM | Signal::QUIT) => break,
                News::Told(_) => {}
            },
            () = started(), if !has_started => has_started = true,
            changed = changes.settled(&project), if has_started && build.is_none() => {
                build = begin(changed, &project, output);
            }
            built = end_of(&mut build), if has_started => {
                finish(&built, output);
                build = None;
            }
        }
    }
    // Nobody waits any more for what is being built.
    drop(build);
    keeper.keep().await
}

fn start(project: &Project, arguments: &[String], output: &mut Output) -> Result<()> {
    let mut command = Command::new(&project.program);
    // The setting daemonize is for others.
    command.args(arguments).arg("--foreground").args(verbosity(output));
    output.flush();
    Keeper::entrust(&mut command, std::process::id())
        .spawn()
        .with_context(|| format!("starting {}", project.program.display()))?;
    Ok(())
}

/// Waits until the server can be told something.
async fn started() {
    const PACE: Duration = Duration::from_millis(20);
    while !is_heard(RELOAD) {
        tokio::time::sleep(PACE).await;
    }
}

/// Builds if there is something to build; else the server is told at once.
fn begin(changed: Changed, project: &Project, output: &mut Output) -> Option<Build> {
    for problem in &changed.problems {
        output.warn(problem);
    }
    if changed.sources {
        match Build::start(project, changed.config) {
            Ok(build) => return Some(build),
            Err(error) => output.warn(format_args!("{error:#}")),
        }
    }
    if changed.config {
        reload("The configuration has changed", output);
    }
    None
}

async fn end_of(build: &mut Option<Build>) -> Built {
    match build {
        Some(build) => build.wait().await,
        None => std::future::pending().await,
    }
}

fn finish(built: &Built, output: &mut Output) {
    match built {
        Built::Anew => return reload("There is a new program", output),
        Built::AsBefore { .. } => output.note("The program is as it was before."),
        Built::Failed { .. } => {
            output.warn("the build has failed; the server runs on as it was built before");
        }
    }
    if let Built::AsBefore { config: true } | Built::Failed { config: true } = built {
        reload("The configuration has changed", output);
    }
}

/// How that goes is said by the server.
fn reload(reason: &str, output: &mut Output) {
    output.note(format_args!("{reason}; the server is told to reload."));
    tell(RELOAD);
}
