// Sessions of calls: who may change them when, for how long they are, and what is certain before the answer.
import { pause, until } from './test.mjs';
import { Dialog, description, header } from './wire.mjs';

const statusOf = (answer) => Number(answer.split(' ')[1]);
const callIdOf = (message) => header(message, 'Call-ID');

/** A call in which we refresh the session of this side by a re-INVITE, as it takes no UPDATE: and that re-INVITE, not answered yet. */
async function refreshed(test, side) {
  const timer = (refresher) => ({ Supported: 'timer', 'Session-Expires': `90;refresher=${refresher}`, 'Min-SE': 90 });
  const call = await test.talk(side === 'caller' ? { headers: timer('uas') } : { answerHeaders: { ...timer('uac'), Require: 'timer' } });
  const [line, dialog] = side === 'caller' ? [call.line, call.dialog] : [call.phone, call.called];
  line.isBusy = true;
  const ours = await line.next('INVITE', 60_000);
  return { call, line, dialog, ours };
}

export const SESSIONS = [
  {
    name: 'a re-INVITE without an offer is offered one, and its ACK answers',
    source: 'report 19: livekit/sip#402, PR#820, pjproject#4415, SIP.js PR#798',
    async run(test) {
      const call = await test.talk();
      const { dialog, line, other } = call;
      dialog.send('INVITE');
      const offer = await line.final('INVITE', dialog.number);
      test.match(offer, /^SIP\/2.0 200 /, 'answer');
      test.match(offer, /^m=audio [1-9]\d* RTP\/AVP (\d+ )*0( |$)/m, 'offer of the 200');
      test.match(offer, /^a=sendrecv|^(?!.*^a=(sendonly|recvonly|inactive))/ms, 'direction of the offer');
      // The answer is elsewhere: what it says counts.
      const moved = await test.media();
      dialog.send('ACK', { number: dialog.number, body: description(moved.port, { types: '0 101' }) });
      call.one.hush();
      moved.speak(440, test.audioOf(offer));
      await until('heard at the new place', () => moved.hears(660, [440]) && other.hears(440, [660]), 5000);
      await pause(300);
      test.check(call.one.isQuiet(250), 'the old place still gets audio');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'a re-INVITE before the ACK, or before the answer, comes too early',
    source: 'report 19: livekit/sip#402; RFC 3261, section 14.2',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      const body = description(one.port);
      const early = async (when) => {
        dialog.send('INVITE', { body });
        const refused = await line.final('INVITE', dialog.number);
        test.equal(statusOf(refused), 500, `re-INVITE ${when}`);
        test.check(/^\d+$/.test(header(refused, 'Retry-After')) && Number(header(refused, 'Retry-After')) <= 10, `Retry-After ${when}: '${header(refused, 'Retry-After')}'`);
        dialog.send('ACK', { number: dialog.number });
      };
      dialog.send('INVITE', { body });
      const called = await test.called(phone);
      called.answer(180);
      dialog.learn(await line.next('180'));
      await early('before the answer');
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 1));
      test.equal(statusOf(answer), 200, 'the call itself');
      await early('before the ACK');
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      await pause(300);
      dialog.send('INVITE', { body });
      test.equal(statusOf(await line.final('INVITE', dialog.number)), 200, 're-INVITE after the ACK');
      dialog.send('ACK', { number: dialog.number });
      await test.hangUpBy({ line, dialog, phone, to });
    },
  },
  {
    name: 're-INVITEs of both sides at once',
    source: 'report 20: pjproject#3886, JsSIP#771; jsip#56',
    async run(test) {
      const call = await test.talk();
      const { phone, called, line, dialog, one, other } = call;
      for (let round = 0; round < 5; round++) {
        for (const [side, media] of [[dialog, one], [called, other]]) side.send('INVITE', { body: description(media.port, { types: '0 101' }) });
        for (const [side, from] of [[dialog, line], [called, phone]]) {
          const answer = await from.final('INVITE', side.number);
          test.check([200, 491].includes(statusOf(answer)), `round ${round}: ${answer.split('\n')[0]}`);
          side.send('ACK', { number: side.number });
        }
      }
      await pause(400);
      await test.bothHear(call, 'afterwards');
      await test.hangUpBy(call);
    },
  },
  {
    name: 'a BYE comes while their re-INVITE is answered',
    source: 'report 20: baresip/re PR#1071; RFC 3261, section 15.1.2',
    async run(test) {
      const first = await test.talk();
      first.dialog.send('INVITE', { body: description(first.one.port) });
      const reinvite = first.dialog.number;
      first.dialog.send('BYE');
      const [changed, ended] = [await first.line.final('INVITE', reinvite), first.line.all.find(({ text }) => /^CSeq: *\d+ BYE/im.test(text))?.text ?? await first.line.final('BYE', reinvite + 1)];
      test.check([200, 487].includes(statusOf(changed)), `re-INVITE: ${changed.split('\n')[0]}`);
      test.equal(statusOf(ended), 200, 'BYE');
      first.dialog.send('ACK', { number: reinvite });
      await first.phone.next('BYE');
      await test.record(first.to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a session that is too short is refused, and who refreshes it stays the same',
    source: 'report 21: pjproject#2120, JsSIP#397; RFC 4028',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      const body = description(one.port);
      const timed = (seconds, refresher = ';refresher=uac') => ({ body, headers: { Supported: 'timer', 'Session-Expires': `${seconds}${refresher}`, 'Min-SE': 90 } });
      dialog.send('INVITE', { body, headers: { Supported: 'timer', 'Session-Expires': 30 } });
      const brief = await line.final('INVITE', 1);
      test.equal([statusOf(brief), header(brief, 'Min-SE')], [422, '90'], 'INVITE for 30 s');
      dialog.send('ACK', { number: 1 });
      dialog.send('INVITE', timed(120));
      const called = await test.called(phone);
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 2));
      test.match(header(answer, 'Session-Expires'), /^120 *; *refresher=uac$/, 'Session-Expires of the 200');
      test.match(header(answer, 'Require'), /\btimer\b/, 'Require of the 200');
      dialog.send('ACK', { number: 2 });
      await phone.next('ACK');
      await pause(200);
      dialog.send('INVITE', { body, headers: { Supported: 'timer', 'Session-Expires': 40 } });
      const again = await line.final('INVITE', dialog.number);
      test.equal([statusOf(again), header(again, 'Min-SE')], [422, '90'], 're-INVITE for 40 s');
      dialog.send('ACK', { number: dialog.number });
      for (const refresher of ['uac', 'uas']) {
        dialog.send('INVITE', timed(150, `;refresher=${refresher}`));
        const refreshed = await line.final('INVITE', dialog.number);
        test.match(header(refreshed, 'Session-Expires'), new RegExp(`^150 *; *refresher=${refresher}$`), `re-INVITE: ${refresher} refreshes`);
        dialog.send('ACK', { number: dialog.number });
        await pause(100);
      }
      dialog.send('UPDATE', { headers: { Supported: 'timer', 'Session-Expires': '150;refresher=uas', Contact: `<sip:${from}@127.0.0.1:${line.port}>` } });
      const updated = await line.final('UPDATE', dialog.number);
      test.equal(statusOf(updated), 200, 'UPDATE');
      test.match(header(updated, 'Session-Expires'), /^150 *; *refresher=uas$/, 'UPDATE: who refreshes');
      await test.hangUpBy({ line, dialog, phone, to });
    },
  },
  {
    name: 'a callee wants longer sessions, and the call is asked for again',
    source: 'report 21: pjproject#2120, siphon PR#415; RFC 4028, section 7.4',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port) });
      const refused = await test.called(phone);
      refused.answer(422, { headers: { 'Min-SE': 7200 } });
      await phone.next('ACK');
      const called = await test.called(phone);
      const [before, after] = [refused.invite, called.invite];
      test.equal(callIdOf(after), callIdOf(before), 'Call-ID of the second');
      test.equal(Number.parseInt(header(after, 'CSeq'), 10), Number.parseInt(header(before, 'CSeq'), 10) + 1, 'CSeq of the second');
      test.equal(header(after, 'Min-SE'), '7200', 'Min-SE of the second');
      test.check(Number.parseInt(header(after, 'Session-Expires'), 10) >= 7200, `Session-Expires of the second: ${header(after, 'Session-Expires')}`);
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }), headers: { 'Session-Expires': '7200;refresher=uas', Require: 'timer' } });
      dialog.learn(await line.final('INVITE', 1));
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      await test.hangUpBy({ line, dialog, phone, to });
    },
  },
  {
    name: 'provisional answers are acknowledged, theirs and ours',
    source: 'RFC 3262; report 25: baresip#2114',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port), headers: { Supported: '100rel', Require: '100rel' } });
      const called = await test.called(phone);
      test.match(header(called.invite, 'Supported'), /\b100rel\b/, 'Supported of ours');
      called.answer(180, { headers: { Require: '100rel', RSeq: 4711 } });
      const ours = await phone.next('PRACK');
      test.equal(header(ours, 'RAck'), `4711 ${header(called.invite, 'CSeq')}`, 'RAck of ours');
      test.equal(header(ours, 'To').includes(called.tag), true, 'the tag of the 180 is in To of our PRACK');
      called.answer(200, { request: ours });
      const rings = dialog.learn(await line.next('180'));
      test.match(header(rings, 'Require'), /\b100rel\b/, 'Require of the 180');
      // It comes again until it is acknowledged.
      test.equal(await line.next('180', 2000), rings, 'the 180 again');
      const number = header(rings, 'RSeq');
      dialog.send('PRACK', { headers: { RAck: `${Number(number) + 5} 1 INVITE` } });
      test.equal(statusOf(await line.final('PRACK', dialog.number)), 481, 'PRACK of another one');
      dialog.send('PRACK', { headers: { RAck: `${number} 1 INVITE` } });
      test.equal(statusOf(await line.final('PRACK', dialog.number)), 200, 'PRACK');
      line.came.length = 0;
      test.equal(await line.count('180', 2500), 0, '180s after the PRACK');
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 1));
      test.equal(statusOf(answer), 200, 'INVITE');
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      test.equal(phone.requests('PRACK').length, 1, 'PRACKs of ours');
      await test.hangUpBy({ line, dialog, phone, to });
    },
  },
  {
    name: 'a re-INVITE while ours is under way: 491, and each comes again',
    source: 'report 20: drachtio-server#318, #401; RFC 3261, section 14.1',
    isLong: true,
    async run(test) {
      const sides = await Promise.all([refreshed(test, 'caller'), refreshed(test, 'callee')]);
      await Promise.all(sides.map(async ({ call, line, dialog, ours }) => {
        dialog.send('INVITE', { body: description(line.media.port, { types: '0 101' }) });
        test.equal(statusOf(await line.final('INVITE', dialog.number)), 491, 'to their re-INVITE');
        dialog.send('ACK', { number: dialog.number });
        const since = performance.now();
        line.answer(ours, 491);
        await line.next('ACK');
        // Ours is a refresh, which has time: 30 s are left of the session when it is a third of it.
        const again = await line.next('INVITE', 28_000);
        const after = performance.now() - since;
        test.check(after > 1000, `ours comes again after ${after.toFixed(0)} ms: at once`);
        test.equal(Number.parseInt(header(again, 'CSeq'), 10), Number.parseInt(header(ours, 'CSeq'), 10) + 1, 'its CSeq');
        line.answer(again, 200, { body: description(line.media.port, { types: '0 101' }), headers: { Contact: `<sip:${dialog.user}@127.0.0.1:${line.port}>` } });
        await line.next('ACK');
        dialog.send('INVITE', { body: description(line.media.port, { types: '0 101' }) });
        test.equal(statusOf(await line.final('INVITE', dialog.number)), 200, 'theirs, later');
        dialog.send('ACK', { number: dialog.number });
        await test.bothHear(call, 'at last');
        await test.hangUpBy(call);
      }));
    },
  },
  {
    name: 'a BYE comes while our re-INVITE is not answered',
    source: 'report 20: baresip/re PR#1071; RFC 3261, section 15.1.2',
    isLong: true,
    async run(test) {
      const { call, line, dialog, ours } = await refreshed(test, 'callee');
      dialog.send('BYE');
      test.equal(statusOf(await line.final('BYE', dialog.number)), 200, 'BYE');
      line.answer(ours, 487);
      await line.next('ACK');
      await call.line.next('BYE');
      await test.record(call.to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'what a callee plays before it answers is heard',
    source: 'issue 18: early media (183); RFC 3960',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port) });
      const called = await test.called(phone);
      called.answer(183, { body: description(phone.media.port, { types: '0 101' }) });
      phone.media.speak(660, test.audioOf(called.invite));
      const heard = await until('heard before the answer', () => one.hears(660), 4000).then(() => true, () => false);
      const told = line.all.map(({ text }) => `${text.split('\n')[0]}${/^m=/m.test(text) ? ' with a description' : ''}`);
      test.check(heard, `nothing is heard before the answer; the caller was told: ${told.join(', ')}`);
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 1));
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      one.speak(440, test.audioOf(answer));
      await test.bothHear({ one, other: phone.media }, 'after the answer');
      await test.hangUpBy({ line, dialog, phone, to });
    },
  },
  {
    name: 'a session is refreshed by us, and ends when they do not',
    source: 'report 21: pjproject#1722; RFC 4028, section 10',
    isLong: true,
    async run(test) {
      const timed = (refresher) => ({ Supported: 'timer', 'Session-Expires': `90;refresher=${refresher}`, 'Min-SE': 90 });
      const ours = await test.talk({ headers: timed('uas') });
      const theirs = await test.talk({ headers: timed('uac') });
      const since = performance.now();
      const refresh = await until('refreshed', () => ours.line.all.find(({ text }) => /^(UPDATE|INVITE) /.test(text))?.text, 60_000);
      const after = (performance.now() - since) / 1000;
      test.check(after > 25 && after < 55, `refreshed after ${after.toFixed(1)} s of 90`);
      test.match(header(refresh, 'Session-Expires'), /^90 *; *refresher=uac$/, 'Session-Expires of the refresh: who sends it goes on to refresh');
      const end = await theirs.line.next('BYE', 60_000);
      const lasted = (performance.now() - since) / 1000;
      test.check(lasted > 50 && lasted < 75, `ended after ${lasted.toFixed(1)} s: 60 s are a third before the end`);
      test.match(end, /^BYE /, 'end');
      await theirs.phone.next('BYE');
      // Ours is alive, beyond its first interval.
      await pause(95_000 - (performance.now() - since));
      await test.bothHear(ours, 'after 95 s');
      await test.hangUpBy(ours);
    },
  },
  {
    name: 'nobody acknowledges the answer',
    source: 'RFC 3261, section 13.3.1.4',
    isLong: true,
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port) });
      const called = await test.called(phone);
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      dialog.learn(await line.next('200 INVITE'));
      const since = performance.now();
      const answers = line.count('200 INVITE', 31_000);
      await answers;
      const bye = await line.next('BYE', 10_000);
      const after = (performance.now() - since) / 1000;
      test.check(after > 28 && after < 38, `BYE after ${after.toFixed(1)} s without an ACK, not 32`);
      test.check((await answers) >= 8, `200 came ${await answers} times more`);
      line.answer(bye, 200);
      await phone.next('BYE');
      const { reason } = await until('a record', async () => (await test.switch.records(to))[0]);
      test.check(reason !== 'normal_clearing', `reason: ${reason}`);
    },
  },
];
