// Drives browsers that speak WebRTC. Called by tests/webrtc.sh, which has the options.
//
// A case fails when what it waits for does not come within its time. Nothing is tried twice. Exit status: 0 all cases hold,
// 1 one does not, 2 cannot run.
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { portsFrom } from '../phone/ports.mjs';
import { TONES, writeTones } from '../phone/tones.mjs';
import { CASES } from './cases.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    modules: { type: 'string' },
    chromium: { type: 'string' },
    relay: { type: 'string' },
    port: { type: 'string' },
    work: { type: 'string' },
    cases: { type: 'string', default: '' },
    json: { type: 'string', default: '' },
  },
});
const require = createRequire(path.join(options.modules, 'package.json'));
const { build } = require('esbuild');
const { chromium } = require('playwright-core');

const freePorts = portsFrom(Number(options.port));
const port = await freePorts(4);
const address = `127.0.0.1:${port}`;
const base = `http://${address}`;
const START_MS = 20_000;
/* Generous: others may use the machine, too. */
const CASE_MS = 150_000;
const LIMIT_MS = 45_000;

/** A switch, whose first port is `port`. */
async function start(port, settings = {}) {
  const address = `127.0.0.1:${port}`;
  const base = `http://${address}`;
  const sip = `127.0.0.1:${port + 2}`;
  const flags = ['--listen', address, '--http', address, '--admin', `127.0.0.1:${port + 1}`];
  const env = { PATH: process.env.PATH, HOME: options.work, MOQSWITCH_SIP_UDP: sip, MOQSWITCH_SIP_TCP: sip, MOQSWITCH_MEDIA_TONES: 'false', ...settings };
  const child = spawn(options.relay, flags, { stdio: ['ignore', 'ignore', 'inherit'], env });
  const deadline = Date.now() + START_MS;
  for (;;) {
    const isUp = await fetch(`${base}/readyz`).then((answer) => answer.ok, () => false);
    if (isUp) return child;
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('the switch does not come up');
    await new Promise((later) => setTimeout(later, 50));
  }
}

/** A browser with a file of sound as its microphone, and without WebTransport. */
function launch(file) {
  return chromium.launch({
    executablePath: options.chromium,
    args: [
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      `--use-file-for-fake-audio-capture=${file}`,
      '--autoplay-policy=no-user-gesture-required',
      '--allow-loopback-in-peer-connection',
      '--disable-features=WebRtcHideLocalIpsWithMdns',
      '--disable-blink-features=WebTransport',
      // Nothing but loopback is to be reached.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}

/** JsSIP as it is on npm, for a page. */
async function jssip() {
  const entry = `globalThis.JsSIP = require('jssip');`;
  const made = await build({ stdin: { contents: entry, resolveDir: options.modules }, bundle: true, write: false, format: 'iife', define: { global: 'globalThis' } });
  return made.outputFiles[0].text;
}

class Test {
  constructor(browsers, script, phoneScript) {
    Object.assign(this, { browsers, script, phoneScript, base, sip: port + 2, freePorts, address, tones: TONES, contexts: [], notes: [], complaints: [], modules: options.modules, work: options.work, relay: options.relay, ending: [] });
  }

  note(text) {
    this.notes.push(text);
  }

  /** Another switch. Its URL. */
  async another(settings) {
    const port = await freePorts(4);
    const child = await start(port, settings);
    this.ending.push(() => child.kill());
    return `http://127.0.0.1:${port}`;
  }

  /** One page in each of so many browsers. */
  async pages(count) {
    return Promise.all(this.browsers.slice(0, count).map(async (browser) => {
      const context = await browser.newContext({ permissions: ['microphone'] });
      this.contexts.push(context);
      const page = await context.newPage();
      page.on('pageerror', (error) => this.complaints.push(`in the page: ${error.message}`));
      // Any page of the origin.
      await page.goto(`${base}/healthz`);
      await page.addScriptTag({ content: this.script });
      return page;
    }));
  }

  /** The web phone, registered. */
  async webPhone(who, number) {
    const context = await this.browsers[who].newContext({ permissions: ['microphone'], locale: 'en' });
    this.contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(LIMIT_MS);
    await page.addInitScript(this.phoneScript);
    await page.goto(`${base}/phone/`);
    await page.fill('#dn', number);
    await page.click('#registerForm button');
    await page.waitForFunction(() => globalThis.phone.state == 'ready' && document.querySelector('#dialpad'));
    return page;
  }

  /** It hears the tone of a browser, 20 dB above the others. */
  hears(page, who) {
    return page.waitForFunction(([tones, who]) => {
      const levels = globalThis.levels(...tones).slice(0, tones.length);
      const [heard] = levels.splice(who, 1);
      return heard > -35 && Math.max(...levels) < heard - 20;
    }, [TONES, who], { polling: 50, timeout: LIMIT_MS });
  }

  async close() {
    await Promise.all(this.contexts.map((context) => context.close()));
    for (const end of this.ending) await end();
  }
}

async function main() {
  const script = `${await jssip()}\n${await readFile(path.join(here, 'page.js'), 'utf8')}`;
  const phoneScript = await readFile(path.join(here, '../phone/page.js'), 'utf8');
  const tones = await writeTones(options.work);
  const relay = await start(port);
  const browsers = await Promise.all(tones.map(launch));
  const results = [];
  try {
    const wanted = options.cases.split(';').filter(Boolean);
    for (const name of wanted) if (!CASES[name]) throw new Error(`no case '${name}'; there are: ${Object.keys(CASES).join(', ')}`);
    for (const [name, run] of Object.entries(CASES)) {
      if (wanted.length && !wanted.includes(name)) continue;
      const began = Date.now();
      const test = new Test(browsers, script, phoneScript);
      let failure = '';
      try {
        await Promise.race([run(test), new Promise((_, failed) => setTimeout(failed, CASE_MS, new Error(`not over within ${CASE_MS} ms`)).unref())]);
        failure = test.complaints.join('; ');
      } catch (error) {
        failure = error.message;
      }
      await test.close();
      const seconds = Number(((Date.now() - began) / 1000).toFixed(1));
      results.push({ name, holds: !failure, seconds, failure, notes: test.notes });
      console.log(`${failure ? 'FAIL' : 'ok  '} ${name} (${seconds} s)${failure ? `: ${failure}` : ''}${test.notes.map((note) => `\n     ${note}`).join('')}`);
    }
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    relay.kill();
  }
  const failed = results.filter(({ holds }) => !holds).length;
  if (options.json) await writeFile(options.json, JSON.stringify({ date: new Date().toISOString(), results }, null, 2));
  console.log(failed || !results.length ? `FAIL: ${failed} of ${results.length} cases` : `PASS: ${results.length} cases`);
  return failed || !results.length ? 1 : 0;
}

main().then(
  (status) => process.exit(status),
  (error) => {
    console.error(`webrtc: ${error.message}`);
    process.exit(2);
  },
);
