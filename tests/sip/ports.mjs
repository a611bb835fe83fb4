// Ports of loopback that nobody has.
import { readFileSync } from 'node:fs';

// Below those that the kernel gives out by itself, so that none takes one between choice and use.
const MIN = 20_000;
const MAX = 32_000;

let next = MIN + Math.floor(Math.random() * (MAX - MIN - 2000));
const reserved = [];

function taken() {
  const ports = new Set();
  for (const table of ['udp', 'udp6', 'tcp', 'tcp6']) {
    for (const line of readFileSync(`/proc/net/${table}`, 'utf8').split('\n').slice(1)) {
      const local = line.trim().split(/\s+/)[1];
      if (local) ports.add(Number.parseInt(local.split(':')[1], 16));
    }
  }
  return ports;
}

/** So many in a row; an even one is the first. None is given out twice until all were. */
export function freePorts(count = 1) {
  const used = taken();
  for (let tries = 0; tries < MAX - MIN; tries++) {
    if (next % 2) next++;
    if (next + count > MAX) next = MIN;
    const first = next;
    next += 2;
    const all = Array.from({ length: count }, (_, at) => first + at);
    const isReserved = reserved.some(([low, high]) => first < high && low < first + count);
    if (isReserved || all.some((port) => used.has(port))) continue;
    next = first + count;
    return all;
  }
  throw new Error('no free ports');
}

/** The first of so many in a row that are given to nobody else. */
export function reservePorts(count) {
  const [first] = freePorts(count);
  reserved.push([first, first + count]);
  return first;
}
