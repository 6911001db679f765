//! Field masks: which fields of a flow a client wants.
//!
//! Works on the encoded form by the numbers that the descriptors give to names, so that no field has to be listed here.

use crate::{DESCRIPTORS, flow as pb, wkt};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;

/// A mask that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    /// A path leads nowhere.
    #[error(
        "field mask path {path:?} names no field of a flow: write names as in the flow API, such as source.pod_name"
    )]
    Path {
        /// The path.
        path: String,
    },
    /// The interface or a flow cannot be read back; a bug of this crate.
    #[error("a field mask cannot be applied")]
    Encoding {
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
}

/// Fields to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Fields);

/// Numbers of fields to keep, and what to keep of each: nothing said is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fields(BTreeMap<u32, Option<Fields>>);

impl Mask {
    /// Reads a mask; `None` if it names nothing, which means all.
    pub fn read(mask: &wkt::FieldMask) -> Result<Option<Self>, MaskError> {
        if mask.paths.is_empty() {
            return Ok(None);
        }
        let set = FileDescriptorSet::decode(DESCRIPTORS).map_err(|source| MaskError::Encoding { source })?;
        let mut fields = Fields::default();
        for path in &mask.paths {
            let names: Vec<_> = path.split('.').collect();
            let flow = message(&set, ".flow.Flow");
            flow.and_then(|flow| fields.add(&set, flow, &names))
                .ok_or_else(|| MaskError::Path { path: path.clone() })?;
        }
        Ok(Some(Self(fields)))
    }

    /// The flow with nothing but what the mask names.
    pub fn apply(&self, flow: &pb::Flow) -> Result<pb::Flow, MaskError> {
        let mut kept = Vec::new();
        self.0
            .keep(&flow.encode_to_vec(), &mut kept)
            .and_then(|()| pb::Flow::decode(kept.as_slice()))
            .map_err(|source| MaskError::Encoding { source })
    }
}

impl Fields {
    /// Adds a path; `None` if it leads nowhere.
    fn add(&mut self, set: &FileDescriptorSet, within: &DescriptorProto, path: &[&str]) -> Option<()> {
        let (name, rest) = path.split_first()?;
        let field = within.field.iter().find(|field| field.name() == *name)?;
        let number = u32::try_from(field.number()).ok()?;
        if rest.is_empty() {
            self.0.insert(number, None);
            return Some(());
        }
        if field.r#type() != Type::Message {
            return None;
        }
        let inner = message(set, field.type_name())?;
        match self.0.entry(number).or_insert_with(|| Some(Fields::default())) {
            // All of it is kept already; the path must still lead somewhere.
            None => Fields::default().add(set, inner, rest),
            Some(fields) => fields.add(set, inner, rest),
        }
    }

    /// Copies the fields to keep of an encoded message.
    fn keep(&self, mut message: &[u8], out: &mut Vec<u8>) -> Result<(), prost::DecodeError> {
        while message.has_remaining() {
            let start = message;
            let (number, wire) = decode_key(&mut message)?;
            match (self.0.get(&number), wire) {
                (Some(Some(inner)), WireType::LengthDelimited) => {
                    let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
                    let mut kept = Vec::new();
                    inner.keep(message.get(..length).unwrap_or_default(), &mut kept)?;
                    message = message.get(length..).unwrap_or_default();
                    encode_key(number, wire, out);
                    encode_varint(kept.len() as u64, out);
                    out.put_slice(&kept);
                }
                (kept, _) => {
                    skip_field(wire, number, &mut message, DecodeContext::default())?;
                    if kept.is_some() {
                        out.put_slice(&start[..start.len() - message.len()]);
                    }
                }
            }
        }
        Ok(())
    }
}

/// The message of this full name, such as `.flow.Flow`. No mask goes into a nested one but `Tunnel.Protocol`, an enum.
fn message<'a>(set: &'a FileDescriptorSet, name: &str) -> Option<&'a DescriptorProto> {
    let (package, name) = name.strip_prefix('.')?.rsplit_once('.')?;
    let file = set.file.iter().filter(|file| file.package() == package);
    file.flat_map(|file| &file.message_type).find(|message| message.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> pb::Flow {
        let endpoint = |name: &str| {
            Some(pb::Endpoint {
                id: 7,
                namespace: "shop".into(),
                pod_name: name.into(),
                ..Default::default()
            })
        };
        pb::Flow {
            uuid: "u".into(),
            verdict: 2,
            source: endpoint("web"),
            destination: endpoint("db"),
            source_names: vec!["a".into(), "b".into()],
            is_reply: Some(wkt::BoolValue { value: true }),
            ..Default::default()
        }
    }

    fn mask(paths: &[&str]) -> Result<Option<Mask>, MaskError> {
        Mask::read(&wkt::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
    }

    #[test]
    fn only_what_is_named_stays() {
        let check = |paths: &[&str], json: &str| {
            let masked = mask(paths).unwrap().unwrap().apply(&flow()).unwrap();
            assert_eq!(serde_json::to_string(&masked).unwrap(), json, "{paths:?}");
        };
        check(&["verdict"], r#"{"verdict":"DROPPED"}"#);
        check(&["source.pod_name", "source.ID"], r#"{"source":{"ID":7,"pod_name":"web"}}"#);
        check(&["source.ID", "source"], r#"{"source":{"ID":7,"namespace":"shop","pod_name":"web"}}"#);
        check(&["source", "source.ID"], r#"{"source":{"ID":7,"namespace":"shop","pod_name":"web"}}"#);
        check(&["source_names", "is_reply"], r#"{"source_names":["a","b"],"is_reply":true}"#);
        check(&["l4.TCP.flags.SYN"], "{}");
        assert_eq!(mask(&[]).unwrap(), None);
    }

    #[test]
    fn paths_that_lead_nowhere_are_named() {
        for path in ["", "nothing", "source.nothing", "uuid.x", "source.", "verdict.FORWARDED"] {
            let error = mask(&["uuid", path]).unwrap_err().to_string();
            assert!(error.contains(&format!("{path:?}")), "{error}");
        }
        assert!(mask(&["source", "source.nothing"]).is_err());
    }
}
