//! Events: what components tell about objects.

use super::Metadata;

/// Something that a component tells about an object.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Event {
    /// Name and the like.
    pub metadata: Metadata,
    /// The object, as people call it: its kind and its name.
    pub regarding: String,
    /// Why, in one word.
    pub reason: String,
    /// What, in words.
    pub message: String,
}
