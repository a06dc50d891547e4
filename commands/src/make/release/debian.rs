//! A Debian package of a release.
//!
//! The program is in /usr/lib/NAME, where `config` leads to /etc/NAME: that is its project. All that it
//! writes is in /var/lib/NAME and /var/log/NAME, which belong to a user of its own.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use framework::command::Registry;
use framework::prelude::*;
use framework::server::ServerSettings;

use super::man::write_pages;
use super::{PROGRAM, Release, copy, remove, run, settings};
use crate::completion::Shell;
use crate::make::unit::{Unit, UnitFiles};

const FOLDER_MODE: u32 = 0o755;
const PROGRAM_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The settings that move what is written to its place.
const RUNTIME: &str =
    "# Written by make:release: all that the program writes is here.\ndir = \"/var/lib/NAME\"\n";
const LOG: &str = "# Written by make:release: logrotate rotates this file.\nlog_file = \"/var/log/NAME/server.log\"\n\
                   log_rotation = \"none\"\n\n";
/// The scripts of the package.
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("debian/postinst.sh")),
    ("prerm", include_str!("debian/prerm.sh")),
    ("postrm", include_str!("debian/postrm.sh")),
];

/// Who answers for the package: `Ada Lovelace <ada@example.com>`.
#[derive(Debug, Clone)]
pub(super) struct Maintainer(String);

impl Maintainer {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let is_address = text.split_once(" <").is_some_and(|(name, mail)| {
            !name.is_empty() && mail.ends_with('>') && mail.contains('@') && !text.contains(['\n', '\r'])
        });
        if is_address { Ok(Self(text.to_owned())) } else { Err("write Name <name@example.com>".to_owned()) }
    }
}

/// The tree of the package.
struct Tree<'a> {
    root: PathBuf,
    name: &'a str,
}

/// Writes the package into `folder`.
///
/// # Errors
/// dpkg-deb is missing, the name is none of a package, or a file cannot be written.
pub(super) fn build(release: &Release, folder: &Path, maintainer: &Maintainer, app: &App) -> Result<PathBuf> {
    let name = package_name(&release.package.name)?;
    let architecture = architecture(&release.machine)?;
    let title = format!("{name}_{}_{architecture}", release.package.version);
    let tree = Tree { root: folder.join(&title), name: &name };
    remove(&tree.root)?;
    let server = release.config.section::<ServerSettings>()?;
    tree.program(release)?;
    tree.settings(release, &server)?;
    tree.service(&server)?;
    tree.documents(release, app)?;
    tree.control(release, maintainer, architecture)?;
    tree.restrict(&tree.root)?;
    let package = folder.join(format!("{title}.deb"));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--build", "--root-owner-group", "-Zxz"]).arg(&tree.root).arg(&package);
    run(dpkg.stdout(std::process::Stdio::null()))?;
    Ok(package)
}

/// The name as Debian permits it.
fn package_name(name: &str) -> Result<String> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    ensure!(name.len() > 1, "the name {name:?} is too short for a Debian package");
    Ok(name)
}

fn architecture(machine: &str) -> Result<&'static str> {
    match machine {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("the architecture of Debian for {other} is not known"),
    }
}

impl Tree<'_> {
    /// Writes a file, in which `NAME` is the name of the package.
    fn write(&self, file: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.place(file)?;
        fs::write(&path, text.replace("NAME", self.name))
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)))
            .with_context(|| format!("writing {}", path.display()))
    }

    /// The path of a file in the tree, whose folder is there.
    fn place(&self, file: &str) -> Result<PathBuf> {
        let path = self.root.join(file.replace("NAME", self.name));
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        Ok(path)
    }

    fn program(&self, release: &Release) -> Result<()> {
        let program = self.place(&format!("usr/lib/NAME/{PROGRAM}"))?;
        copy(&release.binary, &program)?;
        fs::set_permissions(&program, Permissions::from_mode(PROGRAM_MODE))?;
        symlink(format!("/etc/{}", self.name), self.place("usr/lib/NAME/config")?)?;
        symlink(format!("../lib/{}/{PROGRAM}", self.name), self.place("usr/bin/NAME")?)?;
        Ok(())
    }

    /// The settings of the project, but for where the program writes.
    fn settings(&self, release: &Release, server: &ServerSettings) -> Result<()> {
        for file in settings(release.config.root())? {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let text = match name.as_str() {
                "runtime.toml" => continue,
                "server.toml" if server.log_file.is_none() => LOG.replace("NAME", self.name) + &text,
                _ => text,
            };
            let path = self.place(&format!("etc/NAME/{name}"))?;
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        }
        self.write("etc/NAME/runtime.toml", RUNTIME, FILE_MODE)?;
        self.write("etc/logrotate.d/NAME", include_str!("debian/logrotate.txt"), FILE_MODE)
    }

    fn service(&self, server: &ServerSettings) -> Result<()> {
        let unit = Unit {
            description: &format!("Task server {}", self.name),
            root: &Path::new("/usr/lib").join(self.name),
            program: &Path::new("/usr/bin").join(self.name),
            user: self.name,
            grace: server.max_wait_time,
            socket: None,
            files: UnitFiles::OfSystem(self.name),
        };
        self.write("lib/systemd/system/NAME.service", &unit.text()?, FILE_MODE)
    }

    /// Man pages, completion, and the license.
    fn documents(&self, release: &Release, app: &App) -> Result<()> {
        let registry = Registry::running(app).context("there is no console")?;
        let pages = self.place("usr/share/man/man1")?;
        write_pages(&pages, self.name, &release.package.version, registry)?;
        let mut gzip = Command::new("gzip");
        gzip.args(["-9", "--no-name", "--recursive"]).arg(&pages);
        run(&mut gzip)?;
        for (file, shell) in [
            ("usr/share/bash-completion/completions/NAME", Shell::Bash),
            ("usr/share/zsh/vendor-completions/_NAME", Shell::Zsh),
            ("usr/share/fish/vendor_completions.d/NAME.fish", Shell::Fish),
        ] {
            self.write(file, &shell.script(self.name), FILE_MODE)?;
        }
        let license = fs::read_to_string(release.config.root().join("LICENSE"));
        let license =
            license.unwrap_or_else(|_| "The license of this package is that of its sources.\n".to_owned());
        let path = self.place("usr/share/doc/NAME/copyright")?;
        fs::write(&path, license).with_context(|| format!("writing {}", path.display()))
    }

    fn control(&self, release: &Release, maintainer: &Maintainer, architecture: &str) -> Result<()> {
        let description = release.package.description.as_deref().unwrap_or("Commands and a task queue");
        let mut control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {architecture}\nMaintainer: {}\nSection: net\nPriority: optional\n\
             Depends: adduser\nInstalled-Size: {}\n",
            self.name,
            release.package.version,
            maintainer.0,
            size(&self.root)?.div_ceil(1024)
        );
        let _ = writeln!(control, "Description: {}", description.lines().next().unwrap_or_default());
        let path = self.place("DEBIAN/control")?;
        fs::write(&path, control).with_context(|| format!("writing {}", path.display()))?;
        let mut settings: Vec<_> = fs::read_dir(self.place("etc/NAME/x")?.with_file_name(""))?
            .flatten()
            .map(|entry| format!("/etc/NAME/{}\n", entry.file_name().to_string_lossy()))
            .chain(["/etc/logrotate.d/NAME\n".to_owned()])
            .collect();
        settings.sort();
        self.write("DEBIAN/conffiles", &settings.concat(), FILE_MODE)?;
        SCRIPTS.iter().try_for_each(|(name, text)| self.write(&format!("DEBIAN/{name}"), text, PROGRAM_MODE))
    }

    /// Gives folders and plain files the permissions that they have on every machine.
    fn restrict(&self, folder: &Path) -> Result<()> {
        fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
        for entry in fs::read_dir(folder)?.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.restrict(&entry.path())?;
            } else if kind.is_file() && entry.metadata()?.permissions().mode() & 0o100 == 0 {
                fs::set_permissions(entry.path(), Permissions::from_mode(FILE_MODE))?;
            }
        }
        Ok(())
    }
}

/// The size of the files in a folder, in bytes.
fn size(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        let found = entry.metadata()?;
        total += if found.is_dir() { size(&entry.path())? } else { found.len() };
    }
    Ok(total)
}
