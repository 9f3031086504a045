//! What every RPC has in common: its deadline, its span, its log lines without secrets.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Value};
use tonic::{Request, Response, Status, metadata::MetadataMap};
use tracing::Instrument as _;

use super::Refusal;
use crate::{csi, mountpod::Deadline};

/// An RPC of the driver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rpc {
    /// The service, with its package.
    pub(super) service: &'static str,
    /// The method.
    pub(super) method: &'static str,
    /// How long it may take when the request brings no deadline.
    pub(super) patience: Duration,
}

impl Rpc {
    /// Answers a request: sets its deadline, handles it, logs what came of it.
    pub(super) async fn answer<Q, A, F>(
        self,
        request: Request<Q>,
        handle: impl FnOnce(Q, Deadline) -> F,
    ) -> Result<Response<A>, Status>
    where
        Q: prost::Message,
        F: Future<Output = Result<A, Refusal>>,
    {
        let span = tracing::info_span!("rpc", method = self.method);
        let started = Instant::now();
        let deadline = Deadline::now() + timeout(request.metadata()).map_or(self.patience, |asked| asked.min(LONGEST));
        let request = request.into_inner();
        span.in_scope(|| self.log_request(&request));
        let answer = handle(request, deadline).instrument(span.clone()).await;
        let elapsed_ms = started.elapsed().as_millis();
        span.in_scope(|| match &answer {
            Ok(_) => tracing::info!(code = "OK", elapsed_ms, "answered"),
            Err(refusal) => tracing::warn!(code = ?refusal.code(), elapsed_ms, reason = %refusal, "refused"),
        });
        answer.map(Response::new).map_err(Status::from)
    }

    fn log_request(self, request: &impl prost::Message) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let Some(view) = self.view(request) else { return };
        tracing::info!(objects = %objects(&view), "received");
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Ok(request) = serde_json::to_string(&view)
        {
            tracing::debug!(%request, "request");
        }
    }

    /// The request with every sensitive value replaced.
    fn view(self, request: &impl prost::Message) -> Option<DynamicMessage> {
        let service = POOL.as_ref()?.get_service_by_name(self.service)?;
        let input = service.methods().find(|method| method.name() == self.method)?.input();
        let mut view = DynamicMessage::decode(input, request.encode_to_vec().as_slice()).ok()?;
        redact(&mut view);
        Some(view)
    }
}

/// The ids and paths of a request.
fn objects(view: &DynamicMessage) -> String {
    let mut objects = String::new();
    for (field, value) in view.fields() {
        let is_id = OBJECTS.contains(&field.name());
        if let (true, Some(text)) = (is_id, value.as_str()) {
            let space = if objects.is_empty() { "" } else { " " };
            objects.push_str(&format!("{space}{}={text:?}", field.name()));
        }
    }
    objects
}

fn redact(message: &mut DynamicMessage) {
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        let is_sensitive = is_secret(&field) || SENSITIVE.contains(&field.name());
        redact_value(message.get_field_mut(&field), is_sensitive);
    }
}

fn redact_value(value: &mut Value, is_sensitive: bool) {
    match value {
        Value::String(text) if is_sensitive => *text = STRIPPED.to_owned(),
        Value::Bytes(bytes) if is_sensitive => *bytes = STRIPPED.as_bytes().into(),
        Value::Message(message) => redact(message),
        Value::List(list) => list.iter_mut().for_each(|item| redact_value(item, is_sensitive)),
        Value::Map(map) => map.values_mut().for_each(|item| redact_value(item, is_sensitive)),
        _ => {}
    }
}

/// Whether the field is marked `csi_secret` (specification line 297).
fn is_secret(field: &FieldDescriptor) -> bool {
    let options = field.options();
    SECRET
        .as_ref()
        .is_some_and(|secret| options.has_extension(secret) && options.get_extension(secret).as_bool().unwrap_or(true))
}

/// The client's `grpc-timeout`: up to eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(csi::DESCRIPTOR_SET).ok());
static SECRET: LazyLock<Option<ExtensionDescriptor>> =
    LazyLock::new(|| POOL.as_ref()?.get_extension_by_name("csi.v1.csi_secret"));

const OBJECTS: [&str; 9] = [
    "name",
    "volume_id",
    "snapshot_id",
    "source_volume_id",
    "node_id",
    "staging_target_path",
    "target_path",
    "volume_path",
    "starting_token",
];
/// Not marked as secret, but better kept out of logs (specification lines 934 and 3461).
const SENSITIVE: [&str; 2] = ["mount_flags", "publish_context"];
const STRIPPED: &str = "***stripped***";
/// Nobody waits longer; it also keeps the sum with the present in range.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csi::v1;

    #[test]
    fn no_secret_and_no_mount_flag_is_in_the_view() {
        let rpc = Rpc { service: "csi.v1.Node", method: "NodePublishVolume", patience: Duration::ZERO };
        let mount = v1::volume_capability::MountVolume { mount_flags: vec!["canary-1".into()], ..Default::default() };
        let request = v1::NodePublishVolumeRequest {
            volume_id: "vol-1".into(),
            secrets: [("key".to_owned(), "canary-2".to_owned())].into(),
            publish_context: [("key".to_owned(), "canary-3".to_owned())].into(),
            volume_capability: Some(v1::VolumeCapability {
                access_mode: None,
                access_type: Some(v1::volume_capability::AccessType::Mount(mount)),
            }),
            ..Default::default()
        };
        let view = rpc.view(&request).unwrap();
        let text = serde_json::to_string(&view).unwrap();
        assert!(!text.contains("canary"), "{text}");
        assert!(text.contains(STRIPPED), "{text}");
        assert_eq!(objects(&view), r#"volume_id="vol-1""#);
    }

    #[test]
    fn a_timeout_is_read_in_every_unit_and_junk_is_ignored() {
        let read = |text: &'static str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            timeout(&metadata)
        };
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        for junk in ["", "S", "3", "123456789S", "-1S", "3x"] {
            assert_eq!(read(junk), None, "{junk}");
        }
    }
}
