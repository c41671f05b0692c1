//! [`Selection`]: which records are purged.

use std::time::SystemTime;

use crate::spool::entry::stored_key;

/// The choice of records: those that fit all that is given.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    partition: Option<String>,
    before: Option<SystemTime>,
    /// A text, and how it stands in a string of JSON where that differs.
    texts: Vec<Vec<u8>>,
}

impl Selection {
    pub(crate) fn new(partition: Option<&str>, before: Option<SystemTime>, text: Option<&str>) -> Self {
        let mut texts = Vec::new();
        if let Some(text) = text {
            let json = serde_json::Value::from(text).to_string();
            texts.push(text.as_bytes().to_vec());
            texts.push(json.as_bytes()[1..json.len() - 1].to_vec());
            texts.dedup();
        }
        Self { partition: partition.map(|key| stored_key(key).to_owned()), before, texts }
    }

    /// Whether a record is chosen by its partition, its time and its bytes. The partition key is a part of it.
    pub(super) fn takes<'a>(&self, key: &str, at: SystemTime, bytes: impl IntoIterator<Item = &'a [u8]>) -> bool {
        self.partition.as_deref().is_none_or(|chosen| chosen == key)
            && self.before.is_none_or(|before| at < before)
            && (self.texts.is_empty() || self.has_text(key.as_bytes()) || bytes.into_iter().any(|it| self.has_text(it)))
    }

    fn has_text(&self, bytes: &[u8]) -> bool {
        let has = |text: &Vec<u8>| bytes.windows(text.len().max(1)).any(|window| window == &**text);
        self.texts.iter().any(has)
    }
}
