//! The command line; every subcommand is a thin file in `cli`.

fn main() {}
