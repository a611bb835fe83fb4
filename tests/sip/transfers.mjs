// Who talks hands the other one on (REFER): blind, attended, and in vain.
import { pause, until } from './test.mjs';
import { Dialog, description, header } from './wire.mjs';

const statusOf = (answer) => Number(answer.split(' ')[1]);

/** REFER of a dialog, and its answer. */
async function refer({ dialog, line }, to, { replaces = '', method = '' } = {}) {
  const target = `<sip:${to}@127.0.0.1:${line.sip}${method}${replaces && `?Replaces=${encodeURIComponent(replaces)}`}>`;
  dialog.send('REFER', { headers: { 'Refer-To': target, 'Referred-By': dialog.from.replace(/;tag=.*/, ''), Contact: `<sip:${dialog.user}@127.0.0.1:${line.port}>` } });
  return line.final('REFER', dialog.number);
}

/** What notices tell, as they come: the last one ends the subscription. */
async function noticesOf(line, ms = 10_000) {
  const notices = await until('told what came of the transfer', () => {
    const all = line.requests('NOTIFY');
    return all.some((text) => /^Subscription-State: *terminated/im.test(text)) && all;
  }, ms);
  return notices.map((text) => ({ event: header(text, 'Event'), type: header(text, 'Content-Type'), state: header(text, 'Subscription-State'), status: Number(/^SIP\/2\.0 (\d+)/m.exec(text.split('\n\n')[1] ?? '')?.[1]) }));
}

async function take(test, phone, tone = 880) {
  const called = await test.called(phone);
  called.answer(180);
  await pause(200);
  called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
  await phone.next('ACK');
  phone.media.speak(tone, test.audioOf(called.invite));
  return called;
}

const talkOf = (test, one, other, tones) => until('heard by both that are left', () => one.hears(tones[1], [tones[0]]) && other.hears(tones[0], [tones[1]]), 5000).then(() => test.check(true, ''));

/** The third hangs up, and so is the other one. */
async function endBy(test, called, third, other) {
  called.send('BYE');
  test.equal(statusOf(await third.final('BYE', called.number)), 200, 'BYE of the third');
  await other.next('BYE');
}

export const TRANSFERS = [
  {
    name: 'a caller hands the callee on, and hears of it',
    source: 'report 23: jambonz-feature-server#1428; RFC 3515',
    async run(test) {
      const call = await test.talk();
      const third = await test.phone(test.number());
      test.equal(statusOf(await refer(call, third.user)), 202, 'REFER');
      const called = await take(test, third);
      const notices = await noticesOf(call.line);
      test.check(notices.every(({ event, type }) => /^refer\b/.test(event) && /^message\/sipfrag/.test(type)), `notices: ${JSON.stringify(notices)}`);
      test.equal(notices.at(-1).status, 200, 'status of the last notice');
      test.check(notices.length === 1 || /^active/.test(notices[0].state), `state of the first notice: ${notices[0].state}`);
      await talkOf(test, call.other, third.media, [660, 880]);
      // It has nothing more to do with it.
      if (!call.line.requests('BYE').length) call.dialog.send('BYE');
      await pause(300);
      await talkOf(test, call.other, third.media, [660, 880]);
      test.equal(call.phone.requests('BYE').length, 0, 'BYEs of who was handed on');
      await endBy(test, called, third, call.phone);
    },
  },
  {
    name: 'a callee hands the caller on, and hangs up at once',
    source: 'report 23: siphon PR#220, PR#295; livekit PR#625',
    async run(test) {
      const call = await test.talk();
      const third = await test.phone(test.number());
      const own = { dialog: call.called, line: call.phone };
      test.equal(statusOf(await refer(own, third.user)), 202, 'REFER');
      call.called.send('BYE');
      test.equal(statusOf(await call.phone.final('BYE', call.called.number)), 200, 'BYE right after the 202');
      const called = await take(test, third);
      await talkOf(test, call.one, third.media, [440, 880]);
      await endBy(test, called, third, call.line);
    },
  },
  {
    name: 'a transfer that fails leaves the call as it was',
    source: 'report 23: jambonz-feature-server#1428',
    async run(test) {
      const call = await test.talk();
      const third = await test.phone(test.number());
      for (const [status, what] of [[486, 'busy'], [603, 'declined']]) {
        const before = call.line.requests('NOTIFY').length;
        test.equal(statusOf(await refer(call, third.user)), 202, 'REFER');
        const called = await test.called(third);
        called.answer(status);
        await third.next('ACK');
        const told = await until('told that it failed', () => {
          const all = call.line.requests('NOTIFY').slice(before);
          return all.some((text) => /^Subscription-State: *terminated/im.test(text)) && all;
        });
        const last = Number(/^SIP\/2\.0 (\d+)/m.exec(told.at(-1).split('\n\n')[1])?.[1]);
        test.check(last >= 400, `the last notice says ${last} when the third is ${what}`);
        await pause(600);
        test.equal((await test.isUp(call.to)).state, 'up', `state of the call when the third is ${what}`);
        await test.bothHear(call, `when the third is ${what}`);
      }
      await test.hangUpBy(call);
    },
  },
  {
    name: 'a transfer to a number that nobody has leaves the call as it was',
    source: 'report 23: jambonz-feature-server#1428',
    async run(test) {
      const call = await test.talk();
      const answer = statusOf(await refer(call, test.number()));
      if (answer === 202) test.check((await noticesOf(call.line)).at(-1).status >= 400, 'the last notice');
      else test.check(answer >= 400, `REFER to nobody: ${answer}`);
      await pause(600);
      const states = (await test.switch.calls()).filter((one) => JSON.stringify(one).includes(`"${call.to}"`)).map(({ state, parties }) => [state, ...parties.map(({ dn, state, held }) => `${dn} ${state} ${held ?? ''}`)]);
      await test.bothHear(call, '').catch((error) => test.check(false, `${error.message}: ${call.one.isQuiet() ? 'nothing comes to the caller' : ''}, ${call.other.isQuiet() ? 'nothing to the callee' : ''}; ${JSON.stringify(states)}`));
      await test.hangUpBy(call);
    },
  },
  {
    name: 'a telephone sends a call on to another number, and not in circles or to other hosts',
    source: 'RFC 3261, section 8.1.3.4 (302); toll fraud by forwards',
    async run(test) {
      const [from, to, third] = [test.number(), test.number(), test.number()];
      const [phone, other] = [await test.phone(to), await test.phone(third)];
      const [line, one] = [await test.line(), await test.media()];
      const call = () => {
        const dialog = new Dialog(line, from, to);
        dialog.send('INVITE', { body: description(one.port) });
        return dialog;
      };
      const sendOn = async (by, target) => {
        const called = await test.called(by);
        called.answer(302, { headers: { Contact: `<sip:${target}>` } });
        await by.next('ACK');
      };
      const dialog = call();
      await sendOn(phone, `${third}@127.0.0.1:${line.sip}`);
      const called = await take(test, other);
      const accepted = dialog.learn(await line.final('INVITE', 1));
      dialog.send('ACK', { number: 1 });
      one.speak(440, test.audioOf(accepted));
      await talkOf(test, one, other.media, [440, 880]);
      await endBy(test, called, other, line);
      const circle = call();
      await sendOn(phone, `${third}@127.0.0.1`);
      await sendOn(other, `${to}@127.0.0.1`);
      test.equal(statusOf(await line.final('INVITE', 1)), 482, 'where two telephones send a call to each other');
      circle.send('ACK', { number: 1 });
      const away = call();
      await sendOn(phone, `${third}@192.0.2.7`);
      test.equal(statusOf(await line.final('INVITE', 1)), 480, 'where it is sent to another host');
      away.send('ACK', { number: 1 });
    },
  },
  {
    name: 'a number begins no more calls within an hour than it may',
    source: 'issue 18: toll fraud limits',
    async run(test) {
      await test.ownSwitch({ MOQSWITCH_CALLS_LIMITS_CALLS_PER_HOUR: '2' });
      const [from, to] = [test.number(), test.number()];
      for (let count = 0; count < 2; count++) await test.hangUpBy(await test.talk({ from, to: test.number() }));
      const [line, one] = [await test.line(), await test.media()];
      await test.phone(to);
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port) });
      test.equal(statusOf(await line.final('INVITE', 1)), 403, 'its third call');
      // Another one calls.
      await test.hangUpBy(await test.talk({ from: test.number(), to: test.number() }));
    },
  },
  {
    name: 'another telephone of a number takes a call over',
    source: 'RFC 3891: INVITE with Replaces',
    async run(test) {
      const call = await test.talk();
      const tag = (text) => /;tag=([^;>\s]+)/.exec(text)[1];
      const named = `${call.called.id};to-tag=${tag(call.called.to)};from-tag=${call.called.tag}`;
      const asks = async (line, user, replaces) => {
        const dialog = new Dialog(line, user, call.from);
        dialog.send('INVITE', { body: description(line.media.port), headers: { Replaces: replaces } });
        return { dialog, answer: dialog.learn(await line.final('INVITE', 1)) };
      };
      const stranger = await test.phone(test.number());
      test.equal(statusOf((await asks(stranger, stranger.user, named)).answer), 403, 'of another number');
      const second = await test.phone(call.to);
      test.equal(statusOf((await asks(second, call.to, `x${named}`)).answer), 481, 'of a call that is none');
      test.equal(statusOf((await asks(second, call.to, `${named};early-only`)).answer), 486, 'only if it rings');
      const { dialog, answer } = await asks(second, call.to, named);
      test.equal(statusOf(answer), 200, 'of its own number');
      dialog.send('ACK', { number: 1 });
      await call.phone.next('BYE');
      second.media.speak(880, test.audioOf(answer));
      await talkOf(test, call.one, second.media, [440, 880]);
      test.equal(statusOf((await asks(second, call.to, named)).answer), 603, 'of one that is over');
      await endBy(test, dialog, second, call.line);
    },
  },
  {
    name: 'another telephone of a number answers for one that rings',
    source: 'RFC 3891, section 3: an early dialog that the switch began',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const phone = await test.phone(to);
      const [line, one] = [await test.line(), await test.media()];
      const dialog = new Dialog(line, from, to);
      dialog.send('INVITE', { body: description(one.port) });
      const called = await test.called(phone);
      called.answer(180);
      await line.next('180');
      const second = await test.phone(to);
      const pickup = new Dialog(second, to, from);
      const own = /;tag=([^;>\s]+)/.exec(called.to)[1];
      pickup.send('INVITE', { body: description(second.media.port), headers: { Replaces: `${called.id};to-tag=${own};from-tag=${called.tag}` } });
      const answer = pickup.learn(await second.final('INVITE', 1));
      test.equal(statusOf(answer), 200, 'INVITE with Replaces');
      pickup.send('ACK', { number: 1 });
      phone.answer(await phone.next('CANCEL'), 200);
      called.answer(487);
      const accepted = dialog.learn(await line.final('INVITE', 1));
      dialog.send('ACK', { number: 1 });
      one.speak(440, test.audioOf(accepted));
      second.media.speak(880, test.audioOf(answer));
      await talkOf(test, one, second.media, [440, 880]);
      await endBy(test, pickup, second, line);
    },
  },
  ...[true, false].map((isKnown) => ({
    name: `an attended transfer by a telephone that is ${isKnown ? '' : 'not '}registered`,
    source: 'report 23: siphon PR#295; RFC 3891',
    async run(test) {
      const first = await test.talk({ isKnown });
      const { from, line, one } = first;
      const third = await test.phone(test.number());
      // It asks the third, and from the same telephone.
      const inquiry = new Dialog(line, from, third.user);
      inquiry.send('INVITE', { body: description(one.port) });
      const called = await take(test, third);
      inquiry.learn(await line.next('200 INVITE'));
      inquiry.send('ACK', { number: 1 });
      await pause(300);
      const tag = (text) => /;tag=([^;>\s]+)/.exec(text)[1];
      const wrong = await refer(first, third.user, { replaces: `${inquiry.id}x;to-tag=${tag(inquiry.to)};from-tag=${tag(inquiry.from)}` });
      test.equal(statusOf(wrong), 481, 'REFER with Replaces of a call that is none');
      test.equal(statusOf(await refer(first, third.user, { replaces: `${inquiry.id};to-tag=${tag(inquiry.to)};from-tag=${tag(inquiry.from)}` })), 202, 'REFER');
      await talkOf(test, first.other, third.media, [660, 880]);
      const notices = await noticesOf(line);
      test.equal(notices.at(-1).status, 200, 'status of the last notice');
      await pause(500);
      for (const dialog of [first.dialog, inquiry]) {
        if (line.requests('BYE').some((text) => header(text, 'Call-ID') === dialog.id)) continue;
        dialog.send('BYE');
        const answer = statusOf(await line.final('BYE', dialog.number));
        test.check([200, 481].includes(answer), `BYE: ${answer}`);
      }
      await pause(300);
      await talkOf(test, first.other, third.media, [660, 880]);
      test.equal([first.phone.requests('BYE').length, third.requests('BYE').length], [0, 0], 'BYEs of those that are left');
      await endBy(test, called, third, first.phone);
    },
  })),
];
