//! The driver's process: whether it runs, what it wrote, what it left beside its socket.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    csi::v1::ProbeRequest,
    history::Observation,
    spec::Rpc,
    suite::{Bench, Stopped, bench::TELLING_FLAG, scenario::scenarios},
    sut::{Endpoint, Instance, OpenFiles, blocking},
};

scenarios! { "process":
    @process helpers_go_with_their_volumes, "publishes and unpublishes several times and counts the driver's children", [],
        ["NODE-UNPUBLISH-002"];
    @process at_the_end, "looks at the process, its output and the directory of its socket when all else is done", [], [
        "GEN-OPT-004", "PROTO-SEC-002", "PROTO-SEC-006", "OPS-FS-002", "OPS-LOG-006", "OPS-RUN-001",
        "PROTO-CONN-007", "OPS-LOG-001", "CTRL-CREATE-060",
    ];
    @process launched_otherwise,
        "launches the driver at another endpoint, over a stale socket, with a bare environment, and wrongly", [], [
        "OPS-ENDPOINT-001", "OPS-ENDPOINT-002", "OPS-LIFE-005", "OPS-SVC-005", "PROTO-CONN-006", "IDENT-PROBE-014",
    ];
}

/// How often a volume is published and unpublished while children are counted.
const ROUNDS: u32 = 5;

/// How often is looked whether the children of unpublished volumes have gone.
const LOOKS: u32 = 40;

async fn helpers_go_with_their_volumes(bench: &Bench) -> Result<(), Stopped> {
    let instance = bench.run.driver.serving(Rpc::NodePublishVolume).cloned();
    let instance = instance.ok_or_else(|| Stopped::because("no endpoint serves the node"))?;
    let prepared = bench.prepared().await?;
    let mut before = None;
    // The first round is for what is started once.
    for round in 0..=ROUNDS {
        let target = bench.published(&prepared).await?;
        bench.need(bench.unpublish(&prepared, &target)).await?;
        if round == 0 {
            before = children(&instance).await;
        }
    }
    let before = before.ok_or_else(|| Stopped::because("the driver's children cannot be counted"))?;
    let mut after = before;
    for _ in 0..LOOKS {
        after = children(&instance).await.unwrap_or(before);
        if after <= before {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    let name = instance.name().to_owned();
    bench.observed(Observation::Helpers { instance: name, before, after, rounds: u64::from(ROUNDS) });
    bench.released(&prepared, &[]).await
}

/// How many processes, ended ones that nobody asked after included, have the driver for a parent.
async fn children(instance: &Instance) -> Option<u64> {
    let parent = instance.process_id().await?.to_string();
    blocking(move || {
        let mut count = 0;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            // The name of the program stands in brackets, and may hold anything; then come state and parent.
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            count += u64::from(after_name.split_whitespace().nth(1) == Some(parent.as_str()));
        }
        Some(count)
    })
    .await
    .flatten()
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
            if let Some(process) = instance.process_id().await
                && let Some(open) = OpenFiles::of(process).await
            {
                bench.observed(open.log_files(&name));
                if matches!(instance.lane().endpoint(), Some(Endpoint::Unix(_))) {
                    bench.observed(open.ports(&name).await);
                }
            }
            let (written, bytes) = instance.output().read();
            let leaked = bench.run.recorder.search(&written);
            let flag = TELLING_FLAG.as_bytes();
            let found = written.windows(flag.len()).any(|window| window == flag);
            let flags = if found { vec![TELLING_FLAG.to_owned()] } else { Vec::new() };
            bench.observed(Observation::Logs { instance: name, bytes, leaked, flags });
        }
    }
    Ok(())
}

async fn launched_otherwise(bench: &Bench) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances().into_iter().filter(|it| it.is_ours()) {
        let directory = PathBuf::from(bench.make_directory(bench.directory().join(instance.name())).await?);
        let launched = instance.launch_otherwise(&bench.run.recorder, &directory).await;
        blocking(move || fs::remove_dir_all(directory)).await;
        launched.map_err(|error| Stopped::because(error.to_string()))?;
        bench.exchange_on(&instance, ProbeRequest {}).await;
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
