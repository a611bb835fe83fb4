// What other projects' users reported, and what a page has beside a call that goes well.
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { hearEachOther, talk } from './talk.mjs';

const source = (name) => readFile(fileURLToPath(new URL(`../../src/phone/${name}`, import.meta.url)), 'utf8');

/** What a page plays has this tone, or not. */
const sounds = (phone, what, frequency, isOn = true) =>
  phone.until(`${isOn ? '' : 'not '}playing ${what}`, ([frequency, isOn]) => globalThis.levels(frequency)[0] > -40 == isOn, [frequency, isOn]);

/** Its signalling goes away, and stays away until `isCut` is false. */
const cutSignalling = (phone) => phone.page.evaluate(() => {
  globalThis.isCut = true;
  globalThis.sockets.filter(({ url }) => url.endsWith('/ws')).forEach((socket) => socket.close());
});
const mendSignalling = (phone) => phone.page.evaluate(() => (globalThis.isCut = false));

export const REPORTS = {
  async 'nobody answers: it rings at both ends, and ends with a word'(test) {
    await test.ownSwitch({ MOQSWITCH_CALLS_RING: '12s' });
    const alice = await test.phone(0);
    const bob = await test.phone(1);
    await alice.call(bob.number);
    // The first ring is heard, since who registered has clicked (Browser-Phone#614); ring-back ends with the call (#51).
    await Promise.all([sounds(alice, 'ring-back', 425), sounds(bob, 'a ring tone', 480)]);
    await alice.says('Nobody answered');
    await Promise.all([alice.isFree(), bob.isFree(), sounds(alice, 'ring-back', 425, false), sounds(bob, 'a ring tone', 480, false)]);
    await bob.page.click('#history summary');
    await bob.until('listing a missed call', () => /missed/.test(document.querySelector('#past').textContent));
  },

  async 'a line that takes no second call is busy'(test) {
    await test.ownSwitch({ MOQSWITCH_CALLS_CALL_WAITING: 'false' });
    const [, bob] = await talk(test);
    const carol = await test.phone(2);
    await carol.call(bob.number);
    await carol.says('busy');
    await carol.isFree();
  },

  async 'users of the switch: a wrong password, the right one, and signing out'(test) {
    const users = path.join(test.options.work, `${test.tag}-users.toml`);
    await writeFile(users.replace('.toml', '.password'), 'correct horse');
    await writeFile(users, `[users."5001"]\npassword_file = "${path.basename(users).replace('.toml', '.password')}"\n`);
    await test.ownSwitch({ MOQSWITCH_CALLS_USERS: users });
    const alice = await test.phone(0, { register: false, number: '5001' });
    const enter = async (password) => {
      await alice.page.fill('#dn', '5001');
      await alice.page.fill('#password', password);
      await alice.key('Enter');
    };
    await enter('wrong');
    await alice.says('password is wrong');
    await test.examine(alice, 'a wrong password');
    await enter('correct horse');
    await alice.until('registered', () => globalThis.phone.state == 'ready' && document.querySelector('#dialpad'));
    await alice.until('connected to the relay', () => globalThis.phone.transport);
    await alice.click('unregisterBtn');
    await alice.until('signed out, its number remembered and its password not', () =>
      !document.querySelector('#registerForm').hidden && globalThis.phone.state == 'offline' && !sessionStorage.length);
    await alice.page.reload();
    await alice.until('asking who it is', () =>
      !document.querySelector('#registerForm').hidden && document.querySelector('#dn').value == '5001' && !document.querySelector('#password').value);
  },

  async 'a switch that cannot be reached is said to be that, and is entered when it is there again'(test) {
    const relay = await test.ownSwitch();
    const alice = await test.phone(0, { register: false });
    const bob = await test.phone(1, { register: false });
    // Its signalling alone is away, and then all of it: pages that were not loaded yet cannot be.
    await bob.page.evaluate(() => (globalThis.isCut = true));
    await bob.enter();
    await bob.says('The switch cannot be reached');
    await mendSignalling(bob);
    await bob.register();
    await relay.kill();
    await alice.enter();
    await alice.says('The switch cannot be reached');
    await alice.until('asking who it is', () => !document.querySelector('#registerForm').hidden);
    await relay.start();
    await alice.register();
    await bob.until('back', () => globalThis.phone.state == 'ready');
    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.click('answerBtn');
    await hearEachOther(alice, bob);
  },

  async 'from the keyboard alone: cancel, transfers, conference, a second call'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    const add = async (button) => {
      if (!(await alice.page.evaluate(() => document.querySelector('#passOn').open))) await alice.press('#passOn summary');
      await alice.page.evaluate(() => (document.querySelector('#transferTo').value = ''));
      await alice.types('#transferTo', carol.number);
      await alice.press(button);
      await carol.isIncoming();
      await carol.press('#answerBtn');
    };
    await add('#conferenceBtn');
    await Promise.all([alice.hears(bob, carol), bob.hears(alice, carol), carol.hears(alice, bob)]);
    await carol.press('#hangupBtn');
    await Promise.all([carol.isFree(), hearEachOther(alice, bob)]);
    await add('#transferBtn');
    await Promise.all([alice.isFree(), hearEachOther(bob, carol)]);
    // The second call waits, is taken, and both are connected.
    await alice.types('#destination', bob.number);
    await alice.key('Enter');
    await bob.until('called', () => document.querySelector('#calls .incoming'));
    await bob.press('#calls .go');
    await hearEachOther(alice, bob);
    await bob.press('#passOn summary');
    await bob.press('.attended');
    await Promise.all([bob.isFree(), hearEachOther(alice, carol)]);
    await alice.press('#hangupBtn');
    await carol.isFree();
    await alice.types('#destination', '');
    await alice.key('Enter');
    await bob.isIncoming();
    await alice.key('Escape');
    await Promise.all([alice.isFree(), bob.isFree()]);
    const mute = await test.phone(2, { number: `mute-${test.tag}`, init: () => (globalThis.isMicrophoneRefused = true) });
    await mute.types('#destination', bob.number);
    await mute.key('Enter');
    await mute.says('microphone may not be used');
    await test.examine(mute, 'a refused microphone');
  },

  async 'ask first, take the one or the other, and talk all together'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    await alice.page.click('#passOn summary');
    await alice.page.fill('#transferTo', carol.number);
    await alice.click('consultBtn');
    await carol.isIncoming();
    await carol.click('answerBtn');
    await Promise.all([hearEachOther(alice, carol), bob.hears()]);
    await alice.page.click('#calls .go:text-is("Take")');
    await Promise.all([hearEachOther(alice, bob), carol.hears()]);
    await alice.page.click('.merge');
    await Promise.all([alice.hears(bob, carol), bob.hears(alice, carol), carol.hears(alice, bob)]);
    await alice.page.click('#colleagues summary');
    await alice.page.fill('#colleague', bob.number);
    await alice.click('addColleagueBtn');
    await alice.page.click('#people button:text-is("Remove")');
    await alice.until('without colleagues', () => !document.querySelector('#people').children.length);
    await alice.click('unregisterBtn');
    await Promise.all([hearEachOther(bob, carol), alice.isFree()]);
  },

  // JsSIP#99, sipml5#252.
  async 'sound goes on while signalling is away, and hanging up then ends the call'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await cutSignalling(alice);
    await alice.until('cut', () => globalThis.phone.state == 'lost');
    await hearEachOther(alice, bob);
    await alice.click('hangupBtn');
    if ((await alice.page.evaluate(() => globalThis.phone.state)) != 'lost') throw new Error('signalling was not away for long enough');
    await mendSignalling(alice);
    await Promise.all([alice.isFree(), bob.isFree()]);
  },

  // SIP.js#446.
  async 'who answers and hangs up at once is free, and so is the microphone'(test) {
    const alice = await test.phone(0);
    const bob = await test.phone(1);
    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.page.evaluate(() => ['answerBtn', 'hangupBtn'].forEach((id) => document.getElementById(id).click()));
    await Promise.all([alice.isFree(), bob.isFree()]);
    await bob.until('without microphone', () => !globalThis.phone.audio.stream);
    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.click('answerBtn');
    await hearEachOther(alice, bob);
  },

  // element-web#15735, #15885.
  async 'answered elsewhere is silent'(test) {
    const alice = await test.phone(0);
    const bob = await test.phone(1);
    const other = await test.phone(2, { number: bob.number });
    await alice.call(bob.number);
    await Promise.all([bob.isIncoming(), other.isIncoming(), sounds(other, 'a ring tone', 480)]);
    await bob.click('answerBtn');
    await Promise.all([hearEachOther(alice, bob), other.isFree(), other.hears()]);
    if (await other.page.evaluate(() => !document.querySelector('#alert').hidden)) throw new Error('something is said');
  },

  // client-sdk-js#1220, components-js#950.
  async 'devices: another microphone, one that is taken away, another loudspeaker'(test) {
    const init = () => {
      AudioContext.prototype.setSinkId = (id) => Promise.resolve((globalThis.sink = id));
    };
    const [alice, bob] = await talk(test, [{ init }, {}]);
    await alice.page.click('#settings summary');
    await alice.until('listing microphones', () => document.querySelector('#microphone').options.length > 1);
    const chosen = await alice.page.evaluate(() => [...document.querySelector('#microphone').options].at(-1).value);
    await alice.page.selectOption('#microphone', chosen);
    await alice.until('using the other microphone', (id) => globalThis.phone.audio.stream?.getTracks()[0].getSettings().deviceId == id, chosen);
    await hearEachOther(alice, bob);
    const speaker = await alice.page.evaluate(() => [...document.querySelector('#speaker').options].at(-1).value);
    await alice.page.selectOption('#speaker', speaker);
    await alice.until('using the other loudspeaker', (id) => globalThis.sink == id, speaker);
    // The headset is gone: its track ends, and the system tells of it.
    await alice.page.evaluate(() => {
      const [track] = globalThis.phone.audio.stream.getTracks();
      globalThis.gone = globalThis.phone.audio.stream;
      const { enumerateDevices } = MediaDevices.prototype;
      const { deviceId } = track.getSettings();
      navigator.mediaDevices.enumerateDevices = async () => (await enumerateDevices.call(navigator.mediaDevices)).filter((one) => one.deviceId != deviceId);
      track.onended();
      navigator.mediaDevices.dispatchEvent(new Event('devicechange'));
    });
    await alice.until('using what is left', () => globalThis.phone.audio.stream && globalThis.phone.audio.stream != globalThis.gone && document.querySelector('#microphone').value == '');
    await hearEachOther(alice, bob);
    // What was chosen and is not there is no reason to be silent in the next call.
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), bob.isFree()]);
    await alice.page.evaluate(() => (globalThis.phone.audio.microphone = { exact: 'gone' }));
    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.click('answerBtn');
    await hearEachOther(alice, bob);
  },

  // SIP.js#685, JsSIP#977, wazo-js-sdk#878.
  async 'hold is shown when the switch has confirmed it, and not when it refuses'(test) {
    let held;
    const sockets = (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((text) => {
        const { type, id } = JSON.parse(text);
        if (type != 'hold') return server.send(text);
        held = { pass: () => server.send(text), refuse: () => socket.send(JSON.stringify({ type: 'error', id, payload: { code: 500, message: 'no' } })) };
      });
      server.onMessage((text) => socket.send(text));
    };
    const [alice, bob] = await talk(test, [{ sockets }, {}]);
    await hearEachOther(alice, bob);
    const asked = async () => {
      for (const deadline = Date.now() + 60_000; !held; await new Promise((later) => setTimeout(later, 20))) if (Date.now() > deadline) throw new Error('hold is not asked for');
      const [one] = [held, (held = undefined)];
      return one;
    };
    const pressed = () => alice.page.evaluate(() => document.querySelector('#holdBtn').ariaPressed);
    await alice.click('holdBtn');
    await hearEachOther(alice, bob);
    if ((await pressed()) == 'true') throw new Error('hold is shown, and nobody confirmed it');
    (await asked()).refuse();
    await alice.says('did not work');
    if ((await pressed()) == 'true') throw new Error('hold is shown, and was refused');
    await alice.click('muteBtn');
    await Promise.all([bob.hears(), alice.hears(bob)]);
    await alice.click('holdBtn');
    (await asked()).pass();
    await alice.until('on hold', () => document.querySelector('#holdBtn').ariaPressed == 'true');
    await Promise.all([bob.hears(), alice.hears()]);
  },

  async 'a hidden page tells of a call, and the screen stays on in one'(test) {
    const init = () => {
      Object.defineProperty(document, 'hidden', { get: () => globalThis.isHidden ?? false });
      globalThis.notices = [];
      globalThis.Notification = class {
        static permission = 'granted';
        constructor(title, { body }) {
          globalThis.notices.push(this);
          Object.assign(this, { title, body });
        }
        close() {
          this.isClosed = true;
        }
      };
      globalThis.locks = 0;
      navigator.wakeLock.request = async () => (globalThis.locks++, { release: async () => globalThis.locks-- });
    };
    const alice = await test.phone(0);
    const bob = await test.phone(1, { init });
    await bob.page.evaluate(() => (globalThis.isHidden = true));
    await alice.call(bob.number);
    await bob.until('told of a call', () => globalThis.notices.length == 1);
    await sounds(bob, 'a ring tone', 480);
    const body = await bob.page.evaluate(() => globalThis.notices[0].body);
    if (body != alice.number) throw new Error(`the notice says ${body}`);
    await bob.page.evaluate(() => (globalThis.isHidden = false));
    await bob.click('answerBtn');
    await bob.until('told no more, and with its screen on', () => globalThis.notices[0].isClosed && globalThis.locks == 1);
    await hearEachOther(alice, bob);
    await bob.until('counting the time', () => /^\d+:\d\d$/.test(document.querySelector('#timer').textContent) && document.querySelector('#timer').textContent != '0:00');
    await bob.click('hangupBtn');
    await bob.until('with its screen as it was', () => globalThis.locks == 0);
  },

  async 'a page that slept goes on'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    const devtools = await alice.page.context().newCDPSession(alice.page);
    await devtools.send('Page.setWebLifecycleState', { state: 'frozen' });
    await new Promise((later) => setTimeout(later, 8000));
    await devtools.send('Page.setWebLifecycleState', { state: 'active' });
    await hearEachOther(alice, bob);
    await alice.click('hangupBtn');
    await bob.isFree();
  },

  async 'who wants no motion sees none'(test) {
    const alice = await test.phone(0, { reducedMotion: 'reduce' });
    const bob = await test.phone(1);
    const motion = (phone) => phone.page.evaluate(() => getComputedStyle(document.querySelector('.incoming')).animationName);
    await bob.call(alice.number);
    await alice.until('called', () => document.querySelector('.incoming'));
    if ((await motion(alice)) != 'none') throw new Error('something moves');
    await alice.click('hangupBtn');
    await bob.isFree();
    await alice.call(bob.number);
    await bob.until('called', () => document.querySelector('.incoming'));
    if ((await motion(bob)) != 'ring') throw new Error('nothing moves for who did not say so');
  },

  async 'every text of the phone is in the German table'() {
    const { table } = await import(new URL('../../src/phone/de.js', import.meta.url).href);
    const [more, phone, way, page] = await Promise.all(['more.js', 'phone.js', 'path.js', 'index.html'].map(source));
    const found = new Set();
    const add = (text, pattern) => [...text.matchAll(pattern)].forEach(([, words]) => found.add(words));
    add(more + phone + way, /\bt\('([^']+)'\)/g);
    add(more, /\bbutton\('([^']+)'/g);
    add(more, /\b(?:fold|chooser)\(\s*'[^']*', '([^']+)'/g);
    add(more.slice(more.indexOf('const REASONS'), more.indexOf('};', more.indexOf('const REASONS'))), /: '([^']+)',/g);
    add(more.slice(more.indexOf('const PRESENCE')).split('\n')[0], /: '([^']+)'/g);
    add(phone.slice(phone.indexOf('const STATES'), phone.indexOf('};', phone.indexOf('const STATES'))), /: '([^']+)'/g);
    add(way.slice(way.indexOf('export const verdict'), way.indexOf('export const show')), /return '([^']+)'/g);
    add(page, /<(?:button|label)[^>]*>([^<]+)</g);
    const missing = [...found].map((text) => text.trim()).filter((text) => !table[text] && !/^[0-9*#]$/.test(text));
    if (found.size < 80) throw new Error(`${found.size} texts alone were found`);
    if (missing.length) throw new Error(`without German: ${missing.join(' | ')}`);
  },
};
