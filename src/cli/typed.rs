//! Names of the library in the words of the command line: who reads an error of the tool has typed an option, and no method.

/// The settings of a builder that are made by an option or an argument, and what is typed for each.
const TYPED: &[(&str, &str)] = &[
    ("with_client_identity", "--cert"),
    ("with_encoder", "--format"),
    ("with_endpoint", "--to"),
    ("with_full_policy", "--reject-new"),
    ("with_header_hook", "--partition-header"),
    ("with_headers", "--header"),
    ("with_inherited_listeners", "LISTEN_FDS"),
    ("with_listen_anywhere", "--listen-anywhere"),
    ("with_listener", "--otlp"),
    ("with_max_buffer_bytes", "--max-buffer-bytes"),
    ("with_max_connections", "--max-connections"),
    ("with_max_in_flight", "--max-in-flight"),
    ("with_max_incoming_bytes", "--max-incoming-bytes"),
    ("with_max_record_bytes", "--max-record-bytes"),
    ("with_max_spool_bytes", "--max-spool-bytes"),
    ("with_method", "--method"),
    ("with_protocol", "--format"),
    ("with_root_certificate", "--ca-cert"),
    ("with_spool_dir", "DIR"),
    ("with_status", "--status"),
    ("with_timeout", "--timeout"),
    ("with_token", "--token-env"),
];

/// What is typed for a setting, if anything is.
pub(super) fn option(setting: &str) -> Option<&'static str> {
    TYPED.iter().find(|(known, _)| *known == setting).map(|(_, typed)| *typed)
}

/// A text with options in place of methods.
pub(super) fn in_text(text: &str) -> String {
    replaced(text, option)
}

/// The same with those of some settings alone.
pub(super) fn in_text_of(text: &str, settings: &[&str]) -> String {
    replaced(text, |word| option(word).filter(|_| settings.contains(&word)))
}

/// A text with other words in place of some.
fn replaced(text: &str, word_for: impl Fn(&str) -> Option<&'static str>) -> String {
    let is_part = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let (mut typed, mut rest) = (String::with_capacity(text.len()), text);
    while !rest.is_empty() {
        let word = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
        // A word, and what parts it from the next one.
        let end = rest[word..].find(is_part).map_or(rest.len(), |behind| word + behind);
        typed.push_str(word_for(&rest[..word]).unwrap_or(&rest[..word]));
        typed.push_str(&rest[word..end]);
        rest = &rest[end..];
    }
    typed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_named_as_what_is_typed_and_all_else_stays() {
        for (text, typed) in [
            ("`with_endpoint` is invalid: with_headers, with_method", "`--to` is invalid: --header, --method"),
            ("with_endpoints without_endpoint a.with_endpoint", "with_endpoints without_endpoint a.--to"),
            ("with_max_batch_bytes ü (with_timeout)", "with_max_batch_bytes ü (--timeout)"),
            ("", ""),
            (" : ", " : "),
        ] {
            assert_eq!(in_text(text), typed);
        }
        assert_eq!(in_text_of("with_method with_endpoint", &["with_endpoint"]), "with_method --to");
    }
}
