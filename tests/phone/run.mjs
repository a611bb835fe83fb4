// Drives the web phone: three browsers, each with a microphone of its own tone, and what each of them plays. Called by
// tests/phone.sh, which has the options.
//
// A case fails when what it waits for does not come within its time. Nothing is tried twice. Exit status: 0 all cases hold,
// 1 one does not, 2 cannot run.
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { CASES } from './cases.mjs';
import { firefoxPage } from './firefox.mjs';
import { servePages } from './pages.mjs';
import { portsFrom } from './ports.mjs';
import { Telephone } from './telephone.mjs';
import { ALL_TONES, TONES, wav, writeTones } from './tones.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const { values: options } = parseArgs({
  options: {
    modules: { type: 'string' },
    chromium: { type: 'string' },
    relay: { type: 'string' },
    port: { type: 'string' },
    // A folder of pages, when they are not those in the switch: for work on them without building it.
    pages: { type: 'string', default: '' },
    work: { type: 'string' },
    cases: { type: 'string', default: '' },
    screenshots: { type: 'string', default: '' },
    json: { type: 'string', default: '' },
    loadgen: { type: 'string', default: '' },
    minutes: { type: 'string', default: '10' },
    // Cases at once. Measurements go by themselves.
    lanes: { type: 'string', default: '3' },
    impair: { type: 'string', default: '' },
    python: { type: 'string', default: '' },
    firefox: { type: 'string', default: '' },
  },
});
const require = createRequire(path.join(options.modules, 'package.json'));
const { chromium } = require('playwright-core');

const START_MS = 20_000;

const freePorts = portsFrom(Number(options.port));

/** A switch, which a case may kill and start again if it is its own. */
class Switch {
  static async begin(settings) {
    const one = new Switch();
    one.port = await freePorts(4);
    one.address = `127.0.0.1:${one.port}`;
    one.sip = one.port + 2;
    one.server = options.pages && (await servePages(options.pages, one.port));
    one.base = `http://${one.server ? `127.0.0.1:${one.server.address().port}` : one.address}/phone/`;
    await one.start(settings);
    return one;
  }

  async start(settings = {}) {
    const { address } = this;
    const sip = `127.0.0.1:${this.sip}`;
    const flags = ['--listen', address, '--http', address, '--admin', '127.0.0.1:0'];
    const env = { PATH: process.env.PATH, HOME: options.work, MOQSWITCH_SIP_UDP: sip, MOQSWITCH_SIP_TCP: sip, MOQSWITCH_MEDIA_TONES: 'false', MOQSWITCH_CALLS_RING: '2m', ...settings };
    this.child = spawn(options.relay, flags, { stdio: ['ignore', 'ignore', 'pipe'], env });
    // Kept for who asks why it did not come up, or ended.
    this.log = '';
    this.child.stderr.on('data', (data) => (this.log = (this.log + data).slice(-4000)));
    this.ended = new Promise((ended) => this.child.once('exit', ended));
    const deadline = Date.now() + START_MS;
    for (;;) {
      const isUp = await fetch(`http://${address}/readyz`).then((answer) => answer.ok, () => false);
      if (isUp) return;
      if (this.child.exitCode !== null || Date.now() > deadline) throw new Error(`the switch does not come up: ${this.log}`);
      await new Promise((later) => setTimeout(later, 50));
    }
  }

  async kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    await this.ended;
  }

  async end() {
    if (this.server) this.server.close();
    await this.kill();
  }
}

/** A browser with a file of sound as its microphone. */
function launch(file) {
  return chromium.launch({
    executablePath: options.chromium,
    args: [
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      `--use-file-for-fake-audio-capture=${file}`,
      '--autoplay-policy=user-gesture-required',
      '--enable-precise-memory-info',
      // Nothing is to be seen: what draws takes time from what sounds.
      '--disable-gpu',
      // Nothing but loopback is to be reached.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ],
  });
}

async function main() {
  const page = await readFile(path.join(here, 'page.js'), 'utf8');
  const axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8');
  if (options.screenshots) await mkdir(options.screenshots, { recursive: true });
  const wanted = options.cases.split(';').filter(Boolean);
  for (const name of wanted) if (!CASES[name]) throw new Error(`no case '${name}'; there are: ${Object.keys(CASES).join(', ')}`);
  // Measurements take their time: they are asked for by name.
  const chosen = Object.keys(CASES).filter((name) => (wanted.length ? wanted.includes(name) : !isMeasurement(name) && (options.firefox || !name.startsWith('Firefox'))));
  const tones = await writeTones(options.work);
  const relay = await Switch.begin();
  const browsers = await Promise.all(tones.map(launch));
  const results = [];
  const run = async (name) => {
    const start = Date.now();
    const test = new Test(name, { browsers, page, axe, relay });
    let failure = '';
    try {
      await CASES[name](test);
      failure = test.complaints.join('; ');
    } catch (error) {
      failure = error.message;
      await test.describe().then((text) => (failure += `\n     ${text}`), () => {});
    }
    await test.close();
    const seconds = ((Date.now() - start) / 1000).toFixed(1);
    results.push({ name, holds: !failure, seconds: Number(seconds), failure, notes: test.notes });
    console.log(`${failure ? 'FAIL' : 'ok  '} ${name} (${seconds} s)${failure ? `: ${failure}` : ''}${test.notes.map((note) => `\n     ${note}`).join('')}`);
  };
  // Some cases at once, since most of each is waiting. None shares anything with another but the browsers and the switch.
  const waiting = chosen.filter((name) => !isMeasurement(name));
  const lane = async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) await run(name);
  };
  try {
    await Promise.all(Array.from({ length: Number(options.lanes) }, lane));
    for (const name of chosen.filter(isMeasurement)) await run(name);
  } finally {
    await Promise.all(browsers.map((browser) => browser.close()));
    await relay.end();
  }
  const failed = results.filter(({ holds }) => !holds).length;
  if (options.json) await writeFile(options.json, JSON.stringify({ date: new Date().toISOString(), results }, null, 2));
  console.log(failed || !results.length ? `FAIL: ${failed} of ${results.length} cases` : `PASS: ${results.length} cases`);
  return failed || !results.length ? 1 : 0;
}

const isMeasurement = (name) => name.startsWith('measure');

/** One case: its pages, and what was seen that should not be. */
class Test {
  complaints = [];
  notes = [];
  phones = [];

  constructor(name, parts) {
    this.name = name;
    Object.assign(this, parts);
    this.tag = Math.random().toString(36).slice(2, 6);
  }

  options = options;
  browsersOfOwn = [];
  telephones = [];

  /** A further browser, whose microphone has this file, or these samples of 48 kHz, again and again. */
  async browser(sound) {
    const file = typeof sound == 'string' ? sound : path.join(options.work, `${this.tag}-${this.browsersOfOwn.length}.wav`);
    if (file != sound) await writeFile(file, wav(sound));
    this.browsersOfOwn.push(await launch(file));
    return this.browsersOfOwn.at(-1);
  }

  /** A telephone of SIP that has the tone of a browser that is not in the case, or one of telephones alone. */
  async telephone(who, settings = {}) {
    // Its own, and 10 above it that of its commands.
    const port = await freePorts(12);
    const number = `desk-${this.tag}${this.telephones.length}`;
    const telephone = await Telephone.start({ work: options.work, number, tone: ALL_TONES[who], sip: this.relay.sip, port, ...settings });
    this.telephones.push(telephone);
    return telephone;
  }

  /** From here on the case has a switch of its own, with these settings, which it may end. */
  async ownSwitch(settings) {
    this.relay = this.own = await Switch.begin(settings);
    return this.relay;
  }

  /** A switch of its own, and a path of these faults between phones and relay. */
  async impair(impair, settings = {}) {
    if (!options.loadgen) throw new Error('--loadgen names the load generator, whose `link` is needed');
    this.linkPort = await freePorts(1);
    await this.ownSwitch({ MOQSWITCH_CALLS_MEDIA_URL: `https://127.0.0.1:${this.linkPort}/`, ...settings });
    this.startLink(impair);
  }

  startLink(impair) {
    const faults = impair ? ['--impair', impair] : [];
    this.link = spawn(options.loadgen, ['link', '--listen', `127.0.0.1:${this.linkPort}`, '--to', this.relay.address, ...faults], { stdio: 'ignore' });
  }

  /** The path is cut: nothing goes, and nobody says so. */
  async cutLink() {
    const ended = new Promise((ended) => this.link.once('exit', ended));
    this.link.kill('SIGKILL');
    await ended;
  }

  freePorts = freePorts;

  note(text) {
    this.notes.push(text);
  }

  /**
   * A page in a browser of its own tone, registered as a number of its own.
   * @param who 0, 1 or 2. `isOpen`: its content security policy is not looked at
   */
  async phone(who, { init, browser = this.browsers[who], query = '', file = '', register = true, viewport, sockets, isOpen = false, number, ...context } = {}) {
    const page = browser.isFirefox ? await firefoxPage({ ...options, tone: TONES[who], limit: LIMIT_MS }) : await browser.newPage({ permissions: ['microphone'], viewport: viewport ?? { width: 420, height: 900 }, locale: 'en', bypassCSP: isOpen, ...context });
    const phone = new PagePhone(this, page, who, number ?? `${['alice', 'bob', 'carol'][who]}-${this.tag}`);
    this.phones.push(phone);
    page.on('pageerror', (error) => this.complaints.push(`${phone.number}: ${error.stack ?? error}`));
    page.on('console', (message) => {
      const text = message.text();
      if (message.type() == 'error' && !NOISE.some((pattern) => pattern.test(text))) this.complaints.push(`${phone.number}: ${text}`);
    });
    page.on('request', (request) => {
      if (!/^(http|ws)s?:\/\/127\.0\.0\.1[:/]|^data:|^blob:/.test(request.url())) this.complaints.push(`${phone.number} asked ${request.url()}`);
    });
    page.setDefaultTimeout(LIMIT_MS);
    await page.addInitScript(this.page);
    if (init) await page.addInitScript(init);
    if (sockets) await page.routeWebSocket(/\/ws$/, sockets);
    await phone.route?.();
    await page.goto(`${this.relay.base}${file}${query}`);
    if (register) await phone.register();
    return phone;
  }

  async describe() {
    const states = await Promise.all(this.phones.map((phone) => phone.state().catch((error) => error.message)));
    return JSON.stringify(states);
  }

  async shoot(phone, name) {
    if (options.screenshots) await phone.page.screenshot({ path: path.join(options.screenshots, `${name}.png`), fullPage: true });
  }

  /** Accessibility, as axe-core has it. */
  async examine(phone, what) {
    await phone.page.evaluate(this.axe);
    const { violations } = await phone.page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    for (const { id, nodes } of violations) this.complaints.push(`axe, ${what}: ${id}: ${nodes.map((node) => node.html).slice(0, 3).join(' ')}`);
  }

  async close() {
    await Promise.all(this.phones.map((phone) => phone.page.context().close().catch(() => {})));
    await Promise.all(this.browsersOfOwn.map((browser) => browser.close()));
    await Promise.all(this.telephones.map((telephone) => telephone.stop()));
    this.link?.kill();
    await this.own?.end();
  }
}

/* Generous: others may use the machine, too. */
const LIMIT_MS = 90_000;
/* What a browser logs as an error when the switch is gone: a part of the case. */
const NOISE = [/ERR_CONNECTION_REFUSED|ERR_QUIC|WebTransport connection|ERR_CONNECTION_RESET|WebSocket connection to/];

/** A page, as who sits before it sees it. */
class PagePhone {
  constructor(test, page, who, number) {
    Object.assign(this, { test, page, who, number });
  }

  get tone() {
    return TONES[this.who];
  }

  async enter() {
    await this.page.fill('#dn', this.number);
    await this.page.click('#registerForm button');
  }

  async register() {
    await this.enter();
    await this.until('registered', () => globalThis.phone.state == 'ready' && document.querySelector('#dialpad'));
  }

  async call(number) {
    await this.page.fill('#destination', number);
    await this.page.click('#callBtn');
  }

  click(id) {
    return this.page.click(`#${id}`);
  }

  key(key) {
    return this.page.keyboard.press(key);
  }

  /** Goes on by the keyboard until this has the focus, as who has no mouse does. */
  async tabTo(selector) {
    for (let presses = 0; presses < 100; presses++) {
      if (await this.page.evaluate((selector) => document.activeElement?.matches(selector), selector)) return;
      await this.key('Tab');
    }
    throw new Error(`${this.number}: ${selector} cannot be reached by the keyboard`);
  }

  async press(selector) {
    await this.tabTo(selector);
    await this.key('Enter');
  }

  async types(selector, text) {
    await this.tabTo(selector);
    await this.page.keyboard.type(text);
  }

  /** Waits until something holds in the page. */
  async until(what, condition, argument) {
    try {
      await this.page.waitForFunction(condition, argument, { timeout: LIMIT_MS, polling: 50 });
    } catch (error) {
      if (error.name != 'TimeoutError') throw error;
      throw new Error(`${this.number}: not ${what} within ${LIMIT_MS} ms`);
    }
  }

  isUp(count = 1) {
    return this.until('connected', (count) => [...globalThis.phone.calls.values()].filter(({ state }) => state == 'up').length == count, count);
  }

  isIncoming() {
    return this.until('called', () => [...globalThis.phone.calls.values()].some(({ state }) => state == 'incoming'));
  }

  isFree() {
    return this.until('free', () => !globalThis.phone.calls.size);
  }

  says(text) {
    return this.until(`saying '${text}'`, (text) => document.querySelector('#alert').textContent.includes(text) && !document.querySelector('#alert').hidden, text);
  }

  levels() {
    return this.page.evaluate((tones) => globalThis.levels(...tones), TONES);
  }

  /** Hears the tones of these phones, each 20 dB above those of the others; of none: silence. */
  async hears(...others) {
    const wanted = ALL_TONES.map((tone) => others.some((other) => other.tone == tone));
    const title = others.length ? others.map((other) => other.number).join(' and ') : 'nobody';
    await this.until(`hearing ${title}`, ([tones, wanted]) => {
      const levels = globalThis.levels(...tones);
      const all = levels.pop();
      const heard = levels.filter((_, at) => wanted[at]);
      const unheard = levels.filter((_, at) => !wanted[at]);
      if (!heard.length) return all < -60;
      return Math.min(...heard) > -35 && Math.max(...unheard) < Math.min(...heard) - 20;
    }, [ALL_TONES, wanted]);
  }

  state() {
    return this.page.evaluate((tones) => ({
      dn: globalThis.phone?.saved.dn, state: globalThis.phone?.state, transport: globalThis.phone?.transport, levels: globalThis.levels(...tones),
      alert: document.querySelector('#alert')?.textContent,
      calls: [...(globalThis.phone?.calls.values() ?? [])].map(({ peer, state, held, isHeld, muted, quality, participants }) => ({ peer, state, held, isHeld, muted, quality, participants: participants.map(({ dn, audible, own }) => [dn, audible, own]) })),
    }), ALL_TONES);
  }

  quality() {
    return this.page.evaluate(() => [...globalThis.phone.calls.values()][0]?.quality);
  }
}

main().then((status) => { process.exitCode = status; }, (error) => {
  console.error(`phone: ${error.stack ?? error}`);
  process.exitCode = 2;
});
