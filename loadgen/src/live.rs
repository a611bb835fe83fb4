//! What a person sees while a run goes on, and the keys that steer it.

use std::io::{self, IsTerminal, Stderr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Terminal, TerminalOptions, Viewport};

use crate::engine::Controls;
use crate::host::Sample;
use crate::interrupt;
use crate::output::summary::{float, ms};
use crate::terminal;
use crate::truth::interval::{Interval, Measure};

/// A few lines at the end of the terminal. Absent when there is none.
pub(crate) struct Live {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    drawn: Option<Instant>,
    total: Duration,
}

/// What is shown.
pub(crate) struct View<'a> {
    pub(crate) elapsed: Duration,
    pub(crate) controls: &'a Controls,
    /// The last whole interval, as far as it is known.
    pub(crate) fresh: Option<&'a Interval>,
    /// The last interval in which everything had its time.
    pub(crate) settled: Option<&'a Interval>,
    pub(crate) interval: Duration,
    pub(crate) samples: Option<(&'a Sample, &'a Sample)>,
}

impl Live {
    /// `None` when nobody watches: the output is no terminal.
    pub(crate) fn start(total: Duration) -> Option<Self> {
        if !io::stderr().is_terminal() || !io::stdin().is_terminal() {
            return None;
        }
        terminal::take_over().ok()?;
        let options = TerminalOptions {
            viewport: Viewport::Inline(LINES),
        };
        match Terminal::with_options(CrosstermBackend::new(io::stderr()), options) {
            Ok(terminal) => Some(Self {
                terminal,
                drawn: None,
                total,
            }),
            Err(_) => {
                // The run goes on without being watched.
                terminal::restore();
                None
            }
        }
    }

    /// Takes keys, and draws now and then.
    pub(crate) fn update(&mut self, view: &View<'_>) -> io::Result<()> {
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if is_interrupt {
                    interrupt::handle_key();
                } else {
                    press(key.code, view.controls);
                }
            }
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < DRAW_INTERVAL) {
            return Ok(());
        }
        self.drawn = Some(Instant::now());
        let lines = lines(view, self.total);
        self.terminal
            .draw(|frame| frame.render_widget(Paragraph::new(lines), frame.area()))?;
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Of no use to complain about at the end.
        let _ = self.terminal.clear();
        terminal::restore();
    }
}

fn press(key: KeyCode, controls: &Controls) {
    let percent = controls.rate_percent();
    match key {
        KeyCode::Char('+') => controls.set_rate_percent(percent + 10),
        KeyCode::Char('-') => controls.set_rate_percent(percent.saturating_sub(10)),
        KeyCode::Char('*') => controls.set_rate_percent(percent * 2),
        KeyCode::Char('/') => controls.set_rate_percent(percent / 2),
        KeyCode::Char('p') => controls.toggle_pause(),
        KeyCode::Char('q') => controls.end(),
        _ => {}
    }
}

fn lines(view: &View<'_>, total: Duration) -> Vec<Line<'static>> {
    let controls = view.controls;
    let seconds = view.interval.as_secs_f64();
    let state = match (controls.is_ending(), controls.is_paused()) {
        (true, _) => ", ending".to_owned(),
        (false, true) => ", paused".to_owned(),
        (false, false) if controls.rate_percent() != 100 => format!(", rate x{:.2}", controls.rate_scale()),
        (false, false) => String::new(),
    };
    let calls = format!(
        "{} up, {:.1}/s set up{state}",
        controls.calls_up.load(Ordering::Relaxed),
        view.fresh
            .map_or(0.0, |fresh| float(fresh.counts.calls_established) / seconds),
    );
    let frames = view.fresh.map_or_else(String::new, |fresh| {
        let heard = fresh.of(Measure::OneWay);
        format!(
            "{:.0}/s heard, one way p50 {:.2}  p99 {:.2}  max {:.2} ms",
            float(heard.len()) / seconds,
            ms(heard.value_at_quantile(0.5)),
            ms(heard.value_at_quantile(0.99)),
            ms(heard.max()),
        )
    });
    let unknown = || "known when frames have had their time".to_owned();
    let quality = view.settled.map_or_else(unknown, |settled| {
        let counts = &settled.counts;
        let missed = counts.frames_expected - counts.frames_delivered;
        let mos = settled.of(Measure::Mos);
        let mos = if mos.is_empty() {
            String::new()
        } else {
            format!(", MOS {:.2}", ms(mos.value_at_quantile(0.5)))
        };
        format!(
            "{:.3} % not heard in time ({} lost, {} late, {} skipped){mos}",
            float(missed) * 100.0 / float(counts.frames_expected).max(1.0),
            counts.frames_lost,
            counts.frames_late,
            counts.frames_skipped,
        )
    });
    let host = view.samples.map_or_else(String::new, |(before, after)| {
        let generator = (after.generator_cpu_seconds - before.generator_cpu_seconds) * 100.0 / seconds;
        let relay = match (before.relay_cpu_seconds, after.relay_cpu_seconds) {
            (Some(before), Some(after)) => format!("relay {:.0} %", (after - before) * 100.0 / seconds),
            _ => "relay unknown".to_owned(),
        };
        let memory = after
            .relay_rss_mib
            .map_or_else(String::new, |mib| format!(", {mib:.0} MiB"));
        format!("{relay}{memory}, generator {generator:.0} %")
    });
    let time = format!("{:.0} of {:.0} s", view.elapsed.as_secs_f64(), total.as_secs_f64());
    vec![
        line("time", time),
        line("calls", calls),
        line("frames", frames),
        line("quality", quality),
        line("CPU", host),
        Line::from("+ - * /  rate    p  pause    q  hang up and stop".dim()),
    ]
}

fn line(name: &'static str, text: String) -> Line<'static> {
    Line::from(vec![
        Span::styled(format!("{name:<10} "), Style::new().bold()),
        text.into(),
    ])
}

const LINES: u16 = 6;
const DRAW_INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_the_rate_pause_and_stop() {
        let controls = Controls::new();
        for (key, percent) in [('+', 110), ('*', 220), ('/', 110), ('-', 100), ('x', 100)] {
            press(KeyCode::Char(key), &controls);
            assert_eq!(controls.rate_percent(), percent, "{key}");
        }
        press(KeyCode::Char('p'), &controls);
        assert!(controls.is_paused() && controls.rate_scale() == 0.0);
        press(KeyCode::Char('p'), &controls);
        assert!((controls.rate_scale() - 1.0).abs() < f64::EPSILON);
        press(KeyCode::Char('q'), &controls);
        assert!(controls.is_ending());
    }

    #[test]
    fn the_view_says_how_calls_are_doing() {
        let controls = Controls::new();
        controls.calls_up.store(12, Ordering::Relaxed);
        let mut interval = Interval::new(0);
        interval.counts.frames_expected = 200;
        interval.counts.frames_delivered = 198;
        interval.counts.frames_late = 2;
        interval.record(Measure::OneWay, 1500);
        let view = View {
            elapsed: Duration::from_secs(3),
            controls: &controls,
            fresh: Some(&interval),
            settled: Some(&interval),
            interval: Duration::from_secs(1),
            samples: None,
        };
        let text: Vec<String> = lines(&view, Duration::from_secs(10))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(text.len(), usize::from(LINES));
        assert!(text[0].contains("3 of 10 s") && text[1].contains("12 up"), "{text:?}");
        assert!(text[2].contains("1/s heard, one way p50 1.50"), "{text:?}");
        assert!(
            text[3].contains("1.000 % not heard in time (0 lost, 2 late"),
            "{text:?}"
        );
    }
}
