//! The certificate as one HTML page without scripts; everything that a driver said is escaped.

use maud::{DOCTYPE, Markup, html as page};

use super::{Certificate, Duty, certificate::Report, plain};
use crate::oracle::{RuleStatus, Severity, Verdict};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
code,pre{font-size:.85em;overflow-wrap:anywhere;white-space:pre-wrap}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ccc;padding:.25rem;text-align:left;vertical-align:top}\
.violation{border-left:4px solid #b00;padding-left:1rem}.warning{border-left:4px solid #c80;padding-left:1rem}";

/// The page.
pub fn html(certificate: &Certificate) -> String {
    let verdict = match certificate.verdict {
        Verdict::Conformant => "Conformant",
        Verdict::ConformantWithWarnings => "Conformant with warnings",
        Verdict::NonConformant => "Non-conformant",
        Verdict::Incomplete => "Incomplete",
    };
    page! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (plain(&certificate.driver.name, 80)) ": " (verdict) }
                style { (STYLE) }
            }
            body {
                h1 { (verdict) }
                p {
                    strong { (plain(&certificate.driver.name, 80)) } " "
                    (plain(&certificate.driver.vendor_version, 80)) " with CSI " (certificate.spec) ", "
                    (certificate.started) ", seed " (certificate.seed) ", "
                    (certificate.tool.name) " " (certificate.tool.version)
                }
                p {
                    (certificate.coverage.exercised) " of " (certificate.coverage.applicable)
                    " applicable rules exercised, " (certificate.coverage.observable_total) " observable in all."
                }
                @if !certificate.incomplete.is_empty() {
                    p { "The run did not reach its end: " (plain(&certificate.incomplete, 400)) }
                }
                @for report in &certificate.findings { (finding(report)) }
                @for duty in &certificate.orchestrator { (broken_duty(duty)) }
                h2 { "Rules" }
                (rules(certificate))
            }
        }
    }
    .into_string()
}

fn finding(report: &Report) -> Markup {
    let row = report.rule.rule();
    let (class, word) = match report.severity {
        Severity::Violation => ("violation", "Violation"),
        Severity::Warning => ("warning", "Warning"),
    };
    page! {
        section class=(class) {
            h2 { (word) ": " (report.rule.as_str()) }
            p { (row.level.keyword()) ", " (row.section) ", line " (row.line) ": " (row.text) }
            p { (plain(&report.message, 400)) }
            p { "Expected: " (plain(&report.expected.join(", or "), 400)) }
            p { "Came: " code { (plain(&report.actual, 400)) } }
            @if !report.accepted.is_empty() { p { "Accepted: " (plain(&report.accepted, 400)) } }
            pre { @for call in &report.history { (call.line()) "\n" } }
            @if !report.scenario.is_empty() { p { "Again: " code { (plain(&report.replay, 400)) } } }
        }
    }
}

fn broken_duty(duty: &Duty) -> Markup {
    let row = duty.rule.rule();
    page! {
        section class="warning" {
            h2 { "Duty of the orchestrator: " (duty.rule.as_str()) }
            p { (row.level.keyword()) ", " (row.section) ", line " (row.line) ": " (row.text) }
            p { (plain(&duty.message, 400)) ", " (duty.times) " times" }
            pre { @for call in &duty.history { (call.line()) "\n" } }
        }
    }
}

fn rules(certificate: &Certificate) -> Markup {
    page! {
        table {
            tr { th { "Rule" } th { "Level" } th { "Section" } th { "Status" } th { "Observations" } }
            @for rule in &certificate.rules {
                tr {
                    td { (rule.id.as_str()) }
                    td { (rule.level) }
                    td { (rule.section) ", line " (rule.line) }
                    td {
                        @match rule.status {
                            RuleStatus::Held => "held",
                            RuleStatus::Broken => "broken",
                            RuleStatus::NotExercised => { "not exercised: " (plain(&rule.reason, 200)) }
                        }
                    }
                    td { (rule.observations) }
                }
            }
        }
    }
}
