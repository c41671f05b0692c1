//! Line charts in SVG. Colours come from the page, by the class of a series.

use std::fmt::Write;
use std::ops::Range;

use super::format::{number, plain, text};

// Narrow, so that letters keep their size on a narrow page.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 14.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = HEIGHT - 42.0;

pub(super) struct Series {
    pub(super) name: String,
    /// Which colour of the page.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// The axis along the bottom.
pub(super) enum Bottom {
    /// Seconds up to `end`, with the outage and the end of the load.
    Time { outage: Option<Range<f64>>, load: f64, end: f64 },
    /// Names at 0, 1, 2, ...
    Names(&'static [&'static str]),
}

pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) bottom: Bottom,
    pub(super) is_log: bool,
    pub(super) series: Vec<Series>,
}

/// From values to places on the picture.
struct Scale {
    x: Range<f64>,
    /// Logarithms where the axis is logarithmic.
    y: Range<f64>,
    is_log: bool,
}

impl Scale {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.start) / (self.x.end - self.x.start) * (RIGHT - LEFT)
    }

    fn y(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        BOTTOM - (value - self.y.start) / (self.y.end - self.y.start) * (BOTTOM - TOP)
    }
}

/// Steps of 1, 2 or 5 that divide what goes up to `most` into some six parts.
fn step(most: f64) -> f64 {
    let rough = (most / 6.0).max(f64::MIN_POSITIVE);
    let power = 10f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power)
}

/// Short, as on an axis: 300k, 1.5M.
fn short(value: f64) -> String {
    let (value, suffix) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    format!("{}{suffix}", (value * 1e4).round() / 1e4)
}

impl Chart {
    fn scale(&self) -> (Scale, Vec<f64>) {
        let values = || self.series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
        let (y, ticks) = if self.is_log {
            let positive = || values().filter(|value| *value > 0.0);
            let low = positive().fold(f64::INFINITY, f64::min).log10().floor();
            let high = positive().fold(f64::NEG_INFINITY, f64::max).log10().ceil();
            let (low, high) = if low.is_finite() { (low, high.max(low + 1.0)) } else { (0.0, 1.0) };
            (low..high, (low as i32..=high as i32).map(|power| 10f64.powi(power)).collect())
        } else {
            let most = values().fold(0.0, f64::max).max(1e-9);
            let step = step(most);
            let steps = (most / step).ceil();
            (0.0..steps * step, (0..=steps as u32).map(|at| f64::from(at) * step).collect())
        };
        let x = match &self.bottom {
            Bottom::Time { end, .. } => 0.0..*end,
            Bottom::Names(names) => -0.4..names.len() as f64 - 0.6,
        };
        (Scale { x, y, is_log: self.is_log }, ticks)
    }

    /// The picture, with its title read out and shown at the pointer.
    pub(super) fn svg(&self) -> String {
        let (scale, ticks) = self.scale();
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            text(&format!("{}, {}", self.title, self.unit))
        );
        self.draw_bottom(&mut out, &scale);
        for tick in ticks {
            let y = scale.y(tick);
            let label = short(tick);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
                LEFT - 8.0,
                y + 4.0
            );
        }
        let _ = write!(out, "<text class=\"unit\" x=\"{}\" y=\"{}\">{}</text>", 4, TOP - 12.0, text(self.unit));
        for series in &self.series {
            self.draw(&mut out, series, &scale);
        }
        out.push_str("</svg>");
        out
    }

    fn draw_bottom(&self, out: &mut String, scale: &Scale) {
        let label = |out: &mut String, x: f64, label: &str| {
            let _ = write!(out, "<text class=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">{label}</text>", BOTTOM + 18.0);
        };
        match &self.bottom {
            Bottom::Names(names) => {
                for (at, name) in names.iter().enumerate() {
                    label(out, scale.x(at as f64), name);
                }
            }
            Bottom::Time { outage, load, .. } => {
                if let Some(outage) = outage {
                    let (from, to) = (scale.x(outage.start), scale.x(outage.end.min(scale.x.end)));
                    let _ = write!(
                        out,
                        "<rect class=\"outage\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\">\
                         <title>the endpoint is down</title></rect>\
                         <text class=\"note middle\" x=\"{:.1}\" y=\"{:.1}\">down</text>",
                        to - from,
                        BOTTOM - TOP,
                        f64::midpoint(from, to),
                        TOP - 5.0
                    );
                }
                if *load < scale.x.end {
                    let x = scale.x(*load);
                    let _ = write!(
                        out,
                        "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>\
                         <text class=\"note middle\" x=\"{:.1}\" y=\"{:.1}\">load ends</text>",
                        x.min(RIGHT - 26.0),
                        TOP - 5.0
                    );
                }
                let step = step(scale.x.end);
                for at in 0..=(scale.x.end / step) as u32 {
                    let seconds = f64::from(at) * step;
                    label(out, scale.x(seconds), &short(seconds));
                }
                let middle = f64::midpoint(LEFT, RIGHT);
                let _ = write!(out, "<text class=\"middle\" x=\"{middle}\" y=\"{}\">seconds</text>", HEIGHT - 6.0);
            }
        }
    }

    fn draw(&self, out: &mut String, series: &Series, scale: &Scale) {
        let class = format!("c{}", series.colour);
        let mut line = String::new();
        for (x, y) in &series.points {
            let _ = write!(line, "{:.1},{:.1} ", scale.x(*x), scale.y(*y));
        }
        let _ = write!(
            out,
            "<polyline class=\"{class}\" points=\"{}\"><title>{}</title></polyline>",
            line.trim_end(),
            plain(&series.name)
        );
        // Few points are shown; of many, each is there for the pointer only.
        let (shown, radius) = if matches!(self.bottom, Bottom::Names(_)) { ("dot", 4) } else { ("touch", 5) };
        for (x, y) in &series.points {
            let at = match &self.bottom {
                Bottom::Time { .. } => format!("{x:.1} s"),
                Bottom::Names(names) => names[*x as usize].to_owned(),
            };
            let value = number(*y);
            let _ = write!(
                out,
                "<circle class=\"{class} {shown}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"><title>{}: {value} {} at {at}</title></circle>",
                scale.x(*x),
                scale.y(*y),
                plain(&series.name),
                text(self.unit),
            );
        }
    }
}
