//! What every store has to do, run over each of them.

use std::collections::BTreeMap;

use super::{Change, Database, Memory, Store, StoreError};
use crate::{
    driver::{
        parameters::Properties,
        record::{AccessTypes, Attachment, Progress, Volume},
        topology::Topology,
    },
    mountpod::{AccessMode, AccessType, Fingerprint},
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

fn attachment(volume: &str, node: &str) -> Attachment {
    Attachment {
        volume: volume.parse().unwrap(),
        node: node.into(),
        fingerprint: Fingerprint {
            access_type: AccessType::Mount,
            access_mode: AccessMode::MultiNodeMultiWriter,
            read_only: false,
            fs_type: String::new(),
            mount_flags: String::new(),
            mount_group: String::new(),
        },
        readonly: false,
        publish_context: BTreeMap::new(),
    }
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
            fn attachments_are_found_by_volume_and_counted_by_node() {
                let store = $store;
                let both = [("v", "b"), ("v", "a"), ("v-2", "a")].map(|(volume, node)| attachment(volume, node));
                store.commit(&both.clone().map(Change::PutAttachment)).unwrap();
                let nodes = |volume: &str| -> Vec<String> {
                    let attachments = store.attachments_of(&volume.parse().unwrap()).unwrap();
                    attachments.into_iter().map(|attachment| attachment.node).collect()
                };
                assert_eq!(
                    (nodes("v"), nodes("v-2"), nodes("v-3")),
                    (vec!["a".into(), "b".into()], vec!["a".into()], vec![])
                );
                assert_eq!((store.attached_to("a"), store.attached_to("c")), (Ok(2), Ok(0)));
                let gone = Change::RemoveAttachment { volume: "v".parse().unwrap(), node: "a".into() };
                store.commit(&[gone]).unwrap();
                assert_eq!((nodes("v"), store.attached_to("a")), (vec!["b".into()], Ok(1)));
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
