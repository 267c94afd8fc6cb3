//! Rule files: good ones load, bad ones are refused with the text beside them.
//!
//! `testdata/rules/NAME.bad.toml` and `NAME.bad.txt` are pairs. With `UPDATE_GOLDEN=1` in the
//! environment the texts are written anew, to be read before they are committed.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pvewatch_collector::fleet::EntityKind;
use pvewatch_collector::rules::{FieldType, RuleSet, Source, fields_of};

use super::story::CATALOGUE;

fn files(ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(FOLDER);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending))).collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {FOLDER}");
    files
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/rules");

fn load(path: &Path) -> Result<RuleSet, String> {
    let text = fs::read_to_string(path).unwrap();
    let file = path.file_name().unwrap().to_str().unwrap();
    RuleSet::load(&[Source { file, text: &text }]).map_err(|error| error.to_string())
}

#[test]
fn good_rule_files_load() {
    for path in files(".good.toml") {
        load(&path).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn bad_rule_files_are_refused_with_file_line_and_what_would_be_right() {
    for path in files(".bad.toml") {
        let error = load(&path).map(drop).expect_err(path.to_str().unwrap()) + "\n";
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &error).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(error, expected, "{}", golden.display());
    }
}

#[test]
fn a_rule_of_a_later_file_takes_the_place_of_an_earlier_one() {
    let rule = |severity: &str| {
        format!(
            "[[rule]]\nname = 'A'\nscope = 'node'\nwhen = 'silent'\nseverity = '{severity}'\n\
             summary = 'x'\n"
        )
    };
    let (shipped, own) = (rule("critical"), rule("info"));
    let sources = [("shipped.toml", &shipped), ("own.toml", &own)];
    let sources = sources.map(|(file, text)| Source { file, text });
    let rules = RuleSet::load(&sources).unwrap();
    let severities: Vec<_> = rules.rules().iter().map(|rule| rule.severity.as_str()).collect();
    assert_eq!(severities, ["info"]);
}

#[test]
fn every_field_is_documented_and_can_be_used() {
    for scope in EntityKind::ALL {
        for field in fields_of(scope) {
            assert!(field.description.ends_with('.'), "{}", field.name);
            let name = field.name;
            let when = match field.kind {
                FieldType::Number => format!("{name} > 0"),
                FieldType::Text => format!("{name} != \"{name}\""),
                FieldType::Flag => name.to_owned(),
                FieldType::Time => format!("older({name}, \"1s\")"),
                FieldType::Labels => format!("{name}.rack == \"r1\" && {name}[\"rack\"] != \"\""),
            };
            let text = format!(
                "[[rule]]\nname = 'A'\nscope = '{scope}'\nwhen = '{when}'\nseverity = 'info'\n\
                 summary = '{{{{ {name} }}}} {{{{ node.name }}}}'\n"
            );
            let source = Source { file: "field.toml", text: &text };
            let rules = RuleSet::load(&[source]).unwrap_or_else(|error| panic!("{error}"));
            let example = rules.examples(Timestamp::MAX);
            assert_eq!(example[0].holds, Some(true), "{when}");
            let shown = format!("{} pve1", field.example);
            if !matches!(field.kind, FieldType::Labels) {
                assert_eq!(example[0].summary, shown, "{name}");
            }
        }
    }
}

#[test]
fn what_the_guide_shows_can_be_used_beside_the_catalogue() {
    let guide = include_str!("../../../docs/RULES.md");
    let blocks = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
    let text: String = blocks.map(|(block, _)| block).collect();
    assert!(text.matches("[[override]]").count() >= 3 && text.contains("[[rule]]"), "{text}");
    let sources = [("catalogue.toml", CATALOGUE), ("RULES.md", &text)];
    let rules = RuleSet::load(&sources.map(|(file, text)| Source { file, text }));
    rules.unwrap_or_else(|error| panic!("{error}"));
}
