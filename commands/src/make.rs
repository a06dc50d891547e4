//! `make:*`: files to begin with.

mod command;
mod module;
mod names;
mod service;
mod task;

use std::path::Path;

use framework::prelude::*;

use self::module::{add_module, names_module};

/// Writes `app/KIND/MODULE.rs` and names it in `app/KIND.rs`.
fn make(app: &App, output: &mut Output, kind: &str, module: &str, text: &str, force: bool) -> Result<()> {
    let root = app.config()?.root();
    let file = format!("app/{kind}/{module}.rs");
    write(&root.join(&file), text, force).with_context(|| format!("writing {file}"))?;
    output.success(format_args!("{file} is written."));
    let list = format!("app/{kind}.rs");
    if add_module(&root.join(&list), kind, module)
        .with_context(|| format!("adding `mod {module};` to {list}"))?
    {
        output.success(format_args!("{list} names it."));
    }
    let main = std::fs::read_to_string(root.join("app/main.rs")).unwrap_or_default();
    if !names_module(&main, kind) {
        output.warn(format_args!("app/main.rs does not name it yet: write `mod {kind};` there"));
    }
    Ok(())
}

fn write(path: &Path, text: &str, force: bool) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if force {
        return Ok(std::fs::write(path, text)?);
    }
    match std::fs::File::create_new(path) {
        Ok(mut file) => Ok(std::io::Write::write_all(&mut file, text.as_bytes())?),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("it exists already; --force writes over it")
        }
        Err(error) => Err(error.into()),
    }
}
