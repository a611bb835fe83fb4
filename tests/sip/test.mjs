// What a case has: a switch, numbers and ports of its own, and others to call.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { Media } from './media.mjs';
import { freePorts } from './ports.mjs';
import { Sipp } from './sipp.mjs';
import { Switch, until } from './switch.mjs';
import { Dialog, Line, description, header, register } from './wire.mjs';

export { until };
export const pause = (ms) => new Promise((later) => setTimeout(later, ms));

/** Who is let in by a password. */
export const USERS = { 5001: 'secret of 5001', 5002: 'secret of 5002' };
let numbers = 2000;
let started = 0;

export class Test {
  constructor({ name, program, work, switches, on }) {
    Object.assign(this, { name, program, switches, on, work: path.join(work, name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60)), closing: [], complaints: [], checks: 0 });
    mkdirSync(this.work, { recursive: true });
  }

  /** Why it fails; empty if it holds. */
  async run(run) {
    try {
      this.switch = await this.running(this.on);
      this.sip = this.switch.sip;
      this.complaintsBefore = this.switch.complaints().length;
      await run(this);
      if (!this.checks) this.complaints.push('it looked at nothing');
    } catch (error) {
      this.complaints.push(error.message);
    }
    for (const close of this.closing.reverse()) await close();
    if (this.switch) await this.lookAtSwitch().catch((error) => this.complaints.push(error.message));
    await this.own?.stop();
    return this.complaints.join('; ');
  }

  /** One for all cases; another one after an end. */
  async running(kind) {
    const there = this.switches.get(kind);
    if (there && there.end === undefined) return there;
    const settings = { MOQSWITCH_SIP_PING: '0s' };
    const own = await Switch.start({ program: this.program, work: path.dirname(this.work), name: `switch-${++started}`, users: kind === 'users' ? USERS : undefined, settings });
    this.switches.set(kind, own);
    return own;
  }

  /** A switch for this case alone, with these settings. `prepare` writes files for it, in the folder that it is given. */
  async ownSwitch(settings, prepare = () => {}, users = undefined) {
    prepare(this.work);
    this.own = await Switch.start({ program: this.program, work: this.work, name: 'switch', users, rtpPorts: 100, settings: { MOQSWITCH_SIP_PING: '0s', ...settings } });
    Object.assign(this, { switch: this.own, sip: this.own.sip, complaintsBefore: 0 });
  }

  /** The switch is to end, and does. */
  async endSwitch() {
    this.hasEnded = true;
    this.switch.child.kill('SIGTERM');
    await this.switch.ended;
    this.equal(this.switch.end, '0', 'end of the switch');
  }

  async lookAtSwitch() {
    if (this.hasEnded) return void this.complaints.push(...this.switch.complaints().slice(0, 3));
    if (this.switch.end !== undefined) throw new Error(`the switch ended with ${this.switch.end}: ${this.switch.log().slice(-600)}`);
    this.complaints.push(...this.switch.complaints().slice(this.complaintsBefore).slice(0, 3));
    try {
      await until('free of calls', async () => !(await this.switch.calls()).length, 5000);
    } catch {
      for (const call of await this.switch.calls()) {
        this.complaints.push(`a call is left: ${JSON.stringify(call).slice(0, 300)}`);
        await this.switch.rest('POST', '/api/call/hangup', { call_id: call.callId ?? call.call_id });
      }
    }
  }

  /** What has to be so. */
  check(isSo, text) {
    this.checks++;
    if (!isSo) this.complaints.push(text);
  }

  equal(found, wanted, what) {
    this.check(JSON.stringify(found) === JSON.stringify(wanted), `${what}: ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
  }

  match(found, wanted, what) {
    this.check(wanted.test(found), `${what}: ${JSON.stringify(String(found).slice(0, 300))} is not ${wanted}`);
  }

  number() {
    return String(++numbers);
  }

  port() {
    return freePorts(2)[0];
  }

  close(close) {
    this.closing.push(close);
  }

  /** Runs a scenario, which the case has to wait for. */
  async sipp(scenario, options = {}) {
    const { port = this.port(), audio = this.port(), keys = {}, ...others } = options;
    const sipp = new Sipp(scenario, { work: this.work, sip: this.sip, port, keys: { audio, events: 101, ...keys }, ...others });
    sipp.audio = audio;
    this.close(() => sipp.stop());
    const protocol = options.transport === 'tcp' ? 'tcp' : 'udp';
    await until(`listening: sipp ${scenario}`, () => sipp.end !== undefined || isBound(protocol, port));
    return sipp;
  }

  /** Registers a number and runs a scenario for it, that is called. */
  async callee(number, { scenario = 'callee', contact, headers, ...options } = {}) {
    const port = options.port ?? this.port();
    await register(this.sip, number, port, { contact, headers });
    return this.sipp(scenario, { ...options, port });
  }

  isBound(port) {
    return isBound('udp', port);
  }

  async caller(from, to, { scenario = 'caller', keys = {}, ...options } = {}) {
    return this.sipp(scenario, { ...options, to, keys: { caller: from, ...keys } });
  }

  async line(port, address) {
    const line = await Line.open(this.sip, port, address);
    this.close(() => {
      writeFileSync(path.join(this.work, `line-${line.port}.messages`), line.log.join('\n'));
      return line.close();
    });
    return line;
  }

  /** A telephone that is registered, message by message: it answers what is asked in a call, and takes calls by `take`. */
  async phone(number, headers = {}) {
    const port = this.port();
    await register(this.sip, number, port, { headers });
    const line = await this.line(port);
    line.user = number;
    line.media = await this.media();
    serve(line);
    return line;
  }

  /** The next call that comes to a telephone. */
  async called(phone, ms) {
    return Dialog.of(phone, await phone.next('INVITE', ms), phone.user);
  }

  /** A call from one to the other, with tones: 440 Hz is the caller's, 660 Hz the callee's. `offer` and `answer` are as descriptions have them; `isKnown`: the caller is registered. */
  async talk({ offer = {}, answer = {}, headers = {}, answerHeaders = {}, types = {}, from = this.number(), to = this.number(), isKnown = false } = {}) {
    const phone = await this.phone(to);
    const other = phone.media;
    const line = isKnown ? await this.phone(from) : await this.line();
    serve(line);
    line.user = from;
    line.media ??= await this.media();
    const one = line.media;
    const dialog = new Dialog(line, from, to);
    dialog.send('INVITE', { body: description(one.port, offer), headers });
    const called = await this.called(phone);
    called.answer(180);
    const began = performance.now();
    called.answer(200, { body: description(other.port, { types: '0 101', ...answer }), headers: answerHeaders });
    const answered = dialog.learn(await line.next('200 INVITE'));
    const begun = performance.now();
    dialog.send('ACK', { number: 1 });
    await phone.next('ACK');
    [one.peer, other.peer] = [this.audioOf(answered), this.audioOf(called.invite)];
    one.speak(440, one.peer, types.one);
    other.speak(660, other.peer, types.other);
    const call = { from, to, one, other, line, phone, dialog, called, answered, began, begun };
    await this.bothHear(call, 'at first');
    return call;
  }

  bothHear({ one, other }, what) {
    return until(`heard both ways ${what}`, () => one.hears(660, [440]) && other.hears(440, [660]), 5000);
  }

  /** The caller hangs up. */
  async hangUpBy({ line, dialog, to, phone }, { reason = 'normal_clearing' } = {}) {
    dialog.send('BYE');
    this.match(await line.final('BYE', dialog.number), /^SIP\/2.0 200 /, 'answer to the BYE');
    await phone.next('BYE');
    return this.record(to, { reason, answered: true });
  }

  async media(port = this.port(), address) {
    const media = await Media.open(port, address);
    this.close(() => media.close());
    return media;
  }

  /** Where a description wants audio. */
  audioOf(message) {
    return Number(/m=audio (\d+)/.exec(message.body ?? message)?.[1]);
  }

  /** A call that this number has a part in, as soon as it is so. */
  async call(number, what, condition) {
    const has = (call) => JSON.stringify(call).includes(`"${number}"`);
    return until(`${what}: call of ${number}`, async () => (await this.switch.calls()).find((call) => has(call) && condition(call)));
  }

  isUp(number) {
    return this.call(number, 'up', (call) => call.state === 'up');
  }

  isHeld(number) {
    return this.call(number, 'held', (call) => call.state === 'held');
  }

  async hangUp(call) {
    const { status } = await this.switch.rest('POST', '/api/call/hangup', { call_id: call.callId ?? call.call_id });
    this.equal(status, 200, 'hangup by REST');
  }

  /** The record of the one call of this number, which has to say so. */
  async record(number, { reason, answered, count = 1 }) {
    const records = await until(`a record of ${number}`, async () => {
      const all = await this.switch.records(number);
      return all.length >= count && all;
    });
    this.equal(records.length, count, `records of ${number}`);
    const [record] = records;
    this.equal(record.reason, reason, `reason of the call of ${number}`);
    if (answered !== undefined) this.equal(record.answerMs !== null, answered, `is the call of ${number} answered`);
    return record;
  }
}

/** What a telephone says to requests in a call. */
function serve(line) {
  line.serve = (text) => {
    if (/^(BYE|INFO|NOTIFY|OPTIONS|UPDATE) /.test(text)) line.answer(text, 200);
    if (line.isBusy || !/^INVITE /.test(text) || !/;tag=/.test(header(text, 'To'))) return;
    line.answer(text, 200, { body: description(line.media.port, { types: '0 101' }), headers: { Contact: `<sip:${line.user}@127.0.0.1:${line.port}>` } });
  };
}

function isBound(protocol, port) {
  const local = `:${port.toString(16).toUpperCase().padStart(4, '0')} `;
  return readFileSync(`/proc/net/${protocol}`, 'utf8').split('\n').some((line) => line.slice(0, 30).includes(local));
}
