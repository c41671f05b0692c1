//! Looks into spools and drains them: `otel-spool --help`.

fn main() -> std::process::ExitCode {
    opentelemetry_spool::cli::main()
}
