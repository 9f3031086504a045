//! ControllerModifyVolume: repetitions, parameters that make no sense, unknown volumes.

use std::collections::BTreeMap;

use super::gates::CREATE_DELETE_VOLUME;
use crate::{
    csi::v1::{ControllerModifyVolumeRequest, ValidateVolumeCapabilitiesRequest},
    spec::Rpc,
    suite::{Bench, Stopped, bench::MADE_UP_KEY, scenario::scenarios, volumes::Volume},
};

const MODIFY_VOLUME: &str = "Controller.MODIFY_VOLUME";

scenarios! { "controller_modify_volume":
    repeat_is_idempotent, "modifies a volume to the same values three times", [MODIFY_VOLUME],
        ["CTRL-MODIFY-001", "CTRL-MODIFY-002", "CTRL-CAPS-016"];
    missing_fields, "leaves out volume and parameters, one at a time", [MODIFY_VOLUME],
        ["CTRL-MODIFY-004", "CTRL-MODIFY-006", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-025", "GEN-ERR-027"];
    unknown_parameter, "modifies with a key that no driver knows", [MODIFY_VOLUME],
        ["CTRL-MODIFY-007", "CTRL-MODIFY-011"];
    volume_that_does_not_exist, "modifies a deleted volume, and one that never was", [MODIFY_VOLUME],
        ["CTRL-MODIFY-015"];
    refused_call_changes_nothing, "modifies with a valid key beside an unknown one, and looks at the valid one",
        [MODIFY_VOLUME, CREATE_DELETE_VOLUME], ["CTRL-MODIFY-013", "CTRL-MODIFY-011"];
    absent_keys_stay, "modifies one key of two, and looks at the other", [MODIFY_VOLUME, CREATE_DELETE_VOLUME],
        ["CTRL-MODIFY-009", "CTRL-MODIFY-010"];
}

fn modify(bench: &Bench, id: &str, mutable_parameters: BTreeMap<String, String>) -> ControllerModifyVolumeRequest {
    let secrets = bench.secrets(Rpc::ControllerModifyVolume);
    ControllerModifyVolumeRequest { volume_id: id.to_owned(), secrets, mutable_parameters }
}

/// Values that are valid for sure.
fn valid(bench: &Bench) -> Result<BTreeMap<String, String>, Stopped> {
    let profile = &bench.run.options.profile;
    let parameters =
        if profile.modified_parameters.is_empty() { &profile.mutable_parameters } else { &profile.modified_parameters };
    match parameters.is_empty() {
        true => Err(Stopped::because("the profile has no `mutable_parameters`")),
        false => Ok(parameters.clone()),
    }
}

fn unknown() -> BTreeMap<String, String> {
    BTreeMap::from([(MADE_UP_KEY.to_owned(), "x".to_owned())])
}

/// Asks whether a volume has these mutable parameters.
async fn look(bench: &Bench, volume: &Volume, mutable_parameters: BTreeMap<String, String>) {
    let request = bench.validate(volume, volume.request.volume_capabilities.clone());
    bench.provoke(ValidateVolumeCapabilitiesRequest { mutable_parameters, ..request }).await;
}

async fn repeat_is_idempotent(bench: &Bench) -> Result<(), Stopped> {
    let parameters = valid(bench)?;
    let volume = bench.volume().await?;
    for _ in 0..3 {
        bench.provoke(modify(bench, &volume.id, parameters.clone())).await;
    }
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(modify(bench, &volume.id, BTreeMap::new())).await;
    bench.provoke(modify(bench, "", valid(bench).unwrap_or_else(|_| unknown()))).await;
    Ok(())
}

async fn unknown_parameter(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    bench.provoke(modify(bench, &volume.id, unknown())).await;
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let parameters = valid(bench)?;
    let dead = bench.dead_volume().await?;
    bench.provoke(modify(bench, &bench.made_up_id(&dead), parameters.clone())).await;
    bench.provoke(modify(bench, &dead, parameters)).await;
    Ok(())
}

async fn refused_call_changes_nothing(bench: &Bench) -> Result<(), Stopped> {
    let mut parameters = valid(bench)?;
    let volume = bench.volume().await?;
    parameters.extend(unknown());
    look(bench, &volume, volume.request.mutable_parameters.clone()).await;
    bench.provoke(modify(bench, &volume.id, parameters)).await;
    look(bench, &volume, volume.request.mutable_parameters.clone()).await;
    Ok(())
}

async fn absent_keys_stay(bench: &Bench) -> Result<(), Stopped> {
    let parameters = valid(bench)?;
    let volume = bench.volume().await?;
    let Some((key, value)) = parameters.into_iter().next() else { return Ok(()) };
    let mut others = volume.request.mutable_parameters.clone();
    others.remove(&key);
    look(bench, &volume, others.clone()).await;
    bench.provoke(modify(bench, &volume.id, BTreeMap::from([(key.clone(), value.clone())]))).await;
    let mut expected = volume.request.mutable_parameters.clone();
    expected.insert(key, value);
    look(bench, &volume, others).await;
    look(bench, &volume, expected).await;
    Ok(())
}
