//! Text for a page and numbers for people.

/// Text that is to be no markup.
pub(super) fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The same of Markdown: what stands between backticks is code.
pub(super) fn markup(raw: &str) -> String {
    let parts = raw.split('`').enumerate();
    parts.map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", text(part)) } else { text(part) }).collect()
}

/// The same where there is no code.
pub(super) fn plain(raw: &str) -> String {
    text(&raw.replace('`', ""))
}

/// A value of a figure: records to the last one, everything else to three digits that count.
pub(super) fn value(value: f64, unit: &str) -> String {
    if unit == "records" { grouped(&format!("{value:.0}")) } else { number(value) }
}

/// Three digits that count.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let before_the_point = value.abs().log10().floor() as i32 + 1;
    let unit = 10f64.powi((before_the_point - 3).max(-2));
    let decimals = (3 - before_the_point).clamp(0, 2) as usize;
    grouped(&format!("{:.decimals$}", (value / unit).round() * unit))
}

/// Thousands apart.
fn grouped(text: &str) -> String {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}
