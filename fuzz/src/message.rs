//! Any message of the interface, every field of it, from choices; secrets hold a canary.

use csi_certify_history::history::descriptors;
use csi_certify_suite::explore::Source;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// What every secret holds and nothing else does.
pub const CANARY: &str = "canary-in-a-cage";

/// Strings that mean something to the driver, and some that nobody expects.
const TEXTS: [&str; 16] = [
    "vol-000000",
    "snap-000001",
    "node-a",
    "node-b",
    "/t/v0/t0",
    "/t/v0/staging",
    "p-v0",
    "directoryMode",
    "0755",
    "ext4",
    "ro",
    "1000",
    "../..",
    "/a/../b",
    "\u{1}",
    "日本語",
];

/// A message of this type; deeper messages are left out sooner or later.
pub fn message(descriptor: MessageDescriptor, source: &mut dyn Source, depth: u8) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Most requests have most fields, or few get past the first check.
        if source.below(8) == 7 || depth == 0 {
            continue;
        }
        if field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|other| message.has_field(&other)))
            && source.below(2) == 0
        {
            continue;
        }
        let value = value(&field, source, depth);
        message.set_field(&field, value);
    }
    message
}

fn value(field: &FieldDescriptor, source: &mut dyn Source, depth: u8) -> Value {
    let secret = is_secret(field);
    if field.is_map() {
        let count = source.below(3) + usize::from(secret);
        let entries = (0..count).map(|number| {
            let value = if secret { format!("{CANARY}-{number}") } else { text(source) };
            (MapKey::String(if secret { format!("key-{number}") } else { text(source) }), Value::String(value))
        });
        return Value::Map(entries.collect());
    }
    if field.is_list() {
        let count = 1 + source.below(3);
        return Value::List((0..count).map(|_| single(field, source, depth)).collect());
    }
    match field.kind() {
        Kind::String if secret => Value::String(CANARY.to_owned()),
        _ => single(field, source, depth),
    }
}

fn single(field: &FieldDescriptor, source: &mut dyn Source, depth: u8) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(source.below(2) == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number(source) as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number(source)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number(source) as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number(source).unsigned_abs()),
        Kind::Double => Value::F64(number(source) as f64),
        Kind::Float => Value::F32(number(source) as f32),
        Kind::Bytes => Value::Bytes(text(source).into_bytes().into()),
        Kind::String => Value::String(text(source)),
        // One more than there are: a value of a later version.
        Kind::Enum(values) => Value::EnumNumber(source.below(values.values().len() + 2) as i32),
        Kind::Message(descriptor) => Value::Message(message(descriptor, source, depth - 1)),
    }
}

fn number(source: &mut dyn Source) -> i64 {
    match source.below(8) {
        0 => 0,
        1 => -1,
        2 => i64::MAX,
        3 => i64::MIN,
        4 => 1 << 20,
        5 => 1 << source.below(63),
        _ => source.below(1 << 16) as i64,
    }
}

fn text(source: &mut dyn Source) -> String {
    match source.below(20) {
        at if at < TEXTS.len() => TEXTS[at].to_owned(),
        16 => "x".repeat(source.below(300)),
        17 => "/".to_owned() + &"y/".repeat(source.below(2200)),
        18 => String::new(),
        _ => (0..source.below(12)).filter_map(|_| char::from_u32(source.below(0x300) as u32)).collect(),
    }
}

/// Whether the field is marked as one that holds secrets (specification line 297).
fn is_secret(field: &FieldDescriptor) -> bool {
    let Some(mark) = descriptors().get_extension_by_name("csi.v1.csi_secret") else { return false };
    let options = field.options();
    options.has_extension(&mark) && options.get_extension(&mark).as_bool().unwrap_or(true)
}
