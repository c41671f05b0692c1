//! The option `--config`: a file of OpenTelemetry's YAML, and how errors name it.

use std::fmt::Display;
use std::path::Path;

use super::outcome::Failure;
use crate::config::file::{ExporterConfig, FILE};
use crate::error::ExporterBuildError;

/// What is between a setting in a file and the number of its line.
const LINE: &str = ", line ";

/// Reads the settings in a file.
pub(super) fn read(path: &Path) -> Result<ExporterConfig, Failure> {
    let file = path.display();
    let yaml = std::fs::read_to_string(path);
    let yaml = yaml.map_err(|error| Failure::Usage(format!("{file} cannot be read: {error}")))?;
    ExporterConfig::from_yaml(&yaml).map_err(|error| match error {
        ExporterBuildError::Invalid { setting, reason, source } => {
            let setting = self::setting(&setting, &file).unwrap_or(setting);
            Failure::Build(ExporterBuildError::Invalid { setting, reason, source })
        }
        error => error.into(),
    })
}

/// A text in which settings that stand in a file are named with it.
pub(super) fn in_text(text: &str, file: &str) -> String {
    let (mut named, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(LINE) {
        let number = &rest[at + LINE.len()..];
        let digits = number.find(|char: char| !char.is_ascii_digit()).unwrap_or(number.len());
        named.push_str(&rest[..at + LINE.len() + digits]);
        if digits > 0 {
            named.push_str(" of ");
            named.push_str(file);
        }
        rest = &number[digits..];
    }
    (named + rest).replace(&format!("`{FILE}`"), &format!("`{file}`"))
}

/// The setting of an error with the file that it stands in; `None` if it stands in none.
pub(super) fn setting(setting: &str, file: &dyn Display) -> Option<String> {
    if setting == FILE {
        return Some(file.to_string());
    }
    setting.contains(LINE).then(|| format!("{setting} of {file}"))
}
