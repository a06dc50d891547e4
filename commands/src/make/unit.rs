//! The systemd unit of a task server.

use std::path::Path;
use std::time::Duration;

use framework::prelude::*;

/// The time that the server needs after the grace period: to settle, to reply, to flush.
const AFTER_GRACE: Duration = Duration::from_secs(15);

/// What a unit says of a server.
pub(super) struct Unit<'a> {
    pub(super) description: &'a str,
    pub(super) root: &'a Path,
    pub(super) program: &'a Path,
    pub(super) user: &'a str,
    pub(super) grace: Duration,
    /// The name of a unit with its sockets.
    pub(super) socket: Option<&'a str>,
    pub(super) files: UnitFiles<'a>,
}

/// The only files that the server may write.
pub(super) enum UnitFiles<'a> {
    /// Those of this folder.
    OfProject(&'a Path),
    /// /var/lib/NAME and /var/log/NAME.
    OfSystem(&'a str),
}

impl Unit<'_> {
    /// # Errors
    /// A path has characters that a unit cannot contain.
    pub(super) fn text(&self) -> Result<String> {
        let (root, program, user) = (quoted(self.root)?, quoted(self.program)?, self.user);
        let description = quoted(Path::new(self.description))?;
        let stop_timeout = (self.grace + AFTER_GRACE).as_secs();
        let socket = self.socket.map(|name| format!("\nRequires={name}.socket\nAfter={name}.socket"));
        let socket = socket.unwrap_or_default();
        let files = match self.files {
            UnitFiles::OfProject(folder) => format!("ReadWritePaths=\"{}\"", quoted(folder)?),
            UnitFiles::OfSystem(name) => {
                format!(
                    "StateDirectory={name}\nStateDirectoryMode=0700\nLogsDirectory={name}\nLogsDirectoryMode=0700"
                )
            }
        };
        Ok(format!(
            r#"[Unit]
Description={description}
After=network-online.target
Wants=network-online.target{socket}

[Service]
Type=notify
ExecStart="{program}" task:start --foreground
ExecReload="{program}" task:reload
WorkingDirectory={root}
Environment="THINK_ROOT={root}"
User={user}
UMask=0027
WatchdogSec=30s
TimeoutStartSec=infinity
TimeoutStopSec={stop_timeout}s
KillMode=mixed
Restart=on-failure
RestartPreventExitStatus=2 4
LimitNOFILE=1048576

{files}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet=
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=multi-user.target
"#
        ))
    }
}

/// Escapes a path for a unit file: `%` is doubled, and characters that would need quoting are refused.
pub(super) fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().filter(|text| !text.contains(['"', '\\', '$', '\n']));
    let text =
        text.with_context(|| format!("{} has characters that a unit file cannot contain", path.display()))?;
    Ok(text.replace('%', "%%"))
}
