//! One log record: its shape, the values of this time, and its bytes in the log file or on the console.
//!
//! A shape is a row of `shapes::ALL` and names everything that does not change from line to line: module, level,
//! message and keys in order. A key whose value is `undefined` in the controller is absent from its line, so a line
//! with and one without it are two shapes.

use std::net::Ipv4Addr;

use jiff::tz::TimeZone;

use crate::core::event::{SessionId, Timestamp, VmId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warn,
    Info,
}

impl Level {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Level::Error => "31",
            Level::Warn => "33",
            Level::Info => "32",
        }
    }
}

/// What a line of one kind always looks like.
#[derive(Debug)]
pub struct Shape {
    /// Empty for the root logger, whose lines have no `module`.
    pub module: &'static str,
    pub level: Level,
    /// The message, or with `…` in it a template: such a record brings its own text.
    pub message: &'static str,
    /// The keys after `module`, in order.
    pub keys: &'static [&'static str],
}

/// One value of a record. Ids and paths are written, not stored: a record costs one allocation.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Word(&'static str),
    Text(String),
    Vm(VmId),
    Uuid(u128),
    Ip(Ipv4Addr),
    /// `http://{ip}:8080/health`
    HealthUrl(Ipv4Addr),
    /// A path with the VM's id in it: before, id, after.
    Path(&'static str, VmId, &'static str),
    /// `fc-vm-` and the id's first five digits.
    Tap(VmId),
    /// UTC with milliseconds, as `toISOString` writes it.
    Iso(i64),
    /// Ready-made JSON.
    Json(String),
}

macro_rules! value_from {
    ($($from:ty => $variant:ident,)+) => { $(impl From<$from> for Value {
        fn from(value: $from) -> Value { Value::$variant(value) }
    })+ };
}
value_from! { bool => Bool, i64 => Int, &'static str => Word, String => Text, VmId => Vm, Ipv4Addr => Ip, }

impl From<SessionId> for Value {
    fn from(id: SessionId) -> Value {
        Value::Uuid(id.0)
    }
}

/// A line that the controller logs.
#[derive(Clone, Debug)]
pub struct Record {
    pub shape: &'static Shape,
    /// The message, where the shape's is a template.
    pub text: Option<String>,
    /// One value a key.
    pub values: Vec<Value>,
}

impl Record {
    #[must_use]
    pub fn new(shape: &'static Shape, values: Vec<Value>) -> Record {
        debug_assert_eq!(shape.keys.len(), values.len(), "{}", shape.message);
        Record {
            shape,
            text: None,
            values,
        }
    }

    #[must_use]
    pub fn message(&self) -> &str {
        self.text.as_deref().unwrap_or(self.shape.message)
    }

    /// `2025-10-18 01:52:07 [WARN]: message {"module":…}`: the form of both log files.
    pub fn write_plain(&self, out: &mut Vec<u8>, stamp: &[u8]) {
        out.extend_from_slice(stamp);
        out.extend_from_slice(b" [");
        out.extend_from_slice(self.shape.level.as_str().as_bytes());
        out.extend_from_slice(b"]: ");
        out.extend_from_slice(self.message().as_bytes());
        if !self.shape.module.is_empty() || !self.values.is_empty() {
            out.push(b' ');
            self.write_fields(out);
        }
        out.push(b'\n');
    }

    /// The form on standard output: the colour code's own letter is upper-cased with the level, and the metadata is
    /// wrapped once more, because the shared format runs twice.
    pub fn write_console(&self, out: &mut Vec<u8>, stamp: &[u8]) {
        out.extend_from_slice(stamp);
        out.extend_from_slice(b" [\x1b[");
        out.extend_from_slice(self.shape.level.colour().as_bytes());
        out.push(b'M');
        out.extend_from_slice(self.shape.level.as_str().as_bytes());
        out.extend_from_slice(b"\x1b[39M]: ");
        out.extend_from_slice(self.message().as_bytes());
        out.extend_from_slice(b" {\"metadata\":");
        self.write_fields(out);
        out.extend_from_slice(b"}\n");
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut separator: &[u8] = b"\"";
        if !self.shape.module.is_empty() {
            out.extend_from_slice(b"\"module\":\"");
            out.extend_from_slice(self.shape.module.as_bytes());
            out.push(b'"');
            separator = b",\"";
        }
        for (key, value) in self.shape.keys.iter().zip(&self.values) {
            out.extend_from_slice(separator);
            separator = b",\"";
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(b"\":");
            value.write(out);
        }
        out.push(b'}');
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
            Value::Int(value) => write_int(out, *value),
            Value::Word(text) => write_string(out, text),
            Value::Text(text) => write_string(out, text),
            Value::Json(json) => out.extend_from_slice(json.as_bytes()),
            Value::Vm(vm) => {
                out.push(b'"');
                write_vm(out, *vm);
                out.push(b'"');
            }
            Value::Uuid(bits) => {
                out.push(b'"');
                write_uuid(out, *bits);
                out.push(b'"');
            }
            Value::Ip(ip) => {
                out.push(b'"');
                write_ip(out, *ip);
                out.push(b'"');
            }
            Value::HealthUrl(ip) => {
                out.extend_from_slice(b"\"http://");
                write_ip(out, *ip);
                out.extend_from_slice(b":8080/health\"");
            }
            Value::Path(before, vm, after) => {
                out.push(b'"');
                out.extend_from_slice(before.as_bytes());
                write_vm(out, *vm);
                out.extend_from_slice(after.as_bytes());
                out.push(b'"');
            }
            Value::Tap(vm) => {
                out.push(b'"');
                out.extend_from_slice(tap_name(*vm).as_bytes());
                out.push(b'"');
            }
            Value::Iso(at) => {
                out.push(b'"');
                out.extend_from_slice(iso(*at).as_bytes());
                out.push(b'"');
            }
        }
    }
}

/// The host's name for a VM's TAP device.
pub(crate) fn tap_name(vm: VmId) -> String {
    format!("fc-vm-{:05x}", vm.0 >> 108)
}

/// `2025-10-18T01:52:07.123Z`
pub(crate) fn iso(at: i64) -> String {
    match jiff::Timestamp::from_millisecond(at) {
        Ok(at) => format!("{at:.3}"),
        Err(_) => String::new(),
    }
}

fn write_vm(out: &mut Vec<u8>, vm: VmId) {
    out.extend_from_slice(b"vm-");
    write_uuid(out, vm.0);
}

fn write_uuid(out: &mut Vec<u8>, bits: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (n, byte) in bits.to_be_bytes().into_iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    out.extend_from_slice(&text);
}

fn write_ip(out: &mut Vec<u8>, ip: Ipv4Addr) {
    for (n, part) in ip.octets().into_iter().enumerate() {
        if n > 0 {
            out.push(b'.');
        }
        write_int(out, i64::from(part));
    }
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// As `JSON.stringify` escapes: quote, backslash and control characters, nothing else.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Writes the local second of a time, and remembers the last one: most lines share it with the line before.
#[derive(Debug)]
pub struct Stamp {
    zone: TimeZone,
    second: i64,
    text: Vec<u8>,
}

impl Stamp {
    #[must_use]
    pub fn new(zone: TimeZone) -> Stamp {
        Stamp {
            zone,
            second: i64::MIN,
            text: Vec::new(),
        }
    }

    pub fn of(&mut self, at: Timestamp) -> &[u8] {
        let second = at.0.div_euclid(1000);
        if second != self.second {
            self.second = second;
            self.text.clear();
            if let Ok(at) = jiff::Timestamp::from_second(second) {
                let local = self.zone.to_datetime(at);
                let text = local.strftime("%Y-%m-%d %H:%M:%S").to_string();
                self.text.extend_from_slice(text.as_bytes());
            }
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(value: Value) -> String {
        let mut out = Vec::new();
        value.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn ids_are_written_as_they_are_displayed() {
        for bits in [0, u128::MAX, 0x63ac_860f_c164_40a3_af4c_0457_184d_8970] {
            assert_eq!(json(Value::Vm(VmId(bits))), format!("\"{}\"", VmId(bits)));
            assert_eq!(json(Value::Uuid(bits)), format!("\"{}\"", SessionId(bits)));
        }
    }

    #[test]
    fn strings_are_escaped_as_json_wants() {
        for text in [
            "plain",
            "a \"quote\" and a \\",
            "two\nlines\t\r\u{1}\u{1b}[31m",
            "é中\u{2028}",
        ] {
            let written = json(Value::Text(text.to_owned()));
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
            assert!(!written.contains('\n'));
        }
    }

    #[test]
    fn numbers_keep_their_sign_and_all_digits() {
        for number in [0, 7, -2, 20_000, i64::MAX, i64::MIN] {
            assert_eq!(json(Value::Int(number)), number.to_string());
        }
    }

    #[test]
    fn stamps_are_local_and_change_with_the_second() {
        let mut stamp = Stamp::new(TimeZone::fixed(jiff::tz::offset(2)));
        let at = Timestamp(1_760_745_127_999);
        assert_eq!(stamp.of(at), b"2025-10-18 01:52:07");
        assert_eq!(stamp.of(at.plus_ms(1)), b"2025-10-18 01:52:08");
    }

    #[test]
    fn a_line_without_fields_has_no_json() {
        static BARE: Shape = Shape {
            module: "",
            level: Level::Warn,
            message: "bare",
            keys: &[],
        };
        let record = Record::new(&BARE, Vec::new());
        let (mut plain, mut console) = (Vec::new(), Vec::new());
        record.write_plain(&mut plain, b"T");
        record.write_console(&mut console, b"T");
        assert_eq!(plain, b"T [WARN]: bare\n");
        assert_eq!(
            console,
            b"T [\x1b[33MWARN\x1b[39M]: bare {\"metadata\":{}}\n"
        );
    }
}
