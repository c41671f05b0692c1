//! JSON as clients really write it: a pull reader, and values made of what it reads.
//!
//! `serde_json` is not used here, because it refuses a whole request for one value: for half a surrogate pair, which Python sends for file
//! names, for the `NaN` of Python's `json.dumps`, for objects that follow one another without a separator, and for deep nesting.
//!
//! | in the text | here |
//! |---|---|
//! | `\ud800` alone, invalid UTF-8 | U+FFFD |
//! | a whole number beyond 64 bits, a number beyond every float | a text, its digits |
//! | `NaN`, `Infinity`, `-Infinity` | a number |
//! | lists and objects deeper than [`MAX_DEPTH`], a value of more than 100,000 values | a text, their JSON |
//! | a key twice | the last counts |
//! | values that follow one another | one after another |

mod reader;
mod value;

#[allow(unused_imports, reason = "the reader of OTLP names the first two")]
pub(crate) use reader::{JsonError, Kind, Reader, Token};
pub(crate) use value::MAX_DEPTH;
