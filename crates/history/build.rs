//! Turns the rule catalogue into static rows.

use std::{env, fs, path::PathBuf};

#[allow(unreachable_pub, reason = "a module of the build script")]
#[path = "src/spec/row.rs"]
mod row;

/// The catalogue's files, in the order of the specification's services.
const CATALOGUE: [&str; 6] = ["general", "identity", "controller", "group_controller", "snapshot_metadata", "node"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut rules = Vec::new();
    for name in CATALOGUE {
        let path = format!("src/spec/rules/{name}.toml");
        println!("cargo:rerun-if-changed={path}");
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let file: row::File = toml::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
        rules.extend(file.rule);
    }
    rules.sort_by(|a, b| a.id.cmp(&b.id));
    let mut code = String::from("pub(super) static RULES: &[Rule] = &[\n");
    for rule in &rules {
        code.push_str(&format!("    {},\n", rule.to_rust()));
    }
    code.push_str("];\n");
    fs::write(out.join("rules.rs"), code)?;
    Ok(())
}
