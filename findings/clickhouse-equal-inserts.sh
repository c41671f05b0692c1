#!/usr/bin/env bash
# ClickHouse drops an insert of rows that equal those of an earlier one, and any insert under a token that it has seen, as a success.
#
# Tool:     chdb-core 26.9.0 (PyPI), the engine of ClickHouse 26.9.2; a MergeTree with non_replicated_deduplication_window, which is what
#           replicated tables do by default.
# Expected: Deduplication is for a request that is sent again. Two inserts that were meant are two, and a token in the settings of a
#           connection is a name for it.
# Instead:  Without a token an insert is known by its rows: another insert of equal rows is not stored. With a token it is known by that
#           alone: with the same token other rows are not stored either. Neither is an error.
# Output:   two inserts of equal rows: 1
#           the same under two tokens: 2
#           the second token again, with the same row: 2
#           the second token again, with another row: 0
# Matters:  A sender that wants each record exactly once gives each batch a token of its own, and the same one whenever it sends that
#           batch again. A token in a URL that is the same for all requests loses everything but the first, under a 200.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-deps chdb-core==26.9.0

cat >"$dir/run.py" <<'EOF'
import sys
from chdb import session

engine = session.Session(sys.argv[1])
engine.query("CREATE DATABASE logs")
engine.query("USE logs")
engine.query(
    "CREATE TABLE logs (line String) ENGINE = MergeTree ORDER BY line SETTINGS non_replicated_deduplication_window = 100"
)


def insert(line, token=None):
    settings = f"SETTINGS insert_deduplication_token = '{token}' " if token else ""
    engine.query(f'INSERT INTO logs {settings}FORMAT JSONEachRow\n{{"line":"{line}"}}')


same = True


def count(what, line, expected):
    global same
    seen = engine.query(f"SELECT count() FROM logs WHERE line = '{line}'", "TabSeparated").bytes().decode().strip()
    print(f"{what}: {seen}")
    same &= seen == expected


insert("a")
insert("a")
count("two inserts of equal rows", "a", "1")
insert("b", "first")
insert("b", "second")
count("the same under two tokens", "b", "2")
insert("b", "second")
count("the second token again, with the same row", "b", "2")
insert("c", "second")
count("the second token again, with another row", "c", "0")
sys.exit(not same)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir/data"
