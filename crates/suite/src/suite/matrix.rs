//! Field matrices: a valid request with one of its fields left out, at its limits, or beyond them.
//!
//! They are derived from the descriptor, so that no field of the interface is forgotten. What is the plugin's own (contexts,
//! topologies) and what authenticates is left alone: another value there is the caller's mistake. Paths are only left
//! out: their limits are those of the node, and have scenarios of their own.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use super::bench::{MADE_UP_KEY, TELLING_FLAG};
use crate::history::Request;

/// The general limits (specification line 470).
const LONGEST_STRING: usize = 128;
const LARGEST_MAP: usize = 4096;

/// The limit of node ids (specification line 2812).
const LONGEST_NODE_ID: usize = 256;

/// The limit of all mount flags together (specification line 936).
const MOST_FLAG_BYTES: usize = 4096;

/// Far beyond every limit, and beyond what 16 bits can count.
const FAR: usize = 64 * 1024;

/// Far more elements than anybody sends.
const MANY: usize = 100;

/// What the plugin gives out and gets back, and what authenticates.
const LEFT_ALONE: [&str; 5] =
    ["volume_context", "publish_context", "accessibility_requirements", "accessible_topology", "secrets"];

/// How a field is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It is not set: of a oneof no branch, an enumerator UNKNOWN, a number zero.
    LeftOut,
    /// A string, a map or a list of mount flags of that many bytes, or a list of ids whose first has so many.
    Bytes(usize),
    /// A list of that many elements, all of them like the first one.
    Elements(usize),
    /// A number at one of its edges.
    Number(i64),
    /// An enumerator that no version of the interface has.
    Enumerator(i32),
}

/// A change of one field, which can be made to any request of its RPC.
#[derive(Clone, Debug)]
pub(super) struct Variation {
    /// The way to the field; through a list it leads to the first element.
    pub(super) path: Vec<FieldDescriptor>,
    pub(super) change: Change,
}

/// A request in which one field is changed.
#[derive(Clone, Debug)]
pub(super) struct Varied {
    pub(super) request: Request,
    /// The string that was made for the field, where it holds one now.
    pub(super) made_up: Option<String>,
}

/// All variations of a request, in the order of its fields; those within a message only where the request has it.
pub(super) fn variations(valid: &Request) -> Vec<Variation> {
    let mut found = Vec::new();
    collect(&valid.to_dynamic(), &[], &mut found);
    found
}

fn collect(message: &DynamicMessage, way: &[FieldDescriptor], found: &mut Vec<Variation>) {
    for field in message.descriptor().fields().filter(|field| !LEFT_ALONE.contains(&field.name())) {
        let path: Vec<FieldDescriptor> = way.iter().cloned().chain([field.clone()]).collect();
        let present = message.get_field(&field);
        let left_out = message.has_field(&field).then_some(Change::LeftOut);
        let changes = left_out.into_iter().chain(changes(&field, &present));
        found.extend(changes.map(|change| Variation { path: path.clone(), change }));
        match &*present {
            Value::Message(inner) if message.has_field(&field) => collect(inner, &path, found),
            Value::List(elements) => {
                if let Some(first) = elements.first().and_then(Value::as_message) {
                    collect(first, &path, found);
                }
            }
            _ => {}
        }
    }
}

/// What can be put in the place of a field's value.
fn changes(field: &FieldDescriptor, present: &Value) -> Vec<Change> {
    match (field.kind(), present) {
        _ if is_flags(field) => {
            [TELLING_FLAG.len(), MOST_FLAG_BYTES, MOST_FLAG_BYTES + 1, FAR].map(Change::Bytes).into()
        }
        (_, Value::Map(entries)) => {
            let least = size(entries) + MADE_UP_KEY.len();
            [least, LARGEST_MAP, LARGEST_MAP + 1, FAR].map(Change::Bytes).into()
        }
        (_, Value::List(elements)) => match elements.first() {
            Some(Value::Message(_)) => [1, 2, MANY].map(Change::Elements).into(),
            // Ids: two of the same would be no two objects.
            Some(Value::String(_)) => lengths(LONGEST_STRING),
            _ => Vec::new(),
        },
        (Kind::String, _) => match field.name() {
            path if path.ends_with("_path") => Vec::new(),
            // One of a single byte would be nobody's own.
            "name" => lengths(LONGEST_STRING).split_off(1),
            "node_id" => lengths(LONGEST_NODE_ID),
            _ => lengths(LONGEST_STRING),
        },
        // To leave these out is UNKNOWN and zero.
        (Kind::Enum(_), _) => [99, -1].map(Change::Enumerator).into(),
        (Kind::Int64, _) => [i64::MIN, -1, 1, i64::MAX].map(Change::Number).into(),
        (Kind::Int32, _) => [i32::MIN, -1, 1, i32::MAX].map(|edge| Change::Number(edge.into())).into(),
        _ => Vec::new(),
    }
}

fn lengths(longest: usize) -> Vec<Change> {
    [1, longest, longest + 1, FAR].map(Change::Bytes).into()
}

impl Variation {
    /// The field that is changed.
    pub(super) fn field(&self) -> &str {
        self.path.last().map_or("", FieldDescriptor::name)
    }

    /// Whether the field is that field of the request, or lies in it.
    pub(super) fn is_within(&self, field: &str) -> bool {
        self.path.first().is_some_and(|first| first.name() == field)
    }

    /// Makes the change; `None` where it changes nothing. `text` makes a string of a length, which nobody else uses where it
    /// can be told apart.
    pub(super) fn of(&self, valid: &Request, text: &dyn Fn(usize) -> String) -> Option<Varied> {
        let mut message = valid.to_dynamic();
        let made_up = self.make(&self.path, &mut message, text)?;
        let request = Request::from_dynamic(valid.rpc(), &message).ok()?;
        (request != *valid).then_some(Varied { request, made_up })
    }

    /// Makes the change in the message at which the rest of the way begins; the string that was made for the field.
    fn make(
        &self,
        way: &[FieldDescriptor],
        message: &mut DynamicMessage,
        text: &dyn Fn(usize) -> String,
    ) -> Option<Option<String>> {
        let (field, rest) = way.split_first()?;
        if !rest.is_empty() {
            let inner = match message.get_field_mut(field) {
                Value::List(elements) => elements.first_mut()?,
                inner => inner,
            };
            return self.make(rest, inner.as_message_mut()?, text);
        }
        let mut made_up = None;
        let mut made = |length| Value::String(made_up.insert(text(length)).clone());
        let value = match (self.change, message.get_field(field).into_owned()) {
            (Change::LeftOut, _) => {
                message.clear_field(field);
                return Some(None);
            }
            (Change::Bytes(bytes), _) if is_flags(field) => Value::List(flags(bytes)),
            (Change::Bytes(bytes), Value::String(_)) => made(bytes),
            (Change::Bytes(bytes), Value::Map(entries)) => Value::Map(filled(entries, bytes)),
            (Change::Bytes(bytes), Value::List(mut ids)) => {
                *ids.first_mut()? = made(bytes);
                Value::List(ids)
            }
            (Change::Elements(count), Value::List(elements)) => Value::List(vec![elements.first()?.clone(); count]),
            (Change::Number(number), Value::I64(_)) => Value::I64(number),
            (Change::Number(number), Value::I32(_)) => Value::I32(i32::try_from(number).ok()?),
            (Change::Enumerator(number), Value::EnumNumber(_)) => Value::EnumNumber(number),
            _ => return None,
        };
        message.set_field(field, value);
        Some(made_up)
    }
}

/// Mount flags are the one list of strings that has a limit of its own, and the one that does not hold ids.
fn is_flags(field: &FieldDescriptor) -> bool {
    field.name() == "mount_flags"
}

/// Flags of that many bytes together, none of which is long in itself.
fn flags(bytes: usize) -> Vec<Value> {
    let whole = std::iter::repeat_n(TELLING_FLAG, bytes / TELLING_FLAG.len());
    let rest = &TELLING_FLAG[..bytes % TELLING_FLAG.len()];
    whole.chain(Some(rest).filter(|rest| !rest.is_empty())).map(|flag| Value::String(flag.to_owned())).collect()
}

/// The bytes of all keys and values.
fn size(entries: &HashMap<MapKey, Value>) -> usize {
    let of = |(key, value): (&MapKey, &Value)| key.as_str().map_or(0, str::len) + value.as_str().map_or(0, str::len);
    entries.iter().map(of).sum()
}

/// The map with an entry that nobody knows, which makes it as large as wanted.
fn filled(mut entries: HashMap<MapKey, Value>, bytes: usize) -> HashMap<MapKey, Value> {
    let value = "x".repeat(bytes.saturating_sub(size(&entries) + MADE_UP_KEY.len()));
    entries.insert(MapKey::String(MADE_UP_KEY.to_owned()), Value::String(value));
    entries
}
