//! GetPluginInfo: every process of the driver says who it is.

use crate::{
    csi::v1,
    suite::{Bench, Stopped, scenario::scenarios},
};

scenarios! { "get_plugin_info":
    every_instance_says_who_it_is, "asks every process of the driver for its name, twice", [], [
        "IDENT-INFO-001", "IDENT-INFO-003", "IDENT-INFO-004", "IDENT-INFO-005", "IDENT-INFO-006", "IDENT-INFO-007",
        "IDENT-INFO-011", "GEN-RPC-006", "GEN-RPC-007", "PROTO-CONN-003", "GEN-FIELD-001", "GEN-SIZE-002",
        "GEN-SIZE-003", "GEN-ERR-001", "GEN-ERR-002",
    ];
}

async fn every_instance_says_who_it_is(bench: &Bench) -> Result<(), Stopped> {
    for instance in bench.run.driver.instances() {
        for _ in 0..2 {
            bench.exchange_on(&instance, v1::GetPluginInfoRequest {}).await;
        }
    }
    Ok(())
}
