// What is heard before an answer. Of what a telephone of SIP plays: single messages, since baresip says that it plays, and does not.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Media } from '../sip/media.mjs';
import { Dialog, Line, description, register } from '../sip/wire.mjs';
import { ALL_TONES, toneFor } from './tones.mjs';

const WAIT_MS = 60_000;
const portOf = (text) => Number(/m=audio (\d+)/.exec(text)?.[1]);

/** A telephone of messages and RTP. It ends with its case. */
class Wire {
  static async start(test, number) {
    const wire = new Wire();
    const [port, audio] = [await test.freePorts(1), await test.freePorts(2)];
    await register(test.relay.sip, number, port);
    const line = await Line.open(test.relay.sip, port);
    Object.assign(wire, { number, line, tone: ALL_TONES[3], media: await Media.open(audio) });
    // Who is hung up on says so.
    line.serve = (text) => /^(BYE|CANCEL) /.test(text) && line.answer(text, 200);
    test.telephones.push(wire);
    return wire;
  }

  /** Its next call. */
  async called() {
    return Dialog.of(this.line, await this.line.next('INVITE', WAIT_MS), this.number);
  }

  async stop() {
    await this.line.close();
    await this.media.close();
  }
}

const stateOf = (phone) => phone.page.evaluate(() => [...globalThis.phone.calls.values()].map(({ state, early }) => `${state} ${early}`).join());

/** UDP that goes nowhere: the session for media comes 3 s later, by WebSocket. */
const slow = () => {
  const never = new Promise(() => {});
  globalThis.WebTransport = class {
    ready = never;
    closed = never;
    get protocol() {
      return '';
    }
    close() {}
  };
};

export const EARLY = {
  async 'what a telephone plays before it answers is heard'(test) {
    const alice = await test.phone(0);
    const desk = await Wire.start(test, `wire-${test.tag}`);
    const { media } = desk;
    for (const type of [0, 8]) {
      await alice.call(desk.number);
      const call = await desk.called();
      call.answer(180);
      await alice.until('ringing', () => [...globalThis.phone.calls.values()][0]?.state == 'ringing');
      const body = description(media.port, { types: `${type} 101` });
      call.answer(183, { body });
      media.speak(desk.tone, portOf(call.invite), { type });
      await alice.hears(desk);
      // It rings, and without the phone's own tone.
      if ((await stateOf(alice)) != 'ringing true') throw new Error(`the call is ${await stateOf(alice)}`);
      call.answer(200, { body });
      await desk.line.next('ACK', WAIT_MS);
      await alice.isUp();
      await alice.hears(desk);
      await alice.click('hangupBtn');
      await Promise.all([alice.isFree(), desk.line.next('BYE', WAIT_MS)]);
      await alice.hears();
      media.hush();
    }
    // Who gives up before the answer hears nothing more.
    await alice.call(desk.number);
    const given = await desk.called();
    given.answer(183, { body: description(media.port, { types: '0 101' }) });
    media.speak(desk.tone, portOf(given.invite));
    await alice.hears(desk);
    await alice.click('hangupBtn');
    await desk.line.next('CANCEL', WAIT_MS);
    given.answer(487);
    await Promise.all([alice.isFree(), alice.hears()]);
    media.hush();
  },

  async 'what a telephone plays before it answers is heard in a codec that browsers have not, and before there was a session'(test) {
    const alice = await test.phone(0, { init: slow });
    const desk = await Wire.start(test, `wire-${test.tag}`);
    await alice.call(desk.number);
    const call = await desk.called();
    call.answer(183, { body: description(desk.media.port, { types: '9 101' }) });
    // G.722 is sound, whatever its bytes are.
    const payload = Buffer.from(Array.from({ length: 160 }, (_, at) => (at * 37) & 255));
    const speaking = setInterval(() => {
      desk.media.send(desk.media.packet(9, payload), portOf(call.invite));
      desk.media.timestamp += 160;
    }, 20);
    try {
      await alice.until('hearing something', () => [...globalThis.phone.calls.values()][0]?.early && globalThis.levels(440).at(-1) > -40);
    } finally {
      clearInterval(speaking);
    }
    call.answer(486);
    await desk.line.next('ACK', WAIT_MS);
    await alice.isFree();
  },

  async 'the music of a queue is heard until an agent answers'(test) {
    const played = { tone: ALL_TONES[4], number: 'the music' };
    const music = path.join(test.options.work, `${test.tag}-music`);
    const dialplan = path.join(test.options.work, `${test.tag}-dialplan.toml`);
    await mkdir(music);
    await writeFile(path.join(music, 'calm.wav'), toneFor(played.tone, 6));
    await writeFile(dialplan, `[queues.support]\nagents = ["bob-${test.tag}"]\nmusic = "calm"\n[[rules]]\nto = "900"\ntarget = "queue/support"\n`);
    await test.ownSwitch({ MOQSWITCH_CALLS_DIALPLAN: dialplan, MOQSWITCH_MEDIA_MUSIC: music });
    const [alice, bob, carol] = [await test.phone(0), await test.phone(1), await test.phone(2)];
    await carol.call(bob.number);
    await bob.isIncoming();
    await bob.click('answerBtn');
    await Promise.all([carol.hears(bob), bob.hears(carol)]);
    // The only agent talks.
    await alice.call('900');
    await alice.hears(played);
    await carol.click('hangupBtn');
    await bob.isIncoming();
    await bob.click('answerBtn');
    await Promise.all([alice.hears(bob), bob.hears(alice)]);
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), bob.isFree()]);
  },

  async 'an announcement is heard once, and then the call goes on'(test) {
    const announced = { tone: ALL_TONES[4], number: 'the announcement' };
    const prompts = path.join(test.options.work, `${test.tag}-prompts`);
    const dialplan = path.join(test.options.work, `${test.tag}-dialplan.toml`);
    await mkdir(prompts);
    await writeFile(path.join(prompts, 'closed.wav'), toneFor(announced.tone, 6));
    await writeFile(dialplan, `[[rules]]\nto = "100"\nplay = "closed"\ntarget = "number/bob-${test.tag}"\n`);
    await test.ownSwitch({ MOQSWITCH_CALLS_DIALPLAN: dialplan, MOQSWITCH_MEDIA_PROMPTS: prompts });
    const [alice, bob] = [await test.phone(0), await test.phone(1)];
    await alice.call('100');
    await alice.hears(announced);
    if ((await stateOf(alice)) != 'calling true') throw new Error(`the call is ${await stateOf(alice)}`);
    await bob.isIncoming();
    await alice.until('ringing without it', () => [...globalThis.phone.calls.values()].every(({ state, early }) => state == 'ringing' && !early));
    await bob.click('answerBtn');
    await Promise.all([alice.hears(bob), bob.hears(alice)]);
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), bob.isFree()]);
    // Who gives up hears no more of it, and nobody is rung.
    await alice.call('100');
    await alice.hears(announced);
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), alice.hears(), bob.isFree()]);
  },
};
