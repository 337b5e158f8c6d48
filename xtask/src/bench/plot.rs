//! The ratios to one peer as a picture: a bar for each, on a logarithmic scale, from 1.

use super::report::{Line, means};
use super::suite;
use std::fmt::Write;

const BAR: f64 = 16.0;
const GAP: f64 = 4.0;
const LABELS: f64 = 190.0;
const SCALE: f64 = 620.0;
const MARGIN: f64 = 60.0;
const TOP: f64 = 56.0;

/// Bars of `lines` for the peer in column `peer`, named `name`; `here` is what is compared with it.
pub fn svg(lines: &[Line], peer: usize, here: &str, name: &str, targets: bool) -> String {
    let mut bars: Vec<(String, f64, Option<f64>)> = Vec::new();
    for line in lines {
        let Some(ratio) = line.ratios[peer] else { continue };
        let target = suite::find(&line.row).filter(|_| targets).map(|entry| entry.target);
        bars.push((line.row.clone(), ratio, target));
    }
    for (what, mean) in means(lines, peer) {
        let target = (targets && what == "all").then_some(suite::MEAN);
        bars.extend(mean.map(|mean| (format!("mean, {what}"), mean, target)));
    }
    let shown = bars.iter().flat_map(|(_, ratio, target)| [Some(*ratio), *target]).flatten();
    let (low, high) = shown.fold((0.5_f64, 2.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    // the scale ends at powers of two
    let (low, high) = (low.log2().floor(), high.log2().ceil());
    let x = |ratio: f64| LABELS + (ratio.log2() - low) / (high - low) * SCALE;

    let height = TOP + bars.len() as f64 * (BAR + GAP) + 20.0;
    let width = LABELS + SCALE + MARGIN;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"20\" font-size=\"14\">{name}'s time by pagevm's ({here}): above 1 pagevm is faster{}</text>\n",
        if targets { "; the marks are targets" } else { "" }
    );
    let step = if high - low > 10.0 { 2 } else { 1 };
    for power in (low as i32..=high as i32).filter(|power| power % step == 0) {
        let at = x(f64::from(power).exp2());
        let label = if power < 0 { format!("1/{}", 1_u64 << -power) } else { (1_u64 << power).to_string() };
        let colour = if power == 0 { "#444" } else { "#ddd" };
        let _ = writeln!(
            out,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666\">{label}</text>",
            TOP - 8.0,
            height - 12.0,
            TOP - 14.0
        );
    }
    for (i, (label, ratio, target)) in bars.iter().enumerate() {
        let y = TOP + i as f64 * (BAR + GAP);
        let (from, to) = (x(ratio.min(1.0)), x(ratio.max(1.0)));
        let colour = match ratio {
            _ if *ratio < suite::FLOOR => "#c0392b",
            _ if *ratio < 1.0 => "#e0a030",
            _ => "#2e8b57",
        };
        let text = y + BAR - 4.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{ratio:.2}</text>",
            LABELS - 8.0,
            (to - from).max(1.0),
            width - 10.0
        );
        if let Some(target) = target {
            let at = x(*target);
            let _ = writeln!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{y:.1}\" y2=\"{:.1}\" stroke=\"#000\" stroke-width=\"2\"/>",
                y + BAR
            );
        }
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::super::report::{lines, tests::two_sides};
    use super::*;

    #[test]
    fn a_bar_for_each_ratio_and_mean() {
        let lines = lines(&two_sides());
        let svg = svg(&lines, 1, "node", "qemu-tcg", true);
        assert_eq!(svg.matches("fill=\"#2e8b57\"").count(), 5); // two ratios, three means
        assert!(svg.contains(">cold-2k/1<") && svg.contains(">16.00<") && !svg.contains(">sse<"));
        assert_eq!(svg.matches("stroke-width=\"2\"").count(), 3);
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
