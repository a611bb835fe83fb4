// Voice mail: a message is left, shown on a telephone, listened to by keys, and goes.
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { digitPackets, level } from './media.mjs';
import { pause, until } from './test.mjs';
import { Dialog, description, header } from './wire.mjs';

const PLAN = '[[rules]]\nto = "*97"\ntarget = "trunk/mailbox"\n\n[[rules]]\nto = "_X."\nbusy = "trunk/voicemail"\nunreachable = "trunk/voicemail"\n';
const TONE = 1000;
const BEEP = 900;

/** Whether 160 ms of a tone came since then. */
function came(media, tone, since) {
  const packets = media.packets.filter(({ at, type }) => at >= since && type === 0);
  for (let first = 0; first + 8 <= packets.length; first++) {
    const samples = media.heard.call({ packets: packets.slice(first, first + 8) }, 0, [0]);
    if (level(samples, tone) > -25) return true;
  }
  return false;
}

/** What a telephone was told last of how many messages wait: new and old. */
const waiting = (phone) => /^Voice-Message: *(\d+\/\d+)/m.exec(phone.requests('NOTIFY').at(-1) ?? '')?.[1];

async function house(test, more = {}) {
  const settings = { ...more, MOQSWITCH_VOICEMAIL_DIRECTORY: path.join(test.work, 'boxes'), MOQSWITCH_CALLS_DIALPLAN: path.join(test.work, 'dialplan.toml') };
  await test.ownSwitch(settings, (work) => writeFileSync(path.join(work, 'dialplan.toml'), PLAN));
}

/** Somebody calls a telephone that is busy, and speaks behind the tone for so long. */
async function leave(test, phone, ms) {
  const [line, media] = [await test.line(), await test.media()];
  const from = test.number();
  const dialog = new Dialog(line, from, phone.user);
  const since = performance.now();
  dialog.send('INVITE', { body: description(media.port) });
  const called = await test.called(phone);
  called.answer(486);
  await phone.next('ACK');
  const answer = dialog.learn(await line.next('200 INVITE'));
  dialog.send('ACK', { number: 1 });
  media.speak(440, test.audioOf(answer));
  await until('the tone is heard', () => came(media, TONE, since), 8000);
  await pause(ms);
  return { line, media, dialog, from };
}

async function bye({ line, dialog, media }) {
  media.hush();
  dialog.send('BYE');
  await line.final('BYE', dialog.number);
}

export const VOICEMAIL = [
  {
    name: 'a message is left, shown, listened to and removed',
    source: 'issue 19: voice mail; RFC 3842',
    async run(test) {
      await house(test);
      const phone = await test.phone(test.number());
      const own = `<sip:${phone.user}@127.0.0.1:${test.sip}>`;
      const subscribed = await phone.ask('SUBSCRIBE', `sip:${phone.user}@127.0.0.1:${test.sip}`, {
        From: `${own};tag=mwi`, To: own, 'Call-ID': `mwi-${phone.user}`, CSeq: '1 SUBSCRIBE', Contact: `<sip:${phone.user}@127.0.0.1:${phone.port}>`, Event: 'message-summary', Expires: 600,
      });
      test.match(subscribed, /^SIP\/2.0 200 /, 'SUBSCRIBE');
      await until('none wait', () => waiting(phone) === '0/0');
      const call = await leave(test, phone, 2500);
      await bye(call);
      await until('one is shown', () => waiting(phone) === '1/0');
      const box = (await test.switch.rest('GET', `/api/voicemail/${phone.user}`)).body;
      test.equal([box.new, box.old, box.messages.length, box.messages[0].from], [1, 0, 1, call.from], 'the box');
      const { durationMs } = box.messages[0];
      test.check(durationMs > 1500 && durationMs < 6000, `a message of some 3 s has ${durationMs} ms`);

      // Its owner listens: a beep, what was said, and a key.
      const since = performance.now();
      const dialog = new Dialog(phone, phone.user, '*97');
      dialog.send('INVITE', { body: description(phone.media.port) });
      const answer = dialog.learn(await phone.next('200 INVITE'));
      dialog.send('ACK', { number: 1 });
      const peer = test.audioOf(answer);
      await until('a beep is heard', () => came(phone.media, BEEP, since), 8000);
      await until('the message is heard', () => came(phone.media, 440, since), 8000);
      await until('it is not new any more', () => waiting(phone) === '0/1', 12_000);
      for (const packet of digitPackets(phone.media, 101, '7', { ms: 120 })) {
        phone.media.send(packet, peer);
        await pause(20);
      }
      await until('it is gone', () => waiting(phone) === '0/0', 8000);
      await phone.next('BYE', 8000);
      test.match(header(phone.requests('NOTIFY').at(-1), 'Subscription-State'), /^active/, 'the subscription goes on');
      const after = (await test.switch.rest('GET', `/api/voicemail/${phone.user}`)).body;
      test.equal(after.messages, [], 'the box in the end');
    },
  },
  {
    name: 'what is too short is no message, and a key ends one',
    source: 'issue 19: voice mail',
    async run(test) {
      await house(test);
      const phone = await test.phone(test.number());
      await bye(await leave(test, phone, 100));
      const { line, media, dialog } = await leave(test, phone, 1500);
      for (const packet of digitPackets(media, 101, '#', { ms: 120 })) {
        media.send(packet, test.audioOf(line.all.findLast(({ text }) => /^SIP\/2.0 200/.test(text)).text));
        await pause(20);
      }
      const ended = await line.next('BYE', 8000);
      line.answer(ended, 200);
      media.hush();
      void dialog;
      const messages = await until('the message is kept', async () => {
        const { body } = await test.switch.rest('GET', `/api/voicemail/${phone.user}`);
        return body.messages.length && body.messages;
      });
      test.equal(messages.length, 1, 'messages');
    },
  },
  {
    name: 'a message is kept that is being left when the switch ends',
    source: 'issue 19: voice mail',
    async run(test) {
      await house(test, { MOQSWITCH_DRAIN_DEADLINE: '1s' });
      const phone = await test.phone(test.number());
      await leave(test, phone, 2500);
      await test.endSwitch();
      const files = readdirSync(path.join(test.work, 'boxes', phone.user));
      test.equal(files.filter((name) => name.endsWith('.wav')).length, 1, `messages in ${files}`);
    },
  },
];
