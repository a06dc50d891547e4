//! Charts of the history of figures, as plain SVG that the style sheet colours.

use framework_protocol::views::{HistoryFilter, HistoryPoint};
use maud::{Markup, html};

use crate::format;
use crate::text::Texts;

/// The height of a chart in its own units; a step is as wide as one.
const HEIGHT: f64 = 100.0;
/// The most steps that are drawn; more are joined.
const STEPS_MAX: u64 = 180;

/// The figures of one bar or one place of a line.
#[derive(Debug, Clone, Default)]
struct Slot {
    done: u64,
    failed: u64,
    waiting: u64,
    waited: Option<f64>,
    ran: Option<f64>,
}

/// What tasks ended and how long they waited and ran, in the hours of the filter up to now.
pub(crate) fn history(points: &[HistoryPoint], filter: &HistoryFilter, now_ms: u64, texts: &Texts) -> Markup {
    let slots = slots(points, filter, now_ms);
    let ended = slots.iter().map(|slot| slot.done + slot.failed).max().unwrap_or_default();
    let waiting = slots.iter().map(|slot| slot.waiting).max().unwrap_or_default();
    let times = slots.iter().flat_map(|slot| [slot.waited, slot.ran]).flatten().fold(0.0, f64::max);
    html! {
        div.charts {
            figure {
                figcaption { (texts.chart_ended) " " span.faint { (format::fill(texts.chart_most, &[&format::number(ended)])) } }
                (bars(&slots, ended, texts))
                ul.legend { li { i.key data-state="done" {} (texts.done) } li { i.key data-state="failed" {} (texts.failed) } }
            }
            figure {
                figcaption { (texts.chart_times) " " span.faint { (format::fill(texts.chart_most, &[&format::short_span(times * 1e3)])) } }
                (lines(&slots, &[("waiting", |slot| slot.waited.unwrap_or_default()), ("running", |slot| slot.ran.unwrap_or_default())], times, texts.chart_times))
                ul.legend { li { i.key data-state="waiting" {} (texts.wait_time) } li { i.key data-state="running" {} (texts.run_time) } }
            }
            figure {
                figcaption { (texts.chart_waiting) " " span.faint { (format::fill(texts.chart_most, &[&format::number(waiting)])) } }
                (lines(&slots, &[("waiting", |slot| slot.waiting as f64)], waiting as f64, texts.chart_waiting))
            }
        }
    }
}

/// The history as equally long slots up to now; those in which nothing was are empty.
fn slots(points: &[HistoryPoint], filter: &HistoryFilter, now_ms: u64) -> Vec<Slot> {
    let steps = (filter.hours * 3_600_000 / filter.step_ms()).max(1);
    let joined = steps.div_ceil(STEPS_MAX);
    let slot_ms = filter.step_ms() * joined;
    // Joined steps need not begin when the hours do.
    let count = steps.div_ceil(joined) + u64::from(joined > 1);
    let last = now_ms / slot_ms;
    let mut slots = vec![Slot::default(); count as usize];
    for HistoryPoint { at_ms, figures } in points {
        let behind = last.saturating_sub(at_ms / slot_ms);
        let Some(place) = (count - 1).checked_sub(behind) else { continue };
        let slot = &mut slots[place as usize];
        slot.done += figures.done;
        slot.failed += figures.failed;
        slot.waiting = figures.waiting;
        slot.waited = larger(slot.waited, figures.waited.quantile(0.95));
        slot.ran = larger(slot.ran, figures.ran.quantile(0.95));
    }
    slots
}

fn larger(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    one.into_iter().chain(other).reduce(f64::max)
}

fn bars(slots: &[Slot], most: u64, texts: &Texts) -> Markup {
    let height = |count: u64| count as f64 * HEIGHT / most.max(1) as f64;
    html! {
        (chart(slots.len(), texts.chart_ended, html! {
            @for (place, slot) in slots.iter().enumerate() {
                @let (done, failed) = (height(slot.done), height(slot.failed));
                @if slot.done > 0 { rect.done x=(place) y=(format!("{:.1}", HEIGHT - done)) width="0.8" height=(format!("{done:.1}")) {} }
                @if slot.failed > 0 { rect.failed x=(place) y=(format!("{:.1}", HEIGHT - done - failed)) width="0.8" height=(format!("{failed:.1}")) {} }
            }
        }))
    }
}

/// The class of a line, and its value in a slot.
type Line<'a> = (&'a str, fn(&Slot) -> f64);

/// Lines with their classes and values.
fn lines(slots: &[Slot], lines: &[Line], most: f64, label: &str) -> Markup {
    let most = if most > 0.0 { most } else { 1.0 };
    let path = |value: fn(&Slot) -> f64| -> String {
        let place = |(place, slot): (usize, &Slot)| {
            let y = HEIGHT - value(slot) * HEIGHT / most;
            format!("{} {} {y:.1}", if place == 0 { "M" } else { "L" }, place as f64 + 0.5)
        };
        slots.iter().enumerate().map(place).collect::<Vec<_>>().join(" ")
    };
    chart(
        slots.len(),
        label,
        html! {
            @for (class, value) in lines { path class=(class) d=(path(*value)) {} }
        },
    )
}

fn chart(slots: usize, label: &str, content: Markup) -> Markup {
    html! {
        svg.chart viewBox=(format!("0 -2 {slots} 104")) preserveAspectRatio="none" role="img" aria-label=(label) {
            line.grid x1="0" x2=(slots) y1="100" y2="100" {}
            line.grid x1="0" x2=(slots) y1="50" y2="50" {}
            (content)
        }
    }
}

#[cfg(test)]
mod tests {
    use framework_protocol::views::HistoryFigures;

    use super::*;

    #[test]
    fn slots_end_with_now_and_hold_every_point() {
        let point = |at_ms, done| HistoryPoint {
            at_ms,
            figures: HistoryFigures { done, ..HistoryFigures::default() },
        };
        for hours in [1, 24, 168, 2_160] {
            let filter = HistoryFilter { hours, ..HistoryFilter::default() };
            let now_ms = 1_000_000 * 3_600_000 + 59 * 60_000 + 30_000;
            let step = filter.step_ms();
            let points = [point(now_ms - hours * 3_600_000 + step, 7), point(now_ms / step * step, 2)];
            let slots = slots(&points, &filter, now_ms);
            assert!(slots.len() as u64 <= STEPS_MAX + 1, "{hours}");
            assert_eq!(slots.last().unwrap().done, 2, "{hours}");
            assert_eq!(slots.iter().map(|slot| slot.done).sum::<u64>(), 9, "{hours}");
        }
    }
}
