//! `make:*`: generates files.

mod command;
mod module;
mod monitoring;
mod names;
mod release;
mod unit;
mod service;
mod task;
mod worker;

use std::path::Path;

use framework::prelude::*;

use self::module::{add_module, declares_module};

/// Writes `app/KIND/MODULE.rs` and declares it in `app/KIND.rs`.
fn make(app: &App, output: &mut Output, kind: &str, module: &str, text: &str, force: bool) -> Result<()> {
    let root = app.config()?.root();
    let file = format!("app/{kind}/{module}.rs");
    write(&root.join(&file), text, force).with_context(|| format!("writing {file}"))?;
    output.success(format_args!("Wrote {file}."));
    let list = format!("app/{kind}.rs");
    if add_module(&root.join(&list), kind, module)
        .with_context(|| format!("adding `mod {module};` to {list}"))?
    {
        output.success(format_args!("Declared it in {list}."));
    }
    // The root of a library comes first: the program is only its `main` then.
    let crate_root = ["app/lib.rs", "app/main.rs"].into_iter().find(|file| root.join(file).exists());
    let crate_root = crate_root.unwrap_or("app/main.rs");
    let text = std::fs::read_to_string(root.join(crate_root)).unwrap_or_default();
    if !declares_module(&text, kind) {
        output.warn(format_args!("{crate_root} does not declare it yet: add `mod {kind};`"));
    }
    Ok(())
}

/// Whether somebody at the terminal lets a file be overwritten that is there already.
fn may_overwrite(app: &App, output: &mut Output, file: &str) -> Result<bool> {
    let is_asked = app.config()?.root().join(file).exists() && app.input().is_interactive(output);
    Ok(is_asked && app.input().confirm(output, &format!("{file} is there already. Overwrite it?"), false)?)
}

/// Refuses a name that this program has already, unless the file that has it is to be overwritten: two of one
/// name could both not be used.
fn reject_existing(kind: &str, name: &str, place: (&str, u32), file: &str, force: bool) -> Result<()> {
    let (existing, line) = place;
    if force && existing == file {
        return Ok(());
    }
    let hint = if existing == file { "; --force overwrites it" } else { "; choose another name" };
    Err(anyhow!("there is a {kind} \"{name}\" already, at {existing}:{line}{hint}"))
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
            bail!("the file already exists; --force overwrites it")
        }
        Err(error) => Err(error.into()),
    }
}
