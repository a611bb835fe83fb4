// Makes dist/, what the switch serves, of the files beside it. `npm ci && npm run build` after a change.
//
// Files are made smaller. Those that are always loaded together are one; what is loaded when it is needed stays a file of its
// own, and finds the page's parts by the names that the page exports.
import { readdir, readFile, writeFile, mkdir } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, transform } from 'esbuild';

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(here, process.argv[2] ?? 'dist');
// Entry points, and what each has inside; every other file that it names is loaded beside it.
const SCRIPTS = {
  'phone.js': ['moqphone.js', 'moq.js', 'audio.js'],
  'moqphone.js': ['moq.js', 'audio.js'],
  'agent.js': [],
  'supervisor.js': [],
  'more.js': [],
  'path.js': [],
  'de.js': [],
  'later.js': ['moq.js', 'audio.js', 'again.js', 'early.js'],
  'qmux.js': ['moq.js'],
  'g711.js': [],
  'worklet.js': [],
};

/** HTML without tags that may be left out, and without space that is not seen. */
const smaller = (html) => html.replaceAll(/<\/?(head|body)>\n|<\/html>\n?|(?<=>)\n(?=<(?!button|span|input))/g, '');

const files = await readdir(here);
await mkdir(out, { recursive: true });
for (const [name, inside] of Object.entries(SCRIPTS)) {
  if (!files.includes(name)) continue;
  const beside = files.filter((file) => file.endsWith('.js') && file != name && !inside.includes(file)).map((file) => `./${file}`);
  await build({
    entryPoints: [path.join(here, name)], outfile: path.join(out, name), external: beside,
    bundle: true, minify: true, format: 'esm', target: 'es2022', logLevel: 'warning', legalComments: 'none',
  });
}
for (const name of files.filter((file) => /\.(css|html)$/.test(file))) {
  const text = await readFile(path.join(here, name), 'utf8');
  const small = name.endsWith('.css') ? (await transform(text, { loader: 'css', minify: true })).code : smaller(text);
  await writeFile(path.join(out, name), small);
}
// The agent's desk is the phone, and what agent.js puts beside it.
await writeFile(path.join(out, 'agent.html'), smaller(await readFile(path.join(here, 'index.html'), 'utf8')).replaceAll(/<(title|h1)>Phone/g, "<$1>Agent's desk"));
