//! `task:start --watch`: builds what has changed, and makes the running server reload.

mod build;
mod project;
mod watch;

use std::process::Command;

use framework::config::Config;
use framework::prelude::*;
use rustix::process::Signal;

use self::build::{Build, BuildResult};
use self::project::Project;
use self::watch::{Changes, ProjectWatcher};
use super::daemon::verbosity;
use super::signals::{Inherited, Signals};
use super::supervisor::{Supervisor, SupervisorEvent};

/// Runs a server with these arguments until it ends, and reloads it whenever the program or its settings
/// change.
///
/// # Errors
/// When files cannot be watched; or as the server has ended.
pub(super) async fn run(config: &Config, arguments: &[String], output: &mut Output) -> Result<()> {
    let project = Project::at(config.root())?;
    let mut watcher = ProjectWatcher::start(&project)?;
    let mut signals = Signals::listen(None, Inherited::Keep)?;
    project.describe(output);
    let mut supervisor = start_server(&project, arguments, output)?;
    // Changes since the launcher began to build this program.
    let changes = Changes::of_sources(project.is_stale());
    let mut build = handle(changes, &project, &mut supervisor, output);
    loop {
        tokio::select! {
            event = supervisor.next(&mut signals) => match event {
                SupervisorEvent::Ended(result) => return result,
                SupervisorEvent::Forwarded(Signal::INT | Signal::TERM | Signal::QUIT) => break,
                SupervisorEvent::Forwarded(_) => {}
                SupervisorEvent::ChildExited(pid, status) => {
                    if let Some(build) = build.take_if(|build| build.pid() == pid) {
                        finish(build.finish(status), &mut supervisor, output);
                    }
                }
            },
            changes = watcher.next(&project), if build.is_none() => {
                build = handle(changes, &project, &mut supervisor, output);
            }
        }
    }
    // The server stops: nobody waits for a build any more.
    drop(build);
    supervisor.run(&mut signals).await
}

fn start_server(project: &Project, arguments: &[String], output: &mut Output) -> Result<Supervisor> {
    let mut command = Command::new(&project.program);
    // The setting daemonize does not count here.
    command.args(arguments).arg("--foreground").args(verbosity(output));
    output.flush();
    Supervisor::start(&mut command)
}

/// Starts a build when the sources have changed; else reloads the server.
fn handle(
    changes: Changes,
    project: &Project,
    supervisor: &mut Supervisor,
    output: &mut Output,
) -> Option<Build> {
    for problem in &changes.problems {
        output.warn(problem);
    }
    if changes.sources {
        match Build::start(project, changes.config) {
            Ok(build) => return Some(build),
            Err(error) => output.warn(format_args!("{error:#}")),
        }
    }
    if changes.config {
        reload("The configuration has changed", supervisor, output);
    }
    None
}

fn finish(result: BuildResult, supervisor: &mut Supervisor, output: &mut Output) {
    let is_config_changed = match result {
        BuildResult::NewProgram => return reload("There is a new program", supervisor, output),
        BuildResult::Unchanged { config } => {
            output.note("The build has changed nothing.");
            config
        }
        BuildResult::Failed { config } => {
            output.warn("the build has failed; the server goes on with the last program");
            config
        }
    };
    if is_config_changed {
        reload("The configuration has changed", supervisor, output);
    }
}

/// The server itself reports how its reload ends.
fn reload(reason: &str, supervisor: &mut Supervisor, output: &mut Output) {
    output.note(format_args!("{reason}; reloading the server."));
    supervisor.reload();
}
