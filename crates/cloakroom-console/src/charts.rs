//! Small charts as SVG: coloured by the style sheet, so that they follow light and dark.

use maud::{Markup, html};

const WIDTH: usize = 600;
const HEIGHT: usize = 96;

/// One bar for each value, oldest first, in a scale of their own.
pub(crate) fn bars(values: &[u64], label: &str, class: &str) -> Markup {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let step = WIDTH as f64 / values.len().max(1) as f64;
    html! {
        svg class={ "bars " (class) } viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none"
            role="img" aria-label={ (label) ", at most " (most) } {
            @for (index, value) in values.iter().enumerate() {
                @let height = *value as f64 / most as f64 * (HEIGHT - 2) as f64;
                @if *value > 0 {
                    rect x=(fixed(index as f64 * step)) y=(fixed(HEIGHT as f64 - height))
                        width=(fixed((step * 0.78).max(1.0))) height=(fixed(height)) rx="1.5" {}
                }
            }
        }
    }
}

/// A line through the values, oldest first, from zero to the greatest.
pub(crate) fn sparkline(values: &[f64], label: &str) -> Markup {
    let most = values.iter().copied().fold(1.0_f64, f64::max);
    let step = WIDTH as f64 / values.len().saturating_sub(1).max(1) as f64;
    let points: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let height = value / most * (HEIGHT - 6) as f64;
            let (x, y) = (index as f64 * step, HEIGHT as f64 - 3.0 - height);
            format!("{},{}", fixed(x), fixed(y))
        })
        .collect();
    let line = points.join(" ");
    html! {
        svg class="spark" viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none"
            role="img" aria-label={ (label) ", at most " (most) } {
            @if points.len() > 1 {
                polygon points={ "0," (HEIGHT) " " (line) " " (WIDTH) "," (HEIGHT) } {}
                polyline points=(line) vector-effect="non-scaling-stroke" {}
            }
        }
    }
}

/// How full something is, from 0 to 1.
pub(crate) fn gauge(share: f64, label: &str) -> Markup {
    let share = share.clamp(0.0, 1.0);
    let class = match share {
        _ if share >= 0.95 => "gauge full",
        _ if share >= 0.8 => "gauge high",
        _ => "gauge",
    };
    html! {
        svg class=(class) viewBox="0 0 600 12" preserveAspectRatio="none" role="img" aria-label=(label) {
            rect class="ground" width="600" height="12" {}
            rect class="level" width=(fixed(share * 600.0)) height="12" {}
        }
    }
}

fn fixed(number: f64) -> String {
    format!("{number:.1}")
}
