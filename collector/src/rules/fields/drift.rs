//! The fields of what a policy comes to on a node.

use super::{Field, FieldType, FieldValue, Subject, text, time};
use crate::fleet::{Drift, Moment, Origin};

fn drift<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Drift) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.drift().map_or(FieldValue::Absent, read)
}

pub(super) static DRIFT: &[Field] = fields! {
    policy: Text, Facts, "prod",
        "The policy's name; `policy file` if the file cannot be read.",
        |s| drift(s, |drift| FieldValue::Text(&drift.id));
    guests: Number, Facts, "4", "Guests of the node that it is about.",
        |s| drift(s, |drift| FieldValue::Number(drift.guests as f64));
    differing_guests: Number, Facts, "1", "Those of them that differ from it.",
        |s| drift(s, |drift| FieldValue::Number(drift.differing as f64));
    differences: Number, Facts, "1", "How many differences there are.",
        |s| drift(s, |drift| FieldValue::Number(drift.total() as f64));
    found: Text, Facts, "100 (web): scsihw: lsi, should be virtio-scsi-single",
        "The first of them, in words.",
        |s| drift(s, |drift| FieldValue::Text(&drift.words));
    failed: Flag, Facts, "true", "Whether something that it asks for cannot be looked at.",
        |s| drift(s, |drift| FieldValue::Flag(drift.problem.is_some()));
    problem: Text, Facts, "guests and jobs cannot be read: it hangs", "Why that is so.",
        |s| drift(s, |drift| text(drift.problem.as_deref()));
    never_checked: Flag, Facts, "true",
        "Whether not all has come yet that is needed to check it: guests, jobs, storages.",
        |s| drift(s, |drift| FieldValue::Flag(!drift.is_checked && !drift.is_of_file()));
    checked_at: Time, Due, "2026-11-21 03:07:00 UTC",
        "When the node told of its guests last, which it does every 15 minutes.",
        |s| drift(s, |drift| {
            time(drift.checked_at.map(|at| Moment::expect(at, s.node.clock_skew())))
        });
};
