//! Numbers and texts as Kafka writes them. Reading never goes beyond what is there, whatever a length says.

/// What was read is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {
        $(pub(super) fn $name(&mut self) -> Result<$type, Malformed> {
            let (number, rest) = self.bytes.split_first_chunk().ok_or(Malformed)?;
            self.bytes = rest;
            Ok(<$type>::from_be_bytes(*number))
        })*
    };
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    numbers!(i8: i8, i16: i16, i32: i32, i64: i64, u32: u32);

    pub(super) const fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or(Malformed)?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A text, or none.
    pub(super) fn text(&mut self) -> Result<Option<&'a str>, Malformed> {
        let length = self.i16()?;
        if length < 0 {
            return Ok(None);
        }
        let bytes = self.take(usize::from(length.unsigned_abs()))?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed)
    }

    /// Bytes, or none.
    pub(super) fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.i32()?;
        if length < 0 {
            return Ok(None);
        }
        self.take(usize::try_from(length).map_err(|_| Malformed)?).map(Some)
    }

    /// A list. Each thing in it takes at least a byte, so a length beyond what is left is a lie.
    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let length = usize::try_from(self.i32()?.max(0)).map_err(|_| Malformed)?;
        if length > self.left() {
            return Err(Malformed);
        }
        (0..length).map(|_| one(self)).collect()
    }

    /// A number of variable length, zigzagged.
    pub(super) fn varint(&mut self) -> Result<i64, Malformed> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or(Malformed)?;
            self.bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let half = i64::try_from(number >> 1).map_err(|_| Malformed)?;
                return Ok(half ^ -i64::from(number & 1 == 1));
            }
        }
        Err(Malformed)
    }

    /// Bytes behind a length of variable length, or none.
    pub(super) fn varbytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let length = self.varint()?;
        if length < 0 {
            return Ok(None);
        }
        self.take(usize::try_from(length).map_err(|_| Malformed)?).map(Some)
    }
}

/// Writes at the end.
#[derive(Debug, Default, Clone)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn i8(&mut self, number: i8) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }
    pub(super) fn i16(&mut self, number: i16) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }
    pub(super) fn i32(&mut self, number: i32) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }
    pub(super) fn i64(&mut self, number: i64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// A length. What is sent is far below what fits.
    pub(super) fn length(&mut self, length: usize) -> &mut Self {
        self.i32(i32::try_from(length).unwrap_or(i32::MAX))
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.i16(i16::try_from(text.len()).unwrap_or(i16::MAX)).raw(text.as_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len()).raw(bytes)
    }

    pub(super) fn varint(&mut self, number: i64) -> &mut Self {
        let mut left = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
        while left >= 0x80 {
            self.bytes.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        self.bytes.push(left as u8);
        self
    }

    pub(super) fn varbytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(i64::try_from(bytes.len()).unwrap_or(i64::MAX)).raw(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length_come_back() {
        for number in [0, -1, 1, 63, 64, -64, -65, 300, i64::MAX, i64::MIN, i64::from(i32::MIN)] {
            let mut writer = Writer::default();
            writer.varint(number);
            assert_eq!(Reader::new(&writer.bytes).varint(), Ok(number));
        }
        let known: [(i64, &[u8]); 4] = [(0, &[0]), (-1, &[1]), (1, &[2]), (150, &[0xac, 0x02])];
        for (number, bytes) in known {
            let mut writer = Writer::default();
            writer.varint(number);
            assert_eq!(writer.bytes, bytes);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(Reader::new(&[0x7f, 0xff, b'x']).text(), Err(Malformed));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).bytes(), Err(Malformed));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff, 0]).list(Reader::i8), Err(Malformed));
        assert_eq!(Reader::new(&[0xff; 12]).varint(), Err(Malformed));
        assert_eq!(Reader::new(&[0xff, 0xff]).text(), Ok(None));
        assert_eq!(Reader::new(&[1]).i32(), Err(Malformed));
    }
}
