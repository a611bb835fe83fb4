// @ts-check
/*
 * A WebSocket that looks like a WebTransport session, for who has no UDP: QMux (draft-lcurley-qmux-websocket). Loaded when it
 * is needed. Frames are those of src/proto/qmux.
 */
import { Cursor, pack } from './moq.js';

/* Windows that the relay is granted; renewed when half of one is used. */
const DATA = 1 << 20;
const STREAM_DATA = 1 << 18;
const STREAMS = 1000;
/* Streams that are open at once; groups of calls end at once. With more the connection is closed. */
const OPEN_MAX = 4 * STREAMS;
/* Unsent bytes from which on frames are dropped: behind them they would be late. */
const UNSENT_MAX = 16384;
/* Control bytes that wait for credit. With more the connection is closed. */
const WAITING_MAX = 256;
const PING_MS = 2000;
/* Types of eight bytes. */
const PARAMETERS = [0xff, 0x51, 0x53, 0x30, 0x0d, 0x0a, 0x0d, 0x0a];
const PING = [0xf4, 0x8c, 0x67, 0x52, 0x9e, 0xf8, 0xc7, 0xbd];
const PONG = [...PING.slice(0, 7), 0xbe];
const RECORD_SIZE = [0xc5, 0x71, 0xc5, 0x94, 0x29, 0xcd, 0x08, 0x45];
const DATAGRAM_MAX = 1200;

/** @param {ArrayLike<number>} type @param {Uint8Array} bytes */
const startsWith = (type, bytes) => Array.from(type).every((byte, at) => bytes[at] == byte);

/** A push of bytes as a stream. @param {(code: number) => void} cancel */
const source = (cancel = () => {}) => {
  /** @type {any} */
  let control;
  const readable = new ReadableStream({
    start: (controller) => (control = controller),
    cancel: () => cancel(1),
  });
  const quiet = (/** @type {() => void} */ act) => {
    try {
      act();
    } catch {
      // It was cancelled, or has ended.
    }
  };
  return {
    readable,
    push: (/** @type {any} */ item) => quiet(() => control.enqueue(item)),
    end: () => quiet(() => control.close()),
    fail: () => quiet(() => control.error(Error('reset'))),
    received: 0,
    granted: STREAM_DATA,
  };
};

/** Has of WebTransport what moq.js needs. */
export class Qmux {
  /** @param {string} url */
  constructor(url) {
    const socket = (this.socket = new WebSocket(url, ['qmux-02.moq-lite-05']));
    socket.binaryType = 'arraybuffer';
    this.rtt = 0;
    this.uni = source();
    this.bidi = source();
    this.dgrams = source();
    this.incomingUnidirectionalStreams = this.uni.readable;
    this.incomingBidirectionalStreams = this.bidi.readable;
    this.datagrams = {
      readable: this.dgrams.readable,
      maxDatagramSize: 0,
      writable: new WritableStream({ write: (bytes) => this.media(pack([0x31], bytes.length, bytes)) }),
    };
    /** @type {Map<number, any>} streams that the relay sends on */
    this.receiving = new Map();
    this.opened = [0, 0];
    this.theirs = [0, 0];
    this.granted = [STREAMS, STREAMS];
    this.limits = [0, 0];
    this.received = 0;
    this.grantedData = DATA;
    this.sent = 0;
    this.credit = 0;
    /** @type {Uint8Array[]} */
    this.waiting = [];
    /** @type {(info: any) => void} */
    let over = () => {};
    this.closed = new Promise((resolve) => (over = resolve));
    this.ready = new Promise((ready, failed) => {
      this.isReady = ready;
      this.closed.then(failed);
    });
    this.ready.catch(() => {});
    socket.onopen = () => {
      const parameter = (/** @type {any} */ id, /** @type {number} */ value) => pack(id, pack(value).length, value);
      const body = pack(
        ...[[1, 30000], [4, DATA], [5, STREAM_DATA], [6, STREAM_DATA], [7, STREAM_DATA], [8, STREAMS], [9, STREAMS], [0x20, 16382]].map(
          ([id, value]) => parameter(id, value),
        ),
        parameter(RECORD_SIZE, 16382),
      );
      socket.send(pack(PARAMETERS, body.length, body));
    };
    socket.onmessage = ({ data }) => {
      try {
        const cursor = new Cursor(new Uint8Array(data));
        while (cursor.at < cursor.bytes.length) this.take(cursor);
      } catch {
        this.close();
      }
    };
    socket.onclose = ({ reason }) => {
      clearInterval(this.pings);
      for (const stream of this.receiving.values()) stream.fail();
      for (const stream of [this.uni, this.bidi, this.dgrams]) stream.end();
      over({ reason });
    };
  }

  close() {
    this.socket.close();
  }

  async createUnidirectionalStream() {
    return this.writable(this.open(1));
  }

  async createBidirectionalStream() {
    const id = this.open(0);
    return { writable: this.writable(id), readable: this.readable(id) };
  }

  /** The id of another stream of ours: bit 0 is the side, bit 1 the kind. @param {0 | 1} kind */
  open(kind) {
    if (this.opened[kind] >= this.limits[kind]) throw Error('no more streams');
    return (this.opened[kind]++ << 2) | (kind << 1);
  }

  /** @param {number} id */
  writable(id) {
    const frame = (/** @type {number} */ fin, /** @type {Uint8Array} */ bytes) =>
      this.control(pack([0x0a | fin], id, bytes.length, bytes), bytes.length);
    let sent = 0;
    return new WritableStream({
      write: (bytes) => {
        sent += bytes.length;
        frame(0, bytes);
      },
      close: () => frame(1, new Uint8Array()),
      abort: () => this.control(pack([4], id, 1, sent), 0),
    });
  }

  /** @param {number} id */
  readable(id) {
    const stream = source((code) => {
      if (this.receiving.delete(id)) this.control(pack([5], id, code), 0);
    });
    this.receiving.set(id, stream);
    return stream.readable;
  }

  /** @param {Uint8Array} frame @param {number} bytes those that need credit */
  control(frame, bytes) {
    this.sent += bytes;
    this.waiting.push(frame);
    this.flush();
    if (this.waiting.length > WAITING_MAX) this.close();
  }

  flush() {
    // Of what waits nothing is known but that it is small: it goes as soon as all of it may.
    if (this.sent > this.credit || this.socket.readyState != 1) return;
    for (const frame of this.waiting.splice(0)) this.socket.send(frame);
  }

  /** @param {Uint8Array} frame */
  media(frame) {
    if (this.socket.bufferedAmount < UNSENT_MAX && this.socket.readyState == 1) this.socket.send(frame);
  }

  /** One frame off the front of a message. @param {Cursor} cursor */
  take(cursor) {
    const { bytes, at } = cursor;
    const type = bytes.subarray(at, at + 8);
    const kind = cursor.int();
    const int = () => cursor.int();
    if (startsWith(PARAMETERS, type)) return this.parameters(new Cursor(cursor.take(int())));
    if (startsWith(PING, type)) return this.media(pack(PONG, int()));
    if (startsWith(PONG, type)) return (this.rtt = Date.now() - (this.pinged ?? 0)), int();
    if (kind >= 8 && kind < 16) {
      const id = int();
      if (kind & 4) int();
      const data = cursor.take(kind & 2 ? int() : undefined);
      return this.data(id, data, kind & 1);
    }
    if (kind == 4) {
      const id = int();
      this.data(id, new Uint8Array(), 2);
      return int(), int();
    }
    if (kind == 0x10) return (this.credit = Math.max(this.credit, int())), this.flush();
    if (kind == 0x12 || kind == 0x13) return (this.limits[kind & 1] = Math.max(this.limits[kind & 1], int()));
    if (kind == 0x30) return this.dgrams.push(cursor.take());
    if (kind == 0x31) return this.dgrams.push(cursor.take(int()));
    if (kind == 0x1c || kind == 0x1d) return this.close();
    // Padding, and what says only that something was blocked, or that a stream is not wanted any more.
    const integers = /** @type {Record<number, number>} */ ({ 0: 0, 5: 2, 0x11: 2, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1 })[kind];
    if (integers === undefined) throw RangeError('a frame that QMux does not have');
    for (let skip = integers; skip--; ) int();
  }

  /** @param {Cursor} cursor */
  parameters(cursor) {
    while (cursor.at < cursor.bytes.length) {
      const id = cursor.int();
      const value = new Cursor(cursor.take(cursor.int()));
      if (id == 4) this.credit = value.int();
      if (id == 8) this.limits[0] = value.int();
      if (id == 9) this.limits[1] = value.int();
      if (id == 0x20) this.datagrams.maxDatagramSize = Math.min(DATAGRAM_MAX, value.int());
    }
    clearInterval(this.pings);
    this.pings = setInterval(() => {
      this.pinged = Date.now();
      this.media(pack(PING, 1));
    }, PING_MS);
    this.isReady(undefined);
    this.flush();
  }

  /** @param {number} id @param {Uint8Array} data @param {number} end 1: there is no more, 2: it was reset */
  data(id, data, end) {
    const kind = (id >> 1) & 1;
    const isTheirs = id & 1;
    if (isTheirs && id / 4 >= this.granted[kind]) throw RangeError('more streams than were granted');
    while (isTheirs && this.theirs[kind] <= id >> 2) this.accept((this.theirs[kind]++ << 2) | (kind << 1) | 1, kind);
    this.received += data.length;
    if (this.received > this.grantedData - DATA / 2) this.media(pack([0x10], (this.grantedData = this.received + DATA)));
    const stream = this.receiving.get(id);
    if (!stream) return;
    if (data.length) stream.push(data);
    stream.received += data.length;
    if (stream.received > stream.granted - STREAM_DATA / 2) {
      this.media(pack([0x11], id, (stream.granted = stream.received + STREAM_DATA)));
    }
    if (!end) return;
    this.receiving.delete(id);
    if (end == 1) stream.end();
    else stream.fail();
  }

  /** @param {number} id @param {number} kind */
  accept(id, kind) {
    if (this.receiving.size >= OPEN_MAX) throw RangeError('too many open streams');
    const readable = this.readable(id);
    if (kind) this.uni.push(readable);
    else this.bidi.push({ readable, writable: this.writable(id) });
    if (this.theirs[kind] > this.granted[kind] - STREAMS / 2) {
      this.media(pack([0x12 | kind], (this.granted[kind] = this.theirs[kind] + STREAMS)));
    }
  }
}

/** @param {string} url */
export const open = async (url) => {
  const carrier = new Qmux(url);
  await carrier.ready;
  return carrier;
};
