//! Progress bars and spinners; where nobody can see them move, lines of text.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle, TermLike};

use super::escape_control;
use super::sink::SharedSink;
use super::terminal::{ScreenSize, Terminal};

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);
/// How often bars are drawn at most, in times a second.
const DRAWS: u8 = 20;
/// The bar of a terminal with fewer columns has no time in it.
const NARROW: usize = 60;

/// A progress bar, or a spinner if there is no total. Clones are the same bar; each can be moved from any
/// thread.
///
/// Bars are drawn below the notes of the command, as many as there are. Where notes do not go to a terminal,
/// a bar prints a line at every tenth of its total instead, and a spinner one at its beginning and its end.
/// With `-q` there is neither. A bar that is dropped without [`Progress::finish`] vanishes.
///
/// ```
/// # use framework::output::{ColorChoice, Output, Verbosity};
/// # let mut output = Output::captured(Verbosity::Normal, ColorChoice::Never);
/// let bar = output.progress("Resizing", 4);
/// for image in ["a.png", "b.png", "c.png", "d.png"] {
///     bar.message(image);
///     bar.advance(1);
/// }
/// bar.finish("4 images resized");
/// # assert!(output.into_captured().stderr.ends_with("Resizing: 4 of 4 (100 %)\n4 images resized\n"));
/// ```
#[derive(Clone)]
pub struct Progress(Display);

#[derive(Clone)]
enum Display {
    None,
    Bar { bar: ProgressBar, label: Arc<str>, bars: MultiProgress, remarks: SharedSink },
    Lines(Arc<Lines>),
}

/// A bar that prints lines.
struct Lines {
    remarks: SharedSink,
    label: String,
    total: Option<u64>,
    position: AtomicU64,
}

impl Progress {
    /// Moves the bar on.
    pub fn advance(&self, steps: u64) {
        match &self.0 {
            Display::None => {}
            Display::Bar { bar, .. } => bar.inc(steps),
            Display::Lines(lines) => lines.advance(steps),
        }
    }

    /// Moves the bar to a position, forwards or back.
    pub fn set(&self, position: u64) {
        match &self.0 {
            Display::None => {}
            Display::Bar { bar, .. } => bar.set_position(position),
            Display::Lines(lines) => lines.set(position),
        }
    }

    /// Shows a text beside the label, escaped; nothing where the bar prints lines.
    pub fn message(&self, text: impl fmt::Display) {
        if let Display::Bar { bar, label, .. } = &self.0 {
            bar.set_message(format!("{label}: {}", escape_control(&text.to_string())));
        }
    }

    /// Removes the bar and prints a text in its place; nothing if the text is empty.
    pub fn finish(&self, text: impl fmt::Display) {
        let text = text.to_string();
        match &self.0 {
            Display::None => {}
            Display::Bar { bar, bars, remarks, .. } => {
                bar.finish_and_clear();
                bars.remove(bar);
                bars.suspend(|| print(remarks, &text));
            }
            Display::Lines(lines) => print(&lines.remarks, &text),
        }
    }
}

fn print(remarks: &SharedSink, text: &str) {
    if !text.is_empty() {
        let mut remarks = remarks.lock();
        remarks.write(format_args!("{text}\n"));
        remarks.flush();
    }
}

impl Lines {
    fn advance(&self, steps: u64) {
        let before = self.position.fetch_add(steps, Ordering::Relaxed);
        self.show(before, before.saturating_add(steps));
    }

    fn set(&self, position: u64) {
        let before = self.position.swap(position, Ordering::Relaxed);
        self.show(before, position);
    }

    /// Prints a line if the bar has passed a tenth.
    fn show(&self, before: u64, now: u64) {
        let Some(total) = self.total.filter(|total| *total > 0) else { return };
        let percent = |position: u64| u128::from(position.min(total)) * 100 / u128::from(total);
        if percent(now) / 10 > percent(before) / 10 {
            print(&self.remarks, &format!("{}: {now} of {total} ({} %)", self.label, percent(now)));
        }
    }
}

/// Which of the displays a bar has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    None,
    Bars,
    Lines,
}

/// The bars of an output.
pub(super) struct Bars {
    bars: MultiProgress,
    remarks: SharedSink,
}

impl Bars {
    pub(super) fn new(remarks: &SharedSink) -> Self {
        let target = BarTarget { remarks: remarks.clone(), is_line_over: AtomicBool::new(false) };
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(target), DRAWS);
        Self { bars: MultiProgress::with_draw_target(target), remarks: remarks.clone() }
    }

    /// Adds a bar, or a spinner without a total.
    pub(super) fn add(&self, kind: Kind, label: &str, total: Option<u64>, columns: usize) -> Progress {
        let label = escape_control(label).into_owned();
        let remarks = self.remarks.clone();
        match kind {
            Kind::None => Progress(Display::None),
            Kind::Lines => {
                if total.is_none() {
                    print(&remarks, &label);
                }
                Progress(Display::Lines(Arc::new(Lines {
                    remarks,
                    label,
                    total,
                    position: AtomicU64::new(0),
                })))
            }
            Kind::Bars => {
                let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
                let bar = bar.with_style(style(total, columns)).with_finish(ProgressFinish::AndClear);
                let bar = self.bars.add(bar.with_message(label.clone()));
                if total.is_none() {
                    bar.enable_steady_tick(TICK);
                }
                bar.tick();
                Progress(Display::Bar { bar, label: label.into(), bars: self.bars.clone(), remarks })
            }
        }
    }

    /// Does something while no bar is on the screen.
    pub(super) fn suspend<R>(&self, act: impl FnOnce() -> R) -> R {
        self.bars.suspend(act)
    }
}

fn style(total: Option<u64>, columns: usize) -> ProgressStyle {
    let template = match total {
        None => "{spinner} {wide_msg}",
        Some(_) if columns < NARROW => "{wide_msg} {bar:10} {percent:>3} %",
        Some(_) => "{wide_msg} {bar:24} {pos}/{len} {percent:>3} % {eta:>4}",
    };
    let style = ProgressStyle::with_template(template).expect("a template of this program");
    style.progress_chars("=>-").tick_chars("-\\|/ ")
}

/// The stream of notes, as bars draw on it.
///
/// Bars fill their lines with spaces, so that the next one wraps into the line below. Here that is a line
/// end, which does not depend on the true width of the terminal.
#[derive(Debug)]
struct BarTarget {
    remarks: SharedSink,
    /// Whether a line is over, and the next one begins below it.
    is_line_over: AtomicBool,
}

impl BarTarget {
    fn size(&self) -> ScreenSize {
        self.remarks.lock().size().unwrap_or(ScreenSize { columns: 80, rows: 24 })
    }

    fn raw(&self, text: &str) -> io::Result<()> {
        self.remarks.lock().write_raw(text);
        Ok(())
    }

    fn step(&self, count: usize, direction: char) -> io::Result<()> {
        self.is_line_over.store(false, Ordering::Relaxed);
        if count == 0 { Ok(()) } else { self.raw(&format!("\x1b[{count}{direction}")) }
    }
}

fn small(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

impl TermLike for BarTarget {
    fn width(&self) -> u16 {
        // In the last column, some terminals wrap already.
        small(self.size().columns - 1)
    }

    fn height(&self) -> u16 {
        small(self.size().rows)
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.step(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.step(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.step(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.step(count, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.is_line_over.store(false, Ordering::Relaxed);
        self.raw(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let is_filling = text.chars().all(|letter| letter == ' ');
        let was_over = self.is_line_over.swap(is_filling, Ordering::Relaxed);
        match (is_filling, was_over) {
            (true, _) => Ok(()),
            (false, true) => self.raw(&format!("\r\n{text}")),
            (false, false) => self.raw(text),
        }
    }

    fn clear_line(&self) -> io::Result<()> {
        self.is_line_over.store(false, Ordering::Relaxed);
        self.raw("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.remarks.lock().flush();
        Ok(())
    }
}

impl Kind {
    /// The display of bars on such a stream.
    pub(super) fn on(terminal: Terminal, is_quiet: bool) -> Self {
        match terminal {
            _ if is_quiet => Self::None,
            Terminal::Full => Self::Bars,
            Terminal::None | Terminal::Dumb => Self::Lines,
        }
    }
}
