#!/usr/bin/env bash
# Python's one-shot decompress of lz4 and zstandard read the first frame and drop the others without a word; gzip's reads all.
#
# Tool:     lz4 4.4.5 and zstandard 0.25.0 (PyPI), beside gzip of CPython.
# Expected: Both formats allow frames to follow one another, and their command line tools read all of them. decompress() does
#           so, like gzip.decompress; or it raises because of the data behind the first frame.
# Instead:  lz4.frame.decompress and zstandard.decompress return the first frame. The file readers of the same two packages
#           return all frames, so one package reads the same bytes in two ways.
# Output:   two frames of 1000 bytes
#           gzip       decompress 2000, open 2000
#           lz4        decompress 1000, open 2000
#           zstandard  decompress 1000, open 2000
# Matters:  A receiver in Python that undoes a Content-Encoding with decompress() takes the first part of a body that was put
#           together from frames, and answers 200. A sender makes one frame per request. A file of records that grows
#           by frames is to be read by the stream readers only, or to carry a length and a count that show what is missing.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check lz4==4.4.5 zstandard==0.25.0

cat >"$dir/run.py" <<'EOF'
import gzip, io, lz4.frame, sys, zstandard

EXPECTED = {"gzip": (2000, 2000), "lz4": (1000, 2000), "zstandard": (1000, 2000)}

records = [b"a" * 1000, b"b" * 1000]
seen = {}
print("two frames of 1000 bytes")
for name, package in {"gzip": gzip, "lz4": lz4.frame, "zstandard": zstandard}.items():
    frames = b"".join(map(package.compress, records))
    with package.open(io.BytesIO(frames), "rb") as reader:
        seen[name] = (len(package.decompress(frames)), len(reader.read()))
    print("{:10} decompress {}, open {}".format(name, *seen[name]))
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py"
