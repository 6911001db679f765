//! Reading objects so that a bad one spoils only itself.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::change::{Invalid, Key};

/// An object as read, without `managedFields`; or what is left of one that could not be read.
#[derive(Clone, Debug)]
pub(crate) enum Guarded<K> {
    Read(K),
    Unread { metadata: Box<ObjectMeta>, error: String },
}

impl<'de, K: DeserializeOwned + Resource> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Bare {
            metadata: ObjectMeta,
        }
        // Raw text instead of a tree of values: it is read twice only when the first reading fails.
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let mut guarded = match serde_json::from_str::<K>(raw.get()) {
            Ok(object) => Self::Read(object),
            Err(error) => {
                let bare: Bare = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
                Self::Unread { metadata: Box::new(bare.metadata), error: error.to_string() }
            }
        };
        guarded.meta_mut().managed_fields = None;
        Ok(guarded)
    }
}

impl<K: Resource> Guarded<K> {
    /// The object, or why there is none.
    pub(crate) fn into_result(self) -> Result<K, Invalid> {
        match self {
            Self::Read(object) => Ok(object),
            Self::Unread { metadata, error } => Err(Invalid {
                key: Key::new(metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default()),
                uid: metadata.uid.unwrap_or_default(),
                error,
            }),
        }
    }

    /// Version of the object, where the server gave one.
    pub(crate) fn version(&self) -> Option<String> {
        self.resource_version().filter(|version| !version.is_empty())
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }
    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }
    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }
    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Read(object) => object.meta(),
            Self::Unread { metadata, .. } => metadata,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Read(object) => object.meta_mut(),
            Self::Unread { metadata, .. } => metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use kube::core::ObjectList;

    use super::*;

    #[test]
    fn a_bad_object_spoils_only_itself() {
        let text = r#"{"metadata":{"resourceVersion":"7"},"items":[
            {"metadata":{"name":"a","managedFields":[{"manager":"m"}]}},
            {"metadata":{"name":"b","uid":"u"},"spec":{"podCIDRs":"no list"}}]}"#;
        let list: ObjectList<Guarded<Node>> = serde_json::from_str(text).unwrap();
        let mut items = list.items.into_iter().map(Guarded::into_result);
        let good = items.next().unwrap().unwrap();
        assert_eq!(good.metadata.managed_fields, None);
        let bad = items.next().unwrap().unwrap_err();
        assert_eq!((bad.key, bad.uid.as_str()), (Key::new("", "b"), "u"));
        assert!(bad.error.contains("no list"), "{}", bad.error);
    }
}
