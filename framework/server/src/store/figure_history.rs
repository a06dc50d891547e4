//! The history of figures as a store without a disk keeps it, and what both stores do with it.

use std::collections::BTreeMap;

use framework_protocol::views::{
    HISTORY_HOURS, HISTORY_MINUTES_HOURS, HistoryFigures, HistoryFilter, HistoryPoint, HistoryRow,
};

/// The lengths of the steps that are kept, in milliseconds, and the hours for which each is.
pub const STEPS: [(u64, u64); 2] = [(60_000, HISTORY_MINUTES_HOURS), (3_600_000, HISTORY_HOURS)];

/// The number of the first step that is still kept, or of the last so many hours.
pub fn first_step(step_ms: u64, hours: u64, now_ms: u64) -> u64 {
    now_ms.saturating_sub(hours * 3_600_000) / step_ms
}

/// Adds the figures of rows that are in the order of their steps: one point for each step.
pub fn points(step_ms: u64, rows: impl Iterator<Item = (u64, HistoryFigures)>) -> Vec<HistoryPoint> {
    let mut points: Vec<HistoryPoint> = Vec::new();
    for (step, figures) in rows {
        let at_ms = step * step_ms;
        if points.last().is_none_or(|point| point.at_ms != at_ms) {
            points.push(HistoryPoint { at_ms, figures: HistoryFigures::default() });
        }
        if let Some(point) = points.last_mut() {
            point.figures.add(&figures);
            point.figures.waiting += figures.waiting;
        }
    }
    points
}

/// Adds the figures of a later minute to those of the same step.
pub fn merge(kept: &mut HistoryFigures, later: &HistoryFigures) {
    kept.add(later);
    kept.waiting = later.waiting;
}

/// The history in memory.
#[derive(Debug, Clone, Default)]
pub(super) struct FigureHistory(BTreeMap<(u64, u64, String, String), HistoryFigures>);

impl FigureHistory {
    /// Adds rows, and forgets what is too old.
    pub(super) fn record(&mut self, rows: &[HistoryRow], now_ms: u64) {
        for HistoryRow { at_ms, function, queue, figures } in rows {
            for (step_ms, _) in STEPS {
                let key = (step_ms, at_ms / step_ms, function.clone(), queue.clone());
                merge(self.0.entry(key).or_default(), figures);
            }
        }
        self.0.retain(|(step_ms, step, ..), _| {
            let kept = STEPS.iter().find(|(known, _)| known == step_ms);
            kept.is_some_and(|(_, hours)| *step >= first_step(*step_ms, *hours, now_ms))
        });
    }

    pub(super) fn query(&self, filter: &HistoryFilter, now_ms: u64) -> Vec<HistoryPoint> {
        let step_ms = filter.step_ms();
        let first = (step_ms, first_step(step_ms, filter.hours, now_ms), String::new(), String::new());
        let rows = self.0.range(first..).take_while(|((of, ..), _)| *of == step_ms);
        let is = |wanted: &Option<String>, name: &String| wanted.as_ref().is_none_or(|wanted| wanted == name);
        let rows = rows.filter(|((_, _, function, queue), _)| {
            is(&filter.function, function) && is(&filter.queue, queue)
        });
        points(step_ms, rows.map(|((_, step, ..), figures)| (*step, figures.clone())))
    }
}
