//! Medians, ratios and their means: as a table, as JSON, as pictures.

use super::console::Row;
use super::suite::{self, Class, FLOOR, MEAN};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// One side of the comparison: a row of results for each benchmark and round.
pub struct Side {
    pub name: &'static str,
    /// Whether it runs the very same image as the first side.
    pub same_image: bool,
    pub rounds: Vec<Vec<Row>>,
}

/// A benchmark on all sides.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub row: String,
    /// Nanoseconds an operation, side by side; the first is ours.
    pub ns: Vec<Option<f64>>,
    /// By how much each is slower than ours; nothing for ourselves.
    pub ratios: Vec<Option<f64>>,
    pub notes: Vec<String>,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
}

pub fn geometric_mean(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().map(|value| value.ln()).sum();
    (!values.is_empty()).then(|| (sum / values.len() as f64).exp())
}

/// The rows of all sides, in the order in which they first appear.
pub fn lines(sides: &[Side]) -> Vec<Line> {
    let mut names: Vec<&str> = Vec::new();
    for row in sides.iter().flat_map(|side| side.rounds.iter().flatten()) {
        if !names.contains(&&*row.name) {
            names.push(&row.name);
        }
    }
    names.into_iter().map(|name| line(sides, name)).collect()
}

fn line(sides: &[Side], name: &str) -> Line {
    let rows =
        |side: &'_ Side| -> Vec<Row> { side.rounds.iter().flatten().filter(|row| row.name == name).cloned().collect() };
    let all: Vec<_> = sides.iter().map(rows).collect();
    let ns: Vec<_> =
        all.iter().map(|rows| (!rows.is_empty()).then(|| median(rows.iter().map(Row::true_ns).collect()))).collect();
    let ratios = ns.iter().enumerate().map(|(i, &theirs)| if i == 0 { None } else { Some(theirs? / ns[0]?) }).collect();
    let mut notes = Vec::new();
    for (side, rows) in sides.iter().zip(&all) {
        let off: Vec<_> = rows.iter().filter(|row| row.clock_is_off()).map(|row| row.clock).collect();
        if !off.is_empty() {
            notes.push(format!("{}'s clock: {:.2} s is its second", side.name, median(off)));
        }
        // getppid's sum is of whatever the parent's number is
        let comparable = side.same_image && name != "syscall";
        let differs = |theirs: &Row| all[0].iter().any(|r| r.ops == theirs.ops && r.checksum != theirs.checksum);
        if comparable && rows.iter().any(differs) {
            notes.push(format!("{} computed something else", side.name));
        }
    }
    Line { row: name.to_owned(), ns, ratios, notes }
}

/// The geometric means of one peer's ratios: warm, cold, all.
pub fn means(lines: &[Line], peer: usize) -> [(&'static str, Option<f64>); 3] {
    let of = |wanted: &[Class]| {
        let counted = lines.iter().filter(|line| wanted.contains(&suite::class(&line.row)));
        geometric_mean(&counted.filter_map(|line| line.ratios[peer]).collect::<Vec<_>>())
    };
    [("warm", of(&[Class::Warm])), ("cold", of(&[Class::Cold])), ("all", of(&[Class::Warm, Class::Cold]))]
}

/// How a ratio to native QEMU stands to what is aimed at.
pub fn verdict(row: &str, ratio: f64) -> &'static str {
    match suite::find(row) {
        _ if ratio < FLOOR => "under the floor",
        Some(entry) if ratio < entry.target => "below",
        Some(_) => "ok",
        None => "",
    }
}

/// The table that people read. Targets are of the ratio to `judged`, where that is among the peers.
pub fn table(sides: &[Side], lines: &[Line], judged: Option<usize>) -> String {
    let mut out = String::new();
    let mut cells: Vec<Vec<String>> = vec![vec![String::new()]];
    cells[0].push(sides[0].name.to_owned());
    for side in &sides[1..] {
        cells[0].extend([side.name.to_owned(), "ratio".to_owned()]);
    }
    cells[0].extend(["target".to_owned(), String::new()]);
    let missing = || "-".to_owned();
    let ratio = |ratio: Option<f64>| ratio.map_or_else(missing, |ratio| format!("{ratio:.2}x"));
    for line in lines {
        let mut row = vec![line.row.clone(), line.ns[0].map_or_else(missing, time)];
        for peer in 1..sides.len() {
            row.extend([line.ns[peer].map_or_else(missing, time), ratio(line.ratios[peer])]);
        }
        row.push(suite::find(&line.row).map(|entry| format!("{}x", entry.target)).unwrap_or_default());
        let verdict = judged.and_then(|peer| line.ratios[peer]).map_or("", |ratio| verdict(&line.row, ratio));
        let notes = line.notes.iter().map(String::as_str);
        row.push(std::iter::once(verdict).chain(notes).filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; "));
        cells.push(row);
    }
    for (i, (what, _)) in means(lines, 0).iter().enumerate() {
        let mut row = vec![format!("mean, {what}"), String::new()];
        for peer in 1..sides.len() {
            row.extend([String::new(), ratio(means(lines, peer)[i].1)]);
        }
        row.push(if *what == "all" { format!("{MEAN}x") } else { String::new() });
        row.push(String::new());
        cells.push(row);
    }
    let columns = cells[0].len();
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    for row in &cells {
        let mut text = format!("{:w$}", row[0], w = widths[0]);
        for column in 1..columns - 1 {
            let _ = write!(text, "  {:>w$}", row[column], w = widths[column]);
        }
        let _ = writeln!(out, "{}", format!("{text}  {}", row[columns - 1]).trim_end());
    }
    out
}

/// All of it for programs: the lines, the means, and each round as it was measured.
pub fn json(sides: &[Side], lines: &[Line]) -> Value {
    let by_side = |values: &[Option<f64>]| -> Map<String, Value> {
        let named = sides.iter().zip(values).filter_map(|(side, value)| Some((side.name.to_owned(), json!((*value)?))));
        named.collect()
    };
    let lines_json: Vec<_> = lines
        .iter()
        .map(|line| {
            let mut value = json!({ "name": line.row, "ns": by_side(&line.ns), "ratio": by_side(&line.ratios) });
            if let Some(entry) = suite::find(&line.row) {
                value["operation"] = json!(entry.about);
                value["target"] = json!(entry.target);
            }
            if !line.notes.is_empty() {
                value["notes"] = json!(line.notes);
            }
            value
        })
        .collect();
    let mean = |peer| -> Map<String, Value> {
        means(lines, peer).into_iter().map(|(what, mean)| (what.to_owned(), json!(mean))).collect()
    };
    let row = |row: &Row| {
        json!({ "name": row.name, "ns": row.ns, "ops": row.ops, "checksum": format!("{:x}", row.checksum),
                "host_by_guest_time": row.clock })
    };
    let rounds =
        |side: &Side| -> Vec<Vec<Value>> { side.rounds.iter().map(|round| round.iter().map(row).collect()).collect() };
    json!({
        "benchmarks": lines_json,
        "geometric_means": (1..sides.len()).map(|i| (sides[i].name.to_owned(), json!(mean(i)))).collect::<Map<_, _>>(),
        "rounds": sides.iter().map(|side| (side.name.to_owned(), json!(rounds(side)))).collect::<Map<_, _>>(),
    })
}

/// `12.3 ns`, `4.56 µs`, `789 ms`: three digits.
pub fn time(ns: f64) -> String {
    let units = [("ns", 1.0), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (unit, size) = units.into_iter().rev().find(|(_, size)| ns >= *size).unwrap_or(units[0]);
    let value = ns / size;
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn row(name: &str, ns: f64) -> Row {
        Row { name: name.to_owned(), ns, ops: 1000, checksum: 7, clock: 1.0 }
    }

    /// Two rounds of us and a peer.
    pub fn two_sides() -> [Side; 2] {
        let ours = vec![vec![row("block", 1.0), row("cold-2k/1", 10.0)], vec![row("block", 3.0)]];
        let theirs = vec![vec![row("block", 2.0), row("cold-2k/1", 160.0), row("sse", 5.0)], vec![row("block", 6.0)]];
        [
            Side { name: "node", same_image: true, rounds: ours },
            Side { name: "qemu-tcg", same_image: true, rounds: theirs },
        ]
    }

    #[test]
    fn medians_and_means() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!((geometric_mean(&[0.5, 8.0]).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn ratios_are_above_one_where_we_are_faster() {
        let lines = lines(&two_sides());
        let seen: Vec<_> = lines.iter().map(|line| (&*line.row, line.ratios[1])).collect();
        // one that we have not got is shown and not counted
        assert_eq!(seen, [("block", Some(2.0)), ("cold-2k/1", Some(16.0)), ("sse", None)]);
        let means = means(&lines, 1).map(|(what, mean)| (what, mean.map(|mean| (mean * 1e6).round() / 1e6)));
        assert_eq!(means, [("warm", Some(2.0)), ("cold", Some(16.0)), ("all", Some(5.656_854))]);
    }

    #[test]
    fn targets() {
        assert_eq!(verdict("block", 1.2), "ok");
        assert_eq!(verdict("block", 1.1), "below");
        assert_eq!(verdict("block", 0.6), "under the floor");
        assert_eq!(verdict("cold-2k/8", 0.8), "");
        assert_eq!(verdict("cold-2k/8", 0.6), "under the floor");
    }

    #[test]
    fn doubts_are_noted() {
        let mut sides = two_sides();
        sides[1].rounds[0][0].checksum = 8;
        sides[0].rounds[0][1].clock = 2.0;
        let lines = lines(&sides);
        assert_eq!(lines[0].notes, ["qemu-tcg computed something else"]);
        assert_eq!(lines[1].notes, ["node's clock: 2.00 s is its second"]);
        assert_eq!(lines[1].ns[0], Some(20.0)); // the host's time
        sides[1].same_image = false;
        assert!(super::lines(&sides)[0].notes.is_empty());
    }

    #[test]
    fn the_table_and_the_json_say_the_same() {
        let sides = two_sides();
        let lines = lines(&sides);
        let table = table(&sides, &lines, Some(1));
        let words = |line: usize| table.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(0), ["node", "qemu-tcg", "ratio", "target"]);
        assert_eq!(words(1), ["block", "2.00", "ns", "4.00", "ns", "2.00x", "1.2x", "ok"]);
        assert_eq!(words(3), ["sse", "-", "5.00", "ns", "-", "5x"]);
        assert_eq!(words(6), ["mean,", "all", "5.66x", "2x"]);
        let json = json(&sides, &lines);
        assert_eq!(json["benchmarks"][1]["ratio"]["qemu-tcg"], 16.0);
        assert_eq!(json["benchmarks"][0]["ns"]["node"], 2.0);
        assert_eq!(json["rounds"]["node"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn times() {
        assert_eq!(
            [0.5, 12.345, 4567.0, 789e6, 2.5e9].map(time),
            ["0.50 ns", "12.3 ns", "4.57 µs", "789 ms", "2.50 s"]
        );
    }
}
