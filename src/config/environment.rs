//! Settings from the environment, by OpenTelemetry's rules.

use std::ffi::OsString;

use crate::config::nearest::nearest;
use crate::config::table::{Settings, VARIABLES, Variable};
use crate::config::values::{Signal, Sourced, Warning, invalid};
use crate::error::ExporterBuildError;
use crate::transport::http::with_path_below;

const OTLP: &str = "OTEL_EXPORTER_OTLP_";
const SPOOL: &str = "OTEL_EXPORTER_SPOOL_";
const DISABLED: &str = "OTEL_SDK_DISABLED";

impl Settings {
    /// Reads the environment of an exporter of `signal`. `lookup` returns the value of a variable; an empty one counts as not
    /// set. The variables for all signals, such as `OTEL_EXPORTER_OTLP_HEADERS`, are read only if `all_signals` is set: a
    /// collector's credentials must not reach another endpoint. To the endpoint for all signals a path is appended; the one for
    /// the signal is taken as it is.
    ///
    /// # Errors
    ///
    /// If a value is not allowed: the error names the variable.
    pub(crate) fn from_environment(
        lookup: &dyn Fn(&str) -> Option<OsString>,
        signal: Signal,
        all_signals: bool,
    ) -> Result<Self, ExporterBuildError> {
        let of_signal = format!("{OTLP}{}_", signal.name().to_uppercase());
        let get = |prefix: &str, name: &str| {
            let variable = format!("{prefix}{name}");
            match lookup(&variable).map(OsString::into_string) {
                None => Ok(None),
                Some(Ok(value)) if value.trim().is_empty() => Ok(None),
                Some(Ok(value)) => Ok(Some(Sourced::new(value.trim(), variable).into_owned())),
                Some(Err(_)) => Err(invalid(&variable, "it is not UTF-8", None::<std::io::Error>)),
            }
        };
        let mut settings = Self::read(|setting, variable| match variable {
            Variable::Spool(name) => get(SPOOL, name),
            Variable::OtlpMetrics(name) if signal == Signal::Metrics => get(&of_signal, name),
            Variable::SpoolMetrics(name) if signal == Signal::Metrics => get(SPOOL, name),
            Variable::OtlpMetrics(_) | Variable::SpoolMetrics(_) => Ok(None),
            Variable::Otlp(name) => match get(&of_signal, name)? {
                Some(given) => Ok(Some(given)),
                None if !all_signals => Ok(None),
                None => Ok(get(OTLP, name)?.map(|of_all| match setting {
                    "endpoint" => Sourced { value: with_path_below(&of_all.value, signal.path()), ..of_all },
                    _ => of_all,
                })),
            },
        })?;
        let is_disabled =
            lookup(DISABLED).is_some_and(|value| value.to_string_lossy().trim().eq_ignore_ascii_case("true"));
        settings.warnings.extend(is_disabled.then(|| Warning::new(DISABLED, NOT_DISABLED)));
        Ok(settings)
    }
}

/// What follows from the SDK being disabled by a variable or a file.
pub(crate) const NOT_DISABLED: &str = "it is true, and neither the Rust SDK nor this exporter reads it: records are taken and \
                                       delivered; to have none, build no exporter then";

/// Notices the variables of the spool that do not exist: of all `names` in the environment, those that begin like one.
pub(crate) fn unknown(names: impl IntoIterator<Item = OsString>, signal: Signal) -> Vec<Warning> {
    let full = |variable| match variable {
        Variable::Spool(name) | Variable::SpoolMetrics(name) => format!("{SPOOL}{name}"),
        Variable::Otlp(name) => format!("{OTLP}{}_{name}", signal.name().to_uppercase()),
        Variable::OtlpMetrics(name) => format!("{OTLP}METRICS_{name}"),
    };
    // Each is known by its own name, and by the one that it has in code; those of the spool come first.
    let called = |(setting, variable): &(&str, Variable)| {
        let full = full(*variable);
        let name = full.strip_prefix(SPOOL).unwrap_or_default().to_owned();
        [(name, full.clone()), (setting.to_uppercase(), full)]
    };
    let mut known: Vec<_> = VARIABLES.iter().flat_map(called).collect();
    known.sort_by_key(|(_, full)| !full.starts_with(SPOOL));
    let warning = |name: OsString| {
        let name = name.to_string_lossy();
        let rest = name.strip_prefix(SPOOL)?;
        if known.iter().any(|(_, full)| *full == name || (cfg!(windows) && full.eq_ignore_ascii_case(&name))) {
            return None;
        }
        let meant = nearest(rest, known.iter().map(|(name, _)| &**name));
        let meant = meant.and_then(|meant| known.iter().find(|(name, _)| name == meant));
        let remedy = meant.map_or_else(
            || "the chapter `configuration` has those that there are".to_owned(),
            |(_, full)| format!("did you mean `{full}`?"),
        );
        Some(Warning::new(&*name, format!("there is no such variable, and it is not read; {remedy}")))
    };
    names.into_iter().filter_map(warning).collect()
}

impl Sourced<&str> {
    fn into_owned(self) -> Sourced<String> {
        Sourced { value: self.value.to_owned(), source: self.source }
    }
}

/// Whether a setting comes from the environment, which exporters of all signals read.
pub(crate) fn is_variable(source: &str) -> bool {
    source.starts_with("OTEL_")
}

/// Whether a variable is one that all OTLP exporters have.
pub(crate) fn is_of_otlp(variable: &str) -> bool {
    variable.starts_with(OTLP)
}

/// The error of a setting that is missing; where an unknown variable may be meant for it, that is what is wrong.
pub(crate) fn missing(error: ExporterBuildError, unknown: &[Warning]) -> ExporterBuildError {
    let ExporterBuildError::Missing { setting, .. } = &error else { return error };
    let variable = if *setting == "with_spool_dir" { "SPOOL_DIR`?" } else { "_ENDPOINT`?" };
    let meant = unknown.iter().find(|warning| warning.reason.ends_with(variable));
    match meant {
        Some(Warning { setting, reason }) => invalid(setting, reason, None::<std::io::Error>),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::values::{Durability, Protocol, Signal};

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, ExporterBuildError> {
        let find = |name: &str| variables.iter().find(|(variable, _)| *variable == name);
        Settings::from_environment(&|name| find(name).map(|(_, value)| value.into()), Signal::Logs, true)
    }

    #[test]
    fn the_variable_of_the_logs_counts_before_that_of_all_signals() {
        let both = settings(&[
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
            ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ]);
        let both = both.unwrap();
        let timeout = both.timeout.unwrap();
        assert_eq!((timeout.value, &*timeout.source), (Duration::from_secs(2), "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT"));
        assert_eq!(both.protocol.unwrap().value, Some(Protocol::HttpJson));
    }

    #[test]
    fn only_the_endpoint_of_all_signals_gets_a_path() {
        let endpoint = |name, value| settings(&[(name, value)]).unwrap().endpoint.unwrap().value;
        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        assert_eq!(endpoint(all, "http://collector:4318"), "http://collector:4318/v1/logs");
        assert_eq!(endpoint(all, "http://collector:4318/"), "http://collector:4318/v1/logs");
        assert_eq!(endpoint(all, "http://gateway/otel/"), "http://gateway/otel/v1/logs");
        assert_eq!(endpoint(all, "http://gateway/otel?tenant=acme"), "http://gateway/otel/v1/logs?tenant=acme");
        assert_eq!(endpoint("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://gateway/logs"), "http://gateway/logs");
    }

    #[test]
    fn the_chapter_on_configuration_has_every_setting() {
        let chapter = include_str!("../docs/configuration.md");
        let mut missing = Vec::new();
        let read = Settings::read(|setting, variable| {
            let (Variable::Otlp(name)
            | Variable::OtlpMetrics(name)
            | Variable::Spool(name)
            | Variable::SpoolMetrics(name)) = variable;
            let in_a_file = match setting {
                "protocol" => "encoding",
                "certificate" => "tls.ca_file",
                "client_key" => "tls.key_file",
                "client_certificate" => "tls.cert_file",
                "danger_accept_invalid_certificates" => "the same",
                setting => setting,
            };
            let rows = chapter.lines().filter(|line| line.starts_with(&format!("| `{name}` |")));
            if !rows.into_iter().any(|row| row.contains(in_a_file)) {
                missing.push(setting);
            }
            Ok(None)
        });
        assert!(read.is_ok());
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn a_variable_that_does_not_exist_is_noticed_with_the_one_that_may_be_meant() {
        let meant = |name: &str| {
            let warning = unknown([format!("OTEL_EXPORTER_SPOOL_{name}").into()], Signal::Traces).pop()?;
            assert_eq!(warning.setting, format!("OTEL_EXPORTER_SPOOL_{name}"));
            let reason = warning.reason.strip_prefix("there is no such variable, and it is not read; ").unwrap();
            Some(reason.to_owned())
        };
        for (name, expected) in [
            ("DRI", "did you mean `OTEL_EXPORTER_SPOOL_DIR`?"),
            ("DIRECTORY", "did you mean `OTEL_EXPORTER_SPOOL_DIR`?"),
            ("MAX_SPOOL_BYTES", "did you mean `OTEL_EXPORTER_SPOOL_MAX_BYTES`?"),
            ("ENDPOINT", "did you mean `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`?"),
            ("COMPRESION", "did you mean `OTEL_EXPORTER_SPOOL_COMPRESSION`?"),
            ("THINNING", "did you mean `OTEL_EXPORTER_SPOOL_METRICS_THINNING`?"),
            ("COLOUR_OF_IT", "the chapter `configuration` has those that there are"),
        ] {
            assert_eq!(meant(name).as_deref(), Some(expected), "{name}");
        }
        for (_, variable) in VARIABLES {
            if let Variable::Spool(name) | Variable::SpoolMetrics(name) = variable {
                assert_eq!(meant(name), None, "{name}");
            }
        }
        let others = ["OTEL_EXPORTER_OTLP_LOGS_INSECURE", "PATH", "OTEL_EXPORTER_SPOO"].map(OsString::from);
        assert_eq!(unknown(others, Signal::Logs), []);
    }

    #[test]
    fn that_the_sdk_is_disabled_is_noticed_since_nobody_reads_it() {
        let warnings = |value| settings(&[("OTEL_SDK_DISABLED", value)]).unwrap().warnings;
        assert_eq!(warnings("True"), [Warning::new("OTEL_SDK_DISABLED", NOT_DISABLED)]);
        assert_eq!((warnings("false"), warnings("")), (vec![], vec![]));
    }

    #[test]
    fn what_is_empty_is_not_there() {
        let empty = settings(&[("OTEL_EXPORTER_SPOOL_DURABILITY", " "), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap();
        assert!(empty.durability.is_none() && empty.endpoint.is_none());
        let given = settings(&[("OTEL_EXPORTER_SPOOL_DURABILITY", " process ")]).unwrap();
        assert_eq!(given.durability.unwrap().value, Durability::Process);
    }

    #[test]
    fn an_error_names_the_variable_what_was_wrong_and_what_is_allowed() {
        let error = settings(&[("OTEL_EXPORTER_SPOOL_MAX_AGE", "a week")]).err().unwrap().to_string();
        assert_eq!(
            error,
            "`OTEL_EXPORTER_SPOOL_MAX_AGE` is invalid: \"a week\"; allowed are milliseconds such as 10000, \
             or a number with ms, s, m, h or d such as 10s"
        );
        let error = settings(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http")]).err().unwrap().to_string();
        assert!(error.starts_with("`OTEL_EXPORTER_OTLP_PROTOCOL` is invalid: \"http\""), "{error}");
    }
}
