// Telephones of SIP call web phones: how soon does one hear that it rings, and that it was answered? A hundred numbers register
// by WebSocket and answer at once; callers of SIP (UDP, no password) call them, as many a second as is said, hang up a second
// after the answer, and tell of all of them at the end. No speech. The clock is that of this process, whose own lag is told, too.
//
//   node to-web.mjs SIP_PORT HTTP_PORT PER_SECOND SECONDS
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import http from 'node:http';
import { monitorEventLoopDelay } from 'node:perf_hooks';

const [sip, web, perSecond, seconds] = process.argv.slice(2).map(Number);
const PHONES = 100;
const lag = monitorEventLoopDelay({ resolution: 1 });

/** A text as a frame of a client (RFC 6455, section 5.2), masked with nothing. */
function frame(text) {
  const bytes = Buffer.from(text);
  const head = bytes.length < 126 ? [0x81, 0x80 | bytes.length] : [0x81, 0xfe, bytes.length >> 8, bytes.length & 255];
  return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), bytes]);
}

/** A web phone that answers. */
function phone(number) {
  return new Promise((registered, failed) => {
    const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': randomBytes(16).toString('base64') };
    const asked = http.get({ port: web, host: '127.0.0.1', path: '/ws', headers });
    asked.on('error', failed);
    asked.on('response', ({ statusCode }) => failed(new Error(`no WebSocket: ${statusCode}`)));
    asked.on('upgrade', (_, socket, first) => {
      const say = (type, payload) => socket.write(frame(JSON.stringify({ type, payload, id: `${type}-${payload.callId ?? ''}` })));
      let held = Buffer.alloc(0);
      const take = (bytes) => {
        held = Buffer.concat([held, bytes]);
        for (;;) {
          if (held.length < 2) return;
          const short = held[1] & 127;
          const at = short === 126 ? 4 : short === 127 ? 10 : 2;
          if (held.length < at) return;
          const length = short === 126 ? held.readUInt16BE(2) : short === 127 ? Number(held.readBigUInt64BE(2)) : short;
          if (held.length < at + length) return;
          const [kind, body] = [held[0] & 15, held.subarray(at, at + length)];
          held = held.subarray(at + length);
          if (kind !== 1) continue;
          const { type, payload } = JSON.parse(body);
          if (type === 'registered') registered(socket);
          if (type === 'registrationFailed') failed(new Error(`not registered: ${body}`));
          if (type !== 'incomingCall') continue;
          say('ringing', { callId: payload.callId });
          say('answer', { callId: payload.callId });
        }
      };
      socket.on('data', take);
      say('register', { dn: number, device: `web-${number}`, codecs: ['opus', 'pcmu'] });
      take(first);
    });
  });
}

const sockets = await Promise.all(Array.from({ length: PHONES }, (_, at) => phone(`web${at}`)));
const line = dgram.createSocket('udp4');
await new Promise((bound) => line.bind(0, '127.0.0.1', bound));
const own = line.address().port;
const calls = new Map();
const [ringing, times] = [[], {}];

function send(method, id, call, number, tag = '', body = '') {
  const lines = [
    `${method} sip:${call.to}@127.0.0.1:${sip} SIP/2.0`, `Via: SIP/2.0/UDP 127.0.0.1:${own};branch=z9hG4bK-${id}-${number}-${method};rport`, 'Max-Forwards: 70',
    `From: <sip:caller${id % 2000}@127.0.0.1>;tag=${id}`, `To: <sip:${call.to}@127.0.0.1>${tag && `;tag=${tag}`}`, `Call-ID: to-web-${id}-${process.pid}`,
    `CSeq: ${number} ${method}`, `Contact: <sip:caller${id % 2000}@127.0.0.1:${own}>`, ...(body ? ['Content-Type: application/sdp'] : []), `Content-Length: ${body.length}`, '', body,
  ];
  line.send(lines.join('\r\n'), sip, '127.0.0.1');
}

line.on('message', (message) => {
  const text = message.toString();
  const [, status] = /^SIP\/2\.0 (\d+)/.exec(text) ?? [];
  const [, id] = /^Call-ID: *to-web-(\d+)-/im.exec(text) ?? [];
  const call = calls.get(id);
  if (!status || !call) return;
  if (/^CSeq: *2 BYE/im.test(text)) call.isOver = true;
  if (!/^CSeq: *1 INVITE/im.test(text)) return;
  const [, tag] = /^To:.*;tag=([^;\s]+)/im.exec(text) ?? [];
  if (status === '180' && !call.rang) ringing.push((call.rang = performance.now()) - call.began);
  if (status < 200) return;
  send('ACK', id, call, 1, tag);
  if (call.ended) return;
  call.ended = performance.now();
  (times[status] ??= []).push(call.ended - call.began);
  if (status !== '200') return;
  const hangUp = (again) => {
    if (call.isOver) return;
    send('BYE', id, call, 2, tag);
    setTimeout(hangUp, again, again * 2);
  };
  setTimeout(hangUp, 1000, 500);
});

const OFFER = ['v=0', 'o=caller 1 1 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0', 'm=audio 40000 RTP/AVP 0', 'a=sendonly', ''].join('\r\n');
const began = performance.now();
lag.enable();
let sent = 0;
const timer = setInterval(() => {
  const elapsed = (performance.now() - began) / 1000;
  while (sent < Math.min(elapsed, seconds) * perSecond) {
    const call = { to: `web${sent % PHONES}`, began: performance.now() };
    calls.set(String(sent), call);
    send('INVITE', sent++, call, 1, '', OFFER);
  }
  if (elapsed < seconds + 3) return;
  clearInterval(timer);
  const of = (values) => {
    const sorted = values.toSorted?.((a, b) => a - b) ?? [...values].sort((a, b) => a - b);
    return Object.fromEntries([[50, 'p50'], [99, 'p99'], [100, 'max']].map(([share, name]) => [name, Math.round((sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * share) / 100))] ?? NaN) * 100) / 100]));
  };
  const finals = Object.entries(times).map(([status, values]) => [status, { calls: values.length, ...of(values) }]);
  console.log(JSON.stringify({ calls: sent, ringing_ms: of(ringing), final_ms_by_status: Object.fromEntries(finals), unended: [...calls.values()].filter(({ ended, isOver, rang }) => (rang ? !isOver : !ended)).length, lag_ms_p99: Math.round(lag.percentile(99) / 1e4) / 100 }));
  line.close();
  for (const socket of sockets) socket.destroy();
}, 1);
