//! `task:watch`: follows a task until its end.

use std::time::Duration;

use framework::client::Client;
use framework::prelude::*;
use framework::store::{State, Story};
use framework::task::{LogLine, Progress, TaskId};

use super::server_address::{ServerAddress, ended};
use crate::people::{shown, span, time};

/// Follow a task until its end
///
/// Its state, its progress and its log as they come; the result is printed at the end. The exit code is 0 if it is
/// done, else 1.
#[derive(Args, Command)]
#[command(name = "task:watch")]
struct Watch {
    /// The task
    id: TaskId,
    /// Print JSON, for programs: the whole story, at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// How often the server is asked.
const PAUSE: Duration = Duration::from_millis(250);

impl Execute for Watch {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let mut client = self.server.connect(app).await?;
        let mut seen = Seen::default();
        let story = follow(&mut client, self.id, |story| seen.tell(story, output)).await?;
        if self.json {
            output.json(&story)?;
        } else if let Some(result) = &story.result {
            output.line(result.get());
        }
        match (story.summary.state, story.summary.error) {
            (State::Done, _) => Ok(()),
            (state, Some(error)) => {
                Err(Exit::Failed.because(format!("task {} has {}: {error}", self.id, ended_as(state))))
            }
            (state, None) => Err(Exit::Failed.because(format!("task {} has {}", self.id, ended_as(state)))),
        }
    }
}

/// Asks for the story again and again, until it has an end.
async fn follow(client: &mut Client, id: TaskId, mut tell: impl FnMut(&Story)) -> Result<Story> {
    loop {
        let story = client.show(id).await.map_err(ended)?;
        tell(&story);
        if story.summary.state.is_terminal() {
            return Ok(story);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn ended_as(state: State) -> &'static str {
    match state {
        State::Cancelled => "been cancelled",
        State::Expired => "expired",
        _ => "failed",
    }
}

/// What was told already.
#[derive(Default)]
struct Seen {
    state: Option<(State, u32)>,
    attempts: usize,
    progress: Option<Progress>,
    last: Option<LogLine>,
}

impl Seen {
    fn tell(&mut self, story: &Story, output: &mut Output) {
        let task = &story.summary;
        for attempt in story.history.iter().skip(self.attempts) {
            if let Some(error) = &attempt.error {
                let took = attempt.ran_ms.map(|ms| format!(" after {}", span(ms))).unwrap_or_default();
                output.note(format_args!("attempt {} has failed{took}: {}", attempt.number, shown(error)));
            }
        }
        self.attempts = story.history.len();
        self.tell_notes(story, output);
        let state = (task.state, task.attempts);
        if self.state.replace(state) != Some(state) {
            let due = task.due_ms.filter(|_| task.state == State::Waiting);
            let due = due.map(|due| format!(", due {}", time(due))).unwrap_or_default();
            output.note(format_args!("{}{due}", task.state.name()));
        }
    }

    fn tell_notes(&mut self, story: &Story, output: &mut Output) {
        let log = &story.notes.log;
        // Nothing has a number in a log of which only the end is kept: what follows the last line told is new.
        let told = self.last.as_ref().and_then(|last| log.iter().rposition(|line| line == last));
        for line in log.iter().skip(told.map_or(0, |told| told + 1)) {
            output.note(format_args!("  {}", shown(&line.text)));
        }
        self.last = log.back().cloned().or(self.last.take());
        if self.progress != story.notes.progress {
            self.progress.clone_from(&story.notes.progress);
            if let Some(progress) = &self.progress {
                output.note(format_args!("{:>3.0}% {}", progress.percent, shown(&progress.text)));
            }
        }
    }
}
