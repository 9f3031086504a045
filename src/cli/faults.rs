//! `csi-certify faults`: what the built-in driver can be asked to do wrong, or otherwise.

use clap::Args;

use super::exit::Exit;
use crate::{faults, sut::glob};

/// What `csi-certify faults` is asked.
#[derive(Args, Clone, Debug)]
pub(super) struct FaultsArguments {
    /// Only faults whose id or class matches
    #[arg(long, value_name = "GLOB", default_value = "*")]
    filter: String,
    /// Show where each was seen, what exposes it and which rules it breaks
    #[arg(long)]
    long: bool,
}

/// Prints the catalogue.
pub(super) fn run(arguments: &FaultsArguments) -> Exit {
    let wanted = |id: &str, class: &str| glob(&arguments.filter, id) || glob(&arguments.filter, class);
    let seeded = faults::seeded();
    for entry in faults::entries().iter().filter(|entry| wanted(&entry.id, entry.class)) {
        let seeded = seeded.iter().find(|one| one.id == entry.id);
        let mark = match (seeded.is_some(), entry.advisory) {
            (false, _) => "not seeded",
            (true, true) => "advisory",
            (true, false) => "",
        };
        anstream::println!("{}  {:<14} {:<10}  {}", entry.id, entry.class, mark, entry.title);
        if arguments.long {
            anstream::println!("      exposed by: {}", entry.exposed_by);
            if let Some(point) = seeded.and_then(|one| one.conduct().pause_point().cloned()) {
                anstream::println!("      pauses at: {}", point.name());
            }
            if !entry.rules.is_empty() {
                anstream::println!("      breaks: {}", entry.rules.join(", "));
            }
            entry.links.iter().for_each(|link| anstream::println!("      {link}"));
        }
    }
    for variant in faults::variants().iter().filter(|one| wanted(one.id, "variant")) {
        anstream::println!("{:<38} legal: {}", variant.id, variant.what);
    }
    Exit::Conformant
}
