//! The fields of members of clusters.

use super::{Field, FieldType, FieldValue, Origin, Subject};
use crate::fleet::SeenMember;

fn member<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(SeenMember<'a>) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.member().map_or(FieldValue::Absent, read)
}

pub(super) static MEMBER: &[Field] = fields! {
    name: Text, Reading, "pve3", "The name of the member, a node of the cluster.",
        |s| member(s, |it| FieldValue::Text(&it.member.node));
    cluster: Text, Reading, "lab", "The cluster.",
        |s| member(s, |it| FieldValue::Text(it.cluster));
    offline: Flag, Reading, "true", "Whether the node does not see it.",
        |s| member(s, |it| FieldValue::Flag(!it.member.online));
    told_here: Flag, Reading, "true",
        "Whether it is offline and the node is the one to tell of it: the first by name of those that \
         are heard and have a quorum. No if the member's own agent is silent, which has alerts of its \
         own.",
        |s| member(s, |it| FieldValue::Flag(it.is_told_here));
};
