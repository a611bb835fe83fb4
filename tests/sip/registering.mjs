// Who registers, and as whom: digests, contacts, and who is turned away.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { USERS, until } from './test.mjs';
import { Dialog, challenge, credentials, description, header } from './wire.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const DOMAIN = 'bling.babblevoice.com';

/** A REGISTER of a line, with the next number of one call. */
class Registering {
  constructor(line, user) {
    Object.assign(this, { line, user, uri: `sip:127.0.0.1:${line.sip}`, number: 0, id: `registering-${line.port}-${Math.random()}` });
  }

  /** `contacts`: none asks only. */
  ask(contacts, headers = {}) {
    const address = `<sip:${this.user}@127.0.0.1>`;
    const about = contacts ? { Contact: contacts } : {};
    return this.line.ask('REGISTER', this.uri, { From: `${address};tag=1`, To: address, 'Call-ID': this.id, CSeq: `${++this.number} REGISTER`, ...about, ...headers });
  }
}

const contactsOf = (answer) => answer.split('\n').filter((line) => /^Contact:/i.test(line)).map((line) => /<([^>]*)>/.exec(line)[1]).sort();
const as = (user, password) => ['-au', user, '-ap', password];
const statusOf = (answer) => Number(answer.split(' ')[1]);

export const REGISTERING = [
  {
    name: 'mediaswitch: registerclient',
    source: 'seed S3, "Registry"; report 22',
    async run(test) {
      const control = `http://127.0.0.1:${test.switch.control}`;
      const users = [{ username: '1003', secret: '1123654789' }, { username: '1000', secret: 'x' }];
      const put = await fetch(`${control}/dir/${DOMAIN}`, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ control: control, users }) });
      test.equal(put.status, 201, 'PUT /dir');
      const sipp = await test.sipp('registerclient', { file: path.join(here, 'registerclient.csv') });
      await sipp.done();
      const registered = await (await fetch(`${control}/reg/${DOMAIN}`)).json();
      test.equal([registered.count, registered.registered, registered.users['1000']], [2, 1, { registered: false }], 'GET /reg/<domain>');
      const { remote, outstandingping: pings } = registered.users['1003'];
      test.equal([remote.host, remote.port, remote.agent, pings], ['127.0.0.1', sipp.port, 'SIPp', 0], 'registration of 1003');
      // Its users go with it.
      await fetch(`${control}/dir/${DOMAIN}`, { method: 'DELETE' });
    },
  },
  {
    name: 'mediaswitch: uaclateoffer',
    source: 'seed S3, "Invite"; report 19: livekit/sip#402, PR#820',
    async run(test) {
      const to = test.number();
      const [one, other] = [await test.media(), await test.media()];
      const callee = await test.callee(to, { audio: other.port });
      const caller = await test.sipp('uaclateoffer', { to, audio: one.port });
      await test.isUp(to);
      await until('acknowledged', () => caller.sent('ACK').length && callee.received('ACK').length);
      one.speak(440, test.audioOf(caller.received('200')[0]));
      other.speak(660, test.audioOf(callee.received('INVITE')[0]));
      await until('heard both ways', () => one.hears(660, [440]) && other.hears(440, [660]), 3000);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a telephone registers by its password',
    source: 'RFC 3261, section 10; RFC 8760',
    on: 'users',
    async run(test) {
      const sipp = await test.sipp('register', { keys: { user: '5001' }, more: as('5001', USERS[5001]), pause: 1000 });
      await until('registered', async () => (await test.switch.numberIs('5001')) === 'available');
      await sipp.done();
      test.equal(await test.switch.numberIs('5001'), 'offline', 'status of 5001 when it has gone');
    },
  },
  {
    name: 'who is no user any more, or has another password, is turned out',
    source: 'OPERATING, SIGHUP',
    async run(test) {
      await test.ownSwitch({}, () => {}, USERS);
      const lines = {};
      for (const user of ['5001', '5002']) {
        const line = (lines[user] = await test.line());
        const own = new Registering(line, user);
        const contact = `<sip:${user}@127.0.0.1:${line.port}>`;
        const asked = challenge(await own.ask(contact));
        const by = { Authorization: credentials(asked, { user, password: USERS[user], method: 'REGISTER', uri: own.uri, count: 1 }) };
        test.equal(statusOf(await own.ask(contact, by)), 200, `REGISTER of ${user}`);
      }
      test.equal([await test.switch.numberIs('5001'), await test.switch.numberIs('5002')], ['available', 'available'], 'status of both');
      const file = path.join(test.work, 'switch', 'users.toml');
      const others = readFileSync(file, 'utf8').replace(/\[users\."5001"\][^[]*/, '');
      writeFileSync(file, others);
      test.switch.child.kill('SIGHUP');
      await until('5001 gone', async () => (await test.switch.numberIs('5001')) === 'unknown');
      test.equal(await test.switch.numberIs('5002'), 'available', 'status of who is a user still');
      writeFileSync(file, others.replace(/ha1 = "[0-9a-f]{4}/, 'ha1 = "0000'));
      test.switch.child.kill('SIGHUP');
      await until('5002 gone', async () => (await test.switch.numberIs('5002')) === 'offline');
    },
  },
  {
    name: 'a wrong password and an unknown user are told the same',
    source: 'RFC 3261, section 22; sipvicious',
    on: 'users',
    async run(test) {
      const answers = [];
      for (const [user, secret] of [['5001', 'wrong'], ['5999', USERS[5001]]]) {
        const sipp = await test.sipp('register-refused', { keys: { user }, more: as(user, secret) });
        await sipp.done();
        const same = ({ head }) => head.replace(/nonce="[^"]*"|tag=[^\s;]*|Call-ID:.*|Via:.*/g, '').replaceAll(user, 'user');
        answers.push(sipp.received('401').map(same));
      }
      test.equal(answers[0], answers[1], 'answers to an unknown user');
      test.equal([await test.switch.numberIs('5001'), await test.switch.numberIs('5999')], ['offline', 'unknown'], 'status of both');
    },
  },
  {
    name: 'one nonce is good for many requests, each once',
    source: 'report 22: sprout#1217, baresip#786; rsipstack 0.7.14, nc as u8',
    on: 'users',
    async run(test) {
      const line = await test.line();
      const own = new Registering(line, '5002');
      const asked = challenge(await own.ask());
      test.match(asked?.qop ?? '', /auth/, 'qop');
      const by = (count, nonce = asked) => ({ Authorization: credentials(nonce, { user: '5002', password: USERS[5002], method: 'REGISTER', uri: own.uri, count }) });
      const answers = [];
      for (let count = 1; count <= 0x104; count++) answers.push(statusOf(await own.ask('', by(count))));
      test.equal(answers.filter((status) => status !== 200).length, 0, `refused of ${answers.length}, the first at ${answers.findIndex((status) => status !== 200) + 1}`);
      // Said again by who listened.
      test.equal(statusOf(await own.ask('', by(0x104))), 401, 'the same count again');
      const forged = await own.ask('', by(1, { ...asked, nonce: `${asked.nonce.slice(0, -4)}aaaa` }));
      test.equal(statusOf(forged), 401, 'a nonce that is none');
      // The way on is told: by a new nonce it is let in at once.
      const again = challenge(forged);
      test.check(again.nonce !== asked.nonce, 'the same nonce is offered again');
      test.equal(statusOf(await own.ask('', by(1, again))), 200, 'with the new nonce');
    },
  },
  {
    name: 'a number has several contacts, and loses them',
    source: 'RFC 3261, section 10.3',
    async run(test) {
      const number = test.number();
      const line = await test.line();
      const own = new Registering(line, number);
      const contact = (port) => `sip:${number}@127.0.0.1:${port}`;
      const [a, b, c] = [test.port(), test.port(), test.port()].map(contact);
      test.equal(contactsOf(await own.ask(`<${a}>;expires=600, <${b}>;expires=300`)), [a, b].sort(), 'two at once');
      test.equal(contactsOf(await own.ask(`<${c}>`, { Expires: 600 })), [a, b, c].sort(), 'and one more');
      const listed = await own.ask();
      test.equal(contactsOf(listed), [a, b, c].sort(), 'asked without a contact');
      test.match(listed, new RegExp(`<${b}>[^\n]*expires=(300|29\\d)`), 'time of the second');
      test.equal(contactsOf(await own.ask(`<${a}>;expires=0`)), [b, c].sort(), 'one goes');
      const brief = await own.ask(`<${a}>;expires=5`);
      test.equal([statusOf(brief), Number(header(brief, 'Min-Expires')) > 5], [423, true], 'too short a time');
      test.equal(statusOf(await own.ask('*', { Expires: 600 })), 400, '* with a time');
      test.equal(statusOf(await own.ask(`*, <${a}>`, { Expires: 0 })), 400, '* beside others');
      test.equal(contactsOf(await own.ask()), [b, c].sort(), 'and nothing has changed');
      test.equal(await test.switch.numberIs(number), 'available', 'status');
      test.equal(contactsOf(await own.ask('*', { Expires: 0 })), [], '*');
      test.equal(await test.switch.numberIs(number), 'unknown', 'status without contacts');
    },
  },
  {
    name: 'a call rings at each contact, and the first to answer has it',
    source: 'RFC 3261, section 16.7',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const loser = await test.callee(to, { scenario: 'callee-cancelled' });
      const winner = await test.callee(to, { pause: 500 });
      const caller = await test.caller(from, to);
      const call = await test.isUp(to);
      await loser.done();
      test.match(loser.received('CANCEL')[0].header('Reason'), /cause=200/, 'Reason of the CANCEL: completed elsewhere (RFC 3326)');
      await test.hangUp(call);
      await Promise.all([caller.done(), winner.done()]);
      await test.record(from, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'who calls proves who it is',
    source: 'RFC 3261, section 22.3',
    on: 'users',
    async run(test) {
      const to = '5002';
      // It is registered, and called without a password: the switch calls it.
      const port = test.port();
      const line = await test.line(port);
      const own = new Registering(line, to);
      const asked = challenge(await own.ask());
      const by = { Authorization: credentials(asked, { user: to, password: USERS[to], method: 'REGISTER', uri: own.uri, count: 1 }) };
      test.equal(statusOf(await own.ask(`<sip:${to}@127.0.0.1:${port}>`, { Expires: 600, ...by })), 200, 'REGISTER');
      await line.close();
      test.closing.pop();
      const callee = await test.sipp('callee', { port });
      const caller = await test.caller('5001', to, { scenario: 'caller-known', more: [...as('5001', USERS[5001]), '-auth_uri', `${to}@127.0.0.1:${test.sip}`], pause: 500 });
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
      // One user as another, and one as nobody: no call comes of it.
      for (const [from, user] of [['5002', '5001'], ['5999', '5001']]) {
        const stranger = await test.line();
        const dialog = new Dialog(stranger, from, to);
        dialog.send('INVITE', { body: description(test.port()) });
        const refused = challenge(await stranger.next('407'));
        const proof = credentials(refused, { user, password: USERS[user], method: 'INVITE', uri: dialog.target, count: 1 });
        dialog.send('INVITE', { body: description(test.port()), headers: { 'Proxy-Authorization': proof } });
        stranger.came.length = 0;
        // Told by the number of the second: asked again, and nothing else.
        test.match(await stranger.next('407 INVITE'), /^CSeq: 2 /m, `${user} calls as ${from}`);
      }
      test.equal((await test.switch.records(to)).length, 1, 'records');
    },
  },
];
