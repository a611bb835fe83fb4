// Ports of loopback for switches and telephones of a suite.
import net from 'node:net';

/* Below those that the kernel gives out by itself, so that none is taken between choice and use. */
const PORT_MIN = 20_000;
const PORT_MAX = 32_000;

const isFree = (port) => new Promise((free) => {
  const server = net.createServer().once('error', () => free(false)).listen(port, '127.0.0.1', () => server.close(() => free(true)));
});

/** Gives out ports from `next` on: the first of so many in a row that nobody listens at, each time others. */
export function portsFrom(next) {
  return async (count) => {
    for (let tries = 0; tries < 1000; tries++) {
      const first = next + count < PORT_MAX ? next : PORT_MIN;
      next = first + count;
      const free = await Promise.all(Array.from({ length: count }, (_, at) => isFree(first + at)));
      if (free.every(Boolean)) return first;
    }
    throw new Error('no free ports');
  };
}
