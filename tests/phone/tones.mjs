// The microphones: a file of sound for each browser.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

/** In Hz; each browser's own. */
export const TONES = [440, 660, 880];

/** Those, and two more that only telephones have. None is a sum or a multiple of others. */
export const ALL_TONES = [...TONES, 1010, 1290];

const RATE = 48000;
const SECONDS = 10;
const AMPLITUDE = 0.3;

/** Samples of -1 to 1 as a WAV of one channel. */
export function wav(samples) {
  const bytes = Buffer.alloc(44 + samples.length * 2);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(36 + samples.length * 2, 4);
  bytes.write('WAVEfmt ', 8);
  for (const [at, value] of [[16, 16], [24, RATE], [28, RATE * 2], [40, samples.length * 2]]) bytes.writeUInt32LE(value, at);
  for (const [at, value] of [[20, 1], [22, 1], [32, 2], [34, 16]]) bytes.writeUInt16LE(value, at);
  bytes.write('data', 36);
  samples.forEach((sample, at) => bytes.writeInt16LE(Math.round(sample * 32767), 44 + at * 2));
  return bytes;
}

/** A tone for some seconds, as a WAV. */
export const toneFor = (tone, seconds) =>
  wav(Float32Array.from({ length: RATE * seconds }, (_, at) => AMPLITUDE * Math.sin((2 * Math.PI * tone * at) / RATE)));

/** Whole periods, so that the tone goes on without a step when the file begins anew. */
export async function writeTones(directory) {
  return Promise.all(TONES.map(async (tone) => {
    const file = path.join(directory, `${tone}.wav`);
    await writeFile(file, toneFor(tone, SECONDS));
    return file;
  }));
}
