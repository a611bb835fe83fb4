// What is offered and answered in descriptions, and what flows then.
import { digitPackets, level, noise } from './media.mjs';
import { pause, until } from './test.mjs';
import { Dialog, description } from './wire.mjs';

/** A call of a scenario to a callee, both with audio: 440 Hz is the caller's tone, 660 Hz the callee's. */
async function talk(test, scenario, { callee: calleeOptions = {}, ...options } = {}) {
  const [from, to] = [test.number(), test.number()];
  const [one, other] = [await test.media(), await test.media()];
  const callee = await test.callee(to, { audio: other.port, ...calleeOptions });
  const caller = await test.caller(from, to, { scenario, audio: one.port, ...options });
  await test.isUp(to);
  await until('acknowledged', () => caller.sent('ACK').length && callee.received('ACK').length);
  one.speak(440, test.audioOf(caller.received('200 INVITE')[0]));
  other.speak(660, test.audioOf(callee.received('INVITE')[0]));
  return { from, to, one, other, caller, callee };
}

const bothHear = ({ one, other }, what) => until(`heard both ways ${what}`, () => one.hears(660, [440]) && other.hears(440, [660]), 2300);

export const OFFERS = [
  {
    name: 'hold in each spelling, and back',
    source: 'report 9: livekit/sip#779, diago#125',
    async run(test) {
      const call = await talk(test, 'hold', { seconds: 40, callee: { seconds: 40 } });
      const { one, other, caller, callee, to } = call;
      const acknowledged = (count) => until(`ACK ${count}`, () => caller.sent('ACK').length === count, 5000);
      await bothHear(call, 'before');
      for (const [count, how] of [[2, 'sendonly'], [4, '0.0.0.0'], [6, 'inactive']]) {
        await acknowledged(count);
        await until(`quiet on hold (${how})`, () => one.isQuiet() && (other.isQuiet() || !other.hears(440)), 2300);
        test.check((await test.switch.calls()).some((held) => JSON.stringify(held).includes(`"${to}"`) && held.state === 'held'), `the call is not held after ${how}`);
        await acknowledged(count + 1);
        await bothHear(call, `after ${how}`);
      }
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'an offer of what nobody has, and of a fax, changes nothing',
    source: 'report 10: livekit/sip#766; Reserve: freeswitch PR#66, rtpengine#1687',
    async run(test) {
      const call = await talk(test, 'refused-offers', { seconds: 40 });
      const { caller, callee, to } = call;
      await bothHear(call, 'before');
      for (const [count, what] of [[2, 'after G.729 was refused'], [3, 'after a fax was refused'], [4, 'after audio was offered again']]) {
        await until(`ACK ${count}`, () => caller.sent('ACK').length === count, 5000);
        await pause(700);
        await bothHear(call, what);
      }
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'A-law alone from a re-INVITE on, to who speaks µ-law',
    source: 'report 10: livekit/sip#766',
    async run(test) {
      const call = await talk(test, 'codec-change', { callee: { scenario: 'callee-unchanging' } });
      const { caller, callee, one, to } = call;
      await bothHear(call, 'before');
      await until('agreed anew', () => caller.sent('ACK').length === 2, 5000);
      one.speak(440, test.audioOf(caller.received('200 INVITE')[1]), { type: 8 });
      await pause(700);
      test.equal([...new Set(one.packets.slice(-20).map(({ type }) => type))], [8], 'payload types that come');
      await bothHear(call, 'by A-law and µ-law').catch((error) => test.check(false, `${error.message}: ${described(call.one, 660)}; ${described(call.other, 440)}`));
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'one has A-law alone, the other µ-law alone',
    source: 'report 10: livekit/sip#766; report 11: livekit/sip#95',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const [one, other] = [await test.media(), await test.media()];
      const callee = await test.callee(to, { audio: other.port, scenario: 'callee-unchanging' });
      const line = await test.line();
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port, { types: '8 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 1));
      dialog.send('ACK', { number: 1 });
      test.match(callee.received('INVITE')[0].body, /m=audio \d+ RTP\/AVP 8/, 'what the callee is offered');
      test.match(answer, /m=audio \d+ RTP\/AVP 8/, 'answer');
      one.speak(440, test.audioOf(answer), { type: 8 });
      other.speak(660, test.audioOf(callee.received('INVITE')[0]), { type: 0 });
      await bothHear({ one, other }, '').catch((error) => test.check(false, `${error.message}: ${described(one, 660)}; ${described(other, 440)}`));
      dialog.send('BYE');
      await line.next('200 BYE');
      await callee.done();
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'SRTP with keys that cannot be used is refused, and nobody is called',
    source: 'RFC 4568, section 5.1.2',
    async run(test) {
      const to = test.number();
      const phone = await test.phone(to);
      const key = 'A'.repeat(40);
      const keys = [[], ['AES_256_CM_HMAC_SHA1_80 inline:'.concat(key)], ['AES_CM_128_HMAC_SHA1_80 inline:AAAA'], [`AES_CM_128_HMAC_SHA1_80 inline:${key} KDR=1`]];
      for (const lines of keys) {
        const line = await test.line();
        const dialog = new Dialog(line, test.number(), to);
        const body = description(4000, { types: '0', lines: lines.map((text) => `a=crypto:1 ${text}`) }).replace('RTP/AVP', 'RTP/SAVP');
        dialog.send('INVITE', { body });
        test.match(await line.final('INVITE', 1), /^SIP\/2.0 488 /, `answer to ${lines}`);
        dialog.send('ACK', { number: 1 });
      }
      test.equal(phone.requests('INVITE').length, 0, 'calls that came');
    },
  },
  {
    name: 'keys are told by INFO, and come as telephone events',
    source: 'report 15: livekit/sip PR#585, hass-sip PR#24',
    async run(test) {
      const { line, dialog, other, callee, to } = await talkByLine(test, {});
      const before = test.switch.events.length;
      const info = (body, kind) => {
        const number = ++dialog.number;
        line.send(line.request('INFO', dialog.target, { From: dialog.from, To: dialog.to, 'Call-ID': dialog.id, CSeq: `${number} INFO`, 'Content-Type': kind }), body);
        return line.next(`200 INFO`);
      };
      await info('Signal=5\r\nDuration=200\r\n', 'application/dtmf-relay');
      line.again();
      await info('Signal= # \r\nDuration= 100\r\n', 'application/dtmf-relay');
      await info('*', 'application/dtmf');
      await until('three digits', () => test.switch.events.slice(before).filter(({ kind }) => kind === 'dtmf').length >= 3);
      await pause(800);
      test.equal(test.switch.events.slice(before).filter(({ kind }) => kind === 'dtmf').map(({ digits, digit }) => digits ?? digit).join(''), '5#*', 'digits of the call');
      test.equal(digitsOf(other, 101), '5#*', 'telephone events at the other side');
      await endLine(test, { line, dialog, callee, to });
    },
  },
  {
    name: 'keys go by the numbers that each side wants',
    source: 'report 14: sipsorcery#1164, baresip#72, pjproject#3700',
    async run(test) {
      // Events are 97 to one side and 101 to the other.
      const { line, dialog, one, other, callee, to, answer } = await talkByLine(test, { types: '0 97', lines: ['a=rtpmap:97 telephone-event/8000'] });
      test.match(answer, /a=rtpmap:97 telephone-event\/8000/, 'answer');
      test.equal(await press(test, one, other, 97, 101, '7'), '7', 'from 97 to 101');
      test.equal(await press(test, other, one, 101, 97, '8'), '8', 'from 101 to 97');
      await endLine(test, { line, dialog, callee, to });
    },
  },
  {
    name: 'keys of a callee that numbers them otherwise than it was offered',
    source: 'report 14: sipsorcery#1164, baresip#72, pjproject#3700; RFC 3264, section 6.1',
    async run(test) {
      const { line, dialog, one, other, callee, to } = await talkByLine(test, {}, { keys: { events: 97 } });
      const offered = Number(/a=rtpmap:(\d+) telephone-event\/8000/.exec(callee.received('INVITE')[0].body)[1]);
      test.check(offered !== 97, 'the switch offers 97 itself');
      test.equal(await press(test, one, other, 101, 97, '4'), '4', 'to the callee, by its number');
      test.equal(await press(test, other, one, offered, 101, '5'), '5', `from the callee, by the number that it was offered (${offered})`);
      test.equal(await press(test, other, one, 97, 101, '6'), '6', 'from the callee, by its own');
      await endLine(test, { line, dialog, callee, to });
    },
  },
  {
    name: 'a key is one key, however its packets come',
    source: 'report 15: livekit/sip PR#585',
    async run(test) {
      const { line, dialog, one, other, callee, to } = await talkByLine(test, {});
      for (const [digit, how, options] of [['1', 'without a marker', { markers: false }], ['2', 'ends alone', { parts: ['end'] }], ['3', 'no end', { parts: ['begin', 'middle'] }]]) {
        test.equal(await press(test, one, other, 101, 101, digit, options), digit, how);
      }
      await endLine(test, { line, dialog, callee, to });
    },
  },
];

/** A call that a line makes by hand, to a callee of sipp, both with audio. */
async function talkByLine(test, offer, calleeOptions = {}) {
  const [from, to] = [test.number(), test.number()];
  const [one, other] = [await test.media(), await test.media()];
  const callee = await test.callee(to, { audio: other.port, ...calleeOptions });
  const line = await test.line();
  const dialog = new Dialog(line, from, to);
  dialog.send('INVITE', { body: description(one.port, offer) });
  const answer = dialog.learn(await line.next('200 INVITE'));
  dialog.send('ACK', { number: 1 });
  await until('acknowledged', () => callee.received('ACK').length);
  [one.peer, other.peer] = [test.audioOf(answer), test.audioOf(callee.received('INVITE')[0])];
  one.speak(440, one.peer);
  other.speak(660, other.peer);
  await bothHear({ one, other }, '');
  return { from, to, one, other, callee, line, dialog, answer };
}

async function endLine(test, { line, dialog, callee, to }) {
  dialog.send('BYE');
  await line.next('200 BYE');
  await callee.done();
  await test.record(to, { reason: 'normal_clearing', answered: true });
}

const described = (media, tone) => `level ${level(media.heard(), tone).toFixed(0)} dB, noise ${noise(media.heard(), tone).toFixed(0)} dB`;

/** Presses a key on one side, and says which came to the other by this payload type. */
async function press(test, from, to, type, wanted, digit, options = {}) {
  from.hush();
  const since = performance.now();
  for (const packet of digitPackets(from, type, digit, options)) {
    from.send(packet, from.peer);
    await pause(20);
  }
  await pause(900);
  from.speak(440, from.peer);
  return digitsOf(to, wanted, since);
}

/** One digit for each timestamp. */
function digitsOf(media, type, since = 0) {
  const events = new Map();
  for (const packet of media.packets) if (packet.type === type && packet.at >= since) events.set(packet.timestamp, '0123456789*#ABCD'[packet.payload[0]]);
  return [...events.values()].join('');
}
