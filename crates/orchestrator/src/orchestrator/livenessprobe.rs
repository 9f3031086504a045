//! livenessprobe, and the kubelet's probe of it: a driver that is not well several times in a row is started again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::sleep;

use super::{
    capabilities::{self, Exit},
    csi_client::CsiClient,
};
use crate::csi::v1;

/// A GetPluginInfo at the start: upstream waits without a limit.
const START_LIMIT: Duration = Duration::from_secs(3600);

/// How long a Probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

/// How often the kubelet asks (`periodSeconds` without another word).
const PERIOD: Duration = Duration::from_secs(10);

/// After how many failures in a row the container is started again (`failureThreshold` without another word).
const FAILURE_THRESHOLD: u32 = 3;

/// The name in histories.
pub(super) fn component(node: &str) -> String {
    format!("livenessprobe@{node}")
}

/// Starts the container of the driver again.
#[async_trait]
pub(super) trait Container: Send + Sync + 'static {
    /// Ends it, and starts it.
    async fn restart(&self);
}

/// Runs it until its process would end.
pub(super) async fn run(client: CsiClient, container: Arc<dyn Container>) -> Exit {
    if let Err(exit) = capabilities::driver_name(&client, START_LIMIT).await {
        return exit;
    }
    let mut failures = 0;
    loop {
        sleep(client.context.timing.of(PERIOD)).await;
        let answer = client.call("liveness", v1::ProbeRequest {}, PROBE_LIMIT).await;
        let is_well = answer.is_ok_and(|reply| reply.ready.unwrap_or(true));
        failures = if is_well { 0 } else { failures + 1 };
        if failures >= FAILURE_THRESHOLD {
            client.context.tell(&format!("driver behind {}", client.component), "Unhealthy", "it is started again");
            // The probe is a container of the same pod and goes on.
            container.restart().await;
            failures = 0;
        }
    }
}
