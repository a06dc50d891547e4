//! `completion`: the shell completes commands, options and values.

mod complete;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

use framework::clap::{self, ValueEnum};
use framework::config::user_folder;
use framework::prelude::*;

/// Let the shell complete commands, options and values
///
/// Prints the script of a shell, or installs it for this user:
///
/// ```sh
/// ./think completion bash --install --dry-run
/// ./think completion bash --install
/// ```
///
/// Without a shell, it is the one in SHELL.
#[derive(Args, Command)]
#[command(name = "completion")]
struct Completion {
    /// Shell that completes
    shell: Option<Shell>,
    /// Write the script to where the shell looks for it
    #[arg(long)]
    install: bool,
    /// Say what --install would write, and write nothing
    #[arg(long, requires = "install")]
    dry_run: bool,
}

/// A shell that can be told what to complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
}

impl Execute for Completion {
    const RESERVED: bool = true;

    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let shell = self.shell.or_else(own_shell).ok_or_else(|| {
            Exit::Usage.error("name a shell: bash, zsh, fish or powershell; SHELL does not name one of them")
        })?;
        let name = app.program().name;
        let script = shell.script(name);
        if !self.install {
            output.text(script);
            return Ok(());
        }
        let path = shell.path(name)?;
        if self.dry_run {
            output.line(format_args!("{} would be written: {} bytes", path.display(), script.len()));
            return Ok(());
        }
        if is_different(&path, &script) {
            let question = format!("{} is there already. Overwrite it?", path.display());
            if !app.input().confirm(output, &question, true)? {
                return Err(Exit::Failed.error("nothing was written"));
            }
        }
        write(&path, &script).with_context(|| format!("writing {}", path.display()))?;
        output.success(format_args!("Wrote {}.", path.display()));
        output.note(shell.hint());
        Ok(())
    }
}

/// The shell in `SHELL`.
fn own_shell() -> Option<Shell> {
    let shell = framework::config::user_shell()?;
    let name = Path::new(&shell).file_name()?.to_str()?;
    Shell::from_str(name, true).ok()
}

impl Shell {
    /// The script, for a program of this name.
    pub(crate) fn script(self, program: &str) -> String {
        let text = match self {
            Self::Bash => include_str!("completion/script.bash"),
            Self::Zsh => include_str!("completion/script.zsh"),
            Self::Fish => include_str!("completion/script.fish"),
            Self::Powershell => include_str!("completion/script.ps1"),
        };
        text.replace("PROGRAM", program).replace("FUNCTION", &program.replace(['-', '.'], "_"))
    }

    /// Where the shell looks for scripts of this user.
    fn path(self, program: &str) -> Result<PathBuf> {
        let (variable, below, file) = match self {
            Self::Bash => ("XDG_DATA_HOME", ".local/share", format!("bash-completion/completions/{program}")),
            Self::Zsh => ("XDG_DATA_HOME", ".local/share", format!("zsh/site-functions/_{program}")),
            Self::Fish => ("XDG_CONFIG_HOME", ".config", format!("fish/completions/{program}.fish")),
            Self::Powershell => {
                return Err(Exit::Usage.error(
                    "PowerShell has no folder of scripts: add the output of `completion powershell` to $PROFILE",
                ));
            }
        };
        let folder = user_folder(variable, below)
            .ok_or_else(|| Exit::Failed.error(format!("neither {variable} nor HOME is set")))?;
        Ok(folder.join(file))
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Bash => "It works in new shells where the package bash-completion is there.",
            Self::Zsh => {
                "It works in new shells if .zshrc has `fpath+=(~/.local/share/zsh/site-functions)` before compinit."
            }
            Self::Fish | Self::Powershell => "It works in new shells.",
        }
    }
}

/// Whether there is a file with another text.
fn is_different(path: &Path, script: &str) -> bool {
    fs::read(path).is_ok_and(|text| text != script.as_bytes())
}

fn write(path: &Path, script: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, script)
}
