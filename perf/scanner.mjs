// Somebody who looks for users: REGISTERs of names that nobody has, from twenty addresses of this host, as many a second as is
// said. Tells at the end how many it sent, and how many answers came.
//
//   node scanner.mjs PORT PER_SECOND SECONDS
import dgram from 'node:dgram';

const [port, perSecond, seconds] = process.argv.slice(2).map(Number);
const sockets = Array.from({ length: 20 }, () => dgram.createSocket('udp4'));
let [sent, answers] = [0, 0];
await Promise.all(sockets.map((socket, at) => new Promise((bound) => {
  socket.on('message', () => answers++);
  socket.bind(0, `127.1.${at}.7`, bound);
})));
const began = performance.now();
const timer = setInterval(() => {
  const elapsed = (performance.now() - began) / 1000;
  while (sent < Math.min(elapsed, seconds) * perSecond) {
    const socket = sockets[sent % sockets.length];
    const { address, port: own } = socket.address();
    const user = 1_000_000 + ((sent * 7919) % 1_000_000);
    const lines = [
      `REGISTER sip:127.0.0.1:${port} SIP/2.0`, `Via: SIP/2.0/UDP ${address}:${own};branch=z9hG4bK${sent};rport`, 'Max-Forwards: 70',
      `From: <sip:${user}@127.0.0.1>;tag=${sent}`, `To: <sip:${user}@127.0.0.1>`, `Call-ID: scan-${sent}`, 'CSeq: 1 REGISTER',
      `Contact: <sip:${user}@${address}:${own}>`, 'User-Agent: phone', 'Content-Length: 0', '', '',
    ];
    socket.send(lines.join('\r\n'), port, '127.0.0.1');
    sent++;
  }
  if (elapsed < seconds + 0.2) return;
  clearInterval(timer);
  console.log(JSON.stringify({ sent, answers, seconds }));
  for (const socket of sockets) socket.close();
}, 1);
