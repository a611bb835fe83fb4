// What the network does to a call, and which transport a browser takes.
import net from 'node:net';

import { hearEachOther, patient, talk } from './talk.mjs';

const goesBy = (phone, transport) => phone.until(`going by ${transport}`, (transport) => globalThis.phone.transport == transport, transport);
const SAFARI = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15';

export const NETWORK = {
  async 'the way of the sound is cut without a word: the call goes on by another, and says so'(test) {
    await test.impair('');
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await test.cutLink();
    await alice.says('connection for sound is lost');
    // Signalling goes another way, and is there.
    if ((await alice.page.evaluate(() => globalThis.phone.state)) != 'ready') throw new Error('signalling is lost, too');
    test.startLink('');
    await alice.says('Connected again');
    await hearEachOther(alice, bob);
    await alice.until('silent about it', () => document.querySelector('#alert').hidden);
  },

  async 'where UDP goes nowhere the call goes by WebSocket'(test) {
    // At this address there is TCP alone.
    const port = await test.freePorts(1);
    const relay = await test.ownSwitch({ MOQSWITCH_CALLS_MEDIA_URL: `https://127.0.0.1:${port}/` });
    const proxy = net.createServer((socket) => {
      const onward = net.connect(relay.port, '127.0.0.1');
      socket.pipe(onward).pipe(socket);
      for (const [one, other] of [[socket, onward], [onward, socket]]) one.on('error', () => other.destroy()).on('close', () => other.destroy());
    }).listen(port, '127.0.0.1');
    try {
      const [alice, bob] = await talk(test);
      await hearEachOther(alice, bob);
      await Promise.all([goesBy(alice, 'WebSocket'), goesBy(bob, 'WebSocket')]);
      // Nobody waits for UDP again at each further connection.
      if (!(await alice.page.evaluate(() => globalThis.phone.isUdpBlocked))) throw new Error('UDP would be tried at once again');
    } finally {
      proxy.close();
    }
  },

  async 'Safari goes by WebSocket, though it has WebTransport'(test) {
    const [alice, bob] = await talk(test, [{ userAgent: SAFARI }, { init: patient }]);
    await hearEachOther(alice, bob);
    await Promise.all([goesBy(alice, 'WebSocket'), goesBy(bob, 'WebTransport')]);
  },

  async 'what a path loses comes again beside the frame behind it'(test) {
    // Both ways together lose one frame in ten.
    await test.impair('loss=5%');
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    const counts = async () => {
      const { frames, lost } = await bob.quality();
      return { frames, lost };
    };
    await bob.until('having lost some', () => [...globalThis.phone.calls.values()][0].quality?.lost > 5);
    const first = await counts();
    // Of 500 frames, since in a second chance alone may lose none.
    await bob.until('hearing frames again', ({ frames, lost }) => {
      const { quality } = [...globalThis.phone.calls.values()][0];
      globalThis.windowOf ??= { frames, lost };
      if (quality.frames - globalThis.windowOf.frames < 500) return false;
      const gone = quality.lost - globalThis.windowOf.lost;
      globalThis.windowOf = { frames: quality.frames, lost: quality.lost, gone };
      return gone < 15;
    }, first);
    test.note(`${await bob.page.evaluate(() => globalThis.windowOf.gone)} lost in 500 frames, of some 50`);
    await hearEachOther(alice, bob);
  },

  async 'Firefox and Chromium call each other'(test) {
    const alice = await test.phone(0);
    const carol = await test.phone(2, { browser: { isFirefox: true } });
    const has = await carol.page.evaluate(() => ['WebTransport', 'AudioEncoder'].filter((name) => name in globalThis).join(', '));
    test.note(`${await carol.page.version()} has ${has || 'neither WebTransport nor WebCodecs'}`);
    await alice.call(carol.number);
    await carol.isIncoming();
    await carol.click('answerBtn');
    await Promise.all([alice.isUp(), carol.isUp()]);
    await hearEachOther(alice, carol);
    const { transport, codec } = await carol.page.evaluate(() => {
      const { transport, calls } = globalThis.phone;
      return { transport, codec: [...calls.values()][0].participants.find(({ own }) => own).codec };
    });
    test.note(`it goes by ${transport}, and speaks ${codec}`);
    await carol.click('hangupBtn');
    await Promise.all([alice.isFree(), carol.isFree()]);
    await carol.call(alice.number);
    await alice.isIncoming();
    await alice.click('answerBtn');
    await hearEachOther(alice, carol);
    await alice.click('hangupBtn');
    await carol.isFree();
  },

  // moq-dev/moq#1306, #1329, #2520.
  async 'a late end of a stream that nobody wants any more opens nothing'() {
    const sent = [];
    const sockets = [];
    const before = globalThis.WebSocket;
    globalThis.WebSocket = class {
      readyState = 1;
      bufferedAmount = 0;
      constructor() {
        sockets.push(this);
      }
      send(bytes) {
        sent.push(bytes);
      }
      close() {
        this.onclose({ reason: 'closed' });
      }
    };
    try {
      const { Qmux } = await import(new URL('../../src/phone/qmux.js', import.meta.url).href);
      const carrier = new Qmux('ws://127.0.0.1:9/');
      const [socket] = sockets;
      const come = (...bytes) => socket.onmessage({ data: Uint8Array.from(bytes).buffer });
      let opened = 0;
      const streams = carrier.incomingUnidirectionalStreams.getReader();
      // Stream 3, the relay's first of one way: two bytes, and no end. What has a length has bit 1 of its type.
      come(0x0a, 3, 2, 7, 7);
      const { value: stream } = await streams.read();
      streams.read().then(() => opened++);
      await stream.cancel();
      // Its bytes that were on their way, and its end.
      come(0x0a, 3, 1, 7);
      come(0x0b, 3, 0);
      come(4, 3, 0, 3);
      await new Promise((later) => setTimeout(later));
      if (opened || carrier.receiving.size) throw new Error('a stream was opened that nobody sent');
      carrier.close();
      clearInterval(carrier.pings);
    } finally {
      globalThis.WebSocket = before;
    }
  },
};
