//! The values that completion offers: names of commands, groups, functions and queues.

use std::collections::BTreeSet;

use framework::prelude::*;
use framework::server::ServerSettings;
use framework::task::Handlers;

use crate::help::topic_names;

framework::complete_values!("help", "name", help_names);
framework::complete_values!("list", "group", groups);
framework::complete_values!("task:functions", "name", functions);
framework::complete_values!("function", functions);
framework::complete_values!("queue", queues);

fn command_names(app: &App) -> Vec<String> {
    let registry = Registry::running(app);
    registry.into_iter().flat_map(Registry::iter).map(|entry| entry.name.to_owned()).collect()
}

fn help_names(app: &App) -> Vec<String> {
    command_names(app).into_iter().chain(topic_names().map(str::to_owned)).collect()
}

fn groups(app: &App) -> Vec<String> {
    let names = command_names(app);
    let groups: BTreeSet<_> =
        names.iter().filter_map(|name| name.split_once(':')).map(|(group, _)| group).collect();
    groups.into_iter().map(str::to_owned).collect()
}

fn functions(app: &App) -> Vec<String> {
    let Some(handlers) = handlers(app) else { return Vec::new() };
    handlers.iter().map(|handler| handler.describe().name).collect()
}

/// The functions of the program and of `config/functions.toml`.
fn handlers(app: &App) -> Option<Handlers> {
    app.config().and_then(framework::functions::collect).ok()
}

/// The queues of the functions, and those of the settings.
fn queues(app: &App) -> Vec<String> {
    let mut queues: BTreeSet<String> = BTreeSet::from(["default".to_owned()]);
    if let Some(handlers) = handlers(app) {
        queues.extend(handlers.iter().map(|handler| handler.describe().queue));
    }
    if let Ok(settings) = app.config().and_then(|config| config.section::<ServerSettings>()) {
        queues.extend(settings.task_queues.into_keys().filter(|queue| queue != "*"));
        queues.extend(settings.queue_weights.into_keys().chain(settings.queue_rates.into_keys()));
    }
    queues.into_iter().collect()
}
