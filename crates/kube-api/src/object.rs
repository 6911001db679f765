//! What every custom resource of the group has in common: the type tags, `kube::Resource`, and a constructor.
//!
//! The kinds are written by hand and not with kube's derive, because three of the five do not have the shape that it
//! wants (one `spec`): a policy has `spec` and `specs`, an endpoint has a status alone, an identity has its labels at
//! the top.

use std::fmt;
use std::marker::PhantomData;

use kube::Resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The API group of all kinds here.
pub const GROUP: &str = "cilium.io";
/// The version of all kinds here.
pub const VERSION: &str = "v2";

/// The `apiVersion` of an object: written as `cilium.io/v2`, accepted and forgotten when read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApiVersion;

impl Serialize for ApiVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{GROUP}/{VERSION}"))
    }
}

impl<'de> Deserialize<'de> for ApiVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for ApiVersion {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "apiVersion".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// The `kind` of an object: written as the name of `K`, accepted and forgotten when read.
pub struct Kind<K>(PhantomData<fn() -> K>);

impl<K> Clone for Kind<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Kind<K> {}
impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self(PhantomData)
    }
}
impl<K> PartialEq for Kind<K> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<K: Resource<DynamicType = ()>> fmt::Debug for Kind<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&K::kind(&()))
    }
}

impl<K: Resource<DynamicType = ()>> Serialize for Kind<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&K::kind(&()))
    }
}

impl<'de, K> Deserialize<'de> for Kind<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self::default())
    }
}

impl<K> JsonSchema for Kind<K> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "kind".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Schema of `metadata`: the API server knows its fields.
pub(crate) fn metadata_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Implements `kube::Resource` for a kind of the group and gives it `KIND` and `PLURAL`.
macro_rules! custom_resource {
    ($kind:ident, $plural:literal, $scope:ty) => {
        impl $kind {
            /// Name of the kind.
            pub const KIND: &'static str = stringify!($kind);
            /// Name of the resource in request paths.
            pub const PLURAL: &'static str = $plural;
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                Self::KIND.into()
            }
            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                crate::object::GROUP.into()
            }
            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                crate::object::VERSION.into()
            }
            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                Self::PLURAL.into()
            }
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
pub(crate) use custom_resource;
