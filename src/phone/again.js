// @ts-check
/*
 * Frames that are sent again, for who loses some. Each goes a second time on a track of its own, `again`, right before the frame
 * behind it, and only while somebody hears that track. Who loses frames does.
 */
import { Track } from './moq.js';

/* Frames lost in the last 5 s from which on they are heard again: of 250. */
const LOST_MAX = 3;
/* In so many reports of those some were lost: muting leaves a gap in one. */
const LOSING_MIN = 2;
/* So long nothing was of use that came again, in ms: it is heard no more. */
const USELESS_MS = 30000;
/* What is lost although all comes twice, from which on the path is taken for full: twice as much does not help it. */
const FULL = 0.1;
/* How long who was not helped, or has no such track, is left alone, in ms. */
const ALONE_MS = 60000;
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
 * @param {(onFrame: import('./moq.js').OnFrame, ended: () => void) => () => void} subscribe
 */
export const mend = (player, { frames, lost }, subscribe) => {
  const state = states.get(player) ?? begin(player);
  // A player that is closed may have the last word.
  if (state.isOver) return;
  const { past } = state;
  past.push({ frames, lost });
  if (past.length > REPORTS + 1) past.shift();
  const since = lost - past[0].lost;
  const losing = past.filter((/** @type {any} */ one, /** @type {number} */ at) => at && one.lost > past[at - 1].lost).length;
  const now = performance.now();
  const leave = () => {
    state.stop?.();
    state.stop = undefined;
    state.until = performance.now() + ALONE_MS;
  };
  if (!state.stop && since >= LOST_MAX && losing >= LOSING_MIN && now > state.until) {
    state.used = now;
    state.past = [{ frames, lost }];
    state.stop = hearAgain(player, subscribe, () => (state.used = performance.now()), () => state.isOver || leave());
  } else if (state.stop) {
    const isFull = since > FULL * (frames - past[0].frames + since) && past.length > REPORTS;
    if (isFull || now - state.used >= USELESS_MS) leave();
  }
};

/** @param {Player} player */
const begin = (player) => {
  const { close } = player;
  /** @type {any} */
  const state = { past: [], until: 0 };
  player.close = () => {
    state.isOver = true;
    state.stop?.();
    close();
  };
  states.set(player, state);
  return state;
};

/** @param {Player} player @param {Parameters<typeof mend>[2]} subscribe @param {() => void} onUse @param {() => void} onEnd */
const hearAgain = (player, subscribe, onUse, onEnd) => {
  const { take } = player;
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
  const cancel = subscribe((_, time, payload) => player.take(time, payload, performance.now() - FRAME_MS), onEnd);
  return () => {
    cancel();
    player.take = take;
    player.node.port.postMessage(1);
  };
};
