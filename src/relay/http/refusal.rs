//! [`Refusal`]: why the server answers a request itself.

/// Why the server answers a request itself, before a handler sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// It is no HTTP, it says in two ways where it ends, or its body does not decode.
    Malformed,
    /// The connection ended within it.
    Cut,
    /// It did not arrive in time.
    Slow,
    /// The body is longer than its limit.
    BodyTooLarge,
    /// The request line is longer than its limit.
    LineTooLong,
    /// The headers are longer than their limit, or too many.
    HeadersTooLarge,
    /// The body has a content coding other than gzip and deflate.
    UnknownCoding,
    /// It is HTTP of another major version.
    Version,
    /// A browser sent it for a page, or to a name that is not ours.
    CrossSite,
    /// It has no credentials, or wrong ones.
    Unauthorized,
    /// It was forwarded by this relay itself.
    Loop,
}

impl Refusal {
    /// The status of the response.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::Cut => 400,
            Self::Unauthorized => 401,
            Self::CrossSite => 403,
            Self::Slow => 408,
            Self::BodyTooLarge => 413,
            Self::LineTooLong => 414,
            Self::UnknownCoding => 415,
            Self::HeadersTooLarge => 431,
            Self::Version => 505,
            Self::Loop => 508,
        }
    }

    /// The body of the response, for who looks at it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Malformed => "the request is no valid HTTP/1, or its body does not decode\n",
            Self::Cut => "the connection ended within the request\n",
            Self::Slow => "the request did not arrive in time\n",
            Self::BodyTooLarge => "the body is too large\n",
            Self::LineTooLong => "the request line is too long\n",
            Self::HeadersTooLarge => "the headers are too large\n",
            Self::UnknownCoding => "the content coding is neither gzip nor deflate\n",
            Self::Version => "the version is neither HTTP/1.0 nor HTTP/1.1\n",
            Self::CrossSite => "the request comes from a web page, or its Host is not a name of this listener\n",
            Self::Unauthorized => "the request needs credentials\n",
            Self::Loop => "the request comes from this relay\n",
        }
    }
}
