//! Protobuf without a schema: the fields of a message, also of the start of one.

/// The fields of a message. If the bytes are none, the last item is `None`; of a message that is not whole, the fields before the
/// break are the items, the last one with as many of its bytes as there are.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    whole: bool,
}

pub(super) enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A field of a fixed width.
    Other,
}

impl<'a> Fields<'a> {
    pub(super) fn of(bytes: &'a [u8], whole: bool) -> Self {
        Self { bytes, whole }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let len = usize::try_from(len).ok()?;
        let (taken, rest) = match self.bytes.split_at_checked(len) {
            Some(split) => split,
            None if self.whole => return None,
            None => (self.bytes, &[][..]),
        };
        self.bytes = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.bytes.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.bytes = &[];
            if !self.whole {
                return None;
            }
        }
        Some(field)
    }
}
