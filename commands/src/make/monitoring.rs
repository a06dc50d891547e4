//! `make:monitoring`: generates what Prometheus and Grafana need.

use framework::prelude::*;

use super::{may_overwrite, write};
use crate::options::server_address::ServerAddress;

/// Generate files for Prometheus and Grafana
///
/// Writes monitoring/prometheus.yml, which reads the figures of this server from /metrics,
/// monitoring/think.rules.yml with alerts (tasks wait and none ends, the oldest task waits too long, many
/// tasks fail, the storage refuses tasks, nobody runs a function, the disk fills up), and
/// monitoring/think-dashboard.json, a board to import into Grafana. Change the bounds of the alerts to yours.
///
/// Where the listener requires a token, put one with the scope `inspect` into monitoring/token.
#[derive(Args, Command)]
#[command(name = "make:monitoring")]
struct MakeMonitoring {
    /// Overwrite existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    server: ServerAddress,
}

/// The files, each with its template.
const FILES: [(&str, &str); 3] = [
    ("monitoring/prometheus.yml", include_str!("monitoring/prometheus.yml")),
    ("monitoring/think.rules.yml", include_str!("monitoring/think.rules.yml")),
    ("monitoring/think-dashboard.json", include_str!("monitoring/think-dashboard.json")),
];

impl Execute for MakeMonitoring {
    async fn execute(self, app: &App, output: &mut Output) -> Result<()> {
        let address = self.server.network_address(app).await?;
        for (file, template) in FILES {
            let force = self.force || may_overwrite(app, output, file)?;
            let path = app.config()?.root().join(file);
            write(&path, &template.replace("{address}", &address), force)
                .with_context(|| format!("writing {file}"))?;
            output.success(format_args!("Wrote {file}."));
        }
        output.note("Start it by `prometheus --config.file monitoring/prometheus.yml`.");
        Ok(())
    }
}
