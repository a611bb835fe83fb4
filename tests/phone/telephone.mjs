// A telephone of SIP: Debian's baresip, whose microphone is a file and whose loudspeaker is another.
import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';

export const RATE = 8000;
const LIMIT_MS = 20_000;
let begun = 0;

/** Samples of -1 to 1 at 8 kHz as a WAV. */
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

/** How loud a tone is in samples of so many in a second, in dB of full scale. */
function level(samples, tone, rate) {
  let [real, imaginary] = [0, 0];
  samples.forEach((sample, at) => {
    const angle = (2 * Math.PI * tone * at) / rate;
    real += sample * Math.cos(angle);
    imaginary += sample * Math.sin(angle);
  });
  return 20 * Math.log10((2 * Math.hypot(real, imaginary)) / samples.length / 32768 + 1e-9);
}

const samplesIn = (bytes) => Math.max(0, Math.floor((bytes - 44) / 2));

export class Telephone {
  /** baresip 1.0 decodes nothing more after it held a call itself, although packets come. */
  hearsAfterItsHold = false;

  /** Registers `number` at a switch that is at these ports of loopback. `echoes`: it says what it hears. */
  static async start({ work, number, tone, sip, port, transport = 'udp', codecs = 'PCMU/8000/1', encryption = '', echoes = false }) {
    const telephone = new Telephone();
    const home = path.join(work, `telephone-${++begun}`);
    const heard = path.join(home, 'heard');
    await mkdir(heard, { recursive: true });
    const samples = Float32Array.from({ length: RATE * 60 }, (_, at) => 0.3 * Math.sin((2 * Math.PI * tone * at) / RATE));
    await writeFile(path.join(home, 'say.wav'), wav(samples));
    const modules = ['g711', 'g722', 'opus', 'aufile', 'aubridge', 'sndfile', ...(encryption ? ['srtp'] : [])].map((name) => `module ${name}.so`);
    const config = [
      `sip_listen 127.0.0.1:${port}`, 'module_path /usr/lib/baresip/modules', `audio_source ${echoes ? 'aubridge,x' : `aufile,${path.join(home, 'say.wav')}`}`,
      'audio_player aubridge,x', 'ausrc_srate 8000', 'auplay_srate 8000', 'audio_channels 1', `snd_path ${heard}`, ...modules,
      'module_tmp uuid.so', 'module_app account.so', 'module_app ctrl_tcp.so', 'module_app menu.so', `ctrl_tcp_listen 127.0.0.1:${port + 10}`, '',
    ];
    await writeFile(path.join(home, 'config'), config.join('\n'));
    await writeFile(path.join(home, 'contacts'), '');
    const account = `<sip:${number}@127.0.0.1:${sip};transport=${transport}>;auth_pass=secret;regint=60;audio_codecs=${codecs};answermode=manual${encryption && `;mediaenc=${encryption}`}\n`;
    await writeFile(path.join(home, 'accounts'), account);
    Object.assign(telephone, { number, tone, sip, heard, control: port + 10, output: '' });
    telephone.child = spawn('baresip', ['-f', home, '-v'], { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [telephone.child.stdout, telephone.child.stderr]) stream.on('data', (data) => (telephone.output = (telephone.output + data).slice(-100_000)));
    await telephone.begin(() => telephone.until('registered', () => /200 OK \(moqswitch\)/.test(telephone.output)));
    return telephone;
  }

  /** One that does not come up is ended. */
  async begin(steps) {
    try {
      await steps();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async until(what, condition) {
    const deadline = Date.now() + LIMIT_MS;
    while (!(await condition())) {
      if (Date.now() > deadline) throw new Error(`telephone ${this.number}: not ${what} within ${LIMIT_MS} ms (last heard: ${this.levels}): ${this.output.slice(-500)}`);
      await new Promise((later) => setTimeout(later, 50));
    }
  }

  /** A command of its menu. */
  command(command, params = '') {
    const text = JSON.stringify({ command, params, token: 'x' });
    return new Promise((done, failed) => {
      const socket = net.connect(this.control, '127.0.0.1', () => socket.write(`${Buffer.byteLength(text)}:${text},`));
      let answer = '';
      socket.on('data', (data) => {
        answer += data;
        if (!answer.includes('"response":true')) return;
        socket.destroy();
        done(answer);
      });
      socket.on('error', failed);
    });
  }

  call(number) {
    return this.command('dial', `sip:${number}@127.0.0.1:${this.sip}`);
  }

  isCalled() {
    return this.until('called', () => /Incoming call from/.test(this.output));
  }

  isUp() {
    return this.until('connected', () => /Call established/.test(this.output));
  }

  isFree() {
    return this.until('free', async () => /no active calls/.test(await this.command('callstat')));
  }

  /** What it has heard, as far as it is written: the newest file, and how many samples are in older ones. */
  async heardSoFar() {
    const files = (await readdir(this.heard)).filter((name) => name.endsWith('dec.wav')).sort();
    const older = await Promise.all(files.slice(0, -1).map(async (name) => (await stat(path.join(this.heard, name))).size));
    const bytes = files.length ? await readFile(path.join(this.heard, files.at(-1))) : Buffer.alloc(0);
    return { bytes, before: older.reduce((sum, size) => sum + samplesIn(size), 0) };
  }

  /** The last second of it, at its rate, and how many samples there are in all. */
  async last() {
    const { bytes, before } = await this.heardSoFar();
    const count = samplesIn(bytes.length);
    // Linphone writes the head of its file at the end.
    const rate = (bytes.length > 44 && bytes.readUInt32LE(24)) || RATE;
    const first = Math.max(0, count - rate);
    return { rate, samples: Array.from({ length: count - first }, (_, at) => bytes.readInt16LE(44 + (first + at) * 2)), count: before + count };
  }

  /** From here on it hears this tone, or all of these, 20 dB above the others; none: nothing of any. */
  async hears(wanted, others) {
    const since = (await this.last()).count;
    const tones = [wanted].flat().filter(Boolean);
    await this.until(tones.length ? `hearing ${tones.join(' and ')} Hz` : 'hearing nobody', async () => {
      const { samples, count, rate } = await this.last();
      // A whole second that is none of before.
      if (samples.length < rate || count < since + rate) return false;
      const unheard = Math.max(...others.map((other) => level(samples, other, rate)));
      this.levels = [...tones, ...others].map((tone) => `${tone} Hz ${Math.round(level(samples, tone, rate))} dB`);
      const heard = Math.min(...tones.map((tone) => level(samples, tone, rate)));
      return tones.length ? heard > Math.max(-35, unheard + 20) : unheard < -60;
    });
  }

  async stop() {
    this.child.kill();
    await new Promise((ended) => this.child.once('exit', ended));
  }
}
