// What every client in Node does: the same as steps.py says.
'use strict';

const readline = require('node:readline');
const { setTimeout: sleep } = require('node:timers/promises');

const name = process.env.CLIENT_NAME;
const count = Number(process.env.CLIENT_COUNT);
const pace = Number(process.env.CLIENT_PACE || 0);

exports.endpoint = `http://127.0.0.1:${process.env.CLIENT_OTLP}`;

// Values of every type that a record can carry.
exports.attributes = {
  text: 'Zürich "1"\nline \u{1F980}',
  integer: 42,
  double: 0.1,
  flag: true,
  list: [1, 'two', false],
  map: { depth: { inner: 1.5 } },
};

exports.logAll = async (log, flush) => {
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const wait = async (word) => {
    const { value } = await lines.next();
    if (value !== word) throw new Error(`${value} is not ${word}`);
  };
  console.log('ready');
  await wait('go');
  for (let number = 0; number < count; number += 1) {
    if (number === Math.floor((count * 2) / 3)) await wait('back');
    log(`${name}-${String(number).padStart(6, '0')}`);
    console.log(`sent ${number}`);
    await sleep(pace);
  }
  // A worker that ends keeps no process alive that waits for it.
  const alive = setInterval(() => {}, 1000);
  await flush();
  clearInterval(alive);
  console.log(`last ${JSON.stringify({ pid: process.pid })}`);
  console.log('end');
  process.exit(0);
};
