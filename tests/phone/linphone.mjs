// A telephone of SIP: Debian's linphonec, whose microphone is a file and whose loudspeaker is another. It has the face of
// telephone.mjs.
import { spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';

import { RATE, Telephone, wav } from './telephone.mjs';

/** What baresip's menu calls otherwise. */
const COMMANDS = { dial: 'call', accept: 'answer', hold: 'pause', resume: 'resume', hangup: 'terminate', transfer: 'transfer' };
let begun = 0;

export class Linphone extends Telephone {
  hearsAfterItsHold = true;

  /** Registers `number` at a switch that is at this port of loopback. */
  static async start({ work, number, tone, sip, port, transport = 'udp', encryption = '' }) {
    const telephone = new Linphone();
    const home = path.join(work, `linphone-${++begun}`);
    // Without a place for its database it starts no transport.
    await mkdir(path.join(home, '.local/share/linphone'), { recursive: true });
    const samples = Float32Array.from({ length: RATE * 60 }, (_, at) => 0.3 * Math.sin((2 * Math.PI * tone * at) / RATE));
    await writeFile(path.join(home, 'say.wav'), wav(samples));
    const settings = {
      sip: {
        ...Object.fromEntries(['udp', 'tcp', 'tls'].map((kind) => [kind === 'udp' ? 'sip_port' : `sip_${kind}_port`, kind === transport ? port : 0])),
        use_ipv6: 0, register_only_when_network_is_up: 0, verify_server_certs: 0, verify_server_cn: 0,
        media_encryption: encryption ? 'srtp' : 'none', media_encryption_mandatory: encryption ? 1 : 0,
      },
      rtp: { audio_rtp_port: port + 2 },
      sound: { echocancellation: 0, echolimiter: 0 },
    };
    const lines = Object.entries(settings).flatMap(([section, values]) => [`[${section}]`, ...Object.entries(values).map(([name, value]) => `${name}=${value}`), '']);
    await writeFile(path.join(home, 'linphonerc'), lines.join('\n'));
    Object.assign(telephone, { number, tone, sip, heard: path.join(home, 'heard.wav'), output: '' });
    telephone.child = spawn('linphonec', ['-c', path.join(home, 'linphonerc')], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env.PATH, HOME: home } });
    for (const stream of [telephone.child.stdout, telephone.child.stderr]) stream.on('data', (data) => (telephone.output = (telephone.output + data).slice(-100_000)));
    await telephone.begin(async () => {
      await telephone.until('started', () => /linphonec>/.test(telephone.output));
      for (const line of ['soundcard use files', `play ${path.join(home, 'say.wav')}`, `record ${telephone.heard}`]) telephone.type(line);
      telephone.type(`register sip:${number}@127.0.0.1:${sip} sip:127.0.0.1:${sip};transport=${transport} secret`);
      await telephone.until('registered', async () => /registered, identity=/.test(await telephone.ask('status register')));
    });
    return telephone;
  }

  /** What it says to this, as far as it says it soon. */
  async ask(line) {
    this.output = '';
    this.type(line);
    await new Promise((later) => setTimeout(later, 300));
    return this.output;
  }

  type(line) {
    this.child.stdin.write(`${line}\n`);
  }

  /** A command of baresip's menu. */
  async command(command, params = '') {
    if (command === 'sndcode') {
      // Each key is a line of its own, and one that comes before the last has ended is lost.
      for (const key of params) await this.ask(key);
    } else this.type([COMMANDS[command] ?? command, ...(params ? [params.replace(/;transport=\w+/, '')] : [])].join(' '));
  }

  isCalled() {
    return this.until('called', () => /incoming call from/i.test(this.output));
  }

  isUp() {
    return this.until('connected', () => /Call \d+ with .* connected|Media streams established/.test(this.output));
  }

  async isFree() {
    await this.until('free', async () => /No active call/i.test(await this.ask('calls')));
  }

  async heardSoFar() {
    return { bytes: await readFile(this.heard).catch(() => Buffer.alloc(0)), before: 0 };
  }
}
