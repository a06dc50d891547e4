//! `make:worker LANGUAGE NAME`: generates a worker in another language, and its test.

mod example;

use framework::clap::ValueEnum;
use framework::prelude::*;
use framework::serde_json::Value;

use self::example::example;
use super::{may_overwrite, write};
use crate::options::server_address::{ServerAddress, exit_error};

/// Generate a worker in another language
///
/// Writes workers/NAME.php, .py or .mjs with one function, which gives back its arguments until you change
/// it, and workers/NAME_test.php, .py or .mjs, which runs the worker without a server. If a server runs and
/// knows the function, the worker registers the schema that it has there; otherwise any JSON will do.
#[derive(Args, Command)]
#[command(name = "make:worker")]
struct MakeWorker {
    /// Language of the worker
    language: Language,
    /// Name of its function, such as resize_image
    name: String,
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// A language that there is a template for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Php,
    Python,
    Node,
}

impl Execute for MakeWorker {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        check(&self.name)?;
        let schema = self.schema(app).await?;
        let extension = self.language.extension();
        let worker = format!("workers/{}.{extension}", self.name);
        let test = format!("workers/{}_test.{extension}", self.name);
        let texts = [
            (&worker, self.language.worker(&self.name, &worker, schema.as_ref())),
            (&test, self.language.test(&self.name, &test, &worker, schema.as_ref())),
        ];
        for (file, text) in texts {
            let force = self.force || may_overwrite(app, output, file)?;
            let path = app.config()?.root().join(file);
            write(&path, &text, force).with_context(|| format!("writing {file}"))?;
            output.success(format_args!("Wrote {file}."));
        }
        if schema.is_some() {
            output.note("It has the schema that the server knows.");
        }
        output.note(format_args!("Test it by `{} {test}`.", self.language.test_program()));
        let command = format!("{} {worker}", self.language.program());
        output.note(format_args!(
            "Start it by `{command}`, or let the server do it: [[workers]] with command = \"{command}\" in config/workers.toml."
        ));
        Ok(())
    }
}

impl MakeWorker {
    /// The schema of the function, if a server runs and knows it.
    ///
    /// # Errors
    /// The server's own program has the function.
    async fn schema(&self, app: &App) -> Result<Option<Value>> {
        let Some(client) = self.server.connect_if_running(app).await? else { return Ok(None) };
        let known = client.functions(None).await.map_err(exit_error)?;
        match known.into_iter().find(|function| function.name == self.name) {
            Some(function) if !function.registered => Err(anyhow!(
                "the server runs \"{}\" itself ({}:{}); choose another name",
                self.name,
                function.file,
                function.line
            )),
            Some(function) => Ok(Some(function.schema.into())),
            None => Ok(None),
        }
    }
}

impl Language {
    fn extension(self) -> &'static str {
        match self {
            Self::Php => "php",
            Self::Python => "py",
            Self::Node => "mjs",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Php => "php",
            Self::Python => "python3",
            Self::Node => "node",
        }
    }

    fn test_program(self) -> &'static str {
        match self {
            Self::Php => "php",
            Self::Python => "python3",
            Self::Node => "node --test",
        }
    }

    /// The text of a worker.
    fn worker(self, name: &str, file: &str, schema: Option<&Value>) -> String {
        let template = match self {
            Self::Php => include_str!("worker/worker.php"),
            Self::Python => include_str!("worker/worker.py"),
            Self::Node => include_str!("worker/worker.mjs"),
        };
        let schema = schema.unwrap_or(&Value::Bool(true));
        self.fill(template, &[("name", name), ("file", file)], name, ("schema", schema))
    }

    /// The text of the test of a worker.
    fn test(self, name: &str, file: &str, worker: &str, schema: Option<&Value>) -> String {
        let template = match self {
            Self::Php => include_str!("worker/worker_test.php"),
            Self::Python => include_str!("worker/worker_test.py"),
            Self::Node => include_str!("worker/worker_test.mjs"),
        };
        let program = worker.rsplit('/').next().unwrap_or(worker);
        let args = example(schema.unwrap_or(&Value::Bool(true)));
        self.fill(
            template,
            &[("worker", worker), ("file", file), ("program", program)],
            name,
            ("args", &args),
        )
    }

    /// Fills the places of a template: plain words, the name as `{text}`, and a JSON value as a text, which
    /// comes last because it may look like a place.
    fn fill(
        self,
        template: &str,
        words: &[(&str, &str)],
        name: &str,
        (place, json): (&str, &Value),
    ) -> String {
        let words = words.iter().copied();
        let text = words
            .fold(template.to_owned(), |text, (place, word)| text.replace(&format!("{{{place}}}"), word));
        let json = json.to_string();
        let json = match self {
            Self::Php => format!("'{}'", json.replace('\\', "\\\\").replace('\'', "\\'")),
            // A text of JSON is one of these languages, too.
            Self::Python | Self::Node => Value::from(json).to_string(),
        };
        text.replace("{text}", &format!("'{name}'")).replace(&format!("{{{place}}}"), &json)
    }
}

fn check(name: &str) -> Result<()> {
    let is_valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(is_valid) {
        return Ok(());
    }
    Err(Exit::Usage.error(format!(
        "\"{name}\" is not a valid function: use lower case letters, digits, `_`, `-` and `.`, such as \"resize_image\""
    )))
}
