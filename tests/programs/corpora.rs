//! Every corpus file runs under the plain test runner as well.

use csi_certify::{explore::Bytes, mountpod::protocol::Policy};

use crate::fuzz::{conversation, driver, judged, parsers, pod_records, refcount, rpc_request, wire};

fn each(target: &str, run: impl Fn(&[u8])) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} holds nothing", directory.display());
    for file in files {
        println!("{}", file.display());
        run(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn every_corpus_file_passes() {
    each("pod_records", pod_records::run);
    each("parsers", parsers::run);
    each("judge", judged::run);
    each("rpc_request", rpc_request::run);
    each("wire", wire::run);
    each("conversation", conversation::run);
    each("driver_program", |bytes| {
        let (program, failure) = driver::run_drawn(&Policy::default(), &mut Bytes::new(bytes), 16);
        assert_eq!(failure, None, "{program:#?}");
    });
    each("refcount_program", |bytes| {
        let (program, failure) = refcount::run_drawn(&Policy::default(), &mut Bytes::new(bytes), 16);
        assert_eq!(failure, None, "{program:#?}");
    });
}
