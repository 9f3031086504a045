//! The certificate as JUnit XML: one test case for each rule.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use thiserror::Error;

use super::{Certificate, plain};
use crate::oracle::RuleStatus;

/// The report cannot be written.
#[derive(Debug, Error)]
#[error("cannot write the JUnit report: {0}")]
pub struct JunitError(#[from] quick_junit::SerializeError);

/// The certificate as JUnit XML.
///
/// A broken MUST is a failure; a rule that only warns passes, with the warning in its output; a rule that was not
/// exercised is skipped, with the reason.
///
/// # Errors
///
/// When the XML writer fails.
pub fn junit(certificate: &Certificate) -> Result<String, JunitError> {
    let mut report = Report::new("csi-certify");
    let mut suite = TestSuite::new(plain(&certificate.driver.name, 200));
    for rule in &certificate.rules {
        let found: Vec<_> = certificate.findings.iter().filter(|finding| finding.rule == rule.id).collect();
        let text = || {
            let lines = found.iter().map(|finding| {
                format!("{} (expected {}, came {})", finding.message, finding.expected.join(", or "), finding.actual)
            });
            plain(&lines.collect::<Vec<_>>().join("; "), 4000)
        };
        let fails = found
            .iter()
            .any(|finding| finding.severity == crate::oracle::Severity::Violation && finding.accepted.is_empty());
        let status = match rule.status {
            RuleStatus::NotExercised => TestCaseStatus::skipped(),
            RuleStatus::Broken if fails => TestCaseStatus::non_success(NonSuccessKind::Failure),
            _ => TestCaseStatus::success(),
        };
        let mut case = TestCase::new(rule.id.as_str(), status);
        case.set_classname(rule.section);
        match rule.status {
            RuleStatus::NotExercised => {
                case.status.set_message(plain(&rule.reason, 400));
            }
            RuleStatus::Broken if fails => {
                case.status.set_message(text());
            }
            RuleStatus::Broken => {
                case.set_system_out(text());
            }
            RuleStatus::Held => {}
        }
        suite.add_test_case(case);
    }
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}
