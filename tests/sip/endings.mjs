// How calls end, and what crosses on the way.
import { pause, until } from './test.mjs';
import { Dialog, description, header } from './wire.mjs';

export const ENDINGS = [
  {
    name: 'the record of a call says to the millisecond how long it was, and what was heard',
    source: 'issue 18, what it must show, 7',
    async run(test) {
      const call = await test.talk();
      await pause(1500);
      const before = performance.now();
      const record = await test.hangUpBy(call);
      const ended = call.line.all.findLast(({ text }) => text.startsWith('SIP/2.0 200') && /^CSeq: *\d+ BYE/im.test(text)).at;
      // It began after the callee answered and before the caller knew of it, and ended likewise; a record has whole milliseconds.
      const [least, most] = [Math.floor(before - call.begun), Math.ceil(ended - call.began)];
      test.check(record.durationMs >= least && record.durationMs <= most, `it says ${record.durationMs} ms, and was between ${least} and ${most} ms`);
      for (const { dn, codec, sent } of record.parties) {
        test.check(codec === 'pcmu' && sent.frames > 50 && sent.lost === 0, `of ${dn} was counted: ${codec}, ${JSON.stringify(sent)}`);
      }
    },
  },
  {
    name: 'the record of a call says what its telephone hears, as that reports it',
    source: 'issue 18, what it must show, 7: MOS from RTCP; RFC 3550, section 6.4.2',
    async run(test) {
      const call = await test.talk();
      // Every fifth packet is lost on the way to the caller. It is asked each five seconds.
      for (let second = 0; second < 7; second++) {
        await call.one.report(call.one.peer, Math.round(call.one.packets.length / 4));
        // The other one lost nothing, and could not play an eighth of it in time.
        await call.other.report(call.other.peer, 0, { lost: 0, discarded: 32, conversation: 29 });
        await pause(1000);
      }
      const { parties } = await test.hangUpBy(call);
      const of = (number) => parties.find(({ dn }) => dn === number);
      const { heard } = of(call.from);
      test.check(heard?.loss > 0.1 && heard.loss < 0.3, `the caller lost a fifth, and the record says ${JSON.stringify(heard)}`);
      test.check(heard?.mos >= 1 && heard.mos < 3.5, `MOS of a call that lost a fifth: ${heard?.mos}`);
      test.check(of(call.from).sent.lost === 0 && of(call.to).sent.lost === 0, 'what the relay got was whole');
      const { heard: played } = of(call.to);
      test.check(played?.loss === 0.125 && Math.abs(played.mos - 2.9) < 0.01, `the callee told a loss of 0.125 and a MOS of 2.9 (RFC 3611), and the record says ${JSON.stringify(played)}`);
    },
  },
  {
    name: 'a telephone from which nothing comes any more is hung up, and the record says so',
    source: 'issue 18: media time-out; Q.850, cause 102',
    isLong: true,
    async run(test) {
      const call = await test.talk();
      call.one.hush();
      const since = performance.now();
      const bye = await call.line.next('BYE', 140_000);
      const after = (performance.now() - since) / 1000;
      test.check(after > 110 && after < 135, `hung up after ${after.toFixed(1)} s of silence, not 120`);
      test.match(header(bye, 'Reason'), /^Q\.850;cause=102\b/, 'Reason of the BYE');
      await call.phone.next('BYE');
      await test.record(call.to, { reason: 'media_timeout', answered: true });
    },
  },
  {
    name: 'a call is cancelled while it rings',
    source: 'report 1: livekit/sip#371, PR#372',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'callee-cancelled' });
      const caller = await test.caller(from, to, { scenario: 'cancelled', pause: 300 });
      await Promise.all([caller.done(), callee.done()]);
      test.equal(caller.received('487').length, 1, '487s that came');
      test.match(callee.received('CANCEL')[0].header('Reason'), /cause=/, 'Reason of the CANCEL');
      await test.record(to, { reason: 'cancelled', answered: false });
    },
  },
  {
    name: 'a 200 crosses the CANCEL',
    source: 'report 2: livekit/sip PR#756, JsSIP#836',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'crossed' });
      const caller = await test.caller(from, to, { scenario: 'cancelled', pause: 300 });
      await Promise.all([caller.done(), callee.done()]);
      test.equal(callee.received('BYE').length, 1, 'BYEs that came');
      await test.record(to, { reason: 'cancelled', answered: false });
    },
  },
  {
    name: 'a CANCEL comes after the 200',
    source: 'report 3: SIP.js#918, JsSIP#597',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { pause: 200 });
      const caller = await test.caller(from, to, { scenario: 'late-cancel' });
      await Promise.all([caller.done(), callee.done()]);
      const acknowledged = caller.sent('ACK')[0].at;
      const answers = caller.received('200 INVITE').map(({ at }) => at - acknowledged);
      test.check(answers.filter((at) => at < 0).length > 1, '200 was not sent again before the ACK');
      test.equal(answers.filter((at) => at > 50), [], '200s after the ACK');
      const record = await test.record(to, { reason: 'normal_clearing', answered: true });
      test.check(record.durationMs > 2000, `the call lasted ${record.durationMs} ms: the CANCEL ended it`);
    },
  },
  {
    name: 'two answer behind a proxy',
    source: 'report 25: pjproject#3234, JsSIP#114, baresip#2819',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'forked' });
      const caller = await test.caller(from, to);
      const call = await test.isUp(to);
      await until('second BYE', () => callee.sent('200 BYE').length);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'what a caller sends twice happens once',
    source: 'RFC 3261, section 17.2; livekit/sip#251, #280',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { pause: 500 });
      const line = await test.line();
      const dialog = new Dialog(line, from, to);
      // What nobody knows is no reason not to take it.
      const unknown = { 'P-Charging-Vector': 'icid-value=1234bc;icid-generated-at=192.0.2.4', 'X-Nobody-Knows': '"quoted \\" and open' };
      dialog.send('INVITE', { body: description(test.port()), headers: unknown });
      await line.next('180');
      line.again();
      await line.next('180');
      dialog.learn(await line.next('200 INVITE'));
      test.check((await line.count('200 INVITE', 1000)) > 0, 'the 200 is not sent again before the ACK');
      line.again();
      await line.next('200 INVITE', 400);
      dialog.send('ACK', { number: 1 });
      await pause(100);
      line.came.length = 0;
      test.equal(await line.count('200 INVITE', 2500), 0, '200s after the ACK');
      dialog.send('BYE');
      await line.next('200 BYE');
      line.again();
      await line.next('200 BYE');
      dialog.send('BYE');
      await line.next('481 BYE');
      await callee.done();
      test.equal(callee.received('INVITE').length, 1, 'INVITEs of the other side');
      test.equal(callee.received('BYE').length, 1, 'BYEs of the other side');
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'what a callee does not answer comes again',
    source: 'RFC 3261, section 17.1; section 13.2.2.4',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'slow' });
      const caller = await test.caller(from, to);
      const call = await test.isUp(to);
      await until('acknowledged', () => callee.received('ACK').length);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      const rang = callee.sent('180')[0].at;
      const invites = callee.received('INVITE').map(({ at }) => at - rang);
      test.equal([invites.length, invites.filter((at) => at > 50).length], [3, 0], 'INVITEs: three before the 180, none after it');
      test.equal(new Set(callee.received('INVITE').map(({ text }) => text)).size, 1, 'different INVITEs');
      test.equal(callee.received('BYE').length, 2, 'BYEs');
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a BYE comes without an ACK',
    source: 'RFC 3261, section 15',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to);
      const caller = await test.caller(from, to, { scenario: 'bye-first' });
      await Promise.all([caller.done(), callee.done()]);
      test.equal(caller.received('200 BYE').length, 1, '200s of the BYE');
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
];
