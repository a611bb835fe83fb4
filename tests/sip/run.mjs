// Runs the cases of SIP, one after another. Called by tests/sip.sh, which has the options.
//
// A case fails when something is not as it should be, or does not come within its time; when it looked at nothing; and when
// the switch ends, complains, or has a call left. Nothing is tried twice. Exit status: 0 all cases hold, or fail as is known;
// 1 one does not; 2 cannot run.
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

import { CASES } from './cases.mjs';
import { Test } from './test.mjs';

const { values: options } = parseArgs({
  options: {
    switch: { type: 'string' },
    work: { type: 'string' },
    cases: { type: 'string', default: '' },
    long: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    json: { type: 'string', default: '' },
    known: { type: 'string', multiple: true, default: [] },
  },
});

function chosen() {
  const wanted = options.cases.split(';').map((name) => name.trim()).filter(Boolean);
  if (!wanted.length) return CASES.filter(({ isLong }) => options.long || !isLong);
  for (const name of wanted) if (!CASES.some((one) => one.name.startsWith(name))) throw new Error(`no case '${name}'; --list says which there are`);
  return CASES.filter((one) => wanted.some((name) => one.name.startsWith(name)));
}

async function main() {
  const names = CASES.map(({ name }) => name);
  if (new Set(names).size !== names.length) throw new Error('two cases have the same name');
  if (options.list) {
    for (const { name, isLong, source } of CASES) console.log(`${name}${isLong ? ' (long)' : ''}: ${source}`);
    return 0;
  }
  const known = new Map(options.known.map((text) => text.split('|')));
  for (const name of known.keys()) if (!names.includes(name)) throw new Error(`a fault is known of '${name}', which is no case`);
  const [results, switches] = [[], new Map()];
  try {
    for (const { name, run, source, on = 'open' } of chosen()) {
      const start = Date.now();
      const test = new Test({ name, program: options.switch, work: options.work, switches, on });
      const failure = await test.run(run);
      const seconds = Number(((Date.now() - start) / 1000).toFixed(1));
      const reason = known.get(name);
      const verdict = reason ? (failure ? 'known' : 'FAIL') : failure ? 'FAIL' : 'ok';
      const why = reason && !failure ? `it holds, and is on the list of what fails: ${reason}` : failure;
      results.push({ name, source, verdict, seconds, why: why || undefined, known: reason });
      console.log(`${verdict.padEnd(5)} ${name} (${seconds} s)${why ? `: ${why}` : ''}${verdict === 'known' ? `\n      known: ${reason}` : ''}`);
    }
  } finally {
    await Promise.all(Array.from(switches.values(), (one) => one.stop()));
  }
  const count = (verdict) => results.filter((result) => result.verdict === verdict).length;
  if (options.json) await writeFile(options.json, JSON.stringify({ date: new Date().toISOString(), results }, null, 2));
  const [failed, told] = [count('FAIL'), count('known') ? `, ${count('known')} fail as is known` : ''];
  console.log(failed || !results.length ? `FAIL: ${failed} of ${results.length} cases${told}` : `PASS: ${results.length} cases${told}`);
  return failed || !results.length ? 1 : 0;
}

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(130));
main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(`sip: ${error.stack}`);
    process.exit(2);
  },
);
