//! What the specification permits as the answer to a call, and how an answer is ruled on.
//!
//! The order in which a plugin makes its checks is not prescribed, so an [`Expectation`] lists everything that is wrong
//! with a request in a state of the world; an answer that fits any one of them is permitted.

use std::collections::BTreeSet;

use tonic::Code;

use crate::{
    history::{Reply, Status},
    rule,
    spec::RuleId,
};

/// One reason for which a call has to, or may, be refused.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// The rule that demands the refusal.
    pub(crate) rule: RuleId,
    /// Rules that are broken along with it: umbrellas and repeats of the same statement.
    pub(crate) also: Vec<RuleId>,
    /// What is wrong, for people: `volume_id is empty`.
    pub(crate) what: String,
    /// The codes that the rule names.
    codes: Vec<Code>,
    /// Codes that another reading of the specification permits.
    or: Vec<Code>,
    /// Codes that draw a warning.
    warned: Vec<Code>,
    /// What OK would mean.
    ok: IfOk,
    /// The rule that OK breaks, where it is another than the one that names the codes.
    ok_breaks: Option<RuleId>,
}

/// What it means that a call was answered OK although there is a [`Problem`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum IfOk {
    /// The rule is broken.
    Broken,
    /// The rule is worth a warning.
    Warned,
    /// The specification leaves it open.
    Allowed,
}

impl Problem {
    /// A problem that has to be answered with one of these codes.
    pub(crate) fn new(rule: RuleId, what: impl Into<String>, codes: &[Code]) -> Self {
        Self {
            rule,
            also: Vec::new(),
            what: what.into(),
            codes: codes.to_vec(),
            or: Vec::new(),
            warned: Vec::new(),
            ok: IfOk::Broken,
            ok_breaks: None,
        }
    }

    /// Names rules that are judged along with this one.
    pub(crate) fn also(mut self, rules: &[RuleId]) -> Self {
        self.also.extend(rules);
        self
    }

    /// Permits further codes.
    pub(crate) fn or(mut self, codes: &[Code]) -> Self {
        self.or.extend(codes);
        self
    }

    /// Lets further codes pass with a warning.
    pub(crate) fn warn_on(mut self, codes: &[Code]) -> Self {
        self.warned.extend(codes);
        self
    }

    /// OK breaks this rule first of all: a refusal with another code is the lesser fault.
    pub(crate) fn ok_breaks(mut self, rule: RuleId) -> Self {
        self.ok_breaks = Some(rule);
        self
    }

    /// OK draws a warning only.
    pub(crate) fn ok_warns(mut self) -> Self {
        self.ok = IfOk::Warned;
        self
    }

    /// OK is permitted.
    pub(crate) fn ok_allowed(mut self) -> Self {
        self.ok = IfOk::Allowed;
        self
    }

    fn expected(&self) -> Vec<String> {
        let mut expected: Vec<String> = self.codes.iter().map(|code| name_of(*code)).collect();
        expected.extend(self.or.iter().map(|code| format!("{} (tolerated)", name_of(*code))));
        if self.ok == IfOk::Allowed {
            expected.push("OK".into());
        }
        expected
    }
}

/// Everything that bears on the answer to a call in one state of the world.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectation {
    /// The rule that obliges the plugin to serve this RPC at all; UNIMPLEMENTED breaks it.
    pub(crate) served: Vec<RuleId>,
    /// Reasons for a refusal.
    pub(crate) problems: Vec<Problem>,
    /// Rules that demand OK where there is no problem.
    pub(crate) must_succeed: Vec<RuleId>,
    /// Rules that OK keeps, and that a claim of something untrue breaks, without demanding OK by themselves.
    pub(crate) along: Vec<RuleId>,
    /// Codes that would claim something untrue of this state: code, rule, the truth.
    pub(crate) untrue: Vec<(Code, RuleId, &'static str)>,
    /// The state is not known well enough: definite refusals are not judged.
    pub(crate) lenient: bool,
}

impl Expectation {
    /// Adds a problem if the condition holds.
    pub(crate) fn problem_if(&mut self, condition: bool, problem: impl FnOnce() -> Problem) {
        if condition {
            self.problems.push(problem());
        }
    }

    /// Where the caller has gone beyond the limits of the interface, any refusal will do.
    pub(crate) fn forgive(mut self, excessive: bool) -> Self {
        if excessive {
            self.lenient = true;
            self.must_succeed.clear();
            self.untrue.clear();
        }
        self
    }

    /// Rules on an answer.
    pub(crate) fn rule_on(&self, answer: Answer<'_>) -> Ruling {
        let mut marks: Vec<Mark> = Vec::new();
        let code = match answer {
            Answer::Ok(_) => Code::Ok,
            Answer::Status(status) => Code::from(status.code),
        };
        if code == Code::Unimplemented {
            if let Some((&rule, also)) = self.served.split_first() {
                return Ruling::Struck(Strike {
                    rule,
                    also: also.iter().copied().chain([rule!("PROTO-CONN-004")]).collect(),
                    message: "the plugin advertises the capability and does not serve the RPC".into(),
                    expected: vec!["any answer but UNIMPLEMENTED".into()],
                    actual: answer.describe(),
                });
            }
        } else if !is_transient(code) {
            marks.extend(self.served.iter().map(|&rule| Mark::Held(rule)));
        }
        match answer {
            Answer::Ok(_) => self.rule_on_ok(answer, marks),
            Answer::Status(_) => self.rule_on_status(code, answer, marks),
        }
    }

    fn rule_on_ok(&self, answer: Answer<'_>, mut marks: Vec<Mark>) -> Ruling {
        if let Some(problem) = self.problems.iter().find(|problem| problem.ok == IfOk::Broken) {
            let mut strike = self.strike(problem, answer);
            if let Some(rule) = problem.ok_breaks {
                strike.also.push(std::mem::replace(&mut strike.rule, rule));
            }
            return Ruling::Struck(strike);
        }
        for problem in self.problems.iter().filter(|problem| problem.ok == IfOk::Warned) {
            marks.push(Mark::Warned(self.strike(problem, answer)));
        }
        if self.problems.is_empty() {
            marks.extend(self.must_succeed.iter().chain(&self.along).map(|&rule| Mark::Held(rule)));
        }
        Ruling::Succeeded(marks)
    }

    fn rule_on_status(&self, code: Code, answer: Answer<'_>, mut marks: Vec<Mark>) -> Ruling {
        if let Some(problem) = self.problems.iter().find(|problem| problem.codes.contains(&code)) {
            // With several things wrong nobody can say which of them was seen.
            if self.problems.len() == 1 {
                marks.push(Mark::Held(problem.rule));
                marks.extend(problem.also.iter().chain(&problem.ok_breaks).map(|&rule| Mark::Held(rule)));
            }
            return Ruling::Refused(marks);
        }
        if self.problems.iter().any(|problem| problem.or.contains(&code)) {
            return Ruling::Refused(marks);
        }
        if let Some(problem) = self.problems.iter().find(|problem| problem.warned.contains(&code)) {
            marks.push(Mark::Warned(self.strike(problem, answer)));
            return Ruling::Refused(marks);
        }
        if is_transient(code) || is_about_secrets(code) {
            return Ruling::Open(marks);
        }
        if let Some(&(_, rule, truth)) = self.untrue.iter().find(|(untrue, ..)| *untrue == code)
            && self.problems.is_empty()
        {
            return Ruling::Struck(Strike {
                rule,
                also: self.must_succeed.iter().chain(&self.along).copied().collect(),
                message: format!("the answer claims what is not so: {truth}"),
                expected: vec!["OK".into()],
                actual: answer.describe(),
            });
        }
        if self.lenient {
            return if is_definite(code) { Ruling::Refused(marks) } else { Ruling::Open(marks) };
        }
        if let Some(problem) =
            self.problems.iter().find(|problem| problem.ok != IfOk::Allowed).or(self.problems.first())
        {
            return Ruling::Struck(self.strike(problem, answer));
        }
        if let Some((&rule, also)) = self.must_succeed.split_first() {
            return Ruling::Struck(Strike {
                rule,
                also: also.to_vec(),
                message: "a request that has to be answered OK was refused".into(),
                expected: vec!["OK".into()],
                actual: answer.describe(),
            });
        }
        if is_definite(code) { Ruling::Refused(marks) } else { Ruling::Open(marks) }
    }

    fn strike(&self, problem: &Problem, answer: Answer<'_>) -> Strike {
        let mut expected: BTreeSet<String> = self.problems.iter().flat_map(Problem::expected).collect();
        // One problem that forbids OK outweighs another that would allow it.
        if self.problems.iter().any(|problem| problem.ok == IfOk::Broken) {
            expected.remove("OK");
        }
        Strike {
            rule: problem.rule,
            also: problem.also.clone(),
            message: problem.what.clone(),
            expected: expected.into_iter().collect(),
            actual: answer.describe(),
        }
    }
}

/// What came back, when something did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    /// OK and a message.
    Ok(&'a Reply),
    /// Another status.
    Status(&'a Status),
}

impl Answer<'_> {
    /// The answer in a few words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Ok(_) => "OK".into(),
            Self::Status(status) => {
                let message: String = status.message.chars().take(200).collect();
                format!("{} {message:?}", code_name(status.code))
            }
        }
    }
}

/// How an answer was ruled on, in one state of the world.
#[derive(Debug)]
pub(crate) enum Ruling {
    /// It was permitted and the call took effect.
    Succeeded(Vec<Mark>),
    /// It was permitted and the call left no trace.
    Refused(Vec<Mark>),
    /// Whether the call took effect is open.
    Open(Vec<Mark>),
    /// No plugin that keeps the specification answers like this in this state.
    Struck(Strike),
}

/// What an answer says of a rule.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Mark {
    /// It was kept.
    Held(RuleId),
    /// It was broken, and that draws a warning.
    Warned(Strike),
    /// It was broken, whatever the state of the world is.
    Broken(Strike),
}

/// Why an answer is not permitted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Strike {
    /// The rule that forbids it.
    pub(crate) rule: RuleId,
    /// Rules that are broken along with it.
    pub(crate) also: Vec<RuleId>,
    /// One sentence.
    pub(crate) message: String,
    /// Every permitted outcome.
    pub(crate) expected: Vec<String>,
    /// What came.
    pub(crate) actual: String,
}

impl Strike {
    /// A strike by one rule.
    pub(crate) fn new(
        rule: RuleId,
        message: impl Into<String>,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> Self {
        let (message, expected, actual) = (message.into(), vec![expected.into()], actual.into());
        Self { rule, also: Vec::new(), message, expected, actual }
    }
}

/// Holds the rule if the condition is met and breaks it otherwise.
pub(crate) fn check(
    marks: &mut Vec<Mark>,
    rule: RuleId,
    kept: bool,
    broken: impl FnOnce() -> (String, String, String),
) {
    marks.push(if kept {
        Mark::Held(rule)
    } else {
        let (message, expected, actual) = broken();
        Mark::Broken(Strike::new(rule, message, expected, actual))
    });
}

/// As [`check`], but a breach draws a warning.
pub(crate) fn advise(
    marks: &mut Vec<Mark>,
    rule: RuleId,
    kept: bool,
    broken: impl FnOnce() -> (String, String, String),
) {
    marks.push(if kept {
        Mark::Held(rule)
    } else {
        let (message, expected, actual) = broken();
        Mark::Warned(Strike::new(rule, message, expected, actual))
    });
}

/// Whether a breach of the rule never is more than a warning.
pub(super) fn only_warns(rule: RuleId) -> bool {
    !rule.rule().level.is_must() || has_no_keyword(rule)
}

/// The catalogue's note says that the specification has no keyword there, or one in lower case: it only warns.
fn has_no_keyword(rule: RuleId) -> bool {
    let row = rule.rule();
    let note = row.note.to_lowercase();
    let text = row.text.to_lowercase();
    ["no keyword", "lower-case", "no rfc keyword"].iter().any(|sign| note.contains(sign) || text.contains(sign))
        && !note.contains("the error row makes it a must")
}

/// Codes after which a retry may well succeed: nothing is judged by them.
pub(crate) const fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Aborted | Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted
    )
}

/// Codes that say that the secrets were wrong: the run lacks them, the driver is not to blame.
const fn is_about_secrets(code: Code) -> bool {
    matches!(code, Code::PermissionDenied | Code::Unauthenticated)
}

/// Codes that say for certain that the call left no trace.
pub(crate) const fn is_definite(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
    )
}

/// The name of a code on the wire; numbers that gRPC does not know stay numbers.
pub fn code_name(code: i32) -> String {
    if (0..=16).contains(&code) { name_of(Code::from(code)) } else { format!("status {code}") }
}

fn name_of(code: Code) -> String {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
    .to_owned()
}
