// What is described in odd ways, and streams that are not as streams should be.
import { digitPackets, level } from './media.mjs';
import { pause, until } from './test.mjs';
import { Dialog, description, header } from './wire.mjs';

const RATE = 8000;
const statusOf = (answer) => Number(answer.split(' ')[1]);
const sectionsOf = (text) => text.split('\n').filter((line) => line.startsWith('m=')).map((line) => line.slice(2));

/** A description of these sections, each its lines. */
const sections = (...all) => ['v=0', 'o=wire 1 1 IN IP4 127.0.0.1', 's=-', 'c=IN IP4 127.0.0.1', 't=0 0', ...all.flat(), ''].join('\r\n');
const audio = (port) => [`m=audio ${port} RTP/AVP 0 101`, 'a=rtpmap:0 PCMU/8000', 'a=rtpmap:101 telephone-event/8000'];
const image = (port) => [`m=image ${port} udptl t38`, 'a=T38FaxVersion:0', 'a=T38MaxBitRate:14400'];

/** Where one that sends to us loses or repeats something, in what came by one SSRC: a packet too many, a jump of time. */
function faultsOf(packets) {
  const faults = [];
  packets.forEach((packet, at) => {
    const before = packets[at - 1];
    if (!before || packet.ssrc !== before.ssrc) return;
    const step = (packet.sequence - before.sequence) & 0xffff;
    if (step !== 1) faults.push(`sequence +${step} at ${at}`);
    const passed = ((packet.timestamp - before.timestamp) | 0) / RATE;
    const waited = (packet.at - before.at) / 1000;
    // Where speech begins anew it may wait: the marker says so (RFC 3551, section 4.1).
    const isLate = waited - passed > 1 && !packet.marker;
    if (passed <= 0 || passed - waited > 0.5 || isLate) faults.push(`timestamp +${passed.toFixed(2)} s in ${waited.toFixed(2)} s at ${at}${packet.marker ? ', marked' : ''}`);
  });
  return faults;
}

export const STREAMS = [
  {
    name: 'a fax beside audio, before and behind it, and a fax alone',
    source: 'Reserve: freeswitch#1297; RFC 3264, section 6',
    async run(test) {
      for (const [what, order] of [['behind', ['audio', 'image']], ['before', ['image', 'audio']]]) {
        const to = test.number();
        const phone = await test.phone(to);
        const [line, one] = [await test.line(), await test.media()];
        const dialog = new Dialog(line, test.number(), to);
        const parts = { audio: audio(one.port), image: image(test.port()) };
        dialog.send('INVITE', { body: sections(...order.map((kind) => parts[kind])) });
        const called = await test.called(phone);
        called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
        const answer = dialog.learn(await line.final('INVITE', 1));
        test.equal(statusOf(answer), 200, `INVITE with a fax ${what}`);
        const found = sectionsOf(answer).map((section) => section.replace(/^audio [1-9]\d* .*/, 'audio').replace(/^image 0 .*/, 'image'));
        test.equal(found, order, `sections with a fax ${what} the audio, refused by port 0`);
        dialog.send('ACK', { number: 1 });
        await phone.next('ACK');
        one.speak(440, test.audioOf(answer));
        phone.media.speak(660, test.audioOf(called.invite));
        await test.bothHear({ one, other: phone.media }, `with a fax ${what}`);
        await test.hangUpBy({ line, dialog, phone, to });
      }
      const line = await test.line();
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: sections(image(test.port())) });
      test.equal(statusOf(await line.final('INVITE', 1)), 488, 'a fax alone');
      dialog.send('ACK', { number: 1 });
      await pause(300);
      test.equal(phone.requests('INVITE').length, 0, 'INVITEs for a fax alone that the callee got');
    },
  },
  {
    name: 'telephone events of several clocks: that of the codec',
    source: 'report 16: freeswitch#1191, rtpengine#1556, pjproject#2675',
    async run(test) {
      const lines = ['a=rtpmap:96 opus/48000/2', 'a=rtpmap:97 telephone-event/48000', 'a=rtpmap:101 telephone-event/8000', 'a=fmtp:97 0-15', 'a=fmtp:101 0-15'];
      const call = await test.talk({ offer: { types: '96 0 97 101', lines } });
      const { one, other, answered, called } = call;
      const types = /^m=audio \d+ RTP\/AVP (.*)$/m.exec(answered)[1].trim().split(' ');
      test.check(types.includes('0') && types.includes('101'), `types of the answer: ${types}`);
      test.match(answered, /^a=rtpmap:101 telephone-event\/8000$/m, 'answer');
      const offered = /^a=rtpmap:(\d+) telephone-event\/8000$/m.exec(called.invite);
      test.check(offered, 'the callee is offered no events of 8 kHz');
      one.hush();
      const since = performance.now();
      for (const packet of digitPackets(one, 101, '9', { ms: 200 })) {
        one.send(packet, one.peer);
        await pause(20);
      }
      await pause(900);
      const events = other.packets.filter(({ type, at }) => type === 101 && at >= since);
      test.equal([...new Set(events.map(({ payload }) => payload[0]))], [9], 'events at the callee');
      const lasted = Math.max(...events.map(({ payload }) => payload.readUInt16BE(2)));
      test.check(Math.abs(lasted - 1600) <= 480, `200 ms are told as ${lasted} of 8 kHz`);
      one.speak(440, one.peer);
      await test.hangUpBy(call);
    },
  },
  {
    name: 'packets of 30 ms, and of 10, 40 and 60 in the middle of a call',
    source: 'report 17: freeswitch#2170, #3150, doubango#516',
    async run(test) {
      const call = await test.talk({ offer: { types: '0 101', lines: ['a=rtpmap:101 telephone-event/8000', 'a=ptime:30'] }, types: { one: { ptime: 30 } } });
      const { one, other } = call;
      const sizes = (since) => [...new Set(other.packets.filter(({ type, at }) => type === 0 && at >= since).map(({ payload }) => payload.length))];
      for (const ptime of [30, 40, 10, 60, 20]) {
        one.speak(440, one.peer, { ptime });
        await pause(400);
        const since = performance.now();
        await pause(900);
        const packets = other.packets.filter(({ type, at }) => type === 0 && at >= since);
        const [all, first, last] = [packets.reduce((sum, { payload }) => sum + payload.length, 0), packets[0], packets.at(-1)];
        test.check(packets.length > 5, `${packets.length} packets of ${ptime} ms`);
        // Evenly, whatever is the size: no 20/40/20/40.
        test.equal(sizes(since).length, 1, `sizes of packets with ${ptime} ms (${sizes(since)})`);
        test.equal((last.timestamp - first.timestamp) >>> 0, all - last.payload.length, `time of what came with ${ptime} ms`);
        await test.bothHear(call, `with packets of ${ptime} ms`);
      }
      test.equal(faultsOf(other.packets.filter(({ type }) => type === 0)), [], 'faults of the stream');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'packets are as long as each asks for, evenly',
    source: 'report 17: freeswitch#2170: ptime 30 sent as 20/40/20/40',
    async run(test) {
      const events = 'a=rtpmap:101 telephone-event/8000';
      const call = await test.talk({ offer: { types: '0 101', lines: [events, 'a=ptime:30'] }, answer: { types: '0 101', lines: [events, 'a=ptime:20'] }, types: { one: { ptime: 30 }, other: { ptime: 20 } } });
      await pause(1500);
      for (const [media, length, who] of [[call.other, 160, 'callee, who asks for 20 ms'], [call.one, 240, 'caller, who asks for 30 ms']]) {
        const recent = media.packets.filter(({ type, at }) => type === 0 && at > performance.now() - 1000);
        test.equal([...new Set(recent.map(({ payload }) => payload.length))], [length], `sizes of packets to the ${who}`);
        test.equal([...new Set(recent.slice(1).map(({ timestamp }, at) => (timestamp - recent[at].timestamp) >>> 0))], [length], `steps of time to the ${who}`);
        test.check(recent.length > 900 / (length / 8), `${recent.length} packets in a second to the ${who}`);
      }
      await test.hangUpBy(call);
    },
  },
  {
    name: 'numbers that nobody explains, and those that need no explanation',
    source: 'report 18: pjproject#1411, rtpengine#1978',
    async run(test) {
      const call = await test.talk({ offer: { types: '98 18 0 96', lines: [] }, answer: { types: '0', lines: [] } });
      const { dialog, line, one, answered } = call;
      test.match(answered, /^m=audio [1-9]\d* RTP\/AVP 0( |$)/m, 'answer to unexplained numbers');
      for (const [what, types, lines] of [['held, a number unexplained', '0 96', ['a=inactive']], ['held, nothing else said', '0', ['a=sendonly']], ['back', '0 97', []]]) {
        dialog.send('INVITE', { body: description(one.port, { types, lines }) });
        const answer = await line.final('INVITE', dialog.number);
        test.equal(statusOf(answer), 200, `re-INVITE: ${what}`);
        test.match(answer, /^m=audio [1-9]\d* RTP\/AVP 0( |$)/m, `answer: ${what}`);
        dialog.send('ACK', { number: dialog.number });
        await pause(200);
      }
      await test.bothHear(call, 'after hold');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'another SSRC in the middle of a call',
    source: 'report 12: livekit/sip PR#828, asterisk#927, baresip#817',
    async run(test) {
      const call = await test.talk();
      const { one, other } = call;
      for (const jump of [1, 30_000, -20_000]) {
        one.hush();
        await pause(100);
        Object.assign(one, { ssrc: (one.ssrc + 77_777) >>> 0, sequence: (one.sequence + jump + 65_536) & 0xffff, timestamp: (one.timestamp + jump * 997) >>> 0 });
        const since = performance.now();
        one.speak(440, one.peer);
        await until(`heard with another SSRC (sequence ${jump})`, () => other.packets.some(({ type, at, payload }) => at > since + 20 && type === 0 && payload.length === 160), 1500);
        await pause(700);
        await test.bothHear(call, `with another SSRC (sequence ${jump})`);
        const lost = one.sent && other.packets.filter(({ at, type }) => at > since && type === 0).length;
        test.check(lost > 25, `of some 35 packets after the change ${lost} came`);
      }
      test.equal(faultsOf(other.packets), [], 'faults of the stream that the other side gets');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'who speaks is another one after a transfer',
    source: 'report 13: asterisk PR#1277, freeswitch#2361',
    async run(test) {
      const call = await test.talk();
      const { one, other, dialog, line, to, from } = call;
      const third = await test.phone(test.number());
      const { callId } = await test.isUp(to);
      // The callee goes: the caller hears another one.
      const moved = await test.switch.rest('POST', `/api/call/${callId}/transfer`, { to: third.user, party: (await test.isUp(to)).parties.find((party) => party.dn === to)?.leg });
      test.check(moved.status < 300, `transfer by REST: ${moved.status} ${JSON.stringify(moved.body)}`);
      const called = await test.called(third);
      called.answer(200, { body: description(third.media.port, { types: '0 101' }) });
      await third.next('ACK');
      const since = performance.now();
      third.media.speak(880, test.audioOf(called.invite));
      await until('the other one is heard', () => (one.hears(880, [660]) && third.media.hears(440, [660])) || (other.hears(880, [440]) && third.media.hears(660, [440])), 4000);
      const who = one.hears(880, [660]) ? one : other;
      test.check(performance.now() - since < 2500, `heard after ${(performance.now() - since).toFixed(0)} ms`);
      test.equal(faultsOf(who.packets.filter(({ type }) => type === 0)), [], 'faults of the stream across the change');
      void [dialog, line, from];
      const left = await test.switch.calls();
      for (const one of left.filter((one) => JSON.stringify(one).includes(`"${third.user}"`))) await test.hangUp(one);
      await third.next('BYE');
    },
  },
  {
    name: 'a third party sends media, and gets none',
    source: 'report 24: rtpengine#397, rtpproxy#70 (CVE-2017-14114)',
    async run(test) {
      const call = await test.talk();
      const { one, other } = call;
      const stranger = await test.media();
      // Both legs, with an SSRC of its own, and with that of who belongs there.
      for (const peer of [one.peer, other.peer]) {
        stranger.speak(880, peer);
        await pause(1200);
        for (const [media, tone, who] of [[one, 660, 'caller'], [other, 440, 'callee']]) {
          const samples = media.heard();
          test.check(level(samples, 880) < level(samples, tone) - 25, `the ${who} hears the stranger: ${level(samples, 880).toFixed(0)} dB`);
        }
        await test.bothHear(call, 'beside a stranger');
      }
      stranger.hush();
      Object.assign(stranger, { ssrc: one.ssrc, sequence: one.sequence + 20, timestamp: one.timestamp + 3200 });
      stranger.speak(880, one.peer);
      await pause(1200);
      await test.bothHear(call, 'beside a stranger with the SSRC of the caller');
      test.equal(stranger.packets.length, 0, 'packets that the stranger got');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'the address that is told is that of the translator before us',
    source: 'report 8: livekit/sip#597, #208; sip.address',
    async run(test) {
      await test.ownSwitch({ MOQSWITCH_SIP_ADDRESS: '198.51.100.7' });
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const line = await test.line();
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(test.port()) });
      const called = await test.called(phone);
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = await line.final('INVITE', 1);
      for (const [what, text] of [['200', answer], ['INVITE', called.invite]]) {
        test.match(text, /^c=IN IP4 198\.51\.100\.7$/m, `c= of the ${what}`);
        test.match(header(text, 'Contact'), /@198\.51\.100\.7[:;>]/, `Contact of the ${what}`);
        test.check(!/^(?!Via).*(@|IP4 )127\.0\.0\.1:?/m.test(text.replace(/^(Via|From|To|P-Asserted-Identity|Record-Route):.*$|^(INVITE|SIP).*$/gim, '')), `the ${what} tells 127.0.0.1: ${text}`);
      }
      test.match(header(called.invite, 'Via'), /198\.51\.100\.7/, 'Via of the INVITE');
      dialog.learn(answer);
      // Such a Contact leads by the translator: here by hand.
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      dialog.send('BYE');
      test.equal(statusOf(await line.final('BYE', dialog.number)), 200, 'BYE');
      await phone.next('BYE');
    },
  },
];
