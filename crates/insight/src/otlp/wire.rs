//! Owns writing messages of Protocol Buffers (<https://protobuf.dev/programming-guides/encoding/>).
//! Leaves which fields there are to those who write them.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Message(Vec<u8>);

/// The value of an attribute (`AnyValue`).
pub(super) enum Value<'a> {
    Text(&'a str),
    Count(u64),
    Number(f64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

impl Message {
    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    /// A whole number that is not negative.
    pub fn count(&mut self, field: u64, number: u64) {
        self.key(field, VARINT);
        self.varint(number);
    }

    /// A number of eight bytes: `fixed64`, and `sfixed64` of what is not negative.
    pub fn fixed(&mut self, field: u64, number: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// A number with a fraction.
    pub fn number(&mut self, field: u64, number: f64) {
        self.fixed(field, number.to_bits());
    }

    /// Bytes.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// A text.
    pub fn text(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// Numbers of eight bytes, one behind the other.
    pub fn packed(&mut self, field: u64, numbers: impl Iterator<Item = u64>) {
        let bytes: Vec<u8> = numbers.flat_map(u64::to_le_bytes).collect();
        self.bytes(field, &bytes);
    }

    /// A message within this one.
    pub fn nested(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// Messages that were written before, each with its key.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A `KeyValue`.
    pub fn attribute<'a>(&mut self, field: u64, name: &str, value: impl Into<Value<'a>>) {
        self.nested(field, |pair| {
            pair.text(1, name);
            pair.nested(2, |any| match value.into() {
                Value::Text(text) => any.text(1, text),
                Value::Count(count) => any.count(3, count),
                Value::Number(number) => any.number(4, number),
            });
        });
    }

    /// The same of a text that may be missing.
    pub fn attribute_if(&mut self, field: u64, name: &str, text: &str) {
        if !text.is_empty() {
            self.attribute(field, name, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d8_messages_are_written_as_the_encoding_says() {
        let mut message = Message::default();
        // The examples of the specification, and the edges of a varint.
        message.count(1, 150);
        message.text(2, "testing");
        message.nested(3, |inner| inner.count(1, 150));
        assert_eq!(
            message.into_bytes(),
            b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01"
        );
        for (number, bytes) in [
            (0, &b"\x08\0"[..]),
            (127, b"\x08\x7f"),
            (128, b"\x08\x80\x01"),
        ] {
            let mut message = Message::default();
            message.count(1, number);
            assert_eq!(message.into_bytes(), bytes);
        }
        let mut message = Message::default();
        message.number(16, 1.0);
        message.packed(2, [1, 2].into_iter());
        let bytes = message.into_bytes();
        assert_eq!(bytes[..3], [0x81, 0x01, 0]);
        assert_eq!(bytes.len(), 2 + 8 + 2 + 16);
    }
}
