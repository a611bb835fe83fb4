// Speech through a call, and how it sounds at the other end by PESQ. The speech is made by espeak-ng.
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const program = fileURLToPath(new URL('speech.py', import.meta.url));
/* Of the Harvard sentences (IEEE 297-1969). */
const TEXT = 'The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background. '
  + 'It is easy to tell the depth of a well. These days a chicken leg is a rare dish.';
/* The sentences are heard so often. */
const TIMES = 4;
const FILE_MS = 11_600;

/** Fails when the median is below `least`. */
export async function speechThrough(test, title, mode, least, options, talk) {
  const { work, python } = test.options;
  if (!python) throw new Error('--python names a Python that has pesq, numpy and scipy');
  const file = (name) => path.join(work, `${test.tag}-${name}`);
  await run('espeak-ng', ['-v', 'en-gb', '-s', '150', '-w', file('said.wav'), TEXT]);
  await run(python, [program, 'prepare', file('said.wav'), file('microphone.wav')]);
  const [alice, bob] = await talk(test, [{ ...options, browser: await test.browser(file('microphone.wav')) }, { ...options, isOpen: true }]);
  await bob.until('hearing', () => globalThis.levels().at(-1) > -40);
  const before = await bob.quality();
  const heard = await bob.page.evaluate((ms) => globalThis.record(ms), (TIMES + 1) * FILE_MS);
  const { codec } = await bob.page.evaluate(() => [...globalThis.phone.calls.values()][0].participants.find(({ own }) => !own));
  const after = await bob.quality();
  await writeFile(file('heard.f32'), Buffer.from(heard, 'base64'));
  const { stdout } = await run(python, [program, 'score', file('microphone.wav'), file('heard.f32'), mode]);
  const scores = JSON.parse(stdout).map(({ pesq }) => pesq).sort((one, other) => one - other);
  const median = (scores[(scores.length - 1) >> 1] + scores[scores.length >> 1]) / 2;
  const since = (name) => after[name] - (before?.[name] ?? 0);
  test.note(`${title} (${codec}, ${mode}): PESQ ${median.toFixed(3)}, of ${scores.join(' ')}; ${since('lost')} of ${since('frames')} frames lost, ${since('underruns')} gaps, ${since('edits')} edits`);
  await alice.click('hangupBtn');
  await bob.isFree();
  if (!(median >= least)) throw new Error(`${title}: PESQ ${median}, and ${least} is the least`);
}
