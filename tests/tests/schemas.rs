//! The JSON Schemas in `protocol/schema/` are those of the types; `UPDATE=1` writes them anew.

use std::collections::BTreeMap;
use std::fs;

use pvewatch_protocol::schema;
use pvewatch_tests::places::{checkout, files_below};

#[test]
fn the_schemas_in_the_tree_are_those_of_the_types() {
    let folder = checkout().join("protocol/schema");
    let current: BTreeMap<String, String> = schema::all()
        .into_iter()
        .map(|(name, schema)| {
            let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
            (format!("{name}.json"), text + "\n")
        })
        .collect();
    if std::env::var_os("UPDATE").is_some() {
        for (name, text) in &current {
            fs::write(folder.join(name), text).expect("the folder can be written");
        }
    }
    let in_tree: BTreeMap<String, String> = files_below(&folder)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a schema is text");
            (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text)
        })
        .collect();
    let hint = "UPDATE=1 cargo test -p pvewatch-tests --test schemas writes them anew";
    assert_eq!(
        in_tree.keys().collect::<Vec<_>>(),
        current.keys().collect::<Vec<_>>(),
        "the names of the schemas differ; {hint}, remove by hand what is gone"
    );
    for (name, text) in current {
        assert!(in_tree[&name] == text, "protocol/schema/{name} is not current: {hint}");
    }
}
