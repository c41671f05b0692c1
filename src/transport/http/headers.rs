//! [`HeaderMap`]: the headers of a request, checked as they are set.

use std::fmt;

use crate::error::HeaderError;

/// The headers of one request.
///
/// Names are case-insensitive. Every value is checked when it is set. `Debug` shows names only, never a value.
#[derive(Clone, Default)]
pub struct HeaderMap(http::HeaderMap);

impl HeaderMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a header and replaces any value that it had.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Name`] if `name` is not a header name, [`HeaderError::Value`] if `value` has characters other than
    /// visible ASCII, space, tab and bytes above 127, and [`HeaderError::Framing`] if the header frames the request
    /// (`content-length`, `transfer-encoding`).
    ///
    /// # Examples
    ///
    /// ```
    /// use opentelemetry_spool::HeaderMap;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-tenant", "acme")?;
    /// assert_eq!(headers.get("X-Tenant"), Some("acme"));
    ///
    /// let error = headers.insert("x-tenant", "acme\r\nx-admin: 1").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "header `x-tenant`: the value has the control character 0x0d at byte 4; \
    ///      allowed are visible characters, space and tab"
    /// );
    /// # Ok::<(), opentelemetry_spool::HeaderError>(())
    /// ```
    pub fn insert(&mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Result<(), HeaderError> {
        let (name, value) = (name.as_ref(), value.as_ref());
        let parsed = http::HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            HeaderError::Name { at: name.bytes().position(|byte| !is_token(byte)).unwrap_or(0) }
        })?;
        if parsed == http::header::CONTENT_LENGTH || parsed == http::header::TRANSFER_ENCODING {
            return Err(HeaderError::Framing { name: name.to_owned() });
        }
        let value = http::HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            let at = value.bytes().position(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f).unwrap_or(0);
            HeaderError::Value { name: name.to_owned(), byte: value.as_bytes().get(at).copied().unwrap_or(0), at }
        })?;
        self.0.insert(parsed, value);
        Ok(())
    }

    /// The value of a header, if it is set and visible ASCII.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }

    /// Removes a header; returns whether it was set.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// The number of headers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no header.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets every header of `others`.
    pub(crate) fn extend(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            self.0.insert(name.clone(), value.clone());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&http::HeaderName, &http::HeaderValue)> {
        self.0.iter()
    }

    pub(crate) fn into_http(self) -> http::HeaderMap {
        self.0
    }
}

impl fmt::Debug for HeaderMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
