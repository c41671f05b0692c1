mod encoding;
mod formats;
#[cfg(feature = "otlp")]
mod grouped;
#[cfg(feature = "otlp")]
mod otlp;
mod pickle;
mod times;
