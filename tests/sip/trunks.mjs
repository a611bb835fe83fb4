// A trunk: where it is registered with asks and refuses as carriers do, and calls go by it.
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { USERS, pause, until } from './test.mjs';
import { Dialog, challenge, credentials, description, header } from './wire.mjs';

const md5 = (text) => createHash('md5').update(text).digest('hex');
const SECRET = 'of the trunk';
const statusOf = (answer) => Number(answer.split(' ')[1]);
const cseqOf = (text) => Number.parseInt(header(text, 'CSeq'), 10);
const value = (text, name) => new RegExp(`[ ,]${name}="?([^",\\s]*)`, 'i').exec(text)?.[1];

/** Are these the credentials of a request by this nonce? */
function isProven(text, nonce) {
  const proofs = text.split('\n').filter((line) => /^(Proxy-)?Authorization:/i.test(line));
  const proof = proofs.find((line) => value(line, 'nonce') === nonce);
  if (!proof) return false;
  const [method, uri] = [text.split(' ')[0], /uri="([^"]*)"/.exec(proof)[1]];
  const [realm, user] = [/realm="([^"]*)"/.exec(proof)[1], /username="([^"]*)"/.exec(proof)[1]];
  const [qop, nc, cnonce] = ['qop', 'nc', 'cnonce'].map((name) => value(proof, name));
  const [one, other] = [md5(`${user}:${realm}:${SECRET}`), md5(`${method}:${uri}`)];
  return value(proof, 'response') === md5(qop ? `${one}:${nonce}:${nc}:${cnonce}:${qop}:${other}` : `${one}:${nonce}:${other}`);
}

const asks = (nonce, { isStale = false, name = 'WWW' } = {}) => ({ [`${name}-Authenticate`]: `Digest realm="carrier.example", nonce="${nonce}", algorithm=MD5, qop="auth"${isStale ? ', stale=true' : ''}` });

/** A carrier at a port, and a switch with a trunk to it. `lines`: what the trunk's entry says, too. */
async function trunkTo(test, { lines = ['register = true'], answers, address, users }) {
  const carrier = await test.line(0, address);
  carrier.follows = true;
  carrier.serve = (text) => answers?.(text, carrier);
  await test.ownSwitch({ MOQSWITCH_SIP_TRUNKS: path.join(test.work, 'trunks.toml'), MOQSWITCH_CALLS_DIALPLAN: path.join(test.work, 'dialplan.toml') }, (work) => {
    const about = [`address = "${carrier.address}:${carrier.port}"`, 'user = "4930123"', 'secret_file = "city.password"', 'domain = "carrier.example"', ...lines];
    writeFileSync(path.join(work, 'city.password'), `${SECRET}\n`, { mode: 0o600 });
    writeFileSync(path.join(work, 'trunks.toml'), `[trunks.city]\n${about.join('\n')}\n`, { mode: 0o600 });
    writeFileSync(path.join(work, 'dialplan.toml'), '[[rules]]\nto = "_0."\nstrip = 1\ntarget = "trunk/city"\n');
  }, users);
  return carrier;
}

/** 503 when no call can go by it. */
async function status(test) {
  const { status: code, body } = await test.switch.rest('GET', '/api/trunks/city/status');
  return { isUp: code === 200 && body.connected === true, code, ...body };
}

const isUp = (test) => until('the trunk up', async () => (await status(test)).isUp, 20_000).catch(async (error) => {
  throw new Error(`${error.message}: ${JSON.stringify(await status(test))}`);
});

/** A carrier that asks for credentials by new nonces, and calls each that is older stale. */
function strict() {
  const own = { nonce: 'first-nonce', seen: [] };
  own.take = (text, line) => {
    const method = text.split(' ')[0];
    if (method === 'REGISTER') {
      own.seen.push(text);
      if (isProven(text, own.nonce)) return line.answer(text, 200, { tag: 'carrier', headers: { Contact: `${header(text, 'Contact').replace(/;expires=\d+/, '')};expires=60` } });
      const isStale = own.seen.length > 1;
      if (isStale) own.nonce = `nonce-${own.seen.length}`;
      return line.answer(text, 401, { tag: 'carrier', headers: asks(own.nonce, { isStale }) });
    }
    if (method === 'OPTIONS' && own.isSilent !== true) return line.answer(text, 200, { tag: 'carrier' });
    if (method === 'BYE') return line.answer(text, 200);
    return undefined;
  };
  return own;
}

export const TRUNKS = [
  {
    name: 'a trunk registers, by nonces that are stale and new',
    source: 'report 22: sprout#1217, jambonz sbc-outbound#8',
    async run(test) {
      const own = { seen: [] };
      // The first, then stale, then let in.
      const carrier = await trunkTo(test, {
        lines: ['register = true', 'ping = 0'],
        answers: (text, line) => {
          if (!text.startsWith('REGISTER ')) return;
          own.seen.push(text);
          const count = own.seen.length;
          if (count === 1) return line.answer(text, 401, { tag: 'c', headers: asks('one') });
          if (count === 2) return line.answer(text, 401, { tag: 'c', headers: asks('two', { isStale: true }) });
          line.answer(text, isProven(text, 'two') ? 200 : 403, { tag: 'c', headers: { Contact: `${header(text, 'Contact').replace(/;expires=\d+/, '')};expires=3600` } });
        },
      });
      await isUp(test);
      test.equal(own.seen.length, 3, 'REGISTERs');
      test.equal(new Set(own.seen.map((text) => header(text, 'Call-ID'))).size, 1, 'Call-IDs');
      test.equal(own.seen.map((text) => cseqOf(text) - cseqOf(own.seen[0])), [0, 1, 2], 'CSeqs');
      test.check(isProven(own.seen[1], 'one') && isProven(own.seen[2], 'two'), 'credentials are wrong');
      test.match(header(own.seen[0], 'To'), /sip:4930123@carrier\.example/, 'To');
      test.match(/^REGISTER (\S+)/.exec(own.seen[0])[1], /^sip:carrier\.example/, 'Request-URI');
      void carrier;
    },
  },
  {
    name: 'a trunk that is refused does not ask without an end',
    source: 'report 22: baresip#786, jambonz sbc-outbound#8',
    async run(test) {
      let count = 0;
      // The same nonce each time, not stale: the password is wrong.
      await trunkTo(test, { lines: ['register = true', 'ping = 0'], answers: (text, line) => text.startsWith('REGISTER ') && line.answer(text, 401, { tag: 'c', headers: asks(`nonce-${++count > 2 ? 2 : count}`) }) });
      await until('asked', () => count >= 2);
      await pause(4000);
      test.check(count >= 2 && count <= 4, `${count} REGISTERs in 4 s`);
      test.check(!(await status(test)).isUp, `status: ${JSON.stringify(await status(test))}`);
    },
  },
  {
    name: 'a trunk is asked whether it is there, and is not',
    source: 'livekit#3907; RFC 3261, section 11',
    async run(test) {
      const own = strict();
      const carrier = await trunkTo(test, { lines: ['register = false', 'ping = 1'], answers: own.take });
      await isUp(test);
      await until('pings', () => carrier.requests('OPTIONS').length >= 3);
      const gaps = carrier.all.filter(({ text }) => text.startsWith('OPTIONS ')).map(({ at }, index, all) => (index ? at - all[index - 1].at : 1000)).slice(1);
      test.check(gaps.every((gap) => gap > 700 && gap < 2500), `times between OPTIONS: ${gaps.map(Math.round)}`);
      own.isSilent = true;
      await until('the trunk down', async () => !(await status(test)).isUp, 45_000);
      // Nobody gets out now.
      const line = await test.line();
      const dialog = new Dialog(line, test.number(), '0555');
      dialog.send('INVITE', { body: description(test.port()) });
      const refused = await line.final('INVITE', 1);
      test.check(statusOf(refused) >= 400, `a call by a trunk that is down: ${statusOf(refused)}`);
      dialog.send('ACK', { number: 1 });
      test.equal(carrier.requests('INVITE').length, 0, 'INVITEs at the carrier');
      own.isSilent = false;
      await isUp(test);
    },
  },
  {
    name: 'calls go out by a trunk, and prove who they are',
    source: 'report 22: jambonz sbc-outbound#8; RFC 3261, section 22.3',
    async run(test) {
      const own = strict();
      const carrier = await trunkTo(test, { answers: own.take });
      await isUp(test);
      const [line, one, other, from] = [await test.line(), await test.media(), await test.media(), test.number()];
      line.serve = (text) => text.startsWith('BYE ') && line.answer(text, 200);
      const dialog = new Dialog(line, from, '0301234567');
      dialog.send('INVITE', { body: description(one.port) });
      const unproven = await carrier.next('INVITE');
      test.match(unproven, /^INVITE sip:301234567@/, 'Request-URI, without the 0');
      carrier.answer(unproven, 407, { tag: 'no', headers: asks('proxy', { name: 'Proxy' }) });
      await carrier.next('ACK');
      const second = await carrier.next('INVITE');
      test.check(isProven(second, 'proxy'), 'credentials of the second INVITE are wrong');
      carrier.answer(second, 407, { tag: 'no2', headers: asks('proxy-2', { name: 'Proxy', isStale: true }) });
      await carrier.next('ACK');
      const proven = await carrier.next('INVITE');
      test.check(isProven(proven, 'proxy-2'), 'credentials of the third INVITE are wrong');
      test.equal([second, proven].map((text) => cseqOf(text) - cseqOf(unproven)), [1, 2], 'CSeqs');
      test.equal(header(proven, 'Call-ID'), header(unproven, 'Call-ID'), 'Call-ID');
      const called = Dialog.of(carrier, proven, '301234567');
      called.answer(180);
      test.match(await line.next('180'), /^To: .*;tag=/m, '180 of the carrier');
      other.speak(660, test.audioOf(proven));
      called.answer(200, { body: description(other.port, { types: '0 101' }) });
      const answer = dialog.learn(await line.final('INVITE', 1));
      test.equal(statusOf(answer), 200, 'INVITE');
      dialog.send('ACK', { number: 1 });
      await carrier.next('ACK');
      one.speak(440, test.audioOf(answer));
      await test.bothHear({ one, other }, 'by the trunk');
      called.send('BYE');
      test.equal(statusOf(await carrier.final('BYE', called.number)), 200, 'BYE of the carrier');
      await line.next('BYE');
      await test.record(from, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a carrier that never takes the credentials is asked twice',
    source: 'report 22: jambonz sbc-outbound#8: no loop',
    async run(test) {
      const own = strict();
      const carrier = await trunkTo(test, {
        answers: (text, line) => (text.startsWith('INVITE ') ? line.answer(text, 407, { tag: 'no', headers: asks('always', { name: 'Proxy' }) }) : own.take(text, line)),
      });
      await isUp(test);
      const [line, from] = [await test.line(), test.number()];
      const dialog = new Dialog(line, from, '0301234567');
      dialog.send('INVITE', { body: description(test.port()) });
      const refused = await line.final('INVITE', 1, 10_000);
      test.check(statusOf(refused) >= 400 && statusOf(refused) !== 407 && statusOf(refused) !== 401, `the caller is told ${statusOf(refused)}`);
      dialog.send('ACK', { number: 1 });
      await pause(1500);
      test.equal(carrier.requests('INVITE').length, 2, 'INVITEs at the carrier');
    },
  },
  {
    name: 'calls come in by a trunk, known by its address',
    source: 'OPERATING, trunks; livekit#3907',
    async run(test) {
      const own = strict();
      // Others have to have a password here.
      const carrier = await trunkTo(test, { answers: own.take, address: '127.0.0.2', users: USERS });
      await isUp(test);
      const to = '5001';
      const phone = await test.line();
      Object.assign(phone, { user: to, media: await test.media(), serve: (text) => /^(BYE|UPDATE) /.test(text) && phone.answer(text, 200) });
      const uri = `sip:127.0.0.1:${test.sip}`;
      const registering = { From: `<sip:${to}@127.0.0.1>;tag=r`, To: `<sip:${to}@127.0.0.1>`, 'Call-ID': `by-trunk-${phone.port}`, Contact: `<sip:${to}@127.0.0.1:${phone.port}>` };
      const asked = challenge(await phone.ask('REGISTER', uri, { ...registering, CSeq: '1 REGISTER' }));
      const proof = credentials(asked, { user: to, password: USERS[to], method: 'REGISTER', uri, count: 1 });
      test.equal(statusOf(await phone.ask('REGISTER', uri, { ...registering, CSeq: '2 REGISTER', Authorization: proof })), 200, 'REGISTER of the callee');
      const stranger = await test.line();
      const forged = new Dialog(stranger, '49891234', to);
      forged.send('INVITE', { body: description(test.port()) });
      test.match(await stranger.final('INVITE', 1), /^SIP\/2.0 40[17] /, 'the same call from another address');
      forged.send('ACK', { number: 1 });
      const one = await test.media();
      const dialog = new Dialog(carrier, '49891234', to);
      dialog.send('INVITE', { body: description(one.port) });
      const called = await test.called(phone);
      test.match(header(called.invite, 'From'), /sip:49891234@/, 'From of the INVITE');
      called.answer(200, { body: description(phone.media.port, { types: '0 101' }) });
      const answer = dialog.learn(await carrier.final('INVITE', 1));
      test.equal(statusOf(answer), 200, 'INVITE');
      dialog.send('ACK', { number: 1 });
      await phone.next('ACK');
      one.speak(440, test.audioOf(answer));
      phone.media.speak(660, test.audioOf(called.invite));
      await test.bothHear({ one, other: phone.media }, 'by the trunk');
      dialog.send('BYE');
      test.equal(statusOf(await carrier.final('BYE', dialog.number)), 200, 'BYE');
      await phone.next('BYE');
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
];
