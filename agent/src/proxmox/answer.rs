//! An answer of Proxmox' API: a status line with the reason in words, and `{"data": ...}`.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Most bytes of an answer: the backups of a large site are a few of them.
pub const ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Headers that an answer may have.
const HEADERS_MAX: usize = 32;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status of HTTP.
    pub status: u16,
    /// What it says, in Proxmox' own words.
    pub reason: String,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads what came until the connection ended.
    ///
    /// # Errors
    /// When it is no answer, or not the whole of it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Err("it ends in its head".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let body = &bytes[length..];
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
        };
        if header("transfer-encoding").is_some() || header("content-encoding").is_some() {
            return Err("it is encoded".to_owned());
        }
        let announced = header("content-length").and_then(|length| length.parse::<usize>().ok());
        if announced.is_some_and(|announced| body.len() < announced) {
            return Err("it is not whole".to_owned());
        }
        Ok(Self {
            status: head.code.unwrap_or_default(),
            reason: head.reason.unwrap_or_default().trim().to_owned(),
            body: &body[..announced.unwrap_or(body.len())],
        })
    }

    /// What was asked for.
    ///
    /// # Errors
    /// When it is something else.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, String> {
        #[derive(Deserialize)]
        struct Wrapped<T> {
            data: T,
        }
        let wrapped = serde_json::from_slice::<Wrapped<T>>(self.body);
        wrapped.map(|wrapped| wrapped.data).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_status_and_data() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"data\":[1, 2]}";
        let answer = Answer::parse(bytes).unwrap();
        assert_eq!((answer.status, answer.data::<Vec<u8>>()), (200, Ok(vec![1, 2])));
        assert!(answer.data::<String>().is_err());
    }

    #[test]
    fn what_is_wrong_is_said_in_the_status_line() {
        let bytes = b"HTTP/1.1 403 Permission check failed (/storage/pbs)\r\n\r\n";
        let answer = Answer::parse(bytes).unwrap();
        let reason = "Permission check failed (/storage/pbs)";
        assert_eq!((answer.status, &*answer.reason), (403, reason));
    }

    #[test]
    fn what_is_not_whole_or_none_is_no_answer() {
        for bytes in [
            &b""[..],
            b"HTTP/1.1 200",
            b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"data\":[]}",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"data\":[]}",
            b"SSH-2.0-OpenSSH_9.2\r\n",
        ] {
            assert!(Answer::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
