// Publishes from one page of Chromium, watches in a second, and discovers in a third, all through a relay that runs
// already; says of each check whether it holds. Called by tests/browser.sh, which has the options.
//
// A check holds when what it asks for was seen within its time. What cannot be seen fails, as does every check behind a
// page that never connected. Exit status: 0 all hold, 1 one does not, 2 cannot run.
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    modules: { type: 'string' },
    chromium: { type: 'string' },
    relay: { type: 'string' },
    'relay-version': { type: 'string', default: '' },
    commit: { type: 'string', default: '' },
    cases: { type: 'string' },
    codec: { type: 'string', default: '' },
    json: { type: 'string', default: '' },
    'net-log': { type: 'string', default: '' },
  },
});
const require = createRequire(path.join(options.modules, 'package.json'));

const BROADCAST = 'browser.hang';
const PAGES = ['publish', 'watch', 'discover'];
const CONNECT_MS = 15_000;
const MEDIA_MS = 20_000;
const END_MS = 10_000;
const LOOK_MS = 100;
// The fake camera shows a pie that grows for a second and begins anew: looks at more than one round of it.
const PICTURES = 12;
const PICTURE_MS = 110;
// Decoded until it counts as flowing: four seconds of the camera's 15/s, two of audio's 50/s.
const VIDEO_FRAMES_MIN = 60;
const AUDIO_FRAMES_MIN = 100;
// The fake microphone's beep has 0.3; an AudioContext that plays nothing has 0.
const LOUDEST_MIN = 0.01;
// A colour differs when one of red, green and blue is off by as much: pie and background are 120 apart, while VP8 and VP9
// come out darker by up to 60, as neither says in its stream which range its colours have.
const COLOUR_DIFFERENCE_MIN = 80;
// The pie takes a sixth of the picture, the rest of which stands still.
const CHANGED_SHARE_MIN = 0.05;
// What is watched was sent before, up to the pie's growth between two looks.
const ALIKE_SHARE_MIN = 0.95;

// Of what is printed; the file of --json has all.
const SEEN_CHARACTERS_MAX = 400;
const NOISE_LINES_MAX = 40;

const CASES = {
  webtransport: { transport: 'webtransport', query: '' },
  websocket: { transport: 'websocket', query: '' },
  // The publisher with named drafts, for relays that do not speak those that are agreed on in band.
  'websocket-named': { transport: 'websocket', query: '&named' },
};

// What Chromium is asked whether it can encode, as @moq/publish would.
const VIDEO_CODECS = { 'H.264': 'avc1.42E01E', VP8: 'vp8', VP9: 'vp09.00.10.08', AV1: 'av01.0.08M.08' };

async function main() {
  const cases = options.cases.split(',');
  for (const name of cases) if (!CASES[name]) throw new Error(`no case '${name}'; there are: ${Object.keys(CASES).join(', ')}`);
  const { chromium } = require('playwright-core');
  const server = await servePages(await bundle());
  const origin = `http://127.0.0.1:${server.address().port}`;
  const browser = await chromium.launch({ executablePath: options.chromium, args: browserArguments() });
  const result = await describe(browser);
  try {
    result.encoders = await encoders(browser, origin);
    say(`encoders of Chromium ${result.chromium}: ${Object.entries(result.encoders).map(([name, has]) => `${name} ${has ? 'yes' : 'no'}`).join(', ')}`);
    for (const name of cases) result.cases[name] = await runCase(browser, origin, name);
  } finally {
    await browser.close();
    server.close();
  }
  const checks = Object.values(result.cases).flatMap((one) => one.checks);
  result.passed = checks.length > 0 && checks.every((check) => check.holds);
  if (options.json) await writeFile(options.json, `${JSON.stringify(result, null, 2)}\n`);
  say(result.passed ? `PASS: ${checks.length} checks` : `FAIL: ${checks.filter((check) => !check.holds).length} of ${checks.length} checks`);
  return result.passed ? 0 : 1;
}

function browserArguments() {
  const list = [
    '--use-fake-device-for-media-stream',
    '--use-fake-ui-for-media-stream',
    '--autoplay-policy=no-user-gesture-required',
    // Nothing but loopback is to be reached.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ];
  if (options['net-log']) list.push(`--log-net-log=${options['net-log']}`, '--net-log-capture-mode=Everything');
  return list;
}

// --- pages

// The packages as they are published, joined into a file for each page.
async function bundle() {
  const { build } = require('esbuild');
  const { outputFiles } = await build({
    entryPoints: PAGES.map((page) => path.join(here, 'pages', `${page}.js`)),
    outdir: '/',
    bundle: true,
    write: false,
    format: 'esm',
    target: 'chrome120',
    logLevel: 'error',
    nodePaths: [path.join(options.modules, 'node_modules')],
    // The @moq/net that @moq/publish has is another than the newest.
    alias: { '@moq/publish/net': createRequire(require.resolve('@moq/publish')).resolve('@moq/net') },
  });
  return new Map(outputFiles.map((file) => [path.basename(file.path, '.js'), file.text]));
}

async function servePages(bundles) {
  const html = await readFile(path.join(here, 'pages', 'page.html'), 'utf8');
  const server = createServer((request, response) => {
    const [name, extension] = new URL(request.url, 'http://localhost').pathname.slice(1).split('.');
    if (name === 'blank') {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html>');
    } else if (!bundles.has(name)) {
      response.writeHead(404).end();
    } else if (extension === 'js') {
      response.writeHead(200, { 'content-type': 'text/javascript' }).end(bundles.get(name));
    } else {
      response.writeHead(200, { 'content-type': 'text/html' }).end(html.replace('/page.js', `/${name}.js`));
    }
  });
  await new Promise((listening, failed) => server.once('error', failed).listen(0, '127.0.0.1', listening));
  return server;
}

// A page in a window of its own, so that none is hidden behind another.
async function open(browser, origin, page, test, noise) {
  const context = await browser.newContext({ permissions: ['camera', 'microphone'] });
  if (test.transport === 'websocket') await context.addInitScript('delete globalThis.WebTransport;');
  await context.addInitScript({ path: path.join(here, 'pages', 'observe.js') });
  const opened = await context.newPage();
  opened.on('console', (message) => noise.push(`${page}: ${message.type()}: ${message.text()}`));
  opened.on('pageerror', (error) => noise.push(`${page}: ${error.stack ?? error}`));
  const query = new URLSearchParams({ relay: options.relay, name: BROADCAST, transport: test.transport, codec: options.codec });
  await opened.goto(`${origin}/${page}?${query}${test.query}`);
  return opened;
}

// --- cases

async function runCase(browser, origin, name) {
  const test = CASES[name];
  const checks = [];
  const noise = [];
  const pages = {};
  // Runs one check, and only if all those that it builds on held.
  const check = async (title, needs, look) => {
    const missing = needs.find((need) => !checks.find((other) => other.title === need)?.holds);
    let holds = false;
    let seen;
    if (missing) {
      seen = `not reached, since this does not hold: ${missing}`;
    } else {
      try {
        seen = await look();
        holds = true;
      } catch (error) {
        seen = error.message;
      }
    }
    checks.push({ title, holds, seen });
    say(`${holds ? 'ok  ' : 'FAIL'} ${name}: ${title}: ${seen.slice(0, SEEN_CHARACTERS_MAX)}`);
  };
  try {
    for (const page of ['discover', 'watch', 'publish']) pages[page] = await open(browser, origin, page, test, noise);
    await checkMedia(check, pages, test);
    const notes = {};
    for (const [page, opened] of Object.entries(pages)) notes[page] = await opened.evaluate(() => observed);
    await checkEnd(check, pages);
    return { checks, notes, console: checks.every((one) => one.holds) ? undefined : noise };
  } finally {
    if (!checks.length || checks.some((one) => !one.holds)) for (const line of noise.slice(-NOISE_LINES_MAX)) say(`     ${line}`);
    for (const opened of Object.values(pages)) await opened.context().close();
  }
}

async function checkMedia(check, { publish, watch, discover }, test) {
  // All at once, so that a relay which connects none is found out in the time of one.
  const connections = [['publisher connects', publish], ['watcher connects', watch], ['@moq/net connects', discover]]
    .map(([title, page]) => [title, connection(page, test.transport)]);
  for (const [, one] of connections) one.catch(() => {});
  for (const [title, one] of connections) await check(title, [], () => one);
  await check('camera and microphone are encoded', ['publisher connects', 'watcher connects'], async () => {
    const { encoded } = await until(publish, MEDIA_MS, 'no encoded video and audio', ({ observed }) => observed.encoded.video > 0 && observed.encoded.audio > 0);
    return `${encoded.videoCodec} and ${encoded.audioCodec}`;
  });
  await check('announcement and catalog are read by @moq/net', ['publisher connects', '@moq/net connects'], async () => {
    await until(discover, CONNECT_MS, 'no announcement', ({ look }) => look.announced);
    await until(discover, CONNECT_MS, 'no catalog with video and audio', isWhole);
    return renditions((await discover.evaluate(() => look())).catalog);
  });
  await check('catalog is seen', ['publisher connects', 'watcher connects'], async () => {
    await until(watch, CONNECT_MS, 'no catalog with video and audio', isWhole);
    return renditions((await watch.evaluate(() => look())).catalog);
  });
  await check('video frames are decoded', ['catalog is seen'], async () => {
    const { decoded } = await until(watch, MEDIA_MS, `fewer than ${VIDEO_FRAMES_MIN} frames`, ({ observed }, least) => observed.decoded.video >= least, VIDEO_FRAMES_MIN);
    return `${decoded.video} of ${decoded.width}x${decoded.height}`;
  });
  let sent = [];
  let shown = [];
  await check('picture changes', ['video frames are decoded'], async () => {
    [sent, shown] = await Promise.all([pictures(publish), pictures(watch)]);
    const most = Math.max(...shown.map((picture) => changedShare(shown[0], picture)));
    if (most < CHANGED_SHARE_MIN) throw new Error(`at most ${percent(most)} of the pixels differ in ${PICTURES} looks`);
    return `up to ${percent(most)} of the pixels differ in ${PICTURES} looks`;
  });
  await check('picture is the one that is sent', ['picture changes'], async () => {
    const alike = shown.map((picture) => 1 - Math.min(...sent.map((other) => changedShare(other, picture))));
    const mean = alike.reduce((sum, share) => sum + share, 0) / alike.length;
    if (mean < ALIKE_SHARE_MIN) throw new Error(`only ${percent(mean)} of the pixels are alike`);
    return `${percent(mean)} of the pixels are alike`;
  });
  await check('audio frames are decoded', ['catalog is seen'], async () => {
    const { decoded } = await until(watch, MEDIA_MS, `fewer than ${AUDIO_FRAMES_MIN} frames`, ({ observed }, least) => observed.decoded.audio >= least, AUDIO_FRAMES_MIN);
    return `${decoded.audio}`;
  });
  await check('audio is heard', ['audio frames are decoded'], async () => {
    await until(watch, MEDIA_MS, `never louder than ${LOUDEST_MIN}`, ({ look }, least) => look.sound.loudest >= least, LOUDEST_MIN);
    const { sound } = await watch.evaluate(() => look());
    return `RMS up to ${sound.loudest.toFixed(3)} in ${sound.looks} looks, context ${sound.context}`;
  });
}

async function checkEnd(check, { publish, watch, discover }) {
  await check('end of the publisher is announced', ['catalog is seen', 'announcement and catalog are read by @moq/net'], async () => {
    // Not the page: Chromium closes that without a word to the relay every now and then.
    await publish.evaluate(() => document.querySelector('moq-publish').remove());
    await until(watch, END_MS, 'the watcher still has it', ({ look }) => look.status === 'offline');
    await until(discover, END_MS, '@moq/net still has it', ({ look }) => look.ended);
    return 'the watcher is offline';
  });
}

// By which transport and draft a page is connected; fails when any other was as much as tried.
async function connection(page, transport) {
  const observed = await until(page, CONNECT_MS, 'not connected', ({ look }) => look.draft !== undefined);
  const { draft } = await page.evaluate(() => look());
  const [used, unused] = transport === 'webtransport'
    ? [observed.webTransports, observed.webSockets]
    : [observed.webSockets, observed.webTransports];
  if (used.length !== 1 || used[0].state !== 'open') throw new Error(`not one open ${transport} session at the first attempt: ${JSON.stringify(used)}`);
  if (unused.length) throw new Error(`another transport was used: ${JSON.stringify(unused)}`);
  if (transport === 'webtransport' && used[0].hashes !== 1) throw new Error('the certificate was not pinned by its hash');
  return `${transport}, ${used[0].protocol || 'no protocol'}, ${draft}`;
}

// Waits until a condition on what a page has noted and on what its packages say holds; the former is the answer.
async function until(page, milliseconds, otherwise, condition, argument) {
  const expression = `(argument) => globalThis.look && (${condition})({ observed, look: look() }, argument) && observed`;
  try {
    const handle = await page.waitForFunction(`(${expression})(${JSON.stringify(argument ?? null)})`, undefined, { timeout: milliseconds, polling: LOOK_MS });
    return await handle.jsonValue();
  } catch (error) {
    if (error.name !== 'TimeoutError') throw error;
    const state = await page.evaluate(() => ({ observed, look: globalThis.look?.() }));
    throw new Error(`${otherwise} within ${milliseconds} ms: ${JSON.stringify(state)}`);
  }
}

// --- what was seen

// Runs in the page: the publisher writes the catalog anew as its tracks come.
function isWhole({ look: { catalog } }) {
  return [catalog?.video, catalog?.audio].every((section) => Object.keys(section?.renditions ?? {}).length > 0);
}

function renditions(catalog) {
  const list = ({ renditions: all }) => Object.entries(all).map(([track, { codec }]) => `${track} ${codec}`);
  return [...list(catalog.video), ...list(catalog.audio)].join(', ');
}

// In the page, so that nothing else delays the looks.
function pictures(page) {
  return page.evaluate(async ([count, milliseconds]) => {
    const list = [];
    for (let look = 0; look < count; look++) {
      list.push(picture());
      await new Promise((later) => setTimeout(later, milliseconds));
    }
    return list;
  }, [PICTURES, PICTURE_MS]);
}

function changedShare(one, other) {
  const differ = one.filter((pixel, at) => pixel.some((value, channel) => Math.abs(value - other[at][channel]) >= COLOUR_DIFFERENCE_MIN));
  return differ.length / one.length;
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

async function encoders(browser, origin) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`${origin}/blank`);
  const has = await page.evaluate(async (codecs) => {
    const supported = {};
    for (const [name, codec] of Object.entries(codecs)) {
      const avc = codec.startsWith('avc1') ? { format: 'annexb' } : undefined;
      const config = { codec, width: 640, height: 352, latencyMode: 'realtime', avc };
      supported[name] = (await VideoEncoder.isConfigSupported(config)).supported;
    }
    supported.Opus = (await AudioEncoder.isConfigSupported({ codec: 'opus', sampleRate: 48000, numberOfChannels: 1 })).supported;
    return supported;
  }, VIDEO_CODECS);
  await context.close();
  return has;
}

async function describe(browser) {
  const lock = JSON.parse(await readFile(path.join(here, 'package-lock.json'), 'utf8'));
  const packages = {};
  for (const [where, { version }] of Object.entries(lock.packages)) {
    if (where.includes('@moq/')) packages[where.replaceAll('node_modules/', '')] = version;
  }
  return {
    date: new Date().toISOString(),
    commit: options.commit,
    relay: options['relay-version'],
    chromium: browser.version(),
    node: process.version,
    packages,
    passed: false,
    encoders: {},
    cases: {},
  };
}

function say(line) {
  console.log(line);
}

main().then((status) => { process.exitCode = status; }, (error) => {
  console.error(`browser: ${error.stack ?? error}`);
  process.exitCode = 2;
});
