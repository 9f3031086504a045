//! One row of the rule catalogue, as its TOML files hold it; shared with `build.rs`, which turns the rows into statics.

/// A file of the catalogue.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub rule: Vec<Row>,
}

/// A rule before it becomes a static.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Unique, `AREA-TOPIC-NNN`.
    pub id: String,
    /// The section of the specification.
    pub section: String,
    /// The first line of the statement in `spec.md` at tag v1.12.0.
    pub line: u32,
    /// `MUST` covers REQUIRED and SHALL, `SHOULD` covers RECOMMENDED, `MAY` covers OPTIONAL.
    pub level: String,
    /// `plugin`, `co` or `both`; `co` stands for supervisor and operator as well.
    pub binds: String,
    /// The RPC that the rule is about, or empty.
    pub rpc: String,
    /// Capabilities that must all be advertised: `!X` absent, `X|Y` either, `*` any suffix.
    pub gate: Vec<String>,
    /// The rule in our own words.
    pub text: String,
    /// The code that the rule demands or permits; for a REQUIRED request field the one for its absence.
    pub code: String,
    /// What decides: `rpc`, `sequence`, `concurrent`, `restart`, `mount`, `process`, or `none`.
    pub observe: String,
    /// Test idea, verdict and tolerances.
    pub note: String,
    /// Why csi-certify cannot judge it or bring it about, although it can be observed in principle; mostly empty.
    #[serde(default)]
    pub beyond_reach: String,
}

impl Row {
    /// The row as a Rust expression of type `Rule`.
    pub fn to_rust(&self) -> String {
        let variant = |text: &str| -> String {
            text.split([' ', '_'])
                .map(|word| {
                    let (head, tail) = word.split_at(word.len().min(1));
                    head.to_uppercase() + &tail.to_lowercase()
                })
                .collect()
        };
        format!(
            "Rule {{ id: {:?}, section: {:?}, line: {}, level: Level::{}, binds: Binds::{}, rpc: {:?}, gate: &{:?}, \
             text: {:?}, code: {:?}, observe: Observe::{}, note: {:?}, beyond_reach: {:?} }}",
            self.id,
            self.section,
            self.line,
            variant(&self.level),
            variant(&self.binds),
            self.rpc,
            self.gate,
            self.text,
            self.code,
            variant(&self.observe),
            self.note,
            self.beyond_reach,
        )
    }
}
