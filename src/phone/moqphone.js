// @ts-check
/*
 * A telephone without a page: registers with the switch, calls and is called, and carries sound. README.md has its manual.
 */
import { Audio, clockOf, encoderOf, hasOpus } from './audio.js';
import { connect, Track } from './moq.js';

/**
 * @typedef {'calling' | 'ringing' | 'incoming' | 'up' | 'ended'} CallState
 * @typedef {{party: string, broadcast: string, dn: string, displayName: string, role: string, codec: string | null,
 *   track: string | null, audible: boolean, hold: boolean, muted: boolean, own: boolean, quality?: Quality}} Participant
 * @typedef {{rtt: number, jitter: number, loss: number, buffer: number, underruns: number, mos: number}} Quality
 * @typedef {object} Call
 * @property {string} id
 * @property {string} peer the number of the other
 * @property {string} name of the other, as told
 * @property {CallState} state
 * @property {boolean} isOut this side called
 * @property {string} party this side's leg
 * @property {boolean} held by this side
 * @property {boolean} isHeld by the other side
 * @property {boolean} muted
 * @property {number} since when it was answered, in ms since 1970; 0 before
 * @property {Participant[]} participants
 * @property {Quality} [quality] of what is heard
 * @property {string} [earlyMedia] a broadcast that is there before the answer
 * @property {boolean} [early] it is heard
 * @property {string} [music] a broadcast that is played meanwhile
 * @property {string} [reason] why it ended
 * @property {number} [code] SIP's
 */

/* Waits before the next attempt to connect, and before further ones, in ms. */
const WAITS = [0, 300, 1200, 2700, 4800];
const WAIT_MAX = 7000;
/* A request without an answer for so long: the socket is dead, whatever the system thinks. */
const ANSWER_MS = 10000;
/* Requests that wait for an answer; a further one is refused. */
const PENDING_MAX = 64;
/* The server keeps this many messages that nobody said to have. */
const ACK_EVERY = 32;
/** What is not needed for a first call, or not before it. */
const later = () => import('./later.js');
/* Frames of a muted phone that are sent: one in a second, of silence, says that it is alive. */
const HEARTBEAT = 50;

/**
 * Events: `change` when anything did, `incoming` and `ended` with the call as detail, `message` with every message of the
 * switch, `problem` with `{name, error?}`.
 */
export class Phone extends EventTarget {
  /** @type {'offline' | 'connecting' | 'ready' | 'lost'} */
  state = 'offline';
  /** @type {Map<string, Call>} */
  calls = new Map();
  audio = new Audio();
  /** How media goes: '', WebTransport or WebSocket. */
  transport = '';
  /** Round-trip times in ms to the relay, and to the switch. */
  rtt = 0;
  signalRtt = 0;
  isUdpBlocked = false;
  /** @type {any} who this is; kept over a reload of the page */
  saved = {};
  #socket = /** @type {WebSocket | undefined} */ (undefined);
  #session = /** @type {any} */ (undefined);
  #isConnecting = false;
  #ids = Math.random().toString(36).slice(2, 7) + '-';
  #count = 0;
  #tries = 0;
  #mediaTries = 0;
  /** @type {Map<string, any>} requests without an answer */
  #pending = new Map();
  /** @type {Set<string>} broadcasts there are */
  #live = new Set();
  /** @type {Map<string, any>} what is published */
  #spoken = new Map();
  /** @type {Map<string, any>} what is heard */
  #heard = new Map();
  /** @type {Map<string, number>} peers of calls that the switch has lost, and how long they are waited for */
  lost = new Map();

  /** @param {{url?: string | URL, storage?: Storage, role?: string}} [options] */
  constructor({ url = new URL('/', import.meta.url), storage = globalThis.sessionStorage, role } = {}) {
    super();
    this.url = new URL('/ws', url);
    this.url.protocol = this.url.protocol.replace('http', 'ws');
    this.storage = storage;
    this.role = role;
    this.key = 'moqphone-' + (role ?? '');
    this.audio.onframe = (samples, count) => this.#speak(samples, count);
    this.audio.onlost = () => this.#openMicrophone().catch((error) => this.emit('problem', { name: 'microphone', error }));
  }

  /** Registers. Rejects with `{code, reason}` when the switch does not let it in. @param {string} dn @param {string} [password] @param {string} [displayName] */
  async register(dn, password, displayName) {
    const device = this.saved.device ?? 'web-' + Math.random().toString(36).slice(2, 10);
    this.saved = { dn, password, displayName, device };
    await new Promise((done, failed) => {
      this.#entered = { done, failed };
      this.#connect();
    });
  }

  /** @type {any} */
  #entered;

  /** Goes on where the page was before its reload. False: there is nothing to go on with. */
  restore() {
    try {
      this.saved = JSON.parse(this.storage.getItem(this.key) ?? '{}');
    } catch {
      // Another program's.
    }
    if (this.saved.session) this.#connect();
    return !!this.saved.session;
  }

  unregister() {
    this.request('unregister', {}).catch(() => {});
    this.#leave();
  }

  /** Calls a number. @param {string} to @param {object} [metadata] @returns {Promise<Call>} */
  async call(to, metadata) {
    await this.#openMicrophone();
    this.#holdOthers();
    const call = this.add({ id: this.#ids + ++this.#count, peer: to, isOut: true });
    await this.request('call', { to, callId: call.id, metadata }).catch((error) => {
      this.end(call, error.details ?? error.message, error.code);
      throw error;
    });
    return call;
  }

  /** @param {Call} call */
  async answer(call) {
    await this.#openMicrophone();
    // It may have ended meanwhile.
    if (call.state == 'ended') return this.#rest();
    this.#holdOthers(call);
    await this.request('answer', { callId: call.id });
  }

  /** @param {Call} call @param {'declined' | 'busy'} [reason] */
  reject(call, reason = 'declined') {
    return this.request('reject', { callId: call.id, reason });
  }

  /** @param {Call} call */
  hangup(call) {
    return this.request('hangup', { callId: call.id });
  }

  /** @param {Call} call @param {boolean} hold */
  hold(call, hold) {
    if (!hold) this.#holdOthers(call);
    return this.request('hold', { callId: call.id, hold });
  }

  /** @param {Call} call @param {boolean} muted */
  mute(call, muted) {
    // What must not be heard is not sent from here on; what may be is when the switch has confirmed it.
    if (muted) call.muted = true;
    return this.request('mute', { callId: call.id, muted });
  }

  /** @param {Call} call @param {string} digit */
  dtmf(call, digit) {
    return this.request('dtmf', { callId: call.id, digit });
  }

  /** To a number (blind), or to the other side of another call. @param {Call} call @param {string | Call} to */
  transfer(call, to) {
    return this.request('transfer', { callId: call.id, ...(typeof to == 'string' ? { to } : { replaces: to.id }) });
  }

  /** Has a number join, or another call. @param {Call} call @param {string | Call} to */
  conference(call, to) {
    return this.request('conference', { callId: call.id, ...(typeof to == 'string' ? { to } : { other: to.id }) });
  }

  /**
   * Any message of the switch's signalling; resolves with the payload of its first answer. Kept while there is no connection.
   * @param {string} type @param {object} payload @returns {Promise<any>}
   */
  request(type, payload) {
    const id = this.#ids + ++this.#count;
    return new Promise((done, failed) => {
      if (this.#pending.size >= PENDING_MAX) return failed({ code: 429 });
      this.#pending.set(id, { type, payload, done, failed });
      if (this.state == 'ready') this.#send(id);
    });
  }

  /** @param {string} id */
  #send(id) {
    const pending = this.#pending.get(id);
    const { type, payload } = pending;
    pending.sent = performance.now();
    this.#say({ type, payload, id, ack: this.saved.seq });
    const socket = this.#socket;
    setTimeout(() => this.#pending.has(id) && socket?.close(), ANSWER_MS);
  }

  /** What a socket that closes does not take is said when the session goes on. @param {object} message */
  #say(message) {
    if (this.#socket?.readyState == 1) this.#socket.send(JSON.stringify(message));
  }

  /** @param {string} name @param {any} [detail] */
  emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** The network may be there again: tries at once what is tried now and then. */
  hurry() {
    this.audio.wake();
    if (this.state == 'lost') this.#connect();
  }

  #registration() {
    const { dn, password, displayName, device } = this.saved;
    const codecs = hasOpus ? ['opus', 'pcmu', 'pcma'] : ['pcmu', 'pcma'];
    return { dn, password, displayName, device, codecs, role: this.role, ringable: !this.role };
  }

  #connect() {
    clearTimeout(this.retry);
    if (this.#socket && this.#socket.readyState < 2) return;
    this.#socket?.close();
    if (this.state == 'offline') this.state = 'connecting';
    const socket = (this.#socket = new WebSocket(this.url));
    const { session, seq } = this.saved;
    const first = (/** @type {string} */ type, /** @type {object} */ payload) => socket.send(JSON.stringify({ type, payload, id: 'first' }));
    socket.onopen = () => (session ? first('resume', { session, seq }) : first('register', this.#registration()));
    socket.onmessage = ({ data }) => {
      const { type, payload, id, seq } = JSON.parse(data);
      if (type == 'error' && id == 'first' && this.saved.session) {
        delete this.saved.session;
        return first('register', this.#registration());
      }
      this.#handle(id == 'first' && type == 'error' ? 'registrationFailed' : type, payload, id, seq);
    };
    socket.onclose = ({ code }) => {
      if (socket != this.#socket || this.state == 'offline') return;
      this.#entered?.failed({ reason: 'offline' });
      if (code == 4403 || (this.#entered && !session)) {
        if (code == 4403) this.emit('problem', { name: 'elsewhere' });
        return this.#leave();
      }
      this.state = 'lost';
      this.retry = setTimeout(() => this.#connect(), (WAITS[this.#tries++] ?? WAIT_MAX) + Math.random() * 500);
      this.emit('change');
    };
    this.emit('change');
  }

  #leave() {
    this.state = 'offline';
    this.storage.removeItem(this.key);
    delete this.saved.session;
    for (const call of this.calls.values()) this.end(call, 'unregistered');
    for (const { failed } of this.#pending.values()) failed({ message: 'offline' });
    this.#pending.clear();
    clearTimeout(this.renewal);
    this.#entered = undefined;
    // What was asked for last is still to go out.
    const socket = this.#socket;
    setTimeout(() => socket?.close(), 200);
    this.#session?.close();
    this.#session = undefined;
    this.emit('change');
  }

  /** @param {string} type @param {any} payload @param {string} id @param {number} seq */
  #handle(type, payload, id, seq) {
    if (seq) {
      this.saved.seq = seq;
      if (seq % ACK_EVERY == 0) this.#say({ type: 'ack', payload: { seq } });
    }
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (pending) this.signalRtt = Math.round(performance.now() - pending.sent);
    if (type == 'error') pending?.failed(payload);
    else pending?.done(payload);
    const call = this.calls.get(payload.callId);
    switch (type) {
      case 'registered':
      case 'resumed':
        this.#enter(type, payload);
        break;
      case 'registrationFailed':
        this.#entered?.failed(payload);
        this.#leave();
        break;
      case 'unregistered':
        if (payload.reason == 'replaced') this.emit('problem', { name: 'elsewhere' });
        if (payload.reason != 'shutdown') this.#leave();
        else delete this.saved.session;
        break;
      case 'incomingCall': {
        const incoming = this.add({ id: payload.callId, peer: payload.from, name: payload.displayName, party: payload.party, state: 'incoming' });
        this.request('ringing', { callId: incoming.id }).catch(() => {});
        const lost = this.lost.get(incoming.peer);
        if (lost && lost > Date.now()) this.answer(incoming).catch(() => {});
        else this.emit('incoming', incoming);
        break;
      }
      case 'callProgress':
        if (call && call.state != 'up') Object.assign(call, payload);
        break;
      case 'callAccepted': {
        const accepted = call ?? this.add({ id: payload.callId });
        this.lost.delete(accepted.peer);
        Object.assign(accepted, { state: 'up', since: Date.now(), party: payload.party });
        break;
      }
      case 'participants':
        if (call) this.#participants(call, payload.participants);
        break;
      case 'held':
        if (call && payload.by == 'local') call.held = payload.hold;
        else if (call) Object.assign(call, { isHeld: payload.hold, music: payload.music });
        break;
      case 'muted':
        if (call && payload.party == call.party) call.muted = payload.muted;
        break;
      case 'callEnded':
        if (call) this.end(call, payload.reason, payload.code);
    }
    // Who has left, leaves nothing behind.
    if (this.state != 'offline') this.storage.setItem(this.key, JSON.stringify(this.saved));
    this.#sync();
    this.emit('message', { type, payload });
    this.emit('change');
  }

  /** @param {string} type @param {any} payload */
  async #enter(type, payload) {
    const isNew = type == 'registered';
    this.state = 'ready';
    this.#tries = 0;
    this.saved.session = payload.session;
    this.#entered?.done();
    this.#entered = undefined;
    /** @type {any[]} */
    const snapshots = payload.calls;
    for (const call of this.calls.values()) {
      if (snapshots.some(({ callId }) => callId == call.id)) continue;
      if (isNew && call.state == 'up') later().then(({ recover }) => recover(this, { ...call }));
      this.end(call, isNew ? 'restarted' : 'lost');
    }
    if (snapshots.length) {
      const { adopt } = await later();
      for (const snapshot of snapshots) adopt(this, snapshot);
      this.#sync();
    }
    for (const id of this.#pending.keys()) {
      // Of calls that are gone there is nothing to ask for.
      if (isNew && this.#pending.get(id).payload.callId && this.#pending.get(id).type != 'call') this.#pending.delete(id);
      else this.#send(id);
    }
    this.media = payload.media;
    this.iceServers = payload.iceServers;
    this.#open();
    clearTimeout(this.renewal);
    this.renewal = setTimeout(() => this.request('register', this.#registration()).catch(() => {}), (payload.expires || 60) * 500);
    if (this.calls.size) this.#openMicrophone().catch((error) => this.emit('problem', { name: 'microphone', error }));
  }

  /** @param {Partial<Call> & {id: string}} some @returns {Call} */
  add(some) {
    /** @type {Call} */
    const call = { peer: '', name: '', state: 'calling', isOut: false, party: '', held: false, isHeld: false, muted: false, since: 0, participants: [], ...some };
    this.calls.set(call.id, call);
    this.emit('change');
    return call;
  }

  /** @param {Call} call @param {string} reason @param {number} [code] */
  end(call, reason, code) {
    this.calls.delete(call.id);
    Object.assign(call, { state: 'ended', reason, code });
    this.#sync();
    this.#rest();
    this.emit('ended', call);
  }

  /** Nobody needs the microphone any more. */
  #rest() {
    if (!this.calls.size && !this.lost.size) this.audio.close();
  }

  /** @param {Call} [but] */
  #holdOthers(but) {
    for (const call of this.calls.values()) if (call != but && call.state == 'up' && !call.held) this.request('hold', { callId: call.id, hold: true }).catch(() => {});
  }

  /** @param {Call} call @param {Participant[]} participants */
  #participants(call, participants) {
    call.participants = participants;
    const others = participants.filter(({ own, role }) => !own && !['listen', 'whisper'].includes(role));
    if (others.length == 1) Object.assign(call, { peer: others[0].dn, name: others[0].displayName });
    const own = participants.find((one) => one.own);
    if (own) Object.assign(call, { held: own.hold, party: own.party });
  }

  async #openMicrophone() {
    if (!this.audio.stream) await this.audio.open();
  }

  // --- media

  async #open() {
    if (this.#session || this.#isConnecting) return;
    this.#isConnecting = true;
    const listener = {
      announced: (/** @type {string} */ path, /** @type {boolean} */ isLive) => {
        // One that is there already begins anew: of what it was nothing more comes.
        this.#live.delete(path);
        this.#sync();
        if (isLive) this.#live.add(path);
        this.#sync();
      },
      closed: () => {
        this.#session = undefined;
        this.transport = '';
        this.#live.clear();
        this.#sync();
        this.#reopen();
      },
    };
    try {
      const session = (this.#session = await connect(this.media, listener, this.isUdpBlocked));
      this.transport = session.transport;
      if (this.transport == 'WebSocket') this.isUdpBlocked = true;
      this.#mediaTries = 0;
      later().then(({ probe }) => probe(this, session));
      for (const [path, { tracks }] of this.#spoken) this.#session.publish(path, tracks);
    } catch {
      this.#reopen();
    }
    this.#isConnecting = false;
    this.#sync();
    this.emit('change');
  }

  #reopen() {
    this.emit('change');
    const wait = (WAITS[this.#mediaTries++] ?? WAIT_MAX) + Math.random() * 200;
    setTimeout(() => this.state != 'offline' && this.#open(), wait);
  }

  /** Publishes and hears what the calls say, and nothing else. */
  #sync() {
    /** @type {Map<string, any>} */
    const speak = new Map();
    /** @type {Map<string, any>} */
    const hear = new Map();
    for (const call of this.calls.values()) {
      if (call.state != 'up') continue;
      for (const { own, broadcast, codec, track, audible } of call.participants) {
        if (own && track) speak.set(broadcast, { codec, call });
        if (!own && audible && !call.held) hear.set(broadcast, { codec: codec ?? 'opus', track: track ?? 'audio', call });
      }
      if (call.music) hear.set(call.music, { codec: 'opus', track: 'audio', call });
    }
    for (const [path, { codec }] of this.#spoken) {
      if (speak.get(path)?.codec == codec) continue;
      this.#session?.unpublish(path);
      this.#spoken.delete(path);
    }
    for (const [path, { codec, call }] of speak) {
      if (this.#spoken.has(path)) continue;
      this.#spoken.set(path, this.#publication(codec, call));
      this.#session?.publish(path, this.#spoken.get(path).tracks);
    }
    for (const [path, { codec, close }] of this.#heard) {
      if (this.#live.has(path) && hear.get(path)?.codec == codec) continue;
      close();
      this.#heard.delete(path);
    }
    for (const [path, { codec, track, call }] of hear) {
      if (!this.#live.has(path) || this.#heard.has(path) || !this.#session || !this.audio.capture) continue;
      const player = this.audio.player(codec, (stats) => later().then(({ measure }) => measure(this, call, path, stats, player, this.#session)));
      const ended = () => {
        player.close();
        this.#heard.delete(path);
        setTimeout(() => this.#sync(), WAITS[1]);
      };
      const cancel = this.#session.subscribe(path, track, (/** @type {number} */ _, /** @type {number} */ time, /** @type {Uint8Array} */ payload) => player.take(time, payload), ended);
      const close = () => {
        cancel();
        player.close();
      };
      this.#heard.set(path, { codec, close });
    }
  }

  /** @param {string} codec @param {Call} call */
  #publication(codec, call) {
    const clock = clockOf(codec);
    const audio = new Track(clock);
    const encode = encoderOf(codec, (count, payload) => audio.send(count, (count * clock) / 50, payload));
    /** @type {Record<string, Track>} */
    const tracks = { audio };
    later().then(({ beside }) => beside(tracks, codec));
    return { codec, call, audio, encode, tracks };
  }

  /** @param {Float32Array} samples @param {number} count */
  #speak(samples, count) {
    for (const { call, audio, encode } of this.#spoken.values()) {
      if (!audio.isHeard || call.held) continue;
      if (!call.muted) encode(samples, count);
      else if (count % HEARTBEAT == 0) encode(new Float32Array(samples.length), count);
    }
  }
}
