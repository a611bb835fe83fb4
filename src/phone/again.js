// @ts-check
/*
 * Frames that are sent again, for who loses some. Each goes a second time on a track of its own, `again`, right before the frame
 * behind it, and only while somebody hears that track. Who loses frames does.
 */
import { Track } from './moq.js';

/* Frames lost in the last 5 s from which on they are heard again: of 250. */
const LOST_MAX = 3;
/* So long nothing was of use that came again, in ms: it is heard no more. */
const USELESS_MS = 30000;
/* What is lost although all comes twice, from which on the path is taken for full: twice as much does not help it. */
const FULL = 0.1;
/* How long such a path is left alone, in ms. */
const FULL_MS = 60000;
/* Frames of late that are known, to leave out what came before. */
const KNOWN_MAX = 64;
/* Seconds that are looked back on. */
const REPORTS = 5;
const FRAME_MS = 20;
const FRAME = 960;

/** The track beside one of sound. @param {Track} audio */
export const repeat = (audio) => {
  const again = new Track(audio.timescale);
  const send = audio.send.bind(audio);
  /** @type {[number, number, Uint8Array] | undefined} */
  let last;
  audio.send = (...frame) => {
    // Behind a pause nobody waits for the one before it.
    if (last?.[0] == frame[0] - 1) again.send(...last);
    send(...(last = frame));
  };
  return again;
};

/** @typedef {{node: AudioWorkletNode, take(time: number, payload: Uint8Array, at?: number): void, close(): void}} Player */

/** What players have lost of late. @type {WeakMap<Player, any>} */
const states = new WeakMap();

/**
 * What a player says every second: whether it is to hear frames again.
 * @param {Player} player @param {{frames: number, lost: number}} stats
 * @param {(onFrame: import('./moq.js').OnFrame) => () => void} subscribe
 */
export const mend = (player, { frames, lost }, subscribe) => {
  const state = states.get(player) ?? { past: [], until: 0 };
  states.set(player, state);
  state.past.push({ frames, lost });
  if (state.past.length > REPORTS + 1) state.past.shift();
  const since = lost - state.past[0].lost;
  const now = performance.now();
  if (!state.stop && since >= LOST_MAX && now > state.until) {
    state.used = now;
    state.past = [{ frames, lost }];
    state.stop = hearAgain(player, subscribe, () => (state.used = performance.now()));
  } else if (state.stop) {
    const isFull = since > FULL * (frames - state.past[0].frames + since) && state.past.length > REPORTS;
    if (isFull) state.until = now + FULL_MS;
    if (!isFull && now - state.used < USELESS_MS) return;
    state.stop();
    state.stop = undefined;
  }
};

/** @param {Player} player @param {(onFrame: import('./moq.js').OnFrame) => () => void} subscribe @param {() => void} onUse */
const hearAgain = (player, subscribe, onUse) => {
  const { take, close } = player;
  /** @type {Set<number>} */
  const known = new Set();
  player.take = (time, payload, at) => {
    if (known.has(time)) return;
    for (const old of known.add(time)) {
      if (known.size <= KNOWN_MAX) break;
      known.delete(old);
    }
    if (at) onUse();
    take(time, payload, at);
  };
  // What comes again comes a frame later: so much more is held, and no more than that.
  player.node.port.postMessage(FRAME);
  const cancel = subscribe((_, time, payload) => player.take(time, payload, performance.now() - FRAME_MS));
  player.close = () => {
    cancel();
    close();
  };
  return () => {
    cancel();
    Object.assign(player, { take, close });
    player.node.port.postMessage(1);
  };
};
