//! A function that is a command: one process for each attempt.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use framework_console::command::Exit;
use framework_console::config::{Config, Secret, duration, pass_call};
use framework_protocol::RequestError;
use framework_protocol::task::{Attempt, Outcome, Retry, now_ms};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::command_words::words;
use super::result::{done, quote};
use super::settings::FunctionEntry;
use crate::processes::{self, CommandLine, OutputLines, ProcessGroup, ProcessLimits};
use crate::server::ServerSettings;

/// The exit code with which a command wants to be run again later (EX_TEMPFAIL).
const TRY_AGAIN: i32 = 75;
/// The lines of stderr that an error ends with.
const LAST_LINES: usize = 8;
/// The time for what a process has written up to its end.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
const READ_SIZE: usize = 8192;
/// The file of this process, whatever has become of its name meanwhile.
const PROGRAM: &str = "/proc/self/exe";
/// Nobody can be asked, and the log shows no colours.
const CONSOLE_OPTIONS: [&str; 2] = ["--no-interaction", "--no-ansi"];

/// A command, and what its processes are given.
pub(super) struct CommandTarget {
    line: CommandLine,
    /// The words behind it come from the arguments of the task, and all that it writes is the log.
    is_console: bool,
    directory: PathBuf,
    environment: Vec<(String, Secret)>,
    /// The address of the server; `None` without a control socket.
    server: Option<String>,
    limits: ProcessLimits,
    /// The longest result, in bytes.
    result_max: usize,
    /// The time between SIGTERM and SIGKILL.
    grace: Duration,
}

/// What a process has written so far.
#[derive(Default)]
struct ProcessOutput {
    written: Mutex<WrittenBytes>,
    /// Rung when the result is too long.
    too_long: Notify,
}

#[derive(Default)]
struct WrittenBytes {
    result: Vec<u8>,
    is_too_long: bool,
    last_lines: VecDeque<String>,
}

/// A spawned task that is aborted with its owner.
struct Owned<T>(JoinHandle<T>);

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl CommandTarget {
    pub(super) fn new(
        line: &CommandLine,
        entry: &FunctionEntry,
        config: &Config,
        server: &ServerSettings,
    ) -> Result<Self, String> {
        let is_variable = |name: &String| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = entry.environment.keys().find(|name| !is_variable(name)) {
            return Err(format!("has no variable {name:?} in its `environment`: no system knows it"));
        }
        let socket = server.control_listener().map(|_| config.path(&server.control_socket));
        let variables = entry.environment.iter();
        Ok(Self {
            line: line.clone(),
            is_console: false,
            directory: config.path(&entry.directory),
            environment: variables.map(|(name, value)| (name.clone(), value.clone())).collect(),
            server: socket.map(|socket| format!("unix:{}", socket.display())),
            limits: ProcessLimits {
                memory: entry.max_memory.map(|size| size.0 as u64),
                nice: i32::from(entry.nice),
            },
            result_max: server.package_max_length,
            grace: server.worker_cancel_time,
        })
    }

    /// This program, whose commands run in the project's root.
    pub(super) fn of_program(config: &Config, server: &ServerSettings) -> Self {
        let root = config.root().to_string_lossy().into_owned();
        let socket = server.control_listener().map(|_| config.path(&server.control_socket));
        Self {
            line: CommandLine::program_of(PROGRAM),
            is_console: true,
            directory: config.root().to_owned(),
            environment: vec![("THINK_ROOT".to_owned(), Secret::new(root))],
            server: socket.map(|socket| format!("unix:{}", socket.display())),
            limits: ProcessLimits::default(),
            result_max: server.package_max_length,
            grace: server.worker_cancel_time,
        }
    }

    pub(super) fn line(&self) -> &CommandLine {
        &self.line
    }

    /// Runs one attempt. Dropping this kills its process, with all that it has started.
    pub(super) async fn run(&'static self, attempt: &Attempt) -> Outcome {
        let runtime = match process_runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Outcome::failed(error.clone(), Retry::Backoff),
        };
        let mut run = Owned(runtime.spawn(self.run_process(attempt.clone())));
        (&mut run.0).await.unwrap_or_else(|error| Outcome::failed(error.to_string(), Retry::Backoff))
    }

    async fn run_process(&'static self, attempt: Attempt) -> Outcome {
        let command = match self.command(&attempt) {
            Ok(command) => command,
            Err(error) => return Outcome::failed(error.to_string(), Retry::Never),
        };
        let mut process = match ProcessGroup::spawn(command, self.limits) {
            Ok(process) => process,
            Err(error) => {
                let program = self.line.program();
                return Outcome::failed(format!("{program} cannot be run: {error}."), Retry::Backoff);
            }
        };
        let output = Arc::new(ProcessOutput::default());
        let leader = &mut process.leader;
        let pipes = (leader.stdin.take(), leader.stdout.take(), leader.stderr.take());
        let mut exchange =
            Owned(tokio::spawn(exchange(pipes, attempt.clone(), output.clone(), self.result_limit())));
        let ended = tokio::select! {
            ended = process.wait() => ended,
            () = attempt.cancelled() => process.end(self.grace).await,
            () = output.too_long.notified() => process.end(self.grace).await,
        };
        // Somebody outside of its group may hold the pipes.
        let _ = timeout(LAST_OUTPUT, &mut exchange.0).await;
        match ended {
            Ok(status) => self.outcome(status, &output.written()),
            Err(error) => Outcome::failed(format!("Its end is not known: {error}."), Retry::Backoff),
        }
    }

    /// The longest result; `None` for lines of the log.
    fn result_limit(&self) -> Option<usize> {
        (!self.is_console).then_some(self.result_max)
    }

    /// # Errors
    /// The arguments of the task are no command line.
    fn command(&self, attempt: &Attempt) -> Result<Command, RequestError> {
        let mut command = processes::command(&self.line, &self.directory);
        if self.is_console {
            let own = std::env::current_exe().unwrap_or_default();
            command.arg0(own.file_name().unwrap_or(own.as_os_str()));
            command.args(CONSOLE_OPTIONS).args(words(attempt.args())?);
            pass_call(command.as_std_mut());
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value.reveal())));
        command.envs(self.server.iter().map(|server| ("THINK_SERVER", server)));
        command
            .env("THINK_FUNCTION", attempt.function())
            .env("THINK_TASK_ID", attempt.id().to_string())
            .env("THINK_ATTEMPT", attempt.number().to_string());
        match attempt.timeout() {
            Some(timeout) => {
                let deadline_ms = u128::from(now_ms()) + timeout.as_millis();
                command.env("THINK_DEADLINE", (deadline_ms / 1_000).to_string())
            }
            None => command.env_remove("THINK_DEADLINE"),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    fn outcome(&self, status: ExitStatus, written: &WrittenBytes) -> Outcome {
        if written.is_too_long {
            let most = self.result_max;
            let message = format!("The result is longer than {most} bytes (package_max_length).");
            return Outcome::failed(message, Retry::Never);
        }
        let end = match status.code() {
            Some(0) => return done(&written.result),
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        };
        let message = match written.errors() {
            errors if errors.is_empty() => end,
            errors => format!("{end}: {errors}"),
        };
        let pause = std::str::from_utf8(&written.result).ok().and_then(duration::parse);
        match (status.code(), pause) {
            (Some(code), _) if self.is_console && code == Exit::Usage as i32 => {
                Outcome::failed(message, Retry::Never)
            }
            (Some(TRY_AGAIN), Some(pause)) => Outcome::failed(message, Retry::After(pause)),
            _ => Outcome::failed(message, Retry::Backoff),
        }
    }
}

impl ProcessOutput {
    fn written(&self) -> MutexGuard<'_, WrittenBytes> {
        self.written.lock().expect("no panic while the output of a process is locked")
    }

    fn add(&self, bytes: &[u8], most: usize) {
        let mut written = self.written();
        if written.result.len() + bytes.len() > most {
            written.is_too_long = true;
            self.too_long.notify_one();
        } else {
            written.result.extend_from_slice(bytes);
        }
    }

    fn add_line(&self, line: &str) {
        let lines = &mut self.written().last_lines;
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(quote(line));
    }
}

impl WrittenBytes {
    /// The last lines of stderr.
    fn errors(&self) -> String {
        let lines = self.last_lines.iter().filter(|line| !line.is_empty());
        lines.map(String::as_str).collect::<Vec<_>>().join(" / ")
    }
}

type Pipes = (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>);

/// Writes the arguments, and reads the result and the log.
async fn exchange(
    (input, result, errors): Pipes,
    attempt: Attempt,
    output: Arc<ProcessOutput>,
    most: Option<usize>,
) {
    let write = async {
        // A command of the console finds nothing to read.
        if let Some(mut input) = input.filter(|_| most.is_some()) {
            // Not every command reads its arguments.
            let _ = input.write_all(attempt.args()).await;
            let _ = input.write_all(b"\n").await;
        }
    };
    let read = async {
        let Some(mut result) = result else { return };
        let Some(most) = most else { return OutputLines::read(result, |line| attempt.log(line)).await };
        let mut buffer = [0; READ_SIZE];
        while let Ok(length @ 1..) = result.read(&mut buffer).await {
            output.add(&buffer[..length], most);
        }
    };
    let log = async {
        let Some(errors) = errors else { return };
        let each = |line: &str| {
            attempt.log(line);
            output.add_line(line);
        };
        OutputLines::read(errors, each).await;
    };
    tokio::join!(write, read, log);
}

/// The thread that starts the processes of all attempts. It lives as long as this process: the kernel kills
/// them when it ends.
fn process_runtime() -> Result<&'static Runtime, &'static String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let start = || {
        let started =
            Builder::new_multi_thread().worker_threads(1).thread_name("command").enable_all().build();
        started.map_err(|error| format!("The thread that runs commands cannot be started: {error}."))
    };
    RUNTIME.get_or_init(start).as_ref()
}
