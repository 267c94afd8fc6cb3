//! What was ever written on the wire of v1 is understood for ever.
//!
//! `protocol/testdata/v1/` holds payloads as `{schema}-{description}.json`. A file is never
//! changed once it is released; new ones are added. All of them decode; encoded again they are
//! the same JSON, or, for those "from a later version", the part of it that this version knows.

use std::fs;

use pvewatch_protocol::{
    AckMessage, AlertMessage, Checkpoint, CollectorPresence, Event, NodePresence, Notice, Sample,
    codec, schema,
};
use pvewatch_tests::places::{checkout, files_below};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Marks payloads with members that this version does not keep.
const LATER: &str = "from-a-later-version";

/// A frozen payload: the schema before the first hyphen of its name, the rest of the name, and
/// its bytes.
struct Frozen {
    schema: String,
    description: String,
    bytes: Vec<u8>,
}

fn frozen() -> Vec<Frozen> {
    files_below(&checkout().join("protocol/testdata/v1"))
        .into_iter()
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let (schema, description) = name.split_once('-').expect("schema-description.json");
            let bytes = fs::read(&path).expect("a frozen payload can be read");
            Frozen { schema: schema.to_owned(), description: description.to_owned(), bytes }
        })
        .collect()
}

/// Decodes and encodes again, as the type that the file's name says.
fn again(frozen: &Frozen) -> Result<Vec<u8>, String> {
    fn plain<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let payload: T = codec::decode(bytes).map_err(|error| error.to_string())?;
        codec::encode(&payload).map_err(|error| error.to_string())
    }
    let bytes = &frozen.bytes;
    match frozen.schema.as_str() {
        "sample" => plain::<Sample>(bytes),
        "checkpoint" => plain::<Checkpoint>(bytes),
        "node.presence" => plain::<NodePresence>(bytes),
        "collector.presence" => plain::<CollectorPresence>(bytes),
        "ack" => plain::<AckMessage>(bytes),
        "alert" => plain::<AlertMessage>(bytes),
        "notice" => plain::<Notice>(bytes),
        event if event == "event" || event.starts_with("event.") => {
            let decoded = codec::decode_event(bytes).map_err(|error| error.to_string())?;
            check_kind(event, &decoded)?;
            codec::encode_event(&decoded).map_err(|error| error.to_string())
        }
        other => Err(format!("there is no payload {other}")),
    }
}

fn check_kind(name: &str, event: &Event) -> Result<(), String> {
    let expected = name.strip_prefix("event.").unwrap_or(event.data.kind());
    if event.data.kind() == expected {
        Ok(())
    } else {
        Err(format!("its kind is {}, the file is named after {expected}", event.data.kind()))
    }
}

/// Whether all of `part` is in `whole`; a word that `part` calls unknown may be any word.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => part
            .iter()
            .all(|(key, value)| whole.get(key).is_some_and(|whole| is_part_of(value, whole))),
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(a, b)| is_part_of(a, b))
        }
        (Value::String(word), Value::String(_)) if word == "unknown" => true,
        (part, whole) => part == whole,
    }
}

#[test]
fn every_frozen_payload_decodes_and_encodes_to_the_same_json() {
    let all = frozen();
    for frozen in &all {
        let name = format!("{}-{}", frozen.schema, frozen.description);
        let encoded = again(frozen).unwrap_or_else(|error| panic!("{name}: {error}"));
        let before: Value = serde_json::from_slice(&frozen.bytes).expect("it has been decoded");
        let after: Value = serde_json::from_slice(&encoded).expect("it has been encoded");
        if frozen.description.contains(LATER) {
            assert!(is_part_of(&after, &before), "{name}: {after:#}");
        } else {
            assert_eq!(after, before, "{name}");
        }
    }
}

#[test]
fn every_payload_has_at_least_one_frozen_sample() {
    let all = frozen();
    for (name, _) in schema::all() {
        assert!(all.iter().any(|frozen| frozen.schema == name), "none of {name}");
    }
}
