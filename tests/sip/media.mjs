// RTP of a telephone: a socket that speaks a tone and keeps what it hears. µ-law and A-law, packet by packet.
import dgram from 'node:dgram';

const RATE = 8000;

function ulaw(sample) {
  const sign = sample < 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(sample), 32635) + 132;
  const exponent = Math.floor(Math.log2(magnitude)) - 7;
  return ~(sign | (exponent << 4) | ((magnitude >> (exponent + 3)) & 15)) & 255;
}

function fromUlaw(byte) {
  const value = ~byte & 255;
  const magnitude = ((((value & 15) << 3) + 132) << ((value >> 4) & 7)) - 132;
  return value & 0x80 ? -magnitude : magnitude;
}

function alaw(sample) {
  const sign = sample >= 0 ? 0x80 : 0;
  const magnitude = Math.min(Math.abs(sample), 32767) >> 4;
  const exponent = magnitude < 32 ? (magnitude < 16 ? 0 : 1) : Math.floor(Math.log2(magnitude)) - 3;
  const mantissa = exponent < 2 ? magnitude & 15 : (magnitude >> (exponent - 1)) & 15;
  return (sign | (exponent << 4) | mantissa) ^ 0x55;
}

function fromAlaw(byte) {
  const value = byte ^ 0x55;
  const exponent = (value >> 4) & 7;
  const mantissa = ((value & 15) << 4) + 8;
  const magnitude = exponent ? (mantissa + 256) << (exponent - 1) : mantissa;
  return value & 0x80 ? magnitude : -magnitude;
}

const CODECS = { 0: [ulaw, fromUlaw], 8: [alaw, fromAlaw] };

/** How loud a tone is in samples, in dB of full scale. */
export function level(samples, tone) {
  let [real, imaginary] = [0, 0];
  samples.forEach((sample, at) => {
    real += sample * Math.cos((2 * Math.PI * tone * at) / RATE);
    imaginary += sample * Math.sin((2 * Math.PI * tone * at) / RATE);
  });
  return 20 * Math.log10((2 * Math.hypot(real, imaginary)) / Math.max(samples.length, 1) / 32768 + 1e-9);
}

/** What of the samples is not this tone, in dB of it: noise, another codec's bytes, gaps. G.711 has some -37. */
export function noise(samples, tone) {
  const amplitude = 10 ** (level(samples, tone) / 20) * 32768;
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / Math.max(samples.length, 1);
  return 10 * Math.log10(Math.max(power - (amplitude * amplitude) / 2, 1) / Math.max((amplitude * amplitude) / 2, 1));
}

export class Media {
  static async open(port, address = '127.0.0.1') {
    const media = new Media();
    const now = Math.floor(Math.random() * 0xffff);
    Object.assign(media, { port, packets: [], sequence: now, timestamp: now * 7, ssrc: Math.floor(Math.random() * 2 ** 32), sent: 0 });
    media.socket = dgram.createSocket('udp4');
    media.socket.on('message', (data, from) => media.take(data, from));
    // Who is not there says so by ICMP.
    media.socket.on('error', () => {});
    await new Promise((done) => media.socket.bind(port, address, done));
    return media;
  }

  take(data, from) {
    if (data.length < 12 || data[0] >> 6 !== 2 || (data[1] >= 192 && data[1] < 224)) return;
    this.packets.push({
      at: performance.now(), from: from.port, marker: data[1] >> 7 === 1, type: data[1] & 127, sequence: data.readUInt16BE(2), timestamp: data.readUInt32BE(4),
      ssrc: data.readUInt32BE(8), payload: data.subarray(12),
    });
    if (this.packets.length > 20_000) this.packets.shift();
  }

  /** One packet. */
  packet(type, payload, { marker = false, timestamp = this.timestamp } = {}) {
    const head = Buffer.alloc(12);
    head[0] = 0x80;
    head[1] = type | (marker ? 128 : 0);
    head.writeUInt16BE(this.sequence & 0xffff, 2);
    head.writeUInt32BE(timestamp >>> 0, 4);
    head.writeUInt32BE(this.ssrc >>> 0, 8);
    this.sequence++;
    this.sent++;
    return Buffer.concat([head, payload]);
  }

  send(packet, port, address = '127.0.0.1') {
    this.socket.send(packet, port, address);
  }

  /** A report of what it hears (RFC 3550, section 6.4.2), from the port above: so many packets lost beside those that came. */
  async report(port, lost, played) {
    this.reports ??= await new Promise((done) => {
      const socket = dgram.createSocket('udp4');
      socket.on('error', () => {});
      socket.bind(this.port + 1, '127.0.0.1', () => done(socket));
    });
    const { ssrc, sequence } = this.packets.at(-1);
    const came = this.packets.filter((packet) => packet.ssrc === ssrc).length;
    const name = `tone@127.0.0.1`;
    const report = Buffer.alloc(32);
    report.set([0x81, 201, 0, 7]);
    report.writeUInt32BE(this.ssrc >>> 0, 4);
    report.writeUInt32BE(ssrc, 8);
    report.writeUInt32BE(Math.round((lost / (lost + came)) * 256) * 2 ** 24 + lost, 12);
    report.writeUInt32BE(sequence, 16);
    const words = Math.ceil((4 + 2 + name.length + 1) / 4);
    const source = Buffer.alloc(4 + 4 * words);
    source.set([0x81, 202, 0, words]);
    source.writeUInt32BE(this.ssrc >>> 0, 4);
    source.set([1, name.length], 8);
    source.write(name, 10);
    const all = [report, source];
    if (played) {
      // What it plays (RFC 3611, section 4.7): of 256 lost and discarded, the rating, MOS in tenths.
      const extended = Buffer.alloc(44);
      extended.set([0x80, 207, 0, 10]);
      extended.writeUInt32BE(this.ssrc >>> 0, 4);
      extended.set([7, 0, 0, 8], 8);
      extended.writeUInt32BE(ssrc, 12);
      extended.set([played.lost, played.discarded], 16);
      extended.set([played.rating ?? 127, 127, played.listening ?? 127, played.conversation ?? 127], 32);
      all.push(extended);
    }
    this.reports.send(Buffer.concat(all), port + 1, '127.0.0.1');
  }

  /** Speaks a tone to a port, until `hush`. */
  speak(tone, port, { type = 0, ptime = 20, codec = type, address } = {}) {
    this.hush();
    const [encode] = CODECS[codec];
    const count = (RATE * ptime) / 1000;
    const begin = performance.now();
    let [spoken, phase, marker] = [0, 0, true];
    // By the clock, whatever the timer does.
    this.timer = setInterval(() => {
      while (begin + spoken * ptime <= performance.now()) {
        const payload = Buffer.from(Array.from({ length: count }, () => encode(Math.round(9000 * Math.sin((2 * Math.PI * tone * phase++) / RATE)))));
        this.send(this.packet(type, payload, { marker }), port, address);
        this.timestamp += count;
        marker = false;
        spoken++;
      }
    }, 5);
  }

  hush() {
    clearInterval(this.timer);
  }

  /** What came since then, of these payload types, as samples. */
  heard(since = performance.now() - 1000, types = [0, 8]) {
    const recent = this.packets.filter(({ at, type }) => at >= since && types.includes(type));
    return Float64Array.from(recent.flatMap(({ type, payload }) => Array.from(payload, CODECS[type][1])));
  }

  /** Does it hear this tone, and nothing else? In the last three tenths of a second: packets of another codec are noise. */
  hears(tone, others = []) {
    const samples = this.heard(performance.now() - 320);
    if (samples.length < RATE * 0.2) return false;
    const [own, rest] = [level(samples, tone), Math.max(-200, ...others.map((other) => level(samples, other)))];
    return own > -25 && own > rest + 20 && noise(samples, tone) < -15;
  }

  /** Nothing came within so long. */
  isQuiet(ms = 500) {
    return !this.packets.some(({ at }) => at > performance.now() - ms);
  }

  close() {
    this.hush();
    this.reports?.close();
    return new Promise((done) => this.socket.close(done));
  }
}

/** A digit as telephone events (RFC 4733): its beginning, its middle, and three ends. */
export function digitPackets(media, type, digit, { clock = 8000, ms = 100, markers = true, parts = ['begin', 'middle', 'end'] } = {}) {
  const event = '0123456789*#ABCD'.indexOf(digit);
  const payload = (duration, isEnd) => Buffer.from([event, (isEnd ? 0x80 : 0) | 10, (duration >> 8) & 255, duration & 255]);
  const all = [];
  const step = (clock * 20) / 1000;
  const steps = Math.round(ms / 20);
  const at = media.timestamp;
  for (let number = 1; number <= steps; number++) {
    const part = number === 1 ? 'begin' : 'middle';
    if (parts.includes(part)) all.push(media.packet(type, payload(step * number, false), { marker: markers && number === 1, timestamp: at }));
  }
  if (parts.includes('end')) for (let times = 0; times < 3; times++) all.push(media.packet(type, payload(step * steps, true), { timestamp: at }));
  media.timestamp += step * steps;
  return all;
}
