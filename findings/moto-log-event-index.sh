#!/usr/bin/env bash
# moto counts rejected log events otherwise than the API that it stands for: its index of the last old one is inclusive.
#
# Tool:     moto 5.2.5 and the API model of botocore that it installs (PyPI), PutLogEvents of CloudWatch Logs.
# Expected: A success names what was not stored, as the model says: tooOldLogEventEndIndex is exclusive,
#           tooNewLogEventStartIndex is the first that is too new. Of two old events, three good ones and two from the
#           future: 2 and 5.
# Instead:  Both are the index of the last such event: 1 and 6. Of a single old event the answer is 0, which by the model
#           means none.
# Output:   the model: "This field is exclusive.", "This field is inclusive."
#           stored of 2 old, 3 good, 2 new: 3, tooOldLogEventEndIndex 1, tooNewLogEventStartIndex 6
#           stored of 1 old, 1 good: 1, tooOldLogEventEndIndex 0
# Matters:  A 200 in which events are refused by position is silent loss for a sender that looks at the status, and one
#           record is lost in silence for one that was only ever tried against moto, or against the service. Compare what is
#           counted as delivered with what is stored.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check moto==5.2.5

cat >"$dir/run.py" <<'EOF'
import os, re, sys, time

os.environ.update(AWS_ACCESS_KEY_ID="none", AWS_SECRET_ACCESS_KEY="none", AWS_DEFAULT_REGION="us-east-1")
import boto3, moto

EXPECTED = [
    'the model: "This field is exclusive.", "This field is inclusive."',
    "stored of 2 old, 3 good, 2 new: 3, tooOldLogEventEndIndex 1, tooNewLogEventStartIndex 6",
    "stored of 1 old, 1 good: 1, tooOldLogEventEndIndex 0",
]
DAY = 24 * 60 * 60 * 1000
now = int(time.time() * 1000)

def put(logs, stream, counts):
    ages = {"old": 30 * DAY, "good": 0, "new": -DAY}
    events = [{"timestamp": now - ages[kind], "message": kind} for kind, count in counts.items() for _ in range(count)]
    logs.create_log_stream(logGroupName="shop", logStreamName=stream)
    answer = logs.put_log_events(logGroupName="shop", logStreamName=stream, logEvents=events)
    stored = logs.get_log_events(logGroupName="shop", logStreamName=stream, startFromHead=True)["events"]
    rejected = sorted(answer["rejectedLogEventsInfo"].items(), reverse=True)
    names = "".join(f", {name} {index}" for name, index in rejected)
    return f"stored of {', '.join(f'{count} {kind}' for kind, count in counts.items())}: {len(stored)}{names}"

with moto.mock_aws():
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="shop")
    fields = logs.meta.service_model.shape_for("RejectedLogEventsInfo").members
    said = [re.search(r"This field is \w+\.", fields[name].documentation)[0]
            for name in ("tooOldLogEventEndIndex", "tooNewLogEventStartIndex")]
    seen = [
        'the model: "{}", "{}"'.format(*said),
        put(logs, "first", {"old": 2, "good": 3, "new": 2}),
        put(logs, "second", {"old": 1, "good": 1}),
    ]
print("\n".join(seen))
sys.exit(seen != EXPECTED)
EOF
"$dir/venv/bin/python" "$dir/run.py"
