// @ts-check
/* What a phone has beside calls: quality, calls that were there before the page was, and calls that the switch has lost. */
import { message, pack, Track } from './moq.js';
import { clockOf } from './audio.js';
import { mend, repeat } from './again.js';
import { hearEarly } from './early.js';

/** @typedef {import('./moqphone.js').Phone} Phone */
/** @typedef {import('./moqphone.js').Call} Call */

/* How often the switch is told how a call sounds. */
const QUALITY_MS = 5000;
/* How long two phones try to find each other again when the switch has lost their call. */
const RECOVERY_MS = 30000;
/* Encoding, sending and playing, beside what is measured: the device, in ms. */
const DEVICE_MS = 20;

/**
 * What a conversation is worth, 1 to 4.5: the E-model (ITU-T G.107), simplified.
 * @param {number} ms one way, from mouth to ear @param {number} loss 0 to 1
 */
export const mosOf = (ms, loss) => {
  const r = Math.max(0, 93.2 - ms * 0.024 - Math.max(0, ms - 177.3) * 0.11 - (95 * loss) / (loss + 0.1));
  return Math.max(1, 1 + 0.035 * r + 7e-6 * r * (r - 60) * (100 - r));
};

/* How often the relay is asked during a call whether it is there, and for how long an answer is waited for: in ms. */
const ASK_MS = 1000;
const SILENCE_MS = 3000;
/* The same when the network has just changed. */
const HASTE_MS = 1000;
/* How long nobody tries UDP after it did not come up, in ms. Then the next connection does. */
const BLOCKED_MS = 300000;

/* The tone that says that a call is recorded: hertz, seconds, and how loud. */
const RECORDED = [1400, 0.2, 0.1];

/** Calls that are recorded, and what sounds the tone again. @type {Map<string, any>} */
const recorded = new Map();

/** Sounds it in the phone itself: what is heard is untouched. @param {Phone} phone */
const sound = ({ audio: { context, out } }) => {
  if (!context || !out) return;
  const [hertz, seconds, loudness] = RECORDED;
  const oscillator = new OscillatorNode(context, { frequency: hertz });
  const gain = new GainNode(context, { gain: loudness });
  oscillator.connect(gain).connect(out);
  oscillator.start();
  oscillator.stop(context.currentTime + seconds);
};

/** @param {Phone} phone */
const announce = (phone) => phone.addEventListener('message', (/** @type {any} */ { detail: { type, payload } }) => {
  const { callId, tone } = payload ?? {};
  const call = phone.calls.get(callId);
  if (call && (type == 'announcement' || type == 'queuePosition')) call.earlyMedia = payload.music;
  if (call) hearEarly(phone, () => sessions.get(phone));
  // What is recorded still is told again behind it.
  if (type == 'resumed') {
    recorded.forEach(clearInterval);
    recorded.clear();
  }
  if (type != 'recording' && type != 'callEnded') return;
  clearInterval(recorded.get(callId));
  recorded.delete(callId);
  if (!tone) return;
  sound(phone);
  const again = setInterval(() => {
    const call = phone.calls.get(callId);
    if (!call) clearInterval(again);
    // A held call is silent.
    else if (!call.held) sound(phone);
  }, tone * 1000);
  recorded.set(callId, again);
});

/** Phones, and what each looks for when the network may be another. @type {Map<Phone, (silence: number) => void>} */
const phones = new Map();
/** @type {WeakMap<Phone, import('./moq.js').Session>} */
const sessions = new WeakMap();
const hurry = () => phones.forEach((look, phone) => {
  phone.hurry();
  look(HASTE_MS);
});
globalThis.addEventListener?.('online', () => {
  for (const phone of phones.keys()) phone.isUdpBlocked = false;
  hurry();
});
globalThis.document?.addEventListener('visibilitychange', hurry);

/**
 * Has the relay tell the round-trip time, and looks whether it is still there: a network that went away tells nobody. Who
 * does not answer is left, and media begins anew.
 * @param {Phone} phone @param {any} session
 */
export const probe = (phone, session) => {
  const isAgain = phones.has(phone);
  sessions.set(phone, session);
  // What was told before the session was there.
  hearEarly(phone, () => sessions.get(phone));
  const ask = (/** @type {() => void} */ told) => session.ask(pack(4, message(0, 0)), async (/** @type {any} */ answers) => {
    for (;;) {
      const report = await answers.message();
      report.int();
      phone.rtt = report.int() || session.carrier.rtt || phone.rtt;
      told();
    }
  });
  let isOver = false;
  let isAsking = false;
  const look = (/** @type {number} */ silence) => {
    if (isOver || !phone.calls.size || (isAsking && silence == SILENCE_MS)) return;
    isAsking = true;
    const answered = () => {
      clearTimeout(patience);
      isAsking = false;
      cancel();
    };
    const patience = setTimeout(() => session.carrier.close(), silence);
    const cancel = ask(answered);
  };
  const asking = setInterval(() => look(SILENCE_MS), ASK_MS);
  session.carrier.closed.catch(() => {}).then(() => {
    isOver = true;
    clearInterval(asking);
    if (sessions.get(phone) == session) sessions.delete(phone);
  });
  if (!isAgain) announce(phone);
  phones.set(phone, look);
  ask(() => {});
  if (phone.isUdpBlocked) setTimeout(() => (phone.isUdpBlocked = false), BLOCKED_MS);
  if (isAgain && phone.calls.size) phone.emit('problem', { name: 'again' });
};

/** What there is beside sound: the catalog, and frames again. @param {Record<string, Track>} tracks @param {string} codec */
export const beside = (tracks, codec) => Object.assign(tracks, { again: repeat(tracks.audio), 'catalog.json': catalog(codec) });

/** What an ordinary player is told of a track (hang's catalog). @param {string} codec */
const catalog = (codec) => {
  const rendition = { codec, sampleRate: clockOf(codec), numberOfChannels: 1, container: { kind: 'raw' } };
  const text = JSON.stringify({ audio: { renditions: { audio: rendition } } });
  return new Track(1000, (session, id) => session.uni(pack(0, message(id, 0), 0, text)));
};

/** @type {WeakMap<Call, Map<string, {told: number, frames: number, lost: number}>>} */
const told = new WeakMap();

/**
 * What a player says every second. Each broadcast that is heard in a call has counters of its own.
 * @param {Phone} phone @param {Call} call @param {string} path @param {any} stats
 * @param {import('./again.js').Player} player @param {import('./moq.js').Session | undefined} session
 */
export const measure = (phone, call, path, stats, player, session) => {
  const { frames, lost, underruns, jitter, buffer } = stats;
  const of = told.get(call) ?? new Map();
  const last = of.get(path) ?? { told: 0, frames: 0, lost: 0 };
  const [came, gone] = [frames - last.frames, lost - last.lost];
  const loss = Math.max(0, came > 0 ? gone / (came + gone) : lost / (frames + lost));
  const rtt = phone.rtt || phone.signalRtt;
  const mos = mosOf(rtt / 2 + buffer + DEVICE_MS, loss);
  call.quality = { ...stats, rtt, loss, mos };
  const from = call.participants.find(({ broadcast }) => broadcast == path);
  if (from) from.quality = call.quality;
  if (from?.track == 'audio' && session && call.state == 'up' && !call.held) {
    mend(player, stats, (onFrame, ended) => session.subscribe(path, 'again', onFrame, ended));
  }
  if (performance.now() - last.told > QUALITY_MS && call.state == 'up' && phone.state == 'ready') {
    told.set(call, of.set(path, { told: performance.now(), frames, lost }));
    phone.request('quality', { callId: call.id, rtt, jitter, loss, buffer, underruns, mos }).catch(() => {});
  }
  phone.emit('change');
};

/** A call of a snapshot, as it is and not as it was. @param {Phone} phone @param {any} snapshot */
export const adopt = (phone, { callId, party, parties, from, to, answerMs }) => {
  const own = parties.find((/** @type {any} */ leg) => leg.party == party);
  if (!own) return;
  const isOut = own.role == 'caller';
  const other = parties.find((/** @type {any} */ leg) => leg.party != party && leg.state == 'up') ?? (isOut ? { dn: to } : from);
  const state = own.state == 'up' || isOut ? own.state : 'incoming';
  const call = phone.calls.get(callId) ?? phone.add({ id: callId, isOut, peer: other.dn, name: other.displayName });
  Object.assign(call, { state, party, held: own.hold, muted: own.muted, since: answerMs ?? 0 });
  call.participants = parties
    .filter((/** @type {any} */ leg) => leg.state == 'up')
    .map((/** @type {any} */ leg) => ({
      ...leg,
      broadcast: 'call/' + leg.party,
      own: leg == own,
      track: leg.codec && 'audio',
      audible: leg != own && !leg.hold,
    }));
  if (state == 'incoming') phone.emit('incoming', call);
};

/**
 * The switch was started anew and has lost a call: who had called calls again, and who was called answers by itself.
 * @param {Phone} phone @param {Call} call
 */
export const recover = (phone, { peer, isOut }) => {
  const until = Date.now() + RECOVERY_MS;
  phone.lost.set(peer, until);
  const again = () => {
    if (!phone.lost.has(peer) || Date.now() > until || phone.state == 'offline') return phone.lost.delete(peer);
    if (![...phone.calls.values()].some((other) => other.peer == peer)) phone.call(peer, { again: true }).catch(() => {});
    setTimeout(again, 1000);
  };
  if (isOut) setTimeout(again, 500);
  else setTimeout(() => phone.lost.delete(peer), RECOVERY_MS);
  phone.emit('problem', { name: 'restarted' });
};
