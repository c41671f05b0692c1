#!/usr/bin/env bash
# ClickHouse reads seconds as text as another time where they have few digits, and the same number without quotes right.
#
# Tool:     chdb-core 26.9.0 (PyPI), the engine of ClickHouse 26.9.2, INSERT ... FORMAT JSONEachRow into DateTime64(9).
# Expected: date_time_input_format reads text like 1610393068.5 as seconds since 1970, so "0.5" is half a second, or it is
#           refused as no date.
# Instead:  Text needs nine digits before the point to be seconds. "1" is the first of January of the current year and "0.5"
#           the first of May of it, taken without a word; "99999999.5" (March 1973) is an error that ends the whole insert.
#           With leading zeros, or as a number, every one of them is read as seconds.
# Output:   "100000000.5" 100000000500000000
#           "0100000000.5" 100000000500000000
#           "99999999.5" Code: 41
#           "0099999999.5" 99999999500000000
#           99999999.5 99999999500000000
#           "0.5" the first of May of this year
#           "0000000000.5" 500000000
#           "1" the first of January of this year
#           "0000000001" 1000000000
# Matters:  A device whose clock begins in 1970 loses its batches, or has them stored in the wrong year, depending on how
#           long it has been running. A sender writes seconds with ten digits, or as a number.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check --no-deps chdb-core==26.9.0

cat >"$dir/run.py" <<'EOF'
import re, sys
from chdb import session

EXPECTED = [
    ('"100000000.5"', "100000000500000000"),
    ('"0100000000.5"', "100000000500000000"),
    ('"99999999.5"', "Code: 41"),
    ('"0099999999.5"', "99999999500000000"),
    ("99999999.5", "99999999500000000"),
    ('"0.5"', "the first of May of this year"),
    ('"0000000000.5"', "500000000"),
    ('"1"', "the first of January of this year"),
    ('"0000000001"', "1000000000"),
]

engine = session.Session(sys.argv[1])
engine.query("CREATE DATABASE logs")
engine.query("USE logs")
engine.query("CREATE TABLE logs (time DateTime64(9, 'UTC')) ENGINE = MergeTree ORDER BY time")
same = True
for written, expected in EXPECTED:
    engine.query("TRUNCATE TABLE logs")
    try:
        engine.query('INSERT INTO logs FORMAT JSONEachRow\n{"time":%s}' % written)
        seen = engine.query("SELECT toUnixTimestamp64Nano(time) FROM logs", "TabSeparated").bytes().decode().strip()
        for name, month in ("January", 1), ("May", 5):
            first = f"SELECT time = makeDateTime(toYear(now('UTC')), {month}, 1, 0, 0, 0, 'UTC') FROM logs"
            if engine.query(first, "TabSeparated").bytes().strip() == b"1":
                seen = f"the first of {name} of this year"
    except Exception as error:
        seen = re.match(r"Code: \d+", str(error))[0]
    print(written, seen)
    same &= seen == expected
sys.exit(not same)
EOF
"$dir/venv/bin/python" "$dir/run.py" "$dir/data"
