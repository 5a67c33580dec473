// Writes a log as the master-controller does: the real winston File transport with the controller's rotation settings.
// Commands come on standard input, one JSON object a line: {"records": n, "pause": ms} writes n records at full speed,
// with a pause after each rotation; "records written, rotations so far" answers it.
//
// Every piece is kept by a second hard link the moment winston has opened it: what reached a file is what is in there.
'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { once } = require('events');
const winston = require('winston');

const [folder, kept, maxsize] = process.argv.slice(2);
const filename = path.join(folder, 'x.log');

const file = new winston.transports.File({
  filename,
  maxsize: Number(maxsize),
  maxFiles: 5,
  tailable: true,
});
let pieces = 0;
file.on('open', (opened) => {
  pieces += 1;
  if (kept) fs.linkSync(opened, path.join(kept, String(pieces).padStart(6, '0')));
});

const logger = winston.createLogger({
  format: winston.format.combine(
    winston.format.timestamp({ format: 'YYYY-MM-DD HH:mm:ss' }),
    winston.format.metadata({ fillExcept: ['message', 'level', 'timestamp', 'label'] }),
    winston.format.printf(({ timestamp, level, message, metadata }) =>
      `${timestamp} [${level.toUpperCase()}]: ${message} ${JSON.stringify(metadata)}`),
  ),
  transports: [file],
});

let number = 0;
async function write(records, pause) {
  let seen = pieces;
  for (let i = 0; i < records; i += 1) {
    number += 1;
    const going = logger.write({
      level: 'info',
      message: '[WAIT-VM-READY] Health check failed',
      module: 'browser-auth',
      vmIP: '192.168.100.17',
      code: 'ECONNREFUSED',
      number,
    });
    if (!going) await once(logger, 'drain');
    if (pause && pieces !== seen) {
      seen = pieces;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
  // Until the last record is in the file: a file of this name, not rotated just now, that ends with it.
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    const ended = [filename, path.join(folder, 'x1.log')].some((name) => {
      try {
        return fs.readFileSync(name, 'utf8').trimEnd().endsWith(`"number":${number}}`);
      } catch {
        return false;
      }
    });
    if (ended || --patience === 0) break;
  }
}
let patience = 2000;

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { records, pause } = JSON.parse(line);
    await write(records, pause);
    process.stdout.write(`${number} records, ${pieces - 1} rotations\n`);
  }
  process.exit(0);
})();
