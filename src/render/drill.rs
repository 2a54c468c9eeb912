//! What became of a drill at each output: as JSON between the daemon and the command, and as a table.

use super::HumanDuration;
use super::json;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Columns between two cells.
const GAP: usize = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillResult {
    /// The receiver confirmed it.
    Accepted,
    /// It was handed over to something that confirms nothing.
    Sent,
    /// No receiver is there, and none has to be.
    NobodyListening,
    Failed,
    /// There was no result at the end of the drill.
    TimedOut,
}

impl DrillResult {
    const fn is_good(self) -> bool {
        matches!(self, DrillResult::Accepted | DrillResult::Sent | DrillResult::NobodyListening)
    }
}

/// The result of one output.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OutputReport {
    pub output: String,
    /// Of a hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it sends to; empty if it is one place.
    pub target: String,
    pub result: DrillResult,
    /// More about the result; why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub took_seconds: f64,
}

/// The result of a drill.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DrillReport {
    /// The mount point that was pretended; escaped.
    pub mountpoint: String,
    /// When it began.
    pub time: String,
    /// Whether each output accepted it, sent it, or has nobody who listens.
    pub ok: bool,
    pub took_seconds: f64,
    pub outputs: Vec<OutputReport>,
}

impl DrillReport {
    #[must_use]
    pub fn new(mountpoint: String, time: String, took: Duration, outputs: Vec<OutputReport>) -> DrillReport {
        let ok = outputs.iter().all(|output| output.result.is_good());
        DrillReport { mountpoint, time, ok, took_seconds: took.as_secs_f64(), outputs }
    }

    /// The exit status of the command.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        u8::from(!self.ok)
    }

    /// On one line without a line end.
    #[must_use]
    pub fn json(&self) -> String {
        json::to_line(self)
    }

    /// One line for each output, and a summary.
    #[must_use]
    pub fn table(&self) -> String {
        let header = ["OUTPUT", "TARGET", "TIME", "RESULT"].map(str::to_owned);
        let rows: Vec<[String; 4]> =
            std::iter::once(header).chain(self.outputs.iter().map(OutputReport::row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].width()).max().unwrap_or_default();
        let widths = [width(0), width(1), width(2)];
        let mut text = String::new();
        for row in &rows {
            for (cell, width) in row.iter().zip(widths) {
                text += cell;
                text += &" ".repeat(width - cell.width() + GAP);
            }
            text += &row[3];
            text.push('\n');
        }
        text + &format!("\n{}\n", self.summary())
    }

    fn summary(&self) -> String {
        let bad: Vec<String> =
            self.outputs.iter().filter(|output| !output.result.is_good()).map(OutputReport::title).collect();
        let count = match self.outputs.len() {
            1 => "1 output".to_owned(),
            count => format!("{count} outputs"),
        };
        let failed =
            if bad.is_empty() { "none failed".to_owned() } else { format!("failed: {}", bad.join(", ")) };
        format!("Drill of {}: {count}; {failed}", self.mountpoint)
    }
}

impl OutputReport {
    fn title(&self) -> String {
        let output = self.output.replace('_', " ");
        self.name.as_ref().map_or(output.clone(), |name| format!("{output} {name}"))
    }

    fn row(&self) -> [String; 4] {
        let result = match self.result {
            DrillResult::Accepted => "accepted",
            DrillResult::Sent => "sent",
            DrillResult::NobodyListening => "nobody listening",
            DrillResult::Failed => "FAILED",
            DrillResult::TimedOut => "TIMED OUT",
        };
        let result = match &self.detail {
            Some(detail) => format!("{result}: {detail}"),
            None => result.to_owned(),
        };
        let target = if self.target.is_empty() { "-" } else { &self.target };
        let took = HumanDuration(Duration::from_secs_f64(self.took_seconds.clamp(0.0, 1e6)));
        [self.title(), target.to_owned(), took.to_string(), result]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(output: &str, name: Option<&str>, result: DrillResult, detail: Option<&str>) -> OutputReport {
        let (name, detail) = (name.map(str::to_owned), detail.map(str::to_owned));
        let target = if output == "stderr" { String::new() } else { "somewhere".to_owned() };
        OutputReport { output: output.to_owned(), name, target, result, detail, took_seconds: 0.0034 }
    }

    fn report(outputs: Vec<OutputReport>) -> DrillReport {
        DrillReport::new("/drill".into(), "2026-01-31T12:00:00.000Z".into(), Duration::from_secs(1), outputs)
    }

    #[test]
    fn a_good_drill_says_what_each_output_did() {
        let report = report(vec![
            output("stderr", None, DrillResult::Sent, None),
            output("push_gateway", None, DrillResult::Accepted, None),
            output("events", None, DrillResult::NobodyListening, None),
        ]);
        let expected = "\
OUTPUT        TARGET     TIME  RESULT
stderr        -          3ms   sent
push gateway  somewhere  3ms   accepted
events        somewhere  3ms   nobody listening

Drill of /drill: 3 outputs; none failed
";
        assert_eq!((report.table().as_str(), report.exit_status()), (expected, 0));
        assert_eq!(serde_json::from_str::<DrillReport>(&report.json()).unwrap(), report);
    }

    #[test]
    fn outputs_that_fail_are_named() {
        let report = report(vec![
            output("hook", Some("page"), DrillResult::Failed, Some("exit status 3")),
            output("syslog", None, DrillResult::TimedOut, Some("no result in 9s")),
            output("stderr", None, DrillResult::Sent, None),
        ]);
        let table = report.table();
        assert!(table.contains("hook page  somewhere  3ms   FAILED: exit status 3\n"), "{table}");
        assert!(table.ends_with("\nDrill of /drill: 3 outputs; failed: hook page, syslog\n"), "{table}");
        assert_eq!(report.exit_status(), 1);
    }
}
