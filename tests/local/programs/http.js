// SPDX-License-Identifier: GPL-2.0
//
// http.js server PORT - answers a POST with its body, a GET /N with N bytes
// http.js client PORT COUNT - last line: answers that were right
//
// HOST in the environment: where, if not on this machine
'use strict';
const http = require('http');
const crypto = require('crypto');
const host = process.env.HOST || '127.0.0.1';
const [what, port, count] = [process.argv[2], +process.argv[3], +process.argv[4]];
const body = (size) => crypto.createHash('sha256').update(`${size}`).digest('hex').repeat(size / 64 + 1).slice(0, size);

function ask(agent, method, path, sent) {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host, method, path, agent }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => resolve(Buffer.concat(parts).toString()));
    });
    request.on('error', reject);
    request.end(sent);
  });
}

async function worker(agent, numbers) {
  let right = 0;
  for (const n of numbers) {
    const size = [0, 10, 1000, 100000, 1000000][n % 5];
    if (n % 2)
      right += await ask(agent, 'POST', '/', body(size)) === body(size);
    else
      right += await ask(agent, 'GET', `/${size}`) === body(size);
  }
  return right;
}

if (what === 'server') {
  http.createServer((request, response) => {
    if (request.method === 'POST')
      request.pipe(response);
    else
      response.end(body(+request.url.slice(1)));
  }).listen(port, host, () => console.log('ready'));
} else {
  const run = async (agent) => {
    const parts = [0, 1, 2, 3].map((part) => [...Array(count / 8).keys()].map((i) => 4 * i + part));
    return (await Promise.all(parts.map((part) => worker(agent, part)))).reduce((a, b) => a + b);
  };
  (async () => {
    const kept = await run(new http.Agent({ keepAlive: true, maxSockets: 4 }));
    const other = await run(new http.Agent({ keepAlive: false }));
    console.log(kept + other);
    process.exit(0);
  })();
}
