//! Keeps secrets out of everything that is written.

use std::collections::BTreeMap;

#[cfg(test)]
use prost_reflect::ReflectMessage;
use prost_reflect::{DynamicMessage, ExtensionDescriptor, Value};

use super::{Reply, Request, message::descriptors};

/// Stands where a secret was.
pub const REDACTED: &str = "***redacted***";

/// Stands where a secret was that had been altered, so that it authenticates nobody.
pub const ALTERED: &str = "***redacted: altered***";

/// Stands where a secret of somebody was who may do nothing.
pub const DENIED: &str = "***redacted: of somebody without permission***";

/// Secrets shorter than this are too common to be searched for in texts.
const SEARCHABLE: usize = 8;

/// Knows the secrets of a run and takes them out of requests, replies and texts.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    /// Secret values by their key; only those that are long enough to be told from chance.
    known: BTreeMap<String, String>,
    /// Secrets that are wrong on purpose, and what is written in their place.
    wrong: BTreeMap<String, &'static str>,
}

impl Redactor {
    /// Remembers secrets, so that they are found in what a driver says.
    pub fn learn<'a>(&mut self, secrets: impl IntoIterator<Item = (&'a String, &'a String)>) {
        for (key, value) in secrets {
            if value.len() >= SEARCHABLE {
                self.known.insert(key.clone(), value.clone());
            }
        }
    }

    /// Remembers secrets that are wrong on purpose; [`ALTERED`] or [`DENIED`] stands in their place.
    pub fn mark<'a>(&mut self, secrets: impl IntoIterator<Item = (&'a String, &'a String)>, written: &'static str) {
        self.wrong.extend(secrets.into_iter().map(|(_, value)| (value.clone(), written)));
    }

    /// The request as it may be written: each field that the interface marks `csi_secret` keeps its keys only.
    ///
    /// The secrets in it are learnt on the way.
    pub fn request(&mut self, request: &Request) -> Request {
        let mut message = request.to_dynamic();
        let mut found = BTreeMap::new();
        if !self.redact_fields(&mut message, &mut found) {
            return request.clone();
        }
        self.learn(&found);
        // What was taken apart a moment ago goes together again.
        Request::from_dynamic(request.rpc(), &message).unwrap_or_else(|_| Request::empty(request.rpc()))
    }

    /// The text without secrets, and the keys of those that it held.
    pub fn text(&self, text: &str) -> (String, Vec<String>) {
        let mut clean = text.to_owned();
        let mut leaked = Vec::new();
        for (key, value) in &self.known {
            if clean.contains(value.as_str()) {
                clean = clean.replace(value.as_str(), REDACTED);
                leaked.push(key.clone());
            }
        }
        (clean, leaked)
    }

    /// The reply without secrets, and the keys of those that it held.
    pub fn reply(&self, reply: Reply) -> (Reply, Vec<String>) {
        let holds = |bytes: &[u8], value: &str| bytes.windows(value.len()).any(|window| window == value.as_bytes());
        let encoded = reply.encode();
        let leaked: Vec<String> = self
            .known
            .iter()
            .filter(|(_, value)| encoded.iter().any(|bytes| holds(bytes, value)))
            .map(|(key, _)| key.clone())
            .collect();
        if leaked.is_empty() {
            return (reply, leaked);
        }
        let cleaned: Vec<Vec<u8>> = reply
            .to_dynamic()
            .into_iter()
            .map(|mut message| {
                self.clean_strings(&mut message);
                prost::Message::encode_to_vec(&message)
            })
            .collect();
        (Reply::decode(reply.rpc(), &cleaned).unwrap_or(reply), leaked)
    }

    /// Whether the bytes hold secrets; their keys.
    pub fn search(&self, bytes: &[u8]) -> Vec<String> {
        let holds = |value: &str| bytes.windows(value.len()).any(|window| window == value.as_bytes());
        self.known.iter().filter(|(_, value)| holds(value)).map(|(key, _)| key.clone()).collect()
    }

    /// Empties the values of every secret field; `true` when there was one.
    fn redact_fields(&self, message: &mut DynamicMessage, found: &mut BTreeMap<String, String>) -> bool {
        let Some(secret) = secret_option() else { return false };
        let mut any = false;
        for (field, value) in message.fields_mut() {
            let marked = matches!(&*field.options().get_extension(&secret), Value::Bool(true));
            match value {
                Value::Map(entries) if marked => {
                    for (key, value) in entries.iter_mut() {
                        let mut written = REDACTED;
                        if let (Some(key), Some(value)) = (key.as_str(), value.as_str()) {
                            written = self.wrong.get(value).copied().unwrap_or(REDACTED);
                            found.insert(key.to_owned(), value.to_owned());
                        }
                        *value = Value::String(written.to_owned());
                        any = true;
                    }
                }
                Value::String(text) if marked => {
                    *text = REDACTED.to_owned();
                    any = true;
                }
                Value::Message(inner) => any |= self.redact_fields(inner, found),
                Value::List(values) => {
                    for value in values {
                        if let Value::Message(inner) = value {
                            any |= self.redact_fields(inner, found);
                        }
                    }
                }
                _ => {}
            }
        }
        any
    }

    fn clean_strings(&self, message: &mut DynamicMessage) {
        for (_, value) in message.fields_mut() {
            self.clean_value(value);
        }
    }

    fn clean_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text).0,
            Value::Message(message) => self.clean_strings(message),
            Value::List(values) => values.iter_mut().for_each(|value| self.clean_value(value)),
            Value::Map(entries) => entries.values_mut().for_each(|value| self.clean_value(value)),
            _ => {}
        }
    }
}

fn secret_option() -> Option<ExtensionDescriptor> {
    descriptors().get_extension_by_name("csi.v1.csi_secret")
}

/// Whether a message has a field that the interface marks as secret.
#[cfg(test)]
fn has_secret_field(message: &DynamicMessage) -> bool {
    secret_option().is_some_and(|secret| {
        message.descriptor().fields().any(|field| matches!(&*field.options().get_extension(&secret), Value::Bool(true)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{csi::v1, spec::Rpc};

    fn secrets() -> BTreeMap<String, String> {
        BTreeMap::from([("password".to_owned(), "correct-horse-battery".to_owned())])
    }

    #[test]
    fn no_secret_of_any_rpc_reaches_the_history() {
        let mut with_secrets = 0;
        for &rpc in Rpc::ALL {
            let mut message = Request::empty(rpc).to_dynamic();
            if !has_secret_field(&message) {
                continue;
            }
            with_secrets += 1;
            let value = Value::Map(
                secrets().into_iter().map(|(k, v)| (prost_reflect::MapKey::String(k), Value::String(v))).collect(),
            );
            message.set_field_by_name("secrets", value);
            let request = Request::from_dynamic(rpc, &message).unwrap();
            let text = serde_json::to_string(&Redactor::default().request(&request)).unwrap();
            assert!(text.contains("password") && !text.contains("correct-horse"), "{text}");
        }
        assert_eq!(with_secrets, 19);
    }

    #[test]
    fn what_is_wrong_with_a_secret_on_purpose_is_written_in_its_place() {
        let mut redactor = Redactor::default();
        redactor.mark(&secrets(), ALTERED);
        let request = v1::DeleteVolumeRequest { volume_id: "v".into(), secrets: secrets() };
        let Request::DeleteVolume(written) = redactor.request(&request.into()) else { panic!() };
        assert_eq!(written.secrets["password"], ALTERED);
        let other = BTreeMap::from([("password".to_owned(), "another-one".to_owned())]);
        let request = v1::DeleteVolumeRequest { volume_id: "v".into(), secrets: other };
        let Request::DeleteVolume(written) = redactor.request(&request.into()) else { panic!() };
        assert_eq!(written.secrets["password"], REDACTED);
    }

    #[test]
    fn a_secret_in_a_reply_or_message_is_taken_out_and_named() {
        let mut redactor = Redactor::default();
        redactor.learn(&secrets());
        let (text, leaked) = redactor.text("login with correct-horse-battery failed");
        assert_eq!((text.as_str(), leaked), ("login with ***redacted*** failed", vec!["password".to_owned()]));
        let volume = v1::Volume {
            volume_id: "v".into(),
            volume_context: BTreeMap::from([("key".into(), "is correct-horse-battery".into())]),
            ..Default::default()
        };
        let (reply, leaked) = redactor.reply(v1::CreateVolumeResponse { volume: Some(volume) }.into());
        assert_eq!(leaked, ["password"]);
        assert!(!format!("{reply:?}").contains("correct-horse"));
        let (_, leaked) = redactor.reply(v1::ProbeResponse::default().into());
        assert!(leaked.is_empty());
    }
}
