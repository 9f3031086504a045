//! What users see, as reviewed snapshots: the certificate of a short history with a lying driver in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;

use csi_certify::{
    csi::v1::{self, controller_service_capability as controller, plugin_capability as plugin},
    history::{FORMAT, Header, History, Recorder, Reply, Request},
    oracle::{Verdict, judge},
    report::{Certificate, Circumstances, Excerpts, Leftover, html, junit, terminal},
};

/// A driver that gives a new volume for each repeat of a CreateVolume, with escape sequences and HTML in its words.
fn history() -> History {
    let header = Header { format: FORMAT, started: "2026-01-02T03:04:05Z".into(), seed: 7, ..Header::default() };
    let recorder = Recorder::new(header, None);
    let call = |request: Request, reply: Reply| {
        let call = recorder.call("plugin", "", "create_volume::repeat_is_idempotent", &request);
        recorder.reply(call, reply);
    };
    call(
        v1::GetPluginInfoRequest {}.into(),
        v1::GetPluginInfoResponse {
            name: "liar.example.com".into(),
            vendor_version: "1.0 \u{1b}[31m<script>alert(1)</script>".into(),
            manifest: BTreeMap::new(),
        }
        .into(),
    );
    let service = plugin::Service { r#type: plugin::service::Type::ControllerService.into() };
    call(
        v1::GetPluginCapabilitiesRequest {}.into(),
        v1::GetPluginCapabilitiesResponse {
            capabilities: vec![v1::PluginCapability { r#type: Some(plugin::Type::Service(service)) }],
        }
        .into(),
    );
    let rpc = controller::Rpc { r#type: controller::rpc::Type::CreateDeleteVolume.into() };
    call(
        v1::ControllerGetCapabilitiesRequest {}.into(),
        v1::ControllerGetCapabilitiesResponse {
            capabilities: vec![v1::ControllerServiceCapability { r#type: Some(controller::Type::Rpc(rpc)) }],
        }
        .into(),
    );
    let create = v1::CreateVolumeRequest {
        name: "volume".into(),
        capacity_range: Some(v1::CapacityRange { required_bytes: 1024, limit_bytes: 0 }),
        volume_capabilities: vec![v1::VolumeCapability {
            access_mode: Some(v1::volume_capability::AccessMode { mode: 1 }),
            access_type: Some(v1::volume_capability::AccessType::Mount(Default::default())),
        }],
        secrets: BTreeMap::from([("password".into(), "never-to-be-seen".into())]),
        ..Default::default()
    };
    for id in ["first", "second"] {
        let volume = v1::Volume { volume_id: id.into(), capacity_bytes: 1024, ..Default::default() };
        call(create.clone().into(), v1::CreateVolumeResponse { volume: Some(volume) }.into());
    }
    let delete = v1::DeleteVolumeRequest { volume_id: "second".into(), ..Default::default() };
    let call = recorder.call("plugin", "", "delete_volume::deleted_volume", &delete.into());
    recorder.status(call, 13, "\u{1b}]0;pwned\u{7} <b>no</b> never-to-be-seen", 1);
    recorder.finish().0
}

fn certificate(history: &History, circumstances: Circumstances) -> Certificate {
    let judgement = judge(history);
    let excerpts = Excerpts::of(history, &judgement, &circumstances.duties);
    let mut certificate = Certificate::new(&history.header, history.duration(), &judgement, &excerpts, circumstances);
    // What differs from run to run and from version to version.
    certificate.duration_ms = 1234;
    certificate.tool.version = "0.0.0";
    certificate.tool.commit = "";
    certificate
}

fn circumstances() -> Circumstances {
    Circumstances {
        leftovers: vec![Leftover { rpc: "DeleteVolume".into(), arguments: "volume_id=first".into() }],
        replay: "csi-certify run --endpoint unix:///csi.sock --filter {scenario}".into(),
        ..Circumstances::default()
    }
}

fn with_golden(assertions: impl FnOnce()) {
    insta::with_settings!({ snapshot_path => "../golden/report", prepend_module_to_snapshot => false }, { assertions() });
}

#[test]
fn the_terminal_shows_what_was_broken_first_and_obeys_no_escape_sequence() {
    let text = anstream::adapter::strip_str(&terminal(&certificate(&history(), circumstances()))).to_string();
    assert!(!text.contains('\u{1b}') && !text.contains("never-to-be-seen"), "{text}");
    with_golden(|| insta::assert_snapshot!("terminal", text));
}

#[test]
fn the_json_certificate_holds_what_scripts_rely_on() {
    let mut certificate = certificate(&history(), circumstances());
    certificate.rules.retain(|rule| rule.id.as_str().starts_with("CTRL-CREATE-00"));
    let json = certificate.to_json().unwrap();
    assert!(!json.contains("never-to-be-seen"), "{json}");
    with_golden(|| insta::assert_snapshot!("certificate", json));
}

#[test]
fn the_html_page_runs_nothing_that_a_driver_says() {
    let page = html(&certificate(&history(), circumstances()));
    assert!(!page.contains("<script") && !page.contains("<b>no</b>"), "{page}");
    let findings = page.split("<h2>Rules</h2>").next().unwrap().to_owned();
    with_golden(|| insta::assert_snapshot!("html", findings));
}

#[test]
fn junit_has_a_case_for_each_rule() {
    let mut certificate = certificate(&history(), circumstances());
    certificate.rules.retain(|rule| rule.id.as_str().starts_with("CTRL-CREATE-00"));
    let xml = junit(&certificate).unwrap();
    with_golden(|| insta::assert_snapshot!("junit", xml));
}

#[test]
fn a_known_failure_passes_and_one_that_is_mended_fails_the_run() {
    let known = |pattern: &str| (pattern.to_owned(), "waits for release 2".to_owned());
    let all = ["CTRL-CREATE-002", "GEN-OPT-004", "GEN-ERR-0*"].map(known).to_vec();
    let accepted = Circumstances { accepted: all.clone(), ..circumstances() };
    assert_eq!(certificate(&history(), accepted).verdict, Verdict::ConformantWithWarnings);
    assert_eq!(certificate(&history(), circumstances()).verdict, Verdict::NonConformant);
    let mut more = all;
    more.push(known("NODE-INFO-006"));
    let mended = Circumstances { accepted: more, ..circumstances() };
    let certificate = certificate(&history(), mended);
    assert_eq!(certificate.verdict, Verdict::NonConformant);
    assert_eq!(certificate.mended().count(), 1);
}

#[test]
fn a_run_cut_short_is_incomplete_unless_it_found_a_violation() {
    let cut = || Circumstances { incomplete: Some("interrupted".into()), ..circumstances() };
    assert_eq!(certificate(&history(), cut()).verdict, Verdict::NonConformant);
    let mut short = history();
    short.events.truncate(6);
    assert_eq!(certificate(&short, cut()).verdict, Verdict::Incomplete);
}
