//! Names in the kernel's tables of mounts, in which blanks and the like stand as `\040` (proc(5)).

/// The name that a field stands for.
pub fn unescaped(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = rest.get(1..4).filter(|_| *byte == b'\\');
        let code =
            digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &rest[4..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_an_octal_number_stays() {
        for (field, name) in [("my\\040disk", "my disk"), ("a\\04", "a\\04"), ("\\", "\\")] {
            assert_eq!(unescaped(field), name.as_bytes());
        }
    }
}
