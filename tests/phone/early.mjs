// What a telephone of SIP plays before it answers: single messages, since baresip says that it plays, and does not.
import { Media } from '../sip/media.mjs';
import { Dialog, Line, description, register } from '../sip/wire.mjs';
import { ALL_TONES } from './tones.mjs';

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
};
