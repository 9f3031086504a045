//! The protocols that count references: the driver's own, and two that were published before it.

/// A reference-count protocol.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// The one that the driver runs.
    #[default]
    Current,
    /// That of the JuiceFS CSI driver 0.13, of 2022.
    Published2022,
    /// That of the JuiceFS CSI driver 0.32, of 2026.
    Published2026,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Current, Self::Published2022, Self::Published2026];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Published2022 => "published-2022",
            Self::Published2026 => "published-2026",
        }
    }
}
