//! A second NodePublishVolume of a volume on the same node: both tables of the specification, for every access mode.
//!
//! T is the target path, P are the other arguments without secrets (specification lines 2467 to 2483).

use crate::{
    csi::v1::{NodePublishVolumeRequest, VolumeCapability, volume_capability::access_mode::Mode},
    suite::{
        Bench, Stopped,
        facts::{is_multi_node, may_write, mode},
        node_use::Prepared,
        scenario::scenarios,
    },
};

const OLD: &str = "!Node.SINGLE_NODE_MULTI_WRITER";
const NEW: &str = "Node.SINGLE_NODE_MULTI_WRITER";

scenarios! { "second_publish":
    multi_node_modes, "publishes twice in every MULTI_NODE mode, by the first table", [OLD],
        ["NODE-PUBLISH-010", "NODE-PUBLISH-011", "NODE-PUBLISH-012", "NODE-PUBLISH-013", "NODE-PUBLISH-014"];
    single_node_modes, "publishes twice in every other mode, by the first table", [OLD],
        ["NODE-PUBLISH-010", "NODE-PUBLISH-015", "NODE-PUBLISH-016", "NODE-PUBLISH-017", "NODE-PUBLISH-018"];
    single_writer, "publishes twice in SINGLE_NODE_SINGLE_WRITER, by the second table", [NEW], [
        "NODE-PUBLISH-019", "NODE-PUBLISH-020", "NODE-PUBLISH-021", "NODE-PUBLISH-022", "NODE-PUBLISH-023",
        "CTRL-CREATE-070", "CTRL-CREATE-030",
    ];
    multi_writer, "publishes twice in SINGLE_NODE_MULTI_WRITER, by the second table", [NEW],
        ["NODE-PUBLISH-019", "NODE-PUBLISH-024", "NODE-PUBLISH-025", "NODE-PUBLISH-026", "NODE-PUBLISH-027"];
    multi_node_modes_second_table, "publishes twice in every MULTI_NODE mode, by the second table", [NEW],
        [
        "NODE-PUBLISH-019", "NODE-PUBLISH-028", "NODE-PUBLISH-029", "NODE-PUBLISH-030", "NODE-PUBLISH-031",
        "CTRL-CREATE-030",
    ];
    single_node_modes_second_table, "publishes twice in the older single-node modes, by the second table", [NEW],
        ["NODE-PUBLISH-019", "NODE-PUBLISH-032", "NODE-PUBLISH-033", "NODE-PUBLISH-034", "NODE-PUBLISH-035"];
}

/// Runs the four cells of a table for each supported capability of those modes.
async fn table(bench: &Bench, modes: impl Fn(Mode) -> bool) -> Result<(), Stopped> {
    let capabilities: Vec<VolumeCapability> =
        bench.facts.supported.iter().filter(|it| modes(mode(it))).cloned().collect();
    if capabilities.is_empty() {
        return Err(Stopped::because("the driver supports none of these modes"));
    }
    for capability in capabilities {
        let prepared = bench.prepared_for(capability).await?;
        cells(bench, &prepared).await?;
    }
    Ok(())
}

async fn cells(bench: &Bench, prepared: &Prepared) -> Result<(), Stopped> {
    let target = bench.target().await?;
    // A mode that only reads is published read-only first, so that the other flag is the one that differs.
    let readonly = !may_write(mode(&prepared.capability));
    let first = NodePublishVolumeRequest { readonly, ..bench.publish(prepared, &target) };
    bench.need(first.clone()).await?;
    if !readonly {
        bench.write(&prepared.capability, &target, "first target").await;
    }
    // T1 = T2, P1 = P2; then with P1 != P2.
    bench.provoke(first.clone()).await;
    bench.provoke(NodePublishVolumeRequest { readonly: !readonly, ..first.clone() }).await;
    bench.look(&target).await;
    // T1 != T2, P1 = P2; then with P1 != P2.
    for flag in [readonly, !readonly] {
        let elsewhere = bench.target().await?;
        let second = NodePublishVolumeRequest { readonly: flag, target_path: elsewhere.clone(), ..first.clone() };
        if bench.ask(second).await.is_ok() {
            bench.read(&prepared.capability, &elsewhere).await;
            bench.write(&prepared.capability, &elsewhere, "second target").await;
            bench.read(&prepared.capability, &target).await;
            bench.need(bench.unpublish(prepared, &elsewhere)).await?;
            bench.read(&prepared.capability, &target).await;
        }
    }
    bench.released(prepared, &[&target]).await
}

fn is_older_single_node(mode: Mode) -> bool {
    matches!(mode, Mode::SingleNodeWriter | Mode::SingleNodeReaderOnly)
}

async fn multi_node_modes(bench: &Bench) -> Result<(), Stopped> {
    table(bench, is_multi_node).await
}

async fn single_node_modes(bench: &Bench) -> Result<(), Stopped> {
    table(bench, |mode| !is_multi_node(mode)).await
}

async fn single_writer(bench: &Bench) -> Result<(), Stopped> {
    table(bench, |mode| mode == Mode::SingleNodeSingleWriter).await
}

async fn multi_writer(bench: &Bench) -> Result<(), Stopped> {
    table(bench, |mode| mode == Mode::SingleNodeMultiWriter).await
}

async fn multi_node_modes_second_table(bench: &Bench) -> Result<(), Stopped> {
    table(bench, is_multi_node).await
}

async fn single_node_modes_second_table(bench: &Bench) -> Result<(), Stopped> {
    table(bench, is_older_single_node).await
}
