//! Secrets that are wrong, and secrets of somebody who may do nothing.

use std::collections::BTreeMap;

use crate::{
    csi::v1::CreateVolumeRequest,
    history::{ALTERED, DENIED},
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "secrets":
    that_are_wrong, "creates a volume with altered secrets", ["Controller.CREATE_DELETE_VOLUME"], ["GEN-ERR-022"];
    of_somebody_without_permission, "creates a volume in the name of somebody who may not",
        ["Controller.CREATE_DELETE_VOLUME"], ["GEN-ERR-012"];
    tokens_in_the_context, "publishes with tokens in the context, as Kubernetes hands them over", [], ["PROTO-SEC-006"];
    through_the_whole_life, "uses one set of secrets for all calls of a volume's life",
        ["Controller.CREATE_DELETE_VOLUME"], ["GEN-SECRET-008", "CTRL-CREATE-094", "CTRL-PUBLISH-024"];
}

async fn that_are_wrong(bench: &Bench) -> Result<(), Stopped> {
    let request = bench.create_volume();
    if request.secrets.is_empty() {
        return Err(Stopped::because("the profile has no `secrets`"));
    }
    let altered = |(key, value): (&String, &String)| (key.clone(), format!("{value}-altered"));
    let secrets: BTreeMap<String, String> = request.secrets.iter().map(altered).collect();
    bench.run.recorder.mark(&secrets, ALTERED);
    bench.provoke(CreateVolumeRequest { secrets, ..request }).await;
    Ok(())
}

async fn of_somebody_without_permission(bench: &Bench) -> Result<(), Stopped> {
    let secrets = bench.run.options.profile.denied_secrets.clone();
    if secrets.is_empty() {
        return Err(Stopped::because("the profile has no `denied_secrets`"));
    }
    bench.run.recorder.mark(&secrets, DENIED);
    bench.provoke(CreateVolumeRequest { secrets, ..bench.create_volume() }).await;
    Ok(())
}

async fn tokens_in_the_context(bench: &Bench) -> Result<(), Stopped> {
    let tokens =
        BTreeMap::from([("csi.storage.k8s.io/serviceAccount.tokens".to_owned(), format!("token-{}", bench.name()))]);
    bench.run.recorder.learn(&tokens);
    let prepared = bench.prepared().await?;
    let target = bench.target().await?;
    let mut request = bench.publish(&prepared, &target);
    request.volume_context.extend(tokens);
    bench.provoke(request).await;
    bench.released(&prepared, &[&target]).await
}

async fn through_the_whole_life(bench: &Bench) -> Result<(), Stopped> {
    let prepared = bench.prepared().await?;
    let target = bench.published(&prepared).await?;
    bench.released(&prepared, &[&target]).await?;
    bench.provoke(bench.delete_volume(&prepared.volume.id)).await;
    Ok(())
}
