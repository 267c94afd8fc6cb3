//! The fields of network interfaces.

use super::{Field, FieldType, FieldValue, Origin, Subject, number};
use crate::fleet::{SeenInterface, Traffic};

fn interface<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(SeenInterface<'a>) -> FieldValue<'a>,
) -> FieldValue<'a> {
    subject.entity.interface().map_or(FieldValue::Absent, read)
}

/// What it has counted since it is there.
fn counted<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a pvewatch_protocol::sample::Interface) -> u64,
) -> FieldValue<'a> {
    interface(subject, |it| FieldValue::Number(read(it.counted) as f64))
}

/// What that comes to over time.
fn over_time<'a>(
    subject: &Subject<'a>,
    read: impl FnOnce(&'a Traffic) -> Option<f64>,
) -> FieldValue<'a> {
    interface(subject, |it| number(it.traffic.and_then(read)))
}

pub(super) static INTERFACE: &[Field] = fields! {
    name: Text, Reading, "guests", "Its name; `guests` stands for those of all guests together.",
        |s| interface(s, |it| FieldValue::Text(&it.counted.name));
    folded: Number, Reading, "12", "Of how many interfaces of guests it is the sum; 0 if of none.",
        |s| counted(s, |it| it.folded);
    receive_bytes_per_second: Number("bytes"), Reading, "125000",
        "Bytes received each second, since the sample before; absent in the first.",
        |s| over_time(s, |it| it.receive_bytes_per_second);
    transmit_bytes_per_second: Number("bytes"), Reading, "64000",
        "Bytes transmitted each second, since the sample before; absent in the first.",
        |s| over_time(s, |it| it.transmit_bytes_per_second);
    errors_per_second: Number, Reading, "12.5",
        "Errors of both ways each second, over the last 5 minutes, or since it is known if that is \
         less; absent in the first sample. A counter that falls counts as none.",
        |s| over_time(s, |it| it.errors_per_second);
    receive_bytes: Number("bytes"), Reading, "812345678901", "Bytes received since it is there.",
        |s| counted(s, |it| it.receive_bytes);
    transmit_bytes: Number("bytes"), Reading, "312345678901", "Bytes transmitted since it is there.",
        |s| counted(s, |it| it.transmit_bytes);
    receive_errors: Number, Reading, "3200", "Packets that arrived damaged since it is there.",
        |s| counted(s, |it| it.receive_errors);
    transmit_errors: Number, Reading, "550", "Packets that could not be transmitted.",
        |s| counted(s, |it| it.transmit_errors);
    receive_dropped: Number, Reading, "17", "Packets that arrived and were thrown away.",
        |s| counted(s, |it| it.receive_dropped);
    transmit_dropped: Number, Reading, "4", "Packets that were thrown away instead of transmitted.",
        |s| counted(s, |it| it.transmit_dropped);
};
