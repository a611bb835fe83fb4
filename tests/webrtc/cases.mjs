// The cases of tests/webrtc.sh.
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';

import { Telephone } from '../phone/telephone.mjs';

const equal = (seen, wanted, what) => {
  if (seen !== wanted) throw new Error(`${what}: ${JSON.stringify(seen)}, and not ${JSON.stringify(wanted)}`);
};

/** Of a session of WHIP or WHEP, by its URL. */
const end = async (location) => (await fetch(location, { method: 'DELETE' })).status;

/** A telephone of JsSIP, registered. */
const registered = async (page, test, number) => page.evaluate(([url, number]) => telephone.begin(url, number), [`ws://${test.address}/sip`, number]);

export const CASES = {
  async 'WHIP is heard by WHEP'(test) {
    const [speaker, hearer] = await test.pages(2);
    const whip = `${test.base}/whip/studio/one`;
    const whep = `${test.base}/whep/studio/one`;
    const published = await speaker.evaluate(([url]) => rtc.publish(url), [whip]);
    const heard = await hearer.evaluate(([url, hz]) => rtc.hear(url, hz), [whep, test.tones[0]]);
    equal(heard.statistics.codec, 'audio/opus', 'codec');
    test.note(`${heard.hz.toFixed(0)} Hz at ${heard.db.toFixed(0)} dB, ${heard.statistics.received} packets, ${heard.statistics.lost} lost`);
    equal(await end(heard.location), 200, 'DELETE of WHEP');
    equal(await end(heard.location), 404, 'DELETE a second time');
    await hearer.evaluate(([url]) => rtc.over(url), [whep]);
    equal(await end(published.location), 200, 'DELETE of WHIP');
  },

  async 'G.711 passes as it is'(test) {
    const [speaker, hearer] = await test.pages(2);
    const published = await speaker.evaluate(([url]) => rtc.publish(url, 'pcma'), [`${test.base}/whip/studio/two`]);
    const heard = await hearer.evaluate(([url, hz]) => rtc.hear(url, hz), [`${test.base}/whep/studio/two`, test.tones[0]]);
    equal(heard.statistics.codec, 'audio/PCMA', 'codec');
    equal(await end(published.location), 200, 'DELETE');
  },

  async 'what is refused'(test) {
    const post = async (path, body, type = 'application/sdp') => {
      const answer = await fetch(`${test.base}${path}`, { method: 'POST', headers: { 'Content-Type': type }, body });
      return answer.status;
    };
    equal(await post('/whep/nobody', 'v=0\r\n'), 404, 'a broadcast that is not there');
    equal(await post('/whip/x', 'v=0\r\n'), 406, 'nothing to hear');
    equal(await post('/whip/x', 'v=0\r\n', 'text/plain'), 415, 'another type');
    equal(await post('/whip/x', 'a'.repeat(100_000)), 413, 'too long');
    equal((await fetch(`${test.base}/webrtc/00`, { method: 'DELETE' })).status, 404, 'no such session');
    equal((await fetch(`${test.base}/whip/x`, { method: 'PATCH' })).status, 405, 'PATCH');
    const options = await fetch(`${test.base}/whip/x`, { method: 'OPTIONS' });
    equal(options.status, 204, 'OPTIONS');
    equal(options.headers.get('Accept-Post'), 'application/sdp', 'Accept-Post');
  },

  async 'who may, and who is told of TURN'(test) {
    const secret = path.join(test.work, 'turn.key');
    await writeFile(secret, 'a secret of the server of TURN\n');
    const servers = 'stun:127.0.0.1:9,turn:127.0.0.1:9?transport=udp';
    const base = await test.another({ MOQSWITCH_AUTH_PUBLIC: 'anon/**', MOQSWITCH_WEBRTC_ICE_SERVERS: servers, MOQSWITCH_WEBRTC_TURN_SECRET: secret });
    const [page] = await test.pages(1);
    // Signalling is for pages of its own origin.
    await page.goto(`${base}/healthz`);
    await page.addScriptTag({ content: test.script });
    const refused = await page.evaluate(([url]) => rtc.publish(url).catch(({ message }) => message), [`${base}/whip/room`]);
    if (!/: 401 /.test(refused)) throw new Error(`it is not refused: ${JSON.stringify(refused)}`);
    const { link, location } = await page.evaluate(([url]) => rtc.publish(url), [`${base}/whip/anon/room`]);
    const [, until, credential] = /<turn:127\.0\.0\.1:9\?transport=udp>; rel="ice-server"; username="(\d+):\w+"; credential="([^"]+)"/.exec(link) ?? [];
    if (!(until > Date.now() / 1000 && credential.length === 28)) throw new Error(`no credentials: ${link}`);
    if (!link.startsWith('<stun:127.0.0.1:9>; rel="ice-server",')) throw new Error(`STUN: ${link}`);
    await page.evaluate(([url]) => client.begin(url, 'agent').then((payload) => (client.told = payload)), [`ws${base.slice(4)}/ws`]);
    const told = await page.evaluate(() => client.told.iceServers);
    equal(told.map(({ urls }) => urls).join(), servers, 'iceServers');
    equal(/^\d+:agent$/.test(told[1].username), true, 'username');
    equal(told[1].expires, 3600, 'expires');
    equal(await end(location), 200, 'DELETE');
  },

  async 'a session ends with the token by which it began'(test) {
    const key = path.join(test.work, 'tokens.jwk');
    const run = (...flags) => execFileSync(test.relay, ['token', ...flags], { encoding: 'utf8', env: { PATH: process.env.PATH } }).trim();
    await writeFile(key, run('generate', '--algorithm', 'HS256'));
    const base = await test.another({ MOQSWITCH_AUTH_KEY: key, MOQSWITCH_AUTH_PUBLIC: 'anon/**' });
    const [page] = await test.pages(1);
    await page.goto(`${base}/healthz`);
    await page.addScriptTag({ content: test.script });
    const locations = [];
    // The first token is good until then, to the second.
    const good = Date.now() + 4000 - 1000;
    for (const life of ['4s', '10m']) {
      const token = run('sign', '--key', key, '--publish', 'room/**', '--expires-in', life);
      locations.push((await page.evaluate(([url]) => rtc.publish(url), [`${base}/whip/room/${life}?jwt=${token}`])).location);
    }
    const is = async (location) => (await fetch(location, { method: 'PATCH', headers: { 'Content-Type': 'application/trickle-ice-sdpfrag' }, body: 'a=end-of-candidates' })).status;
    for (const deadline = Date.now() + 30_000; (await is(locations[0])) !== 404; ) {
      if (Date.now() > deadline) throw new Error('the session outlives its token');
      await new Promise((later) => setTimeout(later, 200));
    }
    if (Date.now() < good) throw new Error('the session ends before its token');
    equal(await is(locations[1]), 204, 'a session whose token is good');
    equal(await end(locations[1]), 200, 'DELETE');
  },

  async 'telephones of JsSIP call each other'(test) {
    const [one, other] = await test.pages(2);
    await registered(one, test, 'page-one');
    await registered(other, test, 'page-other');
    await one.evaluate(() => telephone.call('page-other'));
    await other.evaluate(() => telephone.called());
    await other.evaluate(() => telephone.answer());
    await Promise.all([one, other].map((page) => page.evaluate(() => telephone.up())));
    const heard = await Promise.all([one.evaluate((hz) => telephone.hears(hz), test.tones[1]), other.evaluate((hz) => telephone.hears(hz), test.tones[0])]);
    test.note(`${await one.evaluate(() => telephone.codec())}; ${heard.map(({ hz, db }) => `${hz.toFixed(0)} Hz at ${db.toFixed(0)} dB`).join(', ')}`);
    await one.evaluate(() => telephone.hold());
    await other.evaluate(() => telephone.hearsNobody());
    await one.evaluate(() => telephone.unhold());
    await other.evaluate((hz) => telephone.hears(hz), test.tones[0]);
    await one.evaluate(() => telephone.hangUp());
    equal(await other.evaluate(() => telephone.ended), 'Terminated', 'how it ends');
    await one.evaluate(() => telephone.unregister());
  },

  async 'JsSIP calls a telephone of SIP, and is called by it'(test) {
    const [page] = await test.pages(1);
    const desk = await Telephone.start({ work: test.work, number: 'desk', tone: test.tones[2], sip: test.sip, port: await test.freePorts(12) });
    test.ending.push(() => desk.stop());
    await registered(page, test, 'page');
    await page.evaluate(() => telephone.call('desk'));
    await desk.isCalled();
    await desk.command('accept');
    await Promise.all([page.evaluate(() => telephone.up()), desk.isUp()]);
    await Promise.all([page.evaluate((hz) => telephone.hears(hz), test.tones[2]), desk.hears(test.tones[0], test.tones.slice(1))]);
    // Nothing is transcoded.
    equal(await page.evaluate(() => telephone.codec()), 'audio/PCMU', 'codec');
    await page.evaluate(() => telephone.hangUp());
    await desk.isFree();

    await page.evaluate(() => (telephone.session = null));
    await desk.call('page');
    await page.evaluate(() => telephone.called());
    await page.evaluate(() => telephone.answer());
    await page.evaluate(() => telephone.up());
    await Promise.all([page.evaluate((hz) => telephone.hears(hz), test.tones[2]), desk.hears(test.tones[0], test.tones.slice(1))]);
    await desk.command('hangup');
    await page.evaluate(() => telephone.ended);
  },

  async 'JsSIP calls the web phone'(test) {
    const [page] = await test.pages(1);
    const bob = await test.webPhone(1, 'bob');
    await registered(page, test, 'page');
    await page.evaluate(() => telephone.call('bob'));
    await bob.waitForFunction(() => [...globalThis.phone.calls.values()].some(({ state }) => state == 'incoming'));
    await bob.click('#answerBtn');
    await page.evaluate(() => telephone.up());
    await Promise.all([page.evaluate((hz) => telephone.hears(hz), test.tones[1]), test.hears(bob, 0)]);
    test.note(`${await page.evaluate(() => telephone.codec())}`);
    await page.evaluate(() => telephone.hangUp());
    await bob.waitForFunction(() => !globalThis.phone.calls.size);
  },

  async 'a browser by JSON calls a telephone of SIP, and is called by it'(test) {
    const [page] = await test.pages(1);
    const desk = await Telephone.start({ work: test.work, number: 'desk-two', tone: test.tones[2], sip: test.sip, port: await test.freePorts(12) });
    test.ending.push(() => desk.stop());
    await page.evaluate(([url]) => client.begin(url, 'agent'), [`ws://${test.address}/signaling`]);
    const calling = page.evaluate(() => client.call('desk-two'));
    await desk.isCalled();
    await desk.command('accept');
    await Promise.all([calling, desk.isUp()]);
    await Promise.all([page.evaluate((hz) => client.hears(hz), test.tones[2]), desk.hears(test.tones[0], test.tones.slice(1))]);
    await page.evaluate(() => client.hangUp());
    await desk.isFree();

    await desk.call('agent');
    await page.evaluate(() => client.answer());
    await Promise.all([page.evaluate((hz) => client.hears(hz), test.tones[2]), desk.hears(test.tones[0], test.tones.slice(1))]);
    await page.evaluate(() => client.hangUp());
    await desk.isFree();
  },

  async 'a browser by JSON calls the web phone, and is called by it'(test) {
    const [page] = await test.pages(1);
    const bob = await test.webPhone(1, 'bob-two');
    await page.evaluate(([url]) => client.begin(url, 'agent-two', { webrtc: true }), [`ws://${test.address}/signaling`]);
    const calling = page.evaluate(() => client.call('bob-two'));
    await bob.waitForFunction(() => [...globalThis.phone.calls.values()].some(({ state }) => state == 'incoming'));
    await bob.click('#answerBtn');
    await calling;
    await Promise.all([page.evaluate((hz) => client.hears(hz), test.tones[1]), test.hears(bob, 0)]);
    await page.evaluate(() => client.hangUp());
    await bob.waitForFunction(() => !globalThis.phone.calls.size);

    await bob.fill('#destination', 'agent-two');
    await bob.click('#callBtn');
    await page.evaluate(() => client.answer());
    await Promise.all([page.evaluate((hz) => client.hears(hz), test.tones[1]), test.hears(bob, 0)]);
    await page.evaluate(() => client.hangUp());
  },

  async 'two browsers by JSON are forwarded as they come'(test) {
    const [one, other] = await test.pages(2);
    await one.evaluate(([url]) => client.begin(url, 'one'), [`ws://${test.address}/signaling`]);
    await other.evaluate(([url]) => client.begin(url, 'other'), [`ws://${test.address}/signaling`]);
    const calling = one.evaluate(() => client.call('other'));
    await other.evaluate(() => client.answer());
    await calling;
    const [offer, answer] = await Promise.all([other, one].map((page) => page.evaluate(() => client.peer.remoteDescription.sdp)));
    if (/ice-lite/.test(offer + answer)) throw new Error('the switch is between them');
    await one.evaluate(() => client.hangUp());
  },
};
