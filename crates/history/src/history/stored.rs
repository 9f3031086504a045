//! Requests and replies on disk, read straight into the bytes of their messages: most of the time of judging a long history goes
//! into this.

use std::fmt;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use crate::spec::Rpc;

/// A message on disk: canonical JSON, or hexadecimal bytes where JSON cannot hold it (a timestamp out of range).
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Stored {
    Json(Value),
    Hex(String),
}

/// The messages of a request or a reply on disk.
#[derive(Serialize)]
pub(super) struct StoredCall {
    pub(super) rpc: Rpc,
    pub(super) messages: Vec<Stored>,
}

/// Reads what a [`StoredCall`] became: its RPC, and the bytes of messages of the type that the RPC has.
pub(super) struct Read(pub(super) fn(Rpc) -> MessageDescriptor);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Rpc,
    Messages,
}

impl<'de> DeserializeSeed<'de> for Read {
    type Value = (Rpc, Vec<Vec<u8>>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Read {
    type Value = (Rpc, Vec<Vec<u8>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an RPC and its messages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut known, mut messages): (Option<Rpc>, Option<Vec<Vec<u8>>>) = (None, None);
        // Messages that stand before the RPC, as in JSON whose keys somebody has sorted.
        let mut early: Option<Vec<Stored>> = None;
        while let Some(field) = map.next_key()? {
            match (field, known) {
                (Field::Rpc, None) => known = Some(map.next_value()?),
                (Field::Messages, None) if early.is_none() => early = Some(map.next_value()?),
                (Field::Messages, Some(rpc)) if early.is_none() && messages.is_none() => {
                    messages = Some(map.next_value_seed(Messages((self.0)(rpc)))?);
                }
                (Field::Rpc, Some(_)) => return Err(A::Error::duplicate_field("rpc")),
                (Field::Messages, _) => return Err(A::Error::duplicate_field("messages")),
            }
        }
        let rpc = known.ok_or_else(|| A::Error::missing_field("rpc"))?;
        let messages = match (messages, early) {
            (Some(messages), _) => messages,
            (None, Some(early)) => {
                let restored = early.into_iter().map(|stored| restore((self.0)(rpc), stored));
                restored.collect::<Result<_, _>>().map_err(A::Error::custom)?
            }
            (None, None) => return Err(A::Error::missing_field("messages")),
        };
        Ok((rpc, messages))
    }
}

fn restore(descriptor: MessageDescriptor, stored: Stored) -> Result<Vec<u8>, String> {
    match stored {
        Stored::Json(value) => DynamicMessage::deserialize(descriptor, value)
            .map(|message| message.encode_to_vec())
            .map_err(|error| error.to_string()),
        Stored::Hex(text) => from_hex(&text).ok_or_else(|| "not hexadecimal".to_owned()),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

struct Messages(MessageDescriptor);

impl<'de> DeserializeSeed<'de> for Messages {
    type Value = Vec<Vec<u8>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages {
    type Value = Vec<Vec<u8>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut messages = Vec::new();
        while let Some(message) = list.next_element_seed(One(self.0.clone()))? {
            messages.push(message);
        }
        Ok(messages)
    }
}

/// One message, as a [`Stored`] is written.
struct One(MessageDescriptor);

#[derive(Deserialize)]
#[serde(variant_identifier, rename_all = "lowercase")]
enum Form {
    Json,
    Hex,
}

impl<'de> DeserializeSeed<'de> for One {
    type Value = Vec<u8>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message as json or hex")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let bytes = match map.next_key()? {
            // The descriptor reads a message of its type.
            Some(Form::Json) => map.next_value_seed(self.0)?.encode_to_vec(),
            Some(Form::Hex) => {
                let text: String = map.next_value()?;
                from_hex(&text).ok_or_else(|| A::Error::custom("not hexadecimal"))?
            }
            None => return Err(A::Error::custom("a message is json or hex")),
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(bytes),
            Some(_) => Err(A::Error::custom("a message is json or hex, and nothing beside")),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::history::{Event, Request};

    fn parse(text: &str) -> Result<Request, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_request_is_read_in_whatever_order_its_keys_stand() {
        let written = r#"{"rpc":"DeleteVolume","messages":[{"json":{"volume_id":"v"}}]}"#;
        let sorted = r#"{"messages":[{"json":{"volume_id":"v"}}],"rpc":"DeleteVolume"}"#;
        let bytes = r#"{"rpc":"DeleteVolume","messages":[{"hex":"0a0176"}]}"#;
        let request = parse(written).unwrap();
        assert_eq!(request.volume_id().map(String::as_str), Some("v"));
        assert_eq!((parse(sorted), parse(bytes)), (Ok(request.clone()), Ok(request)));
    }

    #[test]
    fn what_is_no_request_says_why() {
        for (text, why) in [
            (r#"{"rpc":"DeleteVolume"}"#, "missing field `messages`"),
            (r#"{"messages":[]}"#, "missing field `rpc`"),
            (r#"{"rpc":"DeleteVolume","messages":[]}"#, "a request is one message"),
            (r#"{"rpc":"DeleteVolume","messages":[{"json":{"volume":1}}]}"#, "volume"),
            (r#"{"rpc":"DeleteVolume","messages":[{"hex":"0g"}]}"#, "not hexadecimal"),
            (r#"{"rpc":"DeleteVolume","messages":[{"json":{},"hex":""}]}"#, "nothing beside"),
            (r#"{"rpc":"DeleteVolume","messages":[{}]}"#, "json or hex"),
            (r#"{"rpc":"DeleteVolume","rpc":"DeleteVolume","messages":[]}"#, "duplicate field `rpc`"),
            (r#"{"rpc":"Nothing","messages":[]}"#, "Nothing"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn an_event_is_a_moment_and_one_thing_that_happened() {
        let parse = |text: &str| serde_json::from_str::<Event>(text).map_err(|error| error.to_string());
        let event = parse(r#"{"fault":{"disconnected":{"instance":"plugin"}},"at":7}"#).unwrap();
        assert_eq!(event.at, 7);
        for (text, why) in [
            (r#"{"at":7}"#, "nothing happened"),
            (r#"{"scenario":{"name":"s","phase":"begin"}}"#, "missing field `at`"),
            (r#"{"at":7,"when":8}"#, "unknown field `when`"),
            (
                r#"{"at":7,"fault":{"disconnected":{"instance":"a"}},"scenario":{"name":"s","phase":"begin"}}"#,
                "more than one thing",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
