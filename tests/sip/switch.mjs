// A switch on loopback, and what it says by REST.
import { execFileSync, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { goesWithUs } from './children.mjs';
import { freePorts, reservePorts } from './ports.mjs';

const START_MS = 20_000;
const WAIT_MS = 10_000;
/** Two for each leg, which rest for half a minute after it. */
const RTP_PORTS = 1200;

export const REALM = 'moqswitch';

const pause = (ms) => new Promise((later) => setTimeout(later, ms));

/** Waits until it is so, and gives what it is. */
export async function until(what, condition, ms = WAIT_MS) {
  const deadline = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > deadline) throw new Error(`not ${what} within ${ms} ms`);
    await pause(20);
  }
}

export class Switch {
  /** `users`: passwords by number; without them everybody is let in. */
  static async start({ program, work, name, users, settings = {}, rtpPorts = RTP_PORTS }) {
    const own = new Switch();
    const home = path.join(work, name);
    mkdirSync(home, { recursive: true });
    const [http] = freePorts();
    const [sip] = freePorts();
    const [control] = freePorts();
    const rtp = reservePorts(rtpPorts);
    Object.assign(own, { http, sip, control, rtp, logFile: path.join(home, 'switch.log'), events: [] });
    const env = {
      PATH: process.env.PATH,
      HOME: home,
      MOQSWITCH_SIP_UDP: `127.0.0.1:${sip}`,
      MOQSWITCH_SIP_TCP: `127.0.0.1:${sip}`,
      // Who is held hears nothing.
      MOQSWITCH_MEDIA_TONES: 'false',
      MOQSWITCH_RTP_PORTS: `${rtp}-${rtp + rtpPorts - 1}`,
      MOQSWITCH_MEDIASWITCH_LISTEN: `127.0.0.1:${control}`,
      MOQSWITCH_SHARDS: '1',
      ...settings,
    };
    if (users) env.MOQSWITCH_CALLS_USERS = usersFile(program, home, users);
    if (users) env.MOQSWITCH_CALLS_KEYS = keysFile(home);
    own.key = users ? KEY : '';
    const flags = ['--listen', `127.0.0.1:${http}`, '--http', `127.0.0.1:${http}`, '--admin', '127.0.0.1:0'];
    own.child = goesWithUs(spawn(program, flags, { stdio: ['ignore', 'pipe', 'pipe'], env }));
    const log = createWriteStream(own.logFile);
    for (const stream of [own.child.stdout, own.child.stderr]) stream.on('data', (data) => log.write(data));
    own.ended = new Promise((ended) => own.child.once('exit', (code, signal) => ended((own.end = `${signal ?? code}`))));
    try {
      await until('ready', () => {
        if (own.end !== undefined) throw new Error(`the switch ended with ${own.end}: ${own.log().slice(-1000)}`);
        return fetch(`${own.base()}/readyz`).then((answer) => answer.ok, () => false);
      }, START_MS);
      // What it says comes by another way than its answers.
      await until('listening for SIP', () => own.log().includes('SIP udp'), 5000);
    } catch (error) {
      own.child.kill('SIGKILL');
      throw error;
    }
    own.listen();
    return own;
  }

  base() {
    return `http://127.0.0.1:${this.http}`;
  }

  log() {
    try {
      return readFileSync(this.logFile, 'utf8');
    } catch {
      return '';
    }
  }

  /** What it says that somebody should look at: a panic, an error. */
  complaints() {
    return this.log().split('\n').filter((line) => / ERROR |panicked at/.test(line));
  }

  async rest(method, place, body) {
    const headers = { 'Content-Type': 'application/json' };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    const answer = await fetch(this.base() + place, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, body: text && JSON.parse(text) };
  }

  async get(place) {
    const { status, body } = await this.rest('GET', place);
    if (status !== 200) throw new Error(`GET ${place}: ${status} ${JSON.stringify(body)}`);
    return body;
  }

  async calls() {
    return (await this.get('/api/calls')).calls;
  }

  /** Records of calls that this number had a part in, the newest first. */
  async records(number) {
    return (await this.get(`/api/cdr?dn=${encodeURIComponent(number)}`)).records;
  }

  async numberIs(number) {
    const { status, body } = await this.rest('GET', `/api/dn/${encodeURIComponent(number)}`);
    return status === 200 ? body.status : 'unknown';
  }

  /** Follows `/api/events`: where it is cut off, from the last event on. */
  async listen() {
    this.following = new AbortController();
    let last;
    while (!this.following.signal.aborted && this.end === undefined) {
      try {
        const headers = { ...(this.key ? { Authorization: `Bearer ${this.key}` } : {}), ...(last ? { 'Last-Event-ID': last } : {}) };
        const answer = await fetch(`${this.base()}/api/events`, { headers, signal: this.following.signal });
        let text = '';
        for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
          text += piece;
          const all = text.split('\n\n');
          text = all.pop();
          for (const event of all) {
            const [kind, data, id] = ['event', 'data', 'id'].map((name) => new RegExp(`^${name}: ?(.*)$`, 'm').exec(event)?.[1]);
            last = id ?? last;
            if (kind && data) this.events.push({ kind, at: Date.now(), ...JSON.parse(data) });
          }
        }
      } catch {
        // It is over when the switch is.
        await pause(50);
      }
    }
  }

  async stop() {
    this.following?.abort();
    if (this.end !== undefined) return;
    this.child.kill('SIGKILL');
    await this.ended;
  }
}

/** As `moqswitch user hash` says. */
function usersFile(program, home, users) {
  const file = path.join(home, 'users.toml');
  const texts = Object.entries(users).map(([number, password]) => {
    const lines = execFileSync(program, ['user', 'hash', '--sip', number, '--realm', REALM], { input: `${password}\n`, env: { PATH: process.env.PATH, HOME: home } });
    return `[users."${number}"]\n${lines}\n`;
  });
  writeFileSync(file, texts.join(''), { mode: 0o600 });
  return file;
}

const KEY = 'a-key-of-the-tests-and-of-nobody-else';

function keysFile(home) {
  const file = path.join(home, 'keys.toml');
  writeFileSync(path.join(home, 'tests.key'), `${KEY}\n`, { mode: 0o600 });
  writeFileSync(file, '[keys.tests]\nsecret_file = "tests.key"\nscopes = ["admin"]\n', { mode: 0o600 });
  return file;
}
