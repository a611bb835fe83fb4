// @ts-check
/*
 * moq-lite-05 in the browser: announce, publish, subscribe. The carrier is a WebTransport session, or whatever looks like
 * one (qmux.js). Layouts are those of src/proto/wire.
 */

/** @typedef {(sequence: number, timestamp: number, payload: Uint8Array) => void} OnFrame */
/**
 * What a session tells: broadcasts that come and go, and its end (once).
 * @typedef {{announced(path: string, isLive: boolean): void, closed(why: string): void}} Listener
 */

const utf8 = new TextEncoder();
const text = new TextDecoder();

/* Frames that wait for the carrier; a further one is dropped, since late audio is of no use. */
const UNSENT_MAX = 16;
/* How late a group may be, in ms. */
const LATENCY_MAX = 500;
/* Bytes of one message or frame. A peer that sends a longer one is cut off. */
const MESSAGE_MAX = 1 << 20;
const CONNECT_MS = 3000;

/** @param {number} value @returns {number[]} */
const varint = (value) => {
  const high = Math.floor(value / 2 ** 32);
  const word = (/** @type {number} */ bits) => [bits >>> 24, (bits >> 16) & 255, (bits >> 8) & 255, bits & 255];
  if (value < 64) return [value];
  if (value < 16384) return [(value >> 8) | 64, value & 255];
  return value < 2 ** 30 ? word(value | 2 ** 31) : [...word(high | 0xc0000000), ...word(value)];
};

/**
 * Integers as varints, strings with their length, bytes as they are.
 * @param {...(number | string | ArrayLike<number>)} parts
 */
export const pack = (...parts) => {
  /** @type {number[]} */
  const bytes = [];
  for (const part of parts) {
    if (typeof part == 'number') bytes.push(...varint(part));
    else if (typeof part == 'string') bytes.push(...pack(utf8.encode(part).length, utf8.encode(part)));
    else bytes.push(...Array.from(part));
  }
  return new Uint8Array(bytes);
};

/** A message: its length, then itself. @param {...(number | string | ArrayLike<number>)} parts */
export const message = (...parts) => {
  const body = pack(...parts);
  return pack(body.length, body);
};

/** Reads what {@link pack} writes. Integers above 2^53 are rounded. */
export class Cursor {
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
  }

  int() {
    const [first] = this.take(1);
    let value = first & 63;
    for (const byte of this.take((1 << (first >> 6)) - 1)) value = value * 256 + byte;
    return value;
  }

  /** @param {number} [count] @returns {Uint8Array} */
  take(count = this.bytes.length - this.at) {
    if (this.at + count > this.bytes.length) throw RangeError('cut off');
    return this.bytes.subarray(this.at, (this.at += count));
  }

  text() {
    return text.decode(this.take(this.int()));
  }
}

/** The receiving side of a stream. */
class Reader {
  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    this.stream = stream.getReader();
    this.bytes = new Uint8Array();
  }

  /** Whatever is left of it would wait here for ever. */
  leave() {
    this.stream.cancel().catch(() => {});
  }

  /** So many bytes; undefined at the end. @param {number} count */
  async take(count) {
    if (count > MESSAGE_MAX) throw RangeError('cut off');
    while (this.bytes.length < count) {
      const { value } = await this.stream.read();
      if (!value) return;
      const both = new Uint8Array(this.bytes.length + value.length);
      both.set(this.bytes);
      both.set(value, this.bytes.length);
      this.bytes = both;
    }
    const taken = this.bytes.subarray(0, count);
    this.bytes = this.bytes.subarray(count);
    return taken;
  }

  async int() {
    const first = await this.take(1);
    const rest = first && (await this.take((1 << (first[0] >> 6)) - 1));
    return rest && new Cursor(pack(first, rest)).int();
  }

  async message() {
    const body = await this.take((await this.int()) ?? MESSAGE_MAX + 1);
    if (!body) throw RangeError('cut off');
    return new Cursor(body);
  }
}

/** A track that is published, and who listens to it. */
export class Track {
  /** @type {Map<Session, Set<number>>} */
  listeners = new Map();
  next = 0;

  /**
   * @param {number} timescale units of its timestamps in a second
   * @param {(session: Session, id: number) => void} [onlisten] serves who listens, in place of `send`
   */
  constructor(timescale, onlisten) {
    this.timescale = timescale;
    this.onlisten = onlisten;
  }

  get isHeard() {
    return this.listeners.size > 0;
  }

  /** @type {OnFrame} */
  send(sequence, timestamp, payload) {
    this.next = sequence + 1;
    for (const [session, ids] of this.listeners) for (const id of ids) session.send(id, sequence, timestamp, payload);
  }
}

/** A session with the relay. */
export class Session {
  #hop = Math.floor(Math.random() * 2 ** 48) + 1;
  /** @type {Map<string, Record<string, Track>>} */
  #published = new Map();
  /** @type {Set<any>} who is told what is published */
  #watchers = new Set();
  /** @type {Map<number, OnFrame>} */
  #heard = new Map();
  #ids = 0;
  #unsent = 0;
  /** @type {Listener} */
  #listener;
  /** @type {any} */
  #datagrams;

  /** @param {any} carrier a WebTransport that is ready @param {Listener} listener */
  constructor(carrier, listener) {
    this.carrier = carrier;
    this.#listener = listener;
    const { datagrams } = carrier;
    this.#datagrams = (datagrams.createWritable?.() ?? datagrams.writable).getWriter();
    this.#datagrams.closed?.catch(() => {});
    carrier.closed.then(
      (/** @type {any} */ info) => this.#end(info?.reason || 'closed'),
      (/** @type {any} */ error) => this.#end(String(error)),
    );
    this.#each(carrier.incomingUnidirectionalStreams, (stream) => this.#group(stream));
    this.#each(carrier.incomingBidirectionalStreams, (stream) => this.#serve(stream));
    this.#each(datagrams.readable, (bytes) => {
      const cursor = new Cursor(bytes);
      this.#heard.get(cursor.int())?.(cursor.int(), cursor.int(), cursor.take());
    });
    this.uni(pack(1, message(0)));
    this.ask(pack(1, message('', this.#hop)), (answers) => this.#watch(answers));
  }

  /** @param {string} why */
  #end(why) {
    const listener = this.#listener;
    this.#listener = { announced() {}, closed() {} };
    for (const path of [...this.#published.keys()]) this.unpublish(path);
    listener.closed(why);
  }

  close() {
    this.#listener.closed = () => {};
    this.carrier.close();
  }

  /**
   * @param {string} path
   * @param {Record<string, Track>} tracks
   */
  publish(path, tracks) {
    this.#published.set(path, tracks);
    for (const watcher of this.#watchers) this.#tell(watcher, path, 1);
  }

  /** @param {string} path */
  unpublish(path) {
    const tracks = this.#published.get(path);
    this.#published.delete(path);
    for (const track of Object.values(tracks ?? {})) track.listeners.delete(this);
    if (tracks) for (const watcher of this.#watchers) this.#tell(watcher, path, 0);
  }

  /**
   * Hears a track until the returned function is called. `ended` is called when the relay has no more of it.
   * @param {string} path @param {string} track @param {OnFrame} onFrame @param {() => void} [ended]
   */
  subscribe(path, track, onFrame, ended) {
    const id = this.#ids++;
    this.#heard.set(id, onFrame);
    const cancel = this.ask(pack(2, message(id, path, track, [200, 0], LATENCY_MAX, 0, 0)), async (answers) => {
      while (await answers.take(1));
    });
    cancel.done.then(() => this.#heard.delete(id) && ended?.());
    return () => {
      this.#heard.delete(id);
      cancel();
    };
  }

  /** @type {(id: number, sequence: number, timestamp: number, payload: Uint8Array) => void} */
  send(id, sequence, timestamp, payload) {
    if (this.#unsent >= UNSENT_MAX) return;
    const body = pack(id, sequence, timestamp, payload);
    this.#unsent++;
    const fits = body.length <= (this.carrier.datagrams.maxDatagramSize ?? 0);
    const sent = fits
      ? this.#datagrams.write(body)
      : this.uni(pack(0, message(id, sequence), timestamp * 2, payload.length, payload));
    sent.catch(() => {}).then(() => this.#unsent--);
  }

  /** @param {Uint8Array} bytes */
  async uni(bytes) {
    try {
      const writer = (await this.carrier.createUnidirectionalStream()).getWriter();
      writer.write(bytes).catch(() => {});
      await writer.close();
    } catch {
      // The session is over, or takes no more: what was to be said is of no use later.
    }
  }

  /**
   * Opens a stream, asks, and reads what is answered. The result ends it when it is called.
   * @param {Uint8Array} question @param {(answers: Reader) => Promise<any>} read
   */
  ask(question, read) {
    /** @type {any} */
    let stream;
    let isOver = false;
    const cancel = () => {
      isOver = true;
      stream?.writer.close().catch(() => {});
      stream?.answers.stream.cancel().catch(() => {});
    };
    const run = async () => {
      const { readable, writable } = await this.carrier.createBidirectionalStream();
      stream = { writer: writable.getWriter(), answers: new Reader(readable) };
      stream.writer.closed.catch(() => {});
      await stream.writer.write(question);
      if (isOver) cancel();
      await read(stream.answers);
    };
    return Object.assign(cancel, { done: run().catch(() => {}) });
  }

  /** @param {ReadableStream<any>} stream @param {(item: any) => any} handle */
  async #each(stream, handle) {
    const reader = stream.getReader();
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        // What one stream does wrong is no matter of the others.
        (async () => handle(value))().catch(() => {});
      }
    } catch {
      // The session is over, and says so elsewhere.
    }
  }

  /** @param {Reader} answers */
  async #watch(answers) {
    await answers.message();
    for (;;) {
      const told = await answers.message();
      const status = told.int();
      this.#listener.announced(told.text(), status > 0);
    }
  }

  /** A group that comes, or the relay's SETUP. @param {ReadableStream<Uint8Array>} stream */
  async #group(stream) {
    const reader = new Reader(stream);
    try {
      if (await reader.int()) return;
      const head = await reader.message();
      const onFrame = this.#heard.get(head.int());
      if (!onFrame) return;
      const sequence = head.int();
      let timestamp = 0;
      for (;;) {
        const delta = await reader.int();
        if (delta === undefined) return;
        timestamp += delta % 2 ? -(delta + 1) / 2 : delta / 2;
        const payload = await reader.take((await reader.int()) ?? 0);
        if (payload) onFrame(sequence, timestamp, payload);
      }
    } finally {
      reader.leave();
    }
  }

  /** What the relay asks. @param {{readable: ReadableStream<Uint8Array>, writable: WritableStream<Uint8Array>}} stream */
  async #serve({ readable, writable }) {
    const reader = new Reader(readable);
    const writer = writable.getWriter();
    writer.closed.catch(() => {});
    const answer = (/** @type {Uint8Array} */ bytes) => writer.write(bytes).catch(() => {});
    const kind = await reader.int();
    if (kind == 5) return this.#end('goaway');
    const refuse = () => (reader.leave(), writer.abort());
    if (![1, 2, 6].includes(kind ?? 0)) return refuse();
    const asked = await reader.message();
    if (kind == 1) {
      const watcher = { answer, prefix: asked.text() };
      this.#watchers.add(watcher);
      answer(message(this.#hop, this.#published.size));
      for (const path of this.#published.keys()) this.#tell(watcher, path, 1);
      await reader.take(1).catch(() => {});
      this.#watchers.delete(watcher);
      return writer.close();
    }
    const id = kind == 2 ? asked.int() : 0;
    const track = this.#published.get(asked.text())?.[asked.text()];
    if (!track) return refuse();
    if (kind == 6) {
      answer(message([200, 0], LATENCY_MAX, track.timescale));
      return writer.close();
    }
    answer(pack(0, message(track.next)));
    if (track.onlisten) return track.onlisten(this, id);
    const ids = track.listeners.get(this) ?? new Set();
    track.listeners.set(this, ids.add(id));
    while (await reader.take(1).catch(() => {}));
    ids.delete(id);
    if (!ids.size) track.listeners.delete(this);
    writer.close().catch(() => {});
  }

  /** @param {any} watcher @param {string} path @param {number} status */
  #tell({ answer, prefix }, path, status) {
    const below = prefix && prefix + '/';
    if (path.startsWith(below)) answer(message(status, path.slice(below.length), 0));
  }
}

/**
 * Whether WebTransport carries a call here: it must choose a protocol, which that of Firefox 153 cannot. That of Safari is said to
 * stall after some thousand streams.
 */
const isUsable = () =>
  'protocol' in (globalThis.WebTransport?.prototype ?? {}) && !(/Safari/.test(navigator.userAgent) && !/Chrom/.test(navigator.userAgent));

/**
 * Connects by WebTransport, or by WebSocket where that does not come up.
 * @param {{url: string, token: string, certificateHash?: string}} media
 * @param {Listener} listener
 * @param {boolean} [isBlocked] do not try UDP
 */
export async function connect({ url, token, certificateHash }, listener, isBlocked) {
  const target = new URL(url);
  target.searchParams.set('jwt', token);
  if (isUsable() && !isBlocked) {
    const value = new Uint8Array((certificateHash?.match(/../g) ?? []).map((pair) => parseInt(pair, 16)));
    /** @type {any} */
    const carrier = new WebTransport(target.href, /** @type {any} */ ({
      protocols: ['moq-lite-05'],
      congestionControl: 'low-latency',
      serverCertificateHashes: certificateHash ? [{ algorithm: 'sha-256', value }] : [],
    }));
    carrier.closed.catch(() => {});
    const isLate = new Promise((late) => setTimeout(late, CONNECT_MS, true));
    if (!(await Promise.race([carrier.ready, isLate]).catch(() => true))) {
      // A page that is busy for a while loses nothing by that.
      carrier.datagrams.incomingHighWaterMark = 128;
      return Object.assign(new Session(carrier, listener), { transport: 'WebTransport' });
    }
    carrier.close();
  }
  // A page without TLS cannot trust the relay's certificate by hash here, and need not.
  target.protocol = location.protocol == 'http:' ? 'ws:' : 'wss:';
  const carrier = await (await import('./qmux.js')).open(target.href);
  return Object.assign(new Session(carrier, listener), { transport: 'WebSocket' });
}
