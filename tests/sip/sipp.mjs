// One run of sipp: a scenario of this folder, once, and the messages that came and went.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { goesWithUs } from './children.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const LIMIT_S = 20;
let begun = 0;

export class Sipp {
  /**
   * `keys` are the scenario's own words, `[caller]` and so on. `to` is who is called. `pause`: the milliseconds of pauses that
   * say none. The switch is the other side.
   */
  constructor(scenario, { work, sip, port, to = '', keys = {}, pause = 0, transport = 'udp', seconds = LIMIT_S, file, more = [] }) {
    const base = path.join(work, `${String(++begun).padStart(3, '0')}-${scenario}`);
    Object.assign(this, { scenario, port, messageFile: `${base}.messages`, errorFile: `${base}.errors` });
    const args = [
      `127.0.0.1:${sip}`, '-sf', path.join(here, `${scenario}.xml`), '-i', '127.0.0.1', '-p', String(port), '-m', '1', '-l', '1', '-nostdin',
      '-t', transport === 'tcp' ? 't1' : 'u1', '-mi', '127.0.0.1', '-timeout', `${seconds}s`, '-timeout_error', '-d', String(pause),
      '-trace_msg', '-message_file', this.messageFile, '-trace_err', '-error_file', this.errorFile, '-cid_str', `${begun}-%u-%p@sipp`,
    ];
    if (to) args.push('-s', to);
    if (file) args.push('-inf', file);
    for (const [word, value] of Object.entries(keys)) args.push('-key', word, String(value));
    this.child = goesWithUs(spawn('sipp', [...args, ...more], { stdio: ['ignore', 'ignore', 'pipe'], cwd: work }));
    this.said = '';
    this.child.stderr.on('data', (data) => (this.said = (this.said + data).slice(-4000)));
    this.ended = new Promise((ended) => this.child.once('exit', (code, signal) => ended((this.end = signal ?? code))));
  }

  /** Waits for the end of the scenario, which all of it has to have come to. */
  async done() {
    const end = await this.ended;
    if (end !== 0) throw new Error(`sipp ${this.scenario} ended with ${end}: ${this.why()}`);
    return this;
  }

  why() {
    const errors = read(this.errorFile).split('\n').filter((line) => line.trim()).slice(0, 6).join(' | ');
    const flow = this.messages().map(({ isSent, start }) => `${isSent ? '>' : '<'} ${start}`).join(', ');
    return `${(errors || this.said).slice(0, 500)} [${flow.slice(0, 1500)}]`;
  }

  /** Everything so far. */
  messages() {
    return read(this.messageFile).split(/^-{20,} /m).slice(1).map((entry) => {
      const [head, kind, , ...lines] = entry.split('\n');
      const text = lines.join('\n').replaceAll('\r', '').trimStart();
      return new Logged(Date.parse(`${head.trim().replace(' ', 'T').slice(0, 23)}`), / sent/.test(kind), text);
    });
  }

  /** What came, of this method or status: in the order in which it came. */
  received(kind) {
    return this.messages().filter((message) => !message.isSent && message.is(kind));
  }

  sent(kind) {
    return this.messages().filter((message) => message.isSent && message.is(kind));
  }

  stop() {
    if (this.end === undefined) this.child.kill('SIGKILL');
    return this.ended;
  }
}

class Logged {
  constructor(at, isSent, text) {
    const [head, ...body] = text.split('\n\n');
    Object.assign(this, { at, isSent, text, head, body: body.join('\n\n').trim(), start: text.split('\n')[0] });
  }

  /** `'BYE'`, or `'200 INVITE'`. */
  is(kind) {
    const [first, method] = kind.split(' ');
    if (!/^\d/.test(first)) return this.start.startsWith(`${first} `);
    return this.start.startsWith(`SIP/2.0 ${first} `) && (!method || this.header('CSeq').endsWith(method));
  }

  /** All values of a header, one line each; the name in either form as the switch writes it. */
  headers(name) {
    const lines = this.head.split('\n').slice(1);
    return lines.filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()}:`)).map((line) => line.slice(name.length + 1).trim());
  }

  header(name) {
    return this.headers(name)[0] ?? '';
  }

  /** Lines of the description: `a=`, `m=`. */
  lines(begin) {
    return this.body.split('\n').filter((line) => line.startsWith(begin)).map((line) => line.trim());
  }
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
