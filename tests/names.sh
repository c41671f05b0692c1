#!/usr/bin/env bash
# Prints the name of every test, one a line and sorted, without file, modules and line: a test that moves keeps its name. Redirect it
# into a file before a change, and compare after it.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo test -q --locked --all-features -- --list 2>/dev/null |
    sed -n 's/: test$//p' | sed 's/ (line [0-9]*)//; s/^[^ ]* - \(.\)/\1/; s/^\([^ ]*::\)*//' | sort
