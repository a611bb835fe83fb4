// The jitter buffer of src/phone/worklet.js by itself, without a browser and without a clock: frames of a tone come when a case
// says, and what is played is looked at.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const FRAME = 960;
const RATE = 48000;
const TONE = 440;
const AMPLITUDE = 0.3;
/* Of the sender: far above 2^32, as the wall clock in samples is. */
const BASE = 8.5e13;

const source = await readFile(fileURLToPath(new URL('../../src/phone/worklet.js', import.meta.url)), 'utf8');

function player() {
  const processors = {};
  class AudioWorkletProcessor {
    port = { postMessage: (report) => (this.report = report) };
  }
  new Function('AudioWorkletProcessor', 'registerProcessor', source)(AudioWorkletProcessor, (name, of) => (processors[name] = of));
  return new processors.play();
}

/* 44 whole periods in 5 frames. */
const tone = [0, 1, 2, 3, 4].map((frame) =>
  Float32Array.from({ length: FRAME }, (_, at) => AMPLITUDE * Math.sin((2 * Math.PI * TONE * (frame * FRAME + at)) / RATE)));

/** Numbers of 0 to 1, the same in each run. */
export function random(seed) {
  return () => (seed = (seed * 48271) % 2147483647) / 2147483647;
}

/**
 * Plays so many ms. `delay` says when a frame comes, in ms after it was sent; undefined: never. `drift`: by how much the
 * sender's clock is slower. `isAgain` says which frames come 20 ms later, as the copy that is beside the next one.
 */
export function play({ ms, delay, drift = 0, isAgain }) {
  const node = player();
  if (isAgain) node.port.onmessage({ data: FRAME });
  const coming = [];
  for (let frame = 0; frame * 20 < ms; frame++) {
    const late = delay(frame);
    if (late === undefined) continue;
    coming.push({ time: BASE + frame * FRAME, samples: tone[frame % tone.length], at: frame * 20 * (1 + drift) + late, comes: frame * 20 * (1 + drift) + late + (isAgain?.(frame) ? 19.9 : 0) });
  }
  coming.sort((one, other) => one.comes - other.comes);
  const heard = new Float32Array(Math.ceil((ms * RATE) / 128000) * 128);
  const reports = [];
  for (let at = 0; at < heard.length; at += 128) {
    while (coming.length && coming[0].comes <= (at * 1000) / RATE) node.port.onmessage({ data: coming.shift() });
    node.process([], [[heard.subarray(at, at + 128)]]);
    if (at % RATE < 128) reports.push({ ...node.report });
  }
  return { heard, reports, last: node.report };
}

/** Silences above 2.7 ms, and steps that a tone does not have, between two times in ms. */
export function faults({ heard }, from, to) {
  let [gaps, steps, silent] = [0, 0, 0];
  const most = 1.6 * AMPLITUDE * ((2 * Math.PI * TONE) / RATE);
  for (let at = (from * RATE) / 1000; at < (to * RATE) / 1000; at++) {
    silent = Math.abs(heard[at]) < 1e-5 ? silent + 1 : 0;
    if (silent == 130) gaps++;
    if (Math.abs(heard[at] - heard[at - 1]) > most) steps++;
  }
  return { gaps, steps };
}
