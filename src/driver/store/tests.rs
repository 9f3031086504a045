//! What every store has to do, run over each of them.

use super::{Change, Database, Memory, Store, StoreError};
use crate::driver::{
    parameters::Properties,
    record::{AccessTypes, Progress, Volume},
    topology::Topology,
};

pub(super) fn volume(id: &str, name: &str, capacity: u64) -> Volume {
    Volume {
        id: id.parse().unwrap(),
        name: name.into(),
        progress: Progress::Ready,
        capacity,
        access: AccessTypes { mount: true, block: false },
        topology: zone(),
        source: None,
        created_with: Properties::default(),
        properties: Properties::default(),
    }
}

fn zone() -> Topology {
    "zone=a".parse().unwrap()
}

macro_rules! every_store {
    ($name:ident, $store:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn allocated_bytes_follow_every_change() {
                let store = $store;
                store
                    .commit(&[Change::PutVolume(volume("a", "a", 10)), Change::PutVolume(volume("b", "b", 5))])
                    .unwrap();
                assert_eq!(store.allocated(&zone()), Ok(15));
                store.commit(&[Change::PutVolume(volume("a", "a", 12))]).unwrap();
                assert_eq!(store.allocated(&zone()), Ok(17));
                store.commit(&[Change::RemoveVolume("a".parse().unwrap())]).unwrap();
                assert_eq!(store.allocated(&zone()), Ok(5));
                assert_eq!(store.volume_named("a"), Ok(None));
            }

            #[test]
            fn a_name_that_is_taken_undoes_the_whole_commit() {
                let store = $store;
                store.commit(&[Change::PutVolume(volume("a", "same", 10))]).unwrap();
                let changes = [Change::PutVolume(volume("c", "c", 1)), Change::PutVolume(volume("b", "same", 5))];
                assert_eq!(store.commit(&changes), Err(StoreError::NameTaken("same".into())));
                assert_eq!(store.volume(&"c".parse().unwrap()), Ok(None));
                assert_eq!(store.volume_named("same").unwrap().unwrap().id.as_str(), "a");
            }

            #[test]
            fn pages_follow_the_ids() {
                let store = $store;
                for id in ["a", "b", "c"] {
                    store.commit(&[Change::PutVolume(volume(id, id, 1))]).unwrap();
                }
                let ids = |after, limit| -> Vec<String> {
                    store.volumes_after(after, limit).unwrap().iter().map(|volume| volume.id.to_string()).collect()
                };
                assert_eq!(ids(None, 2), ["a", "b"]);
                assert_eq!(ids(Some("b"), 2), ["c"]);
                assert_eq!(ids(Some("c"), 2), Vec::<String>::new());
            }
        }
    };
}

every_store!(database, Database::in_memory().unwrap());
every_store!(memory, Memory::default());
