//! external-health-monitor-controller: asks for the condition of volumes, and tells of those that are not well.

use std::{collections::BTreeSet, future::pending, time::Duration};

use tokio::time::sleep;

use super::{
    capabilities::{self, Exit},
    context::Context,
    csi_client::CsiClient,
    object::{PersistentVolume, VolumePhase},
};
use crate::csi::v1::{self, controller_service_capability::rpc::Type};

/// The name in histories.
pub(super) const NAME: &str = "external-health-monitor";

/// A call of it.
const LIMIT: Duration = Duration::from_secs(15);

/// How often all volumes are listed.
const LIST_PERIOD: Duration = Duration::from_secs(300);

/// How often each bound volume is looked at, where volumes cannot be listed.
const GET_PERIOD: Duration = Duration::from_secs(60);

/// How the start of the monitor names itself in its troubles.
const START: &str = "start-up";

/// How volumes are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    List,
    Get,
}

/// `None` where the process would end at once.
fn way(capabilities: &BTreeSet<i32>) -> Option<Way> {
    let has = |capability: Type| capabilities.contains(&capability.into());
    match (has(Type::VolumeCondition), has(Type::ListVolumes), has(Type::GetVolume)) {
        (true, true, _) => Some(Way::List),
        (true, false, true) => Some(Way::Get),
        _ => None,
    }
}

/// Runs it until its process would end.
pub(super) async fn run(client: CsiClient) -> Exit {
    let disconnected = client.disconnected.clone();
    tokio::select! {
        exit = work(client) => exit,
        () = disconnected.notified() => "lost connection to CSI driver".to_owned(),
    }
}

async fn work(client: CsiClient) -> Exit {
    let started = async {
        capabilities::probe(&client, LIMIT).await?;
        capabilities::driver_name(&client, LIMIT).await?;
        capabilities::of_plugin(&client, LIMIT).await?;
        // Asked once for each of the capabilities that it wants; the last answer is as good as the others.
        capabilities::controller(&client, START, LIMIT).await.map_err(|error| error.to_string())?;
        capabilities::controller(&client, START, LIMIT).await.map_err(|error| error.to_string())
    };
    let way = match started.await {
        Ok(capabilities) => way(&capabilities),
        Err(exit) => return exit,
    };
    // Nobody deploys a monitor beside a driver that tells no conditions: it would end at once, again and again.
    let Some(way) = way else { return pending().await };
    let mut abnormal = BTreeSet::new();
    loop {
        let timing = client.context.timing;
        match way {
            Way::List => {
                sleep(timing.of(LIST_PERIOD)).await;
                list(&client, &mut abnormal).await;
            }
            Way::Get => {
                sleep(timing.of(GET_PERIOD)).await;
                get(&client, &mut abnormal).await;
            }
        }
    }
}

/// All pages; an error ends the round.
async fn list(client: &CsiClient, abnormal: &mut BTreeSet<String>) {
    let mut starting_token = String::new();
    loop {
        let request = v1::ListVolumesRequest { max_entries: 0, starting_token };
        let Ok(reply) = client.call("all volumes", request, LIMIT).await else { return };
        for entry in reply.entries {
            let (Some(volume), Some(status)) = (entry.volume, entry.status) else { continue };
            if let Some(condition) = status.volume_condition {
                told(&client.context, &volume.volume_id, &condition, abnormal);
            }
        }
        if reply.next_token.is_empty() {
            return;
        }
        starting_token = reply.next_token;
    }
}

async fn get(client: &CsiClient, abnormal: &mut BTreeSet<String>) {
    let bound = client.context.store.list::<PersistentVolume>();
    for volume in bound.into_iter().filter(|volume| volume.phase == VolumePhase::Bound) {
        let subject = format!("volume {}", volume.metadata.name);
        let request = v1::ControllerGetVolumeRequest { volume_id: volume.handle.clone() };
        let Ok(reply) = client.call(&subject, request, LIMIT).await else { continue };
        if let Some(condition) = reply.status.and_then(|status| status.volume_condition) {
            told(&client.context, &volume.handle, &condition, abnormal);
        }
    }
}

/// Tells of a volume that is not well, and once when it is well again.
fn told(context: &Context, handle: &str, condition: &v1::VolumeCondition, abnormal: &mut BTreeSet<String>) {
    let owner = context.store.read(|tables| {
        let volume = tables.volumes.values().find(|volume| volume.handle == handle)?;
        Some(format!("claim {}", volume.claim.as_ref()?.name))
    });
    // Volumes of others are none of its business.
    let Some(owner) = owner else { return };
    if condition.abnormal {
        abnormal.insert(handle.to_owned());
        context.tell(&owner, "VolumeConditionAbnormal", &condition.message);
    } else if abnormal.remove(handle) {
        context.tell(&owner, "VolumeConditionNormal", &condition.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_listed_where_they_can_be_and_conditions_are_told() {
        let of = |capabilities: &[Type]| way(&capabilities.iter().map(|one| i32::from(*one)).collect());
        assert_eq!(of(&[Type::VolumeCondition, Type::ListVolumes, Type::GetVolume]), Some(Way::List));
        assert_eq!(of(&[Type::VolumeCondition, Type::GetVolume]), Some(Way::Get));
        assert_eq!(of(&[Type::ListVolumes, Type::GetVolume]), None);
        assert_eq!(of(&[Type::VolumeCondition]), None);
    }
}
