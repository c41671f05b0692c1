// A client of OTLP: OpenTelemetry's SDK for Node.
//
//     node_otlp.cjs json|protobuf|pino
'use strict';

const { attributes, endpoint, logAll } = require('./steps.cjs');

const EVERY = 200;

function sdk(exporter) {
  const { BatchLogRecordProcessor, LoggerProvider } = require('@opentelemetry/sdk-logs');
  const { resourceFromAttributes } = require('@opentelemetry/resources');
  const processor = new BatchLogRecordProcessor({ exporter, scheduledDelayMillis: EVERY });
  const provider = new LoggerProvider({ resource: resourceFromAttributes({ 'service.name': 'shop' }), processors: [processor] });
  const logger = provider.getLogger('shop.orders', '1.2');
  const log = (body) =>
    logger.emit({ body, attributes, severityNumber: 13, severityText: 'WARN', timestamp: [1700000000, 123456789] });
  return logAll(log, () => provider.shutdown());
}

function json() {
  const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-http');
  return sdk(new OTLPLogExporter({ url: `${endpoint}/v1/logs`, timeoutMillis: 60000 }));
}

function protobuf() {
  const { OTLPLogExporter } = require('@opentelemetry/exporter-logs-otlp-proto');
  return sdk(new OTLPLogExporter({ url: `${endpoint}/v1/logs`, timeoutMillis: 60000, compression: 'gzip' }));
}

function pino() {
  process.env.OTEL_EXPORTER_OTLP_LOGS_PROTOCOL = 'http/protobuf';
  process.env.OTEL_EXPORTER_OTLP_ENDPOINT = endpoint;
  process.env.OTEL_BLRP_SCHEDULE_DELAY = String(EVERY);
  const makeLogger = require('pino');
  const transport = makeLogger.transport({
    target: 'pino-opentelemetry-transport',
    options: { loggerName: 'shop.orders', serviceVersion: '1.2', resourceAttributes: { 'service.name': 'shop' } },
  });
  const logger = makeLogger(transport);
  const log = (body) => logger.warn(attributes, body);
  const flush = () => new Promise((done) => { transport.on('close', done); transport.end(); });
  return logAll(log, flush);
}

({ json, protobuf, pino })[process.argv[2]]();
