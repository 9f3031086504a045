//! Field matrices: a valid request with one of its fields left out, at its limits, or beyond them.
//!
//! They are derived from the descriptor, so that no field of the interface is forgotten. What is the plugin's own (contexts,
//! topologies) and what authenticates is left alone: another value there is the caller's mistake. Paths are only left out: their limits are
//! those of the node, and have scenarios of their own.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage as _, Value};

use super::bench::MADE_UP_KEY;
use crate::history::Request;

/// The general limits of the specification, lines 470 and 471.
const LONGEST_STRING: usize = 128;
const LARGEST_MAP: usize = 4096;

/// The limit of node ids, line 2812.
const LONGEST_NODE_ID: usize = 256;

/// Far beyond every limit.
const FAR: usize = 64 * 1024;

/// What the plugin gives out and gets back, and what authenticates.
const LEFT_ALONE: [&str; 5] =
    ["volume_context", "publish_context", "accessibility_requirements", "accessible_topology", "secrets"];

/// How a field is changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// It is not set.
    LeftOut,
    /// A string or a map of that many bytes.
    Bytes(usize),
    /// A list of that many elements.
    Elements(usize),
    /// A number at one of its edges.
    Number(i64),
    /// An enumerator that means nothing, or is of a later version.
    Enumerator(i32),
}

/// One field of a request changed.
#[derive(Clone, Debug)]
pub(super) struct Variation {
    /// The way to the field, `volume_capability.access_mode.mode`.
    pub(super) field: String,
    /// What was done to it.
    pub(super) change: Change,
    /// The request.
    pub(super) request: Request,
    /// The string that was put in place of another one, where that is what was done.
    pub(super) text: Option<String>,
}

/// A changed message, and what was changed in it.
struct Changed {
    field: String,
    change: Change,
    text: Option<String>,
    message: DynamicMessage,
}

/// All variations of a request. `text` makes a string of a length, which nobody else uses where it can be told apart.
pub(super) fn variations(valid: &Request, text: &dyn Fn(usize) -> String) -> Vec<Variation> {
    let changed = of_message(&valid.to_dynamic(), text).into_iter();
    let variation = |Changed { field, change, text, message }| {
        // Whatever the descriptor allows decodes again.
        let request = Request::from_dynamic(valid.rpc(), &message).ok()?;
        (request != *valid).then_some(Variation { field, change, request, text })
    };
    changed.filter_map(variation).collect()
}

fn of_message(message: &DynamicMessage, text: &dyn Fn(usize) -> String) -> Vec<Changed> {
    let fields = message.descriptor().fields().filter(|field| !LEFT_ALONE.contains(&field.name())).collect::<Vec<_>>();
    let mut found = Vec::new();
    for field in &fields {
        if message.has_field(field) {
            let mut cleared = message.clone();
            cleared.clear_field(field);
            // To clear the branch that is set is to leave out the whole oneof.
            let name =
                field.containing_oneof().map_or_else(|| field.name().to_owned(), |oneof| oneof.name().to_owned());
            found.push(Changed { field: name, change: Change::LeftOut, text: None, message: cleared });
        }
        for (change, value) in of_field(message, field, text) {
            let made = match &value {
                Value::String(made) => Some(made.clone()),
                _ => None,
            };
            let mut changed = message.clone();
            changed.set_field(field, value);
            found.push(Changed { field: field.name().to_owned(), change, text: made, message: changed });
        }
        found.extend(within(message, field, text));
    }
    found
}

/// What can be put in the place of a field's value.
fn of_field(message: &DynamicMessage, field: &FieldDescriptor, text: &dyn Fn(usize) -> String) -> Vec<(Change, Value)> {
    let number = |numbers: &[i64]| -> Vec<Change> { numbers.iter().copied().map(Change::Number).collect() };
    match (field.kind(), message.get_field(field).into_owned()) {
        (_, Value::Map(entries)) => [0, LARGEST_MAP, LARGEST_MAP + 1, FAR]
            .into_iter()
            .map(|bytes| {
                let mut entries = entries.clone();
                let length = |value: &Value| value.as_str().map_or(0, str::len);
                let taken: usize =
                    entries.iter().map(|(key, value)| key.as_str().map_or(0, str::len) + length(value)).sum();
                let value = "x".repeat(bytes.saturating_sub(taken + MADE_UP_KEY.len()));
                entries.insert(MapKey::String(MADE_UP_KEY.to_owned()), Value::String(value));
                (Change::Bytes(bytes), Value::Map(entries))
            })
            .collect(),
        (_, Value::List(elements)) => match elements.first() {
            // Two of the same id are no two objects.
            Some(first @ Value::Message(_)) => [1, 2, 100]
                .into_iter()
                .map(|count| (Change::Elements(count), Value::List(vec![first.clone(); count])))
                .collect(),
            _ => Vec::new(),
        },
        (Kind::String, _) if field.name().ends_with("_path") => Vec::new(),
        (Kind::String, _) => {
            let longest = if field.name() == "node_id" { LONGEST_NODE_ID } else { LONGEST_STRING };
            // A name of one byte would be nobody's.
            let lengths = [1, longest, longest + 1, FAR].into_iter().skip(usize::from(field.name() == "name"));
            lengths.map(|length| (Change::Bytes(length), Value::String(text(length)))).collect()
        }
        (Kind::Enum(_), _) => {
            [0, 99, -1].into_iter().map(|number| (Change::Enumerator(number), Value::EnumNumber(number))).collect()
        }
        (Kind::Int64, _) => edges(number(&[-1, 0, 1, i64::MAX, i64::MIN]), Value::I64),
        (Kind::Int32, _) => {
            let narrow = |number| Value::I32(i32::try_from(number).unwrap_or(i32::MAX));
            edges(number(&[-1, 0, 1, i64::from(i32::MAX), i64::from(i32::MIN)]), narrow)
        }
        _ => Vec::new(),
    }
}

fn edges(changes: Vec<Change>, value: impl Fn(i64) -> Value) -> Vec<(Change, Value)> {
    let of = |change| match change {
        Change::Number(number) => Some((change, value(number))),
        _ => None,
    };
    changes.into_iter().filter_map(of).collect()
}

/// The variations of the message in a field, or of the first one in a list.
fn within(message: &DynamicMessage, field: &FieldDescriptor, text: &dyn Fn(usize) -> String) -> Vec<Changed> {
    let (inner, rest) = match message.get_field(field).into_owned() {
        Value::Message(inner) if message.has_field(field) => (inner, None),
        Value::List(mut elements) if !elements.is_empty() => match elements.remove(0) {
            Value::Message(inner) => (inner, Some(elements)),
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let outer = |Changed { field: path, change, text, message: inner }| {
        let value = match &rest {
            None => Value::Message(inner),
            Some(rest) => Value::List(std::iter::once(Value::Message(inner)).chain(rest.iter().cloned()).collect()),
        };
        let mut changed = message.clone();
        changed.set_field(field, value);
        Changed { field: format!("{}.{path}", field.name()), change, text, message: changed }
    };
    of_message(&inner, text).into_iter().map(outer).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::spec::{Binds, Rpc, RuleId};

    /// A message in which everything is set, oneofs to their first branch.
    fn full(message: &mut DynamicMessage) {
        for field in message.descriptor().fields().collect::<Vec<_>>() {
            if field.containing_oneof().is_some_and(|oneof| oneof.fields().any(|branch| message.has_field(&branch))) {
                continue;
            }
            let value = match field.kind() {
                _ if field.is_map() => {
                    Value::Map([(MapKey::String("key".into()), Value::String("value".into()))].into())
                }
                Kind::Message(of) => {
                    let mut inner = DynamicMessage::new(of);
                    full(&mut inner);
                    Value::Message(inner)
                }
                Kind::String => Value::String("some".into()),
                Kind::Int64 => Value::I64(7),
                Kind::Int32 => Value::I32(7),
                Kind::Bool => Value::Bool(true),
                Kind::Enum(_) => Value::EnumNumber(1),
                other => panic!("{other:?}"),
            };
            message.set_field(&field, if field.is_list() { Value::List(vec![value]) } else { value });
        }
    }

    fn matrix(rpc: Rpc) -> Vec<Variation> {
        let mut message = Request::empty(rpc).to_dynamic();
        full(&mut message);
        variations(&Request::from_dynamic(rpc, &message).unwrap(), &|length| "y".repeat(length))
    }

    fn left_out(rpc: Rpc) -> BTreeSet<String> {
        matrix(rpc).into_iter().filter(|it| it.change == Change::LeftOut).map(|it| it.field).collect()
    }

    /// The fields that the catalogue calls required, of requests, by the last part of their name.
    fn required() -> Vec<(RuleId, Rpc, String)> {
        let of = |id: RuleId| {
            let rule = id.rule();
            let is_required = rule.code == "INVALID_ARGUMENT"
                && rule.binds == Binds::Both
                && rule.text.to_lowercase().contains(" is required");
            let field = rule.text.split(' ').next()?;
            let is_field = field.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
            (is_required && is_field).then(|| Some((id, rule.rpc()?, field.to_owned()))).flatten()
        };
        RuleId::all().filter_map(of).collect()
    }

    #[test]
    fn each_field_that_the_catalogue_requires_is_left_out_alone() {
        let required = required();
        assert!(required.len() >= 44, "only {}", required.len());
        for (id, rpc, field) in required {
            // Of a snapshot source or a volume source there is one at a time.
            if rpc == Rpc::CreateVolume && matches!(field.as_str(), "volume_id" | "snapshot_id") {
                continue;
            }
            let left_out = left_out(rpc);
            assert!(
                left_out.iter().any(|path| path.rsplit('.').next() == Some(&field)),
                "{id}: {field} of {rpc} is never left out, only {left_out:?}"
            );
        }
    }

    #[test]
    fn each_field_of_the_interface_is_in_the_matrix_or_left_alone_for_a_reason() {
        for &rpc in Rpc::ALL {
            let varied: BTreeSet<String> = matrix(rpc).iter().map(|it| it.field.clone()).collect();
            for field in Request::descriptor(rpc).fields().filter(|field| !LEFT_ALONE.contains(&field.name())) {
                assert!(varied.contains(field.name()), "{} of {rpc}: {varied:?}", field.name());
            }
        }
    }

    #[test]
    fn strings_maps_lists_numbers_and_enumerators_are_taken_to_their_edges() {
        let matrix = matrix(Rpc::CreateVolume);
        let has = |field: &str, change: Change| matrix.iter().any(|it| it.field == field && it.change == change);
        for length in [128, 129, FAR] {
            assert!(has("name", Change::Bytes(length)), "{length}");
        }
        assert!(!has("name", Change::Bytes(1)));
        for bytes in [4096, 4097, FAR] {
            assert!(has("parameters", Change::Bytes(bytes)), "{bytes}");
        }
        assert!(has("volume_capabilities", Change::LeftOut) && has("volume_capabilities", Change::Elements(100)));
        assert!(has("volume_capabilities.access_type", Change::LeftOut));
        for number in [0, 99, -1] {
            assert!(has("volume_capabilities.access_mode.mode", Change::Enumerator(number)), "{number}");
        }
        for number in [-1, 1, i64::MAX, i64::MIN] {
            assert!(has("capacity_range.required_bytes", Change::Number(number)), "{number}");
        }
        assert!(has("volume_content_source.type", Change::LeftOut));
        let map = matrix.iter().find(|it| it.field == "parameters" && it.change == Change::Bytes(4096)).unwrap();
        let Request::CreateVolume(request) = &map.request else { panic!() };
        let bytes: usize = request.parameters.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert_eq!(bytes, 4096);
    }
}
