//! When a certificate ends: the one thing that is read of X.509 (RFC 5280, section 4.1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Tags of DER (X.690).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the first certificate of a PEM text ends, which is the server's own; none if there is
/// none, or if it says that it never ends.
pub fn ends_at(pem: &[u8]) -> Option<Timestamp> {
    not_after(&CertificateDer::from_pem_slice(pem).ok()?)
}

/// The certificate is `SEQUENCE { tbsCertificate, ... }`, and that `SEQUENCE { [0] version, serial
/// number, signature, issuer, validity, ... }`, where versions of old leave out the first.
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let mut certificate = content(&mut { der }, SEQUENCE)?;
    let mut fields = content(&mut certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        element(&mut fields)?;
    }
    let (_serial, _signature, _issuer) =
        (element(&mut fields)?, element(&mut fields)?, element(&mut fields)?);
    let mut validity = content(&mut fields, SEQUENCE)?;
    let _not_before = element(&mut validity)?;
    let (tag, not_after) = element(&mut validity)?;
    time(tag, not_after)
}

/// Takes the next element, which must have this tag.
fn content<'a>(der: &mut &'a [u8], wanted: u8) -> Option<&'a [u8]> {
    element(der).filter(|(tag, _)| *tag == wanted).map(|(_, content)| content)
}

/// Takes the next element: its tag and content.
fn element<'a>(der: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, length], mut rest) = der.split_first_chunk::<2>()?;
    let mut length = usize::from(length);
    if length >= 0x80 {
        let (bytes, after) = rest.split_at_checked(length - 0x80).filter(|it| it.0.len() <= 4)?;
        length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    *der = after;
    Some((tag, content))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`. What ends with the year 9999 never ends, by the RFC, and
/// is no time that can be told.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year_digits, is_short) = match tag {
        UTC_TIME => (2, true),
        GENERALIZED_TIME => (4, false),
        _ => return None,
    };
    let (year, rest) = text.split_at_checked(year_digits)?;
    let is_plain = rest.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let year: i16 = year.parse().ok().filter(|_| is_plain)?;
    let year = match is_short {
        true if year < 50 => 2000 + year,
        true => 1900 + year,
        false => year,
    };
    let part = |place: usize| rest.get(place..place + 2)?.parse::<i8>().ok();
    let at = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(at).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> (String, Vec<u8>) {
        let mut params = CertificateParams::new(vec!["pve1.example.org".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 2, 3);
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (made.pem(), made.der().to_vec())
    }

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_a_time() {
        for year in [2027, 2049, 2050, 2150] {
            let (pem, _) = certificate(year);
            let expected = format!("{year}-02-03T00:00:00Z").parse().ok();
            assert_eq!(ends_at(pem.as_bytes()), expected, "{year}");
        }
    }

    #[test]
    fn of_a_chain_the_servers_own_counts() {
        let (own, _) = certificate(2027);
        let (issuer, _) = certificate(2040);
        let chain = format!("a comment\n{own}{issuer}");
        assert_eq!(ends_at(chain.as_bytes()), "2027-02-03T00:00:00Z".parse().ok());
    }

    #[test]
    fn a_certificate_that_is_cut_off_has_no_end_and_harms_nobody() {
        let (pem, der) = certificate(2027);
        let whole = not_after(&der).unwrap();
        for length in 0..der.len() {
            assert_eq!(not_after(&der[..length]), None, "{length}");
        }
        for place in 0..der.len() {
            let mut damaged = der.clone();
            damaged[place] ^= 0xff;
            // It may well still be found: what is damaged can be something else.
            let _ = not_after(&damaged);
        }
        assert_eq!(not_after(&der), Some(whole));
        for text in ["", "no certificate", &pem[..60], &pem.replace("CERTIFICATE", "PRIVATE KEY")] {
            assert_eq!(ends_at(text.as_bytes()), None, "{text}");
        }
        assert_eq!(ends_at(b"\xff\xfe\0"), None);
    }

    #[test]
    fn times_are_read_as_the_rfc_writes_them_and_no_others() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "99991231235959Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491331235959Z", None),
            (UTC_TIME, "491231235959+0100", None),
            (UTC_TIME, "+91231235959Z", None),
            (0x02, "491231235959Z", None),
        ] {
            let expected = expected.map(|at| at.parse().unwrap());
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
    }
}
