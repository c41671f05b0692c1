// The same as application.py for fastify: the argument is the port, STORE the file.
const fs = require('node:fs');
const fastify = require('fastify')({ bodyLimit: 20_000, keepAliveTimeout: 1_000 });

fastify.post('/ingest', async (request) => {
  const messages = request.body.map((record) => record.message);
  fs.appendFileSync(process.env.STORE, JSON.stringify([request.headers['idempotency-key'], messages]) + '\n');
  return {};
});
fastify.listen({ host: '127.0.0.1', port: Number(process.argv[2]) });
