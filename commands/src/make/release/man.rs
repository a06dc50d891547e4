//! Man pages, from the same definitions as the help.

use std::fs;
use std::path::Path;

use clap_mangen::Man;
use framework::clap;
use framework::command::Registry;
use framework::prelude::*;

/// The section of programs.
const SECTION: &str = "1";

/// Writes a page for the program, and one for each of its commands: `think.1`, `think-task-start.1`.
///
/// # Errors
/// They cannot be written.
pub(super) fn write_pages(folder: &Path, program: &str, version: &str, registry: &Registry) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut all = clap::Command::new(program.to_owned())
        .about("Commands, and a durable task queue that comes with them")
        .version(version.to_owned())
        .disable_help_subcommand(true);
    for entry in registry.iter() {
        let described = entry.describe().disable_help_flag(true);
        let title = format!("{program}-{}", entry.name.replace(':', "-"));
        let page = described.clone().name(title.clone()).bin_name(format!("{program} {}", entry.name));
        write(folder, &title, page.version(version.to_owned()))?;
        all = all.subcommand(
            clap::Command::new(entry.name).about(described.get_about().cloned().unwrap_or_default()),
        );
    }
    write(folder, program, all)
}

fn write(folder: &Path, title: &str, described: clap::Command) -> Result<()> {
    let mut page = Vec::new();
    let man = Man::new(described).title(title.to_uppercase()).section(SECTION);
    man.render(&mut page).context("rendering a man page")?;
    let path = folder.join(format!("{title}.{SECTION}"));
    fs::write(&path, page).with_context(|| format!("writing {}", path.display()))
}
