//! Probe: a driver that answers is ready, or says that it is not.

use crate::{
    csi::v1,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "probe":
    every_instance_is_ready, "probes every process of the driver, three times", [], [
        "IDENT-PROBE-001", "IDENT-PROBE-016", "IDENT-PROBE-019", "IDENT-PROBE-020", "IDENT-PROBE-022", "GEN-RPC-006", "GEN-RPC-007",
        "PROTO-CONN-003",
    ];
}

async fn every_instance_is_ready(bench: &Bench) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances() {
        for _ in 0..3 {
            bench.exchange_on(&instance, v1::ProbeRequest {}).await;
        }
    }
    Ok(())
}
