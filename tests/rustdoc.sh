#!/bin/sh
# rustdoc, which may write JSON: for `public_api.rs`. The variable is its own, since with it cargo would build every crate anew.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
