//! The driver's process: whether it runs, what it wrote, what it left beside its socket.

use std::{fs, path::Path};

use crate::{
    history::Observation,
    suite::{Bench, Stopped, scenario::scenarios},
    sut::{Endpoint, blocking},
};

scenarios! { "process":
    @process at_the_end, "looks at the process, its output and the directory of its socket when all else is done", [], [
        "GEN-OPT-004", "PROTO-SEC-002", "PROTO-SEC-006", "OPS-FS-002", "OPS-LOG-006", "OPS-RUN-001",
        "OPS-ENDPOINT-001", "OPS-ENDPOINT-002", "OPS-LIFE-005", "PROTO-CONN-006", "CTRL-CREATE-060",
    ];
}

async fn at_the_end(bench: &Bench) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances() {
        let name = instance.name().to_owned();
        if let Some(Endpoint::Unix(path)) = instance.lane().endpoint() {
            let path = path.clone();
            if let Some(others) = blocking(move || beside(&path)).await.flatten() {
                bench.observed(Observation::SocketDirectory { instance: name.clone(), others });
            }
        }
        if instance.is_ours() {
            let exit = instance.exit().await;
            let alive = exit.is_none();
            bench.observed(Observation::Process { instance: name.clone(), alive, exit: exit.unwrap_or_default() });
            let (written, bytes) = instance.output().read();
            let leaked = bench.run.recorder.search(&written);
            bench.observed(Observation::Logs { instance: name, bytes, leaked });
        }
    }
    Ok(())
}

/// What stands in the directory of a socket beside the socket itself.
fn beside(socket: &Path) -> Option<Vec<String>> {
    let mut others: Vec<String> = fs::read_dir(socket.parent()?)
        .ok()?
        .flatten()
        .filter(|entry| Some(entry.file_name().as_os_str()) != socket.file_name())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    others.sort();
    Some(others)
}
