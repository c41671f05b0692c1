#!/usr/bin/env bash
# Attributes that OpenTelemetry's Node exporter takes make its JSON unreadable for a collector; its protobuf is taken.
#
# Tool:     @opentelemetry/exporter-logs-otlp-http and -proto 0.223.0 (npm) against rotel 0.0.1a15 (PyPI).
# Expected: OTLP is one protocol in two encodings. What an exporter sends as JSON means the same as its protobuf, and a
#           collector of the same protocol reads both.
# Instead:  A null in an attribute becomes {}, NaN becomes {"doubleValue":null}, and 2^63 an intValue that no int64 holds, while
#           protobuf carries an empty value, NaN, and a double. rotel takes all three in protobuf. In JSON it answers
#           400 to the whole request, without a word, and the exporter drops the other records with it.
# Output:   17        JSON 200 {"intValue":17}                      protobuf 200
#           null      JSON 400 {}                                   protobuf 200
#           NaN       JSON 400 {"doubleValue":null}                 protobuf 200
#           2 ** 63   JSON 400 {"intValue":9223372036854776000}     protobuf 200
# Matters:  A relay that takes OTLP in JSON needs a reader of its own for values: {} is no value, null is NaN, an integer that
#           does not fit is a double. A sender with the choice takes protobuf. A sender of JSON has to expect a 400 that
#           one value of one record has caused, and to look for that record rather than drop the batch.
set -euo pipefail
dir=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q --disable-pip-version-check rotel==0.0.1a15
npm install --silent --no-fund --no-audit --prefix "$dir" @opentelemetry/exporter-logs-otlp-http@0.223.0 \
    @opentelemetry/exporter-logs-otlp-proto@0.223.0 @opentelemetry/sdk-logs@0.223.0 @opentelemetry/api-logs@0.223.0 \
    @opentelemetry/api@1.9.0

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
port=$(free_port)
"$dir"/venv/lib/python3*/site-packages/rotel/rotel-agent start --otlp-http-endpoint "127.0.0.1:$port" \
    --otlp-grpc-endpoint "127.0.0.1:$(free_port)" --pid-file "$dir/pid" --exporter blackhole >"$dir/rotel.log" 2>&1 &

cat >"$dir/run.cjs" <<'EOF'
const http = require('node:http');
const { LoggerProvider, BatchLogRecordProcessor } = require('@opentelemetry/sdk-logs');
const exporters = {
  JSON: require('@opentelemetry/exporter-logs-otlp-http').OTLPLogExporter,
  protobuf: require('@opentelemetry/exporter-logs-otlp-proto').OTLPLogExporter,
};
const collector = `http://127.0.0.1:${process.argv[2]}/v1/logs`;
const values = { '17': 17, 'null': null, 'NaN': NaN, '2 ** 63': 2 ** 63 };
const expected = {
  '17': ['200 {"intValue":17}', '200'],
  'null': ['400 {}', '200'],
  'NaN': ['400 {"doubleValue":null}', '200'],
  '2 ** 63': ['400 {"intValue":9223372036854776000}', '200'],
};

// Between exporter and collector: what the one sends and the other answers.
let told;
const between = http.createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  const type = request.headers['content-type'];
  const { status } = await fetch(collector, { method: 'POST', body, headers: { 'content-type': type } });
  told = `${status}`;
  if (type === 'application/json') {
    const records = JSON.parse(body).resourceLogs[0].scopeLogs[0].logRecords;
    told += ` ${JSON.stringify(records[1].attributes[0].value)}`;
  }
  response.writeHead(status).end();
});

async function main() {
  for (let left = 100; ; left--) {
    try { await fetch(collector); break; } catch (error) { if (!left) throw error; }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${between.address().port}/v1/logs`;
  let same = true;
  for (const [name, value] of Object.entries(values)) {
    const seen = [];
    for (const Exporter of Object.values(exporters)) {
      const provider = new LoggerProvider({ processors: [new BatchLogRecordProcessor({ exporter: new Exporter({ url }) })] });
      const logger = provider.getLogger('shop');
      for (const order of [1, value, 3]) logger.emit({ body: 'order taken', attributes: { order } });
      await provider.forceFlush();
      await provider.shutdown();
      seen.push(told);
    }
    console.log(`${name.padEnd(9)} JSON ${seen[0].padEnd(40)} protobuf ${seen[1]}`);
    same &&= JSON.stringify(seen) === JSON.stringify(expected[name]);
  }
  process.exit(same ? 0 : 1);
}
main();
EOF
node "$dir/run.cjs" "$port"
