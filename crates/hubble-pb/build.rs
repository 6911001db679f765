//! Generates the messages, services and JSON forms from `proto/`, without `protoc`.

use prost::Message;
use std::error::Error;
use std::path::PathBuf;

/// Where the well-known types are: ours, because their JSON form must be Go's to the letter.
const WELL_KNOWN: (&str, &str) = (".google.protobuf", "crate::wkt");

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = ["flow/flow.proto", "observer/observer.proto", "peer/peer.proto", "relay/relay.proto"];
    let set = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), set.encode_to_vec())?;
    pbjson_build::Builder::new()
        .register_descriptors(&set.encode_to_vec())?
        .preserve_proto_field_names()
        .ignore_unknown_fields()
        .extern_path(WELL_KNOWN.0, WELL_KNOWN.1)
        .build(&[".flow", ".observer", ".peer", ".relay"])?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(WELL_KNOWN.0, WELL_KNOWN.1)
        .compile_fds(set)?;
    Ok(())
}
