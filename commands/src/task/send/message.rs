//! The message that the words of `task:send` describe.

use framework::client::Request;
use framework::prelude::*;
use framework::task::{Handler, HandlerInfo};
use serde_json::value::{RawValue, to_raw_value};

use super::super::arguments::{Kind, Shape, arguments};
use super::super::registered_functions::{self, RegisteredFunction};
use super::options::{handlers, value_name};
use super::{SendCommand, is_json};
use crate::bounded_input::read_standard_input;
use crate::json_text::json_fault;

/// The message that the command line describes.
pub(super) enum Message {
    Task(Box<Request>),
    /// A line of text, sent as it is.
    Raw(String),
}

impl Message {
    /// # Errors
    /// When the arguments are missing, given in two ways, or not JSON where they have to be.
    pub(super) async fn of(command: &SendCommand, app: &App) -> Result<Self> {
        let words = (command.args.as_deref(), command.named.is_empty());
        if let Some(line) = &command.command {
            let args = to_raw_value(line)?;
            return Ok(Self::Task(Box::new(command.request(Some(command.message.clone()), args)?)));
        }
        if command.message.trim().is_empty() {
            return Err(Exit::Usage.error("the message is empty"));
        }
        if command.raw {
            return match words {
                (None, true) => raw(&command.message).map(Self::Raw),
                _ => {
                    Err(Exit::Usage
                        .error("--raw takes one text, and no arguments: quote it if it has spaces"))
                }
            };
        }
        let function = || Some(command.message.clone());
        let (function, args) = match words {
            (Some(_), false) => {
                return Err(Exit::Usage.error("give the arguments either as JSON or as options, not both"));
            }
            (None, true) if is_json(&command.message) => (None, default_arguments(&command.message)?),
            (None, false) => {
                let described = command.described(app).await?;
                (function(), to_raw_value(command.named.complete(&described)?)?)
            }
            (args, true) => (function(), command.arguments(args, app).await?),
        };
        Ok(Self::Task(Box::new(command.request(function, args)?)))
    }
}

impl SendCommand {
    /// The function: of this program, or else registered with the server.
    ///
    /// # Errors
    /// When nobody knows it; the error suggests the nearest name.
    async fn described(&self, app: &App) -> Result<HandlerInfo> {
        let unknown = match handlers()?.find(&self.message) {
            Ok(handler) => return Ok(handler.describe()),
            Err(unknown) => unknown,
        };
        match registered_functions::find(&self.server, app, &self.message).await {
            RegisteredFunction::Known(info) => Ok(*info),
            RegisteredFunction::Unknown(unknown) => Err(Exit::Usage.error(unknown.to_string())),
            RegisteredFunction::NotTold(_) => Err(Exit::Usage.error(unknown.to_string())),
        }
    }

    /// The arguments of the function, of which none are options.
    async fn arguments(&self, args: Option<&str>, app: &App) -> Result<Box<RawValue>> {
        let input;
        let args = match args {
            Some("-") => {
                input = standard_input()?;
                Some(input.strip_suffix('\n').unwrap_or(&input))
            }
            args => args,
        };
        match (args, handlers()?.get(&self.message)) {
            (None, Some(handler)) => self.no_arguments(handler),
            (Some(args), Some(handler)) => given(args, handler),
            (None, None) => self.no_arguments_elsewhere(app).await,
            (Some(args), None) => self.given_elsewhere(args, app).await,
        }
    }

    /// No arguments for a function that this program does not have. Those that it requires are named if the
    /// server knows them.
    async fn no_arguments_elsewhere(&self, app: &App) -> Result<Box<RawValue>> {
        match registered_functions::find(&self.server, app, &self.message).await {
            RegisteredFunction::Known(info) if arguments(&info.schema).is_some() => {
                Ok(to_raw_value(self.named.complete(&info)?)?)
            }
            _ => Ok(RawValue::NULL.to_owned()),
        }
    }

    /// Arguments for a function that this program does not have: JSON, or the text itself if the server knows
    /// that the function takes one text.
    async fn given_elsewhere(&self, text: &str, app: &App) -> Result<Box<RawValue>> {
        let json = compact(text);
        if json.as_ref().is_ok_and(|json| json.get().starts_with(['{', '[', '"'])) {
            return json;
        }
        match registered_functions::find(&self.server, app, &self.message).await {
            RegisteredFunction::Known(info) => {
                let kind = Kind::read(info.schema.as_value(), info.schema.as_value());
                let takes_text = match kind.shape {
                    Shape::Text | Shape::Choice(_) => true,
                    Shape::Any => json.is_err() && arguments(&info.schema).is_none(),
                    _ => false,
                };
                if takes_text { Ok(to_raw_value(text)?) } else { json }
            }
            RegisteredFunction::Unknown(unknown) => json.map_err(|_| Exit::Usage.error(unknown.to_string())),
            RegisteredFunction::NotTold(_) => json.map_err(|error| unknown(&self.message, &error)),
        }
    }

    /// What a function is called with that is given nothing: all its arguments have defaults, or it takes
    /// none.
    fn no_arguments(&self, handler: &Handler) -> Result<Box<RawValue>> {
        let schema = handler.schema();
        if arguments(&schema).is_some() {
            return Ok(to_raw_value(self.named.complete(&handler.describe())?)?);
        }
        if handler.check(b"null").is_ok() {
            return Ok(RawValue::NULL.to_owned());
        }
        let value = value_name(&Kind::read(schema.as_value(), schema.as_value()));
        let name = handler.name;
        Err(Exit::Usage.error(format!("{name} requires its argument, as in: task:send {name} {value}")))
    }
}

fn default_arguments(text: &str) -> Result<Box<RawValue>> {
    if text != "-" {
        return compact(text);
    }
    let text = standard_input()?;
    if is_json(&text) {
        return compact(&text);
    }
    Err(Exit::Usage.error(
        "standard input is not JSON for the default function: name the function, as in task:send echo -, or \
         send it as a line of text with --raw",
    ))
}

/// JSON that the function accepts; otherwise the text itself, if the function takes one text.
fn given(text: &str, handler: &Handler) -> Result<Box<RawValue>> {
    let json = compact(text);
    let fits = |args: &RawValue| handler.check(args.get().as_bytes()).is_ok();
    let plain = to_raw_value(text)?;
    match json {
        Ok(json) if fits(&json) || !fits(&plain) => Ok(json),
        Err(error) if !fits(&plain) => Err(error),
        _ => Ok(plain),
    }
}

/// The error of a text for a function that this program does not have: its name may be misspelt.
fn unknown(function: &str, not_json: &anyhow::Error) -> anyhow::Error {
    match handlers().map(|handlers| handlers.find(function)) {
        Ok(Err(unknown)) if unknown.suggestion.is_some() => Exit::Usage.error(unknown.to_string()),
        _ => Exit::Usage.error(format!(
            "this program has no function {function:?}; for one of the server alone, {not_json}"
        )),
    }
}

/// Parses the arguments, and removes line breaks: a request is one line.
fn compact(args: &str) -> Result<Box<RawValue>> {
    let not_json = |error| Exit::Usage.error(format!("the arguments are not JSON: {}", json_fault(&error)));
    let value: &RawValue = serde_json::from_str(args).map_err(not_json)?;
    if value.get().contains(['\n', '\r']) {
        return Ok(to_raw_value(&serde_json::from_str::<serde_json::Value>(args)?)?);
    }
    Ok(value.to_owned())
}

fn raw(text: &str) -> Result<String> {
    if text == "-" { standard_input() } else { Ok(text.to_owned()) }
}

fn standard_input() -> Result<String> {
    let text = read_standard_input().context("reading standard input")?;
    if text.trim().is_empty() { Err(Exit::Usage.error("standard input is empty")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use framework::app::Program;
    use framework::clap::{Args, Command, FromArgMatches};
    use framework::input::Input;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// Takes nothing
    #[derive(Serialize, Deserialize, Task)]
    #[task(name = "test_sweep")]
    struct Sweep;

    /// Takes nothing that is required
    #[derive(Serialize, Deserialize, Task)]
    #[task(name = "test_clean")]
    struct Clean {
        #[serde(default)]
        depth: u8,
    }

    macro_rules! does_nothing {
        ($($task:ident)*) => {$(
            impl Handle for $task {
                type Output = ();

                async fn handle(self, _attempt: &Attempt) -> Result<()> {
                    Ok(())
                }
            }
        )*};
    }
    does_nothing!(Sweep Clean);

    /// The function and the arguments that these words become.
    fn sent(words: &[&str]) -> Result<(Option<String>, String), String> {
        let command = SendCommand::augment_args(Command::new("task:send").no_binary_name(true));
        let words = [&["--address=unix:/no-such-server.sock"], words].concat();
        let matches = command.try_get_matches_from(words).map_err(|error| error.to_string())?;
        let command = SendCommand::from_arg_matches(&matches).map_err(|error| error.to_string())?;
        let app = App::new(Program { name: "think", version: "1" }, Input::none()).at("/no-such-project");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(Message::of(&command, &app)).map_err(|error| error.to_string())? {
            Message::Task(request) => Ok((request.function, request.args.get().to_owned())),
            Message::Raw(text) => Ok((None, format!("raw {text}"))),
        }
    }

    #[test]
    fn function_without_required_arguments_needs_none() {
        let call = |name: &str, args: &str| Ok((Some(name.to_owned()), args.to_owned()));
        assert_eq!(sent(&["test_sweep"]), call("test_sweep", "null"));
        assert_eq!(sent(&["test_sweep", "{}"]), call("test_sweep", "{}"));
        assert_eq!(sent(&["test_clean"]), call("test_clean", "{}"));
        assert_eq!(sent(&["nobody_has_it"]), call("nobody_has_it", "null"));
    }

    #[test]
    fn no_arguments_are_null_or_an_empty_object() {
        for name in ["test_sweep", "test_clean"] {
            let handler = handlers().unwrap().find(name).unwrap();
            assert!(
                ["null", "{}", " { } "].iter().all(|args| handler.check(args.as_bytes()).is_ok()),
                "{name}"
            );
            assert!(handler.check(b"\"text\"").is_err(), "{name}");
        }
    }

    #[test]
    fn json_without_a_function_is_for_the_default_function() {
        for json in ["{\"to\":1}", "[1]", "\"text\""] {
            assert_eq!(sent(&[json]), Ok((None, json.to_owned())));
        }
        assert_eq!(sent(&["--raw", "{\"to\":1}"]), Ok((None, "raw {\"to\":1}".to_owned())));
        assert!(sent(&["{\"to\""]).unwrap_err().contains("not JSON"));
    }

    #[test]
    fn text_for_an_unknown_function_suggests_the_near_one() {
        let error = sent(&["test_swep", "all of it"]).unwrap_err();
        assert!(
            error.contains("There is no function \"test_swep\". Did you mean \"test_sweep\"?"),
            "{error}"
        );
        let error = sent(&["nobody_has_it", "all of it"]).unwrap_err();
        assert!(error.contains("no function \"nobody_has_it\"") && error.contains("not JSON"), "{error}");
    }
}
