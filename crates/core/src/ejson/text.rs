//! Strings of JSON.

/// Appends a JSON string; `text` is UTF-8.
pub fn json_string(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.push(b'"');
    escaped(out, text.as_ref(), false);
    out.push(b'"');
}

/// The letter after the backslash of an escaped byte; 0 for a byte that is written as it is.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes[b'\n' as usize] = b'n';
    escapes[b'\r' as usize] = b'r';
    escapes[b'\t' as usize] = b't';
    escapes
};

/// Appends the text between the quotes of a JSON string; `inner` when that string is itself inside of one.
pub(super) fn escaped(out: &mut Vec<u8>, bytes: &[u8], inner: bool) {
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = ESCAPES[usize::from(byte)];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        out.extend_from_slice(match escape {
            _ if !inner => br"\",
            // The backslash and what follows it are both escaped again.
            b'"' | b'\\' => br"\\\",
            _ => br"\\",
        });
        out.push(escape);
        if escape == b'u' {
            out.extend_from_slice(b"00");
            hex_of(out, &[byte]);
        }
        plain = at + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Appends lower-case hexadecimal digits.
pub fn hex_of(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]));
}
