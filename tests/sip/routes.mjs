// Which way messages go: proxies that stay on it, and translators of addresses.
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { goesWithUs } from './children.mjs';
import { freePorts } from './ports.mjs';
import { pause, until } from './test.mjs';
import { description, header } from './wire.mjs';

/** Debian's kamailio before the switch: it stays on the way of calls, and registrations go by it (RFC 3327). `media`: the port at
 * which a relay of media is told of descriptions, and changes them. */
export async function kamailio(test, media) {
  const port = test.port();
  const file = path.join(test.work, 'kamailio.cfg');
  const modules = ['tm', 'sl', 'rr', 'pv', 'maxfwd', 'siputils', 'path', ...(media ? ['rtpengine'] : [])].map((name) => `loadmodule "${name}.so"`);
  writeFileSync(file, `#!KAMAILIO
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:${port}
${modules.join('\n')}
${media ? `modparam("rtpengine", "rtpengine_sock", "udp:127.0.0.1:${media}")` : ''}
request_route {
  ${media ? 'if (method == "INVITE" || method == "ACK" || method == "PRACK" || method == "UPDATE" || method == "BYE" || method == "CANCEL") { t_on_reply("ANSWER"); rtpengine_manage(); }' : ''}
  if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
  if (has_totag()) {
    if (loose_route()) { t_relay(); exit; }
    if (method == "ACK") { if (t_check_trans()) t_relay(); exit; }
    sl_send_reply("404", "Not Here");
    exit;
  }
  if (method == "CANCEL") { if (t_check_trans()) t_relay(); exit; }
  if (method == "REGISTER") { add_path(); $du = "sip:127.0.0.1:${test.sip}"; t_relay(); exit; }
  record_route();
  if ($sp == ${test.sip}) { loose_route(); t_relay(); exit; }
  $du = "sip:127.0.0.1:${test.sip}";
  t_relay();
}
onreply_route[ANSWER] { ${media ? 'rtpengine_manage();' : 'exit;'} }
`);
  const child = goesWithUs(spawn('kamailio', ['-DD', '-E', '-f', file, '-m', '32', '-M', '8', '-Y', test.work], { stdio: ['ignore', 'ignore', 'pipe'] }));
  let said = '';
  child.stderr.on('data', (data) => (said = (said + data).slice(-3000)));
  await isListening(test, child, port, () => `kamailio: ${said}`);
  return port;
}

/** Debian's rtpengine, in user space: its port for orders, and how many packets it has passed on. */
export async function rtpengine(test) {
  const port = test.port();
  const ports = freePorts(100);
  const flags = ['--foreground', '--log-stderr', '--table=-1', '--interface=127.0.0.1', `--listen-ng=127.0.0.1:${port}`, `--listen-cli=127.0.0.1:${test.port()}`, `--port-min=${ports[0]}`, `--port-max=${ports.at(-1)}`, '--log-level=4'];
  const child = goesWithUs(spawn('rtpengine', flags, { stdio: ['ignore', 'ignore', 'pipe'] }));
  let said = '';
  child.stderr.on('data', (data) => (said = (said + data).slice(-3000)));
  await isListening(test, child, port, () => `rtpengine: ${said}`);
  const relayed = () => new Promise((done, failed) => {
    const socket = createSocket('udp4').on('error', failed).on('message', (answer) => {
      socket.close();
      done(Number(/relayedpacketsi(\d+)e/.exec(answer)?.[1]));
    });
    socket.send('1 d7:command10:statisticse', port, '127.0.0.1');
    setTimeout(() => failed(new Error(`rtpengine does not answer: ${said}`)), 5000).unref();
  });
  return { port, relayed };
}

async function isListening(test, child, port, said) {
  const ended = new Promise((done) => child.once('exit', (code) => done((child.end = code ?? 'signal'))));
  test.close(() => {
    if (child.end === undefined) child.kill();
    return ended;
  });
  await until('listening', () => {
    if (child.end !== undefined) throw new Error(`it ended with ${child.end}: ${said()}`);
    return test.isBound(port);
  });
}

export const ROUTES = [
  {
    name: 'proxies stay on the way of a call, on both sides',
    source: 'reports 4, 6, 7: restsend/rsipstack#44, sipsak#7, janus#1389, pyVoIP#297, drachtio#162',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'routed-callee' });
      const caller = await test.caller(from, to, { scenario: 'routed-caller' });
      const call = await test.isUp(to);
      await until('answered again', () => caller.sent('ACK').length === 2);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a caller behind a translator of addresses',
    source: 'report 8: livekit/sip#597, #208, #141',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const [one, other] = [await test.media(), await test.media()];
      const callee = await test.callee(to, { audio: other.port });
      // Its port is another behind the translator.
      const caller = await test.caller(from, to, { scenario: 'translated', audio: one.port - 2000 });
      const call = await test.isUp(to);
      one.speak(440, test.audioOf(caller.received('200')[0]));
      other.speak(660, test.audioOf(callee.received('INVITE')[0]));
      await until('heard both ways', () => one.hears(660, [440]) && other.hears(440, [660]), 5000);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'kamailio stays on the way of calls and registrations',
    source: 'issue 18, what it must show, 1; reports 4 to 7; RFC 3327',
    isLong: true,
    async run(test) {
      test.sip = await kamailio(test);
      const call = await test.talk();
      const { line, phone, dialog, called, one, to } = call;
      const isByProxy = (messages) => messages.length > 0 && messages.every(({ from }) => from === test.sip);
      test.check(isByProxy(line.all) && isByProxy(phone.all), 'something came past the proxy');
      test.match(header(called.invite, 'Record-Route'), new RegExp(`127\\.0\\.0\\.1:${test.sip}`), 'Record-Route of the INVITE');
      // Hold, and back.
      for (const [direction, state] of [['sendonly', 'held'], ['sendrecv', 'up']]) {
        dialog.send('INVITE', { body: description(one.port, { types: '0 101', lines: ['a=rtpmap:101 telephone-event/8000', `a=${direction}`] }) });
        test.match(await line.final('INVITE', dialog.number), /^SIP\/2.0 200 /, `re-INVITE: ${direction}`);
        dialog.send('ACK', { number: dialog.number });
        test.equal((await test.call(to, state, (found) => found.state === state)).state, state, 'state');
      }
      await test.bothHear(call, 'after hold');
      // The callee's side: UPDATE in the other direction.
      called.send('UPDATE', { headers: { Contact: `<sip:${to}@127.0.0.1:${phone.port}>` } });
      test.match(await phone.final('UPDATE', called.number), /^SIP\/2.0 200 /, 'UPDATE of the callee');
      await pause(200);
      await test.hangUp(await test.isUp(to));
      await Promise.all([line.next('BYE'), phone.next('BYE')]);
      test.check(isByProxy(line.all) && isByProxy(phone.all), 'something came past the proxy');
      await test.record(to, { reason: 'normal_clearing', answered: true });
      // Whom it rings at is told of the end by it, too.
      const again = await test.talk({ to: test.number() });
      await test.hangUpBy(again);
    },
  },
];
