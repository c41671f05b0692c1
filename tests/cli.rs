//! The command-line tool `otel-spool`, as a program of its own.
