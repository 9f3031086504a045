//! Compiles `proto/` without `protoc`, and the rule catalogue into static rows.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use prost::Message as _;

#[allow(unreachable_pub, reason = "a module of the build script")]
#[path = "src/spec/row.rs"]
mod row;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The catalogue's files, in the order of the specification's services.
const CATALOGUE: [&str; 6] = ["general", "identity", "controller", "group_controller", "snapshot_metadata", "node"];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    protocols(&out)?;
    catalogue(&out)
}

fn protocols(out: &Path) -> Result<()> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["csi/v1/csi.proto", "pluginregistration/v1/api.proto"];
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(files)?;
    // The encoded form keeps the custom options (csi_secret), which the decoded one drops.
    fs::write(out.join("descriptor.bin"), compiler.encode_file_descriptor_set())?;
    let set = prost_types::FileDescriptorSet::decode(&*compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().btree_map(".").compile_fds(set)?;
    Ok(())
}

fn catalogue(out: &Path) -> Result<()> {
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
