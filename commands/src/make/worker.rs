//! `make:worker LANGUAGE NAME`: generates a worker in another language.

use framework::clap::ValueEnum;
use framework::prelude::*;
use framework::serde_json;

use super::write;
use crate::options::server_address::{ServerAddress, exit_error};

/// Generate a worker in another language
///
/// Writes workers/NAME.php, .py or .mjs with one function, which gives back its arguments until you change
/// it. If a server runs and knows the function, the worker registers the schema that it has there; otherwise
/// any JSON will do.
#[derive(Args, Command)]
#[command(name = "make:worker")]
struct MakeWorker {
    /// Language of the worker
    language: Language,
    /// Name of its function, such as resize_image
    name: String,
    /// Overwrite an existing file
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
        let file = format!("workers/{}.{}", self.name, self.language.extension());
        let text = self.language.fill(&self.name, &file, schema.as_deref().unwrap_or("true"));
        let path = app.config()?.root().join(&file);
        write(&path, &text, self.force).with_context(|| format!("writing {file}"))?;
        output.success(format_args!("Wrote {file}."));
        if schema.is_some() {
            output.note("It has the schema that the server knows.");
        }
        let command = format!("{} {file}", self.language.program());
        output.note(format_args!(
            "Start it by `{command}`, or let the server do it: [[workers]] with command = \"{command}\" in config/workers.toml."
        ));
        Ok(())
    }
}

impl MakeWorker {
    /// The schema of the function as JSON, if a server runs and knows it.
    ///
    /// # Errors
    /// The server's own program has the function.
    async fn schema(&self, app: &App) -> Result<Option<String>> {
        let Some(client) = self.server.connect_if_running(app).await? else { return Ok(None) };
        let known = client.functions(None).await.map_err(exit_error)?;
        match known.into_iter().find(|function| function.name == self.name) {
            Some(function) if !function.registered => Err(anyhow!(
                "the server runs \"{}\" itself ({}:{}); choose another name",
                self.name,
                function.file,
                function.line
            )),
            Some(function) => Ok(Some(serde_json::to_string(&function.schema)?)),
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

    /// The text of a worker. What is filled in last may look like a place to be filled in.
    fn fill(self, name: &str, file: &str, schema: &str) -> String {
        let template = match self {
            Self::Php => include_str!("worker/worker.php"),
            Self::Python => include_str!("worker/worker.py"),
            Self::Node => include_str!("worker/worker.mjs"),
        };
        let schema = match self {
            Self::Php => format!("'{}'", schema.replace('\\', "\\\\").replace('\'', "\\'")),
            // A text of JSON is one of these languages, too.
            Self::Python | Self::Node => serde_json::Value::from(schema).to_string(),
        };
        let text = template.replace("{name}", name).replace("{file}", file);
        text.replace("{text}", &format!("'{name}'")).replace("{schema}", &schema)
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
