//! ValidateVolumeCapabilities: what is confirmed, what is not, and requests that make no sense.

use crate::{
    csi::v1::ValidateVolumeCapabilitiesRequest,
    suite::{Bench, Stopped, scenario::scenarios},
};

const CONTROLLER: &str = "Plugin.CONTROLLER_SERVICE";

scenarios! { "validate_volume_capabilities":
    supported_capabilities, "validates each supported capability, three times", [CONTROLLER], [
        "CTRL-VALIDATE-001", "CTRL-VALIDATE-002", "CTRL-VALIDATE-003", "CTRL-VALIDATE-014", "CTRL-VALIDATE-021",
        "CTRL-VALIDATE-022", "CTRL-CAPS-014", "CTRL-CAPS-015",
    ];
    unsupported_capability, "validates an unsupported capability, alone and beside a supported one", [CONTROLLER],
        ["CTRL-VALIDATE-002", "CTRL-VALIDATE-017"];
    missing_fields, "leaves out volume and capabilities, one at a time", [CONTROLLER], [
        "CTRL-VALIDATE-006", "CTRL-VALIDATE-009", "GEN-ERR-006", "GEN-REQ-003", "GEN-ERR-025", "GEN-ERR-027",
    ];
    broken_capability, "validates capabilities without type, without mode, of unknown mode", [CONTROLLER],
        ["CTRL-CREATE-073", "CTRL-CREATE-074", "CTRL-CREATE-075"];
    volume_that_does_not_exist, "validates a deleted volume, and one that never was", [CONTROLLER],
        ["CTRL-VALIDATE-024"];
    wrong_context, "validates with a context that is not the volume's", [CONTROLLER], ["CTRL-VALIDATE-008"];
}

async fn supported_capabilities(bench: &Bench) -> Result<(), Stopped> {
    for capability in bench.facts.supported.clone() {
        let volume = bench.volume_for(capability.clone()).await?;
        for _ in 0..3 {
            bench.provoke(bench.validate(&volume, vec![capability.clone()])).await;
        }
    }
    Ok(())
}

async fn unsupported_capability(bench: &Bench) -> Result<(), Stopped> {
    let unsupported = bench.unsupported()?;
    let volume = bench.volume().await?;
    bench.provoke(bench.validate(&volume, vec![unsupported.clone()])).await;
    bench.provoke(bench.validate(&volume, vec![bench.capability(), unsupported])).await;
    Ok(())
}

async fn missing_fields(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    let valid = bench.validate(&volume, vec![bench.capability()]);
    bench.provoke(ValidateVolumeCapabilitiesRequest { volume_id: String::new(), ..valid.clone() }).await;
    bench.provoke(ValidateVolumeCapabilitiesRequest { volume_capabilities: Vec::new(), ..valid }).await;
    Ok(())
}

async fn broken_capability(bench: &Bench) -> Result<(), Stopped> {
    let volume = bench.volume().await?;
    for capability in bench.broken_capabilities().into_iter().flatten() {
        bench.provoke(bench.validate(&volume, vec![capability])).await;
    }
    Ok(())
}

async fn volume_that_does_not_exist(bench: &Bench) -> Result<(), Stopped> {
    let mut volume = bench.volume().await?;
    let made_up = bench.made_up_id(&volume.id);
    for id in [bench.dead_volume().await?, made_up] {
        volume.id = id;
        bench.provoke(bench.validate(&volume, vec![bench.capability()])).await;
    }
    Ok(())
}

async fn wrong_context(bench: &Bench) -> Result<(), Stopped> {
    let mut volume = bench.volume().await?;
    volume.context.insert("csi-certify-wrong".to_owned(), "x".to_owned());
    bench.provoke(bench.validate(&volume, vec![bench.capability()])).await;
    Ok(())
}
