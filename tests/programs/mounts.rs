//! Random programs of calls against the driver as a process, with real mounts, which is killed now and then.

use std::{collections::BTreeMap, path::Path, time::Duration};

use csi_certify::{
    explore::{
        Seeded,
        calls::{Campaign, CampaignOptions, Nemesis, draw_for},
    },
    sut::{Driver, Endpoint, Lane, Profile, Start, Target},
};

use crate::{
    budget::{programs, seed},
    property::lines,
};

const STEPS: usize = 40;

/// The built-in driver over a directory of its own.
async fn campaign(directory: &Path, run_id: String) -> Campaign {
    let socket = directory.join("csi.sock");
    let state = directory.join("state");
    let command = [
        env!("CARGO_BIN_EXE_csi-certify"),
        "driver",
        "--endpoint",
        "{endpoint}",
        "--state-dir",
        state.to_str().unwrap(),
        "--runtime",
        "process",
        "--node-id",
        "node-a",
        "--node-id",
        "node-b",
    ];
    let profile = Profile {
        start: Some(Start { command: command.map(str::to_owned).to_vec(), ..Start::default() }),
        other_nodes: vec!["node-b".to_owned()],
        capacity_bytes: 1 << 20,
        expanded_bytes: 2 << 20,
        parameters: BTreeMap::from([("directoryMode".to_owned(), "0755".to_owned())]),
        modified_parameters: BTreeMap::from([("iops".to_owned(), "900".to_owned())]),
        ..Profile::default()
    };
    let endpoint: Endpoint = format!("unix://{}", socket.display()).parse().unwrap();
    let patience = Duration::from_secs(30);
    let driver = Driver::connect(Target::Plugin(Lane::Socket(endpoint)), &profile, patience).await.unwrap();
    let options = CampaignOptions {
        run_id,
        directory: directory.join("node"),
        patience,
        nemeses: Nemesis::ALL.into(),
        clients: 3,
    };
    Campaign::begin(driver, profile, options).await.unwrap()
}

/// Nothing is mounted below the directory, and no daemon runs from it.
fn assert_vacated(directory: &Path) {
    let text = directory.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let left: Vec<&str> = mounts.lines().filter(|line| line.contains(text)).collect();
    assert!(left.is_empty(), "{left:#?}");
    let records = directory.join("state/pods/records");
    if records.exists() {
        assert_eq!(std::fs::read_dir(records).unwrap().count(), 0, "records of mount pods are left");
    }
}

async fn keep_the_promises(first: u64, count: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut campaign = campaign(directory.path(), format!("{first:x}")).await;
    for number in 0..count {
        let seed = first.wrapping_add(number);
        let program = draw_for(&campaign, &mut Seeded::new(seed), STEPS);
        let case = campaign.run(&program).await.unwrap();
        let Some(failure) = case.executed.failure else { continue };
        println!("CSI_CERTIFY_SEED={seed}: {failure:?}\n{}", lines(&program));
        for event in &case.history.events {
            println!("{}", serde_json::to_string(event).unwrap());
        }
        // With real processes the same program runs otherwise each time, but no way of running it breaks a promise: what does
        // not come again is explained by the history above.
        let found = campaign.shrink(program, failure.clone(), 150, 5).await.unwrap();
        campaign.end().await;
        match found {
            None => panic!("CSI_CERTIFY_SEED={seed}: {failure:?}, which did not come again"),
            Some(found) => panic!(
                "CSI_CERTIFY_SEED={seed}: {:?}, failed {} of {} replays:\n{}",
                found.failure,
                found.failed,
                found.replays,
                lines(&found.program)
            ),
        }
    }
    assert!(campaign.leftovers().is_empty(), "{:?}", campaign.leftovers());
    assert_vacated(directory.path());
    campaign.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_programs_keep_the_promises_with_real_mounts() {
    if !(rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists()) {
        println!("skipped: needs root and /dev/fuse");
        return;
    }
    let (seed, count) = (seed("random programs with real mounts"), programs(2000) / 20);
    let (one, other) = (seed, seed.wrapping_add(count / 2));
    tokio::join!(keep_the_promises(one, count / 2), keep_the_promises(other, count / 2));
}
