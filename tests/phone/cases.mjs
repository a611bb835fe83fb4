import { faults, play, random } from './buffer.mjs';
import { AGAIN } from './again.mjs';
import { EARLY } from './early.mjs';
import { MEASUREMENTS } from './measurements.mjs';
import { NETWORK } from './network.mjs';
import { REPORTS } from './reports.mjs';
import { codecIs, hearEachOther, noOpus, noWebTransport, patient, talk } from './talk.mjs';
import { ALL_TONES, TONES } from './tones.mjs';

// What has to hold, by name. Each case gets a Test (run.mjs) and has pages of its own.

async function transport(test, name, options) {
  const [alice, bob] = await talk(test, options);
  await hearEachOther(alice, bob);
  for (const phone of [alice, bob]) {
    const used = await phone.page.evaluate(() => globalThis.phone.transport);
    if (used != name) throw new Error(`${phone.number} goes by ${used}`);
    const { echoCancellation, noiseSuppression } = await phone.page.evaluate(() => globalThis.asked);
    if (!echoCancellation || !noiseSuppression) throw new Error('echo would not be cancelled');
  }
  return [alice, bob];
}

/** What the jitter buffer does with frames that come so. */
function expectBuffer(test, title, options, { underruns = 0, gaps = 0, steps = 0, heldMax }) {
  const played = play({ ms: 30_000, ...options });
  const before = played.reports[5]?.underruns ?? 0;
  const found = { ...faults(played, 5000, options.ms ?? 29_000), underruns: played.last.underruns - before };
  const { target, buffer, lost } = played.last;
  test.note(`${title}: target ${target} ms, held ${buffer} ms, ${lost} lost, ${played.last.edits} edits; ${JSON.stringify(found)}`);
  for (const [name, most] of Object.entries({ underruns, gaps, steps })) if (found[name] > most) throw new Error(`${title}: ${found[name]} ${name}`);
  if (buffer > heldMax) throw new Error(`${title}: ${buffer} ms are held`);
  return played.last;
}

export const CASES = {
  async 'the jitter buffer by itself'(test) {
    expectBuffer(test, 'evenly', { delay: () => 1 }, { heldMax: 60 });
    const jitter = random(1);
    // moq-dev/moq#3477: "real-time" audio cut in and out at less.
    expectBuffer(test, '40 ms away, 10 ms jitter', { delay: () => 40 + 10 * jitter() }, { heldMax: 80 });
    const more = random(2);
    expectBuffer(test, '40 ms jitter, some overtaken', { delay: () => 40 * more() }, { underruns: 3, heldMax: 120 });
    const lossy = random(3);
    const { lost } = expectBuffer(test, '3 % lost', { delay: () => (lossy() < 0.03 ? undefined : 1) }, { heldMax: 60 });
    if (lost < 20 || lost > 70) throw new Error(`${lost} of some 45 were said to be lost`);
    const mended = random(4);
    const last = expectBuffer(test, '5 % come again', { delay: () => 1, isAgain: () => mended() < 0.05 }, { heldMax: 80 });
    if (last.lost || last.late) throw new Error(`${last.lost} that came again were lost, ${last.late} late`);
    expectBuffer(test, 'a slower sender', { ms: 60_000, delay: () => 1, drift: 1e-3 }, { heldMax: 60 });
    expectBuffer(test, 'a faster sender', { ms: 60_000, delay: () => 1, drift: -1e-3 }, { heldMax: 80 });
    // What piles up in a stall is not kept.
    expectBuffer(test, 'a stall of a second', { delay: (frame) => (frame >= 400 && frame < 450 ? (450 - frame) * 20 : 1) }, { underruns: 1, gaps: 1, steps: 3, heldMax: 120 });
  },

  async 'call by WebTransport'(test) {
    const [alice, bob] = await transport(test, 'WebTransport', [{ init: patient }, { init: patient }]);
    await codecIs(alice, 'opus');
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), bob.isFree(), alice.hears(), bob.hears()]);
  },

  async 'call by WebSocket'(test) {
    await transport(test, 'WebSocket', [{ init: noWebTransport }, { init: noWebTransport }]);
  },

  async 'call from WebTransport to WebSocket'(test) {
    const alice = await test.phone(0);
    const bob = await test.phone(1, { init: noWebTransport });
    await bob.call(alice.number);
    await alice.isIncoming();
    await alice.click('answerBtn');
    await hearEachOther(alice, bob);
  },

  async 'G.711 for who has no Opus'(test) {
    const [alice, bob] = await talk(test, [{}, { init: noOpus }]);
    await hearEachOther(alice, bob);
    await Promise.all([codecIs(alice, 'pcmu'), codecIs(bob, 'pcmu')]);
  },

  async 'mute and hold'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await alice.click('muteBtn');
    await Promise.all([bob.hears(), alice.hears(bob)]);
    // On hold nobody is heard, and a muted phone stays muted after it.
    await alice.click('holdBtn');
    await Promise.all([bob.hears(), alice.hears()]);
    await alice.until('pressed', () => document.querySelector('#holdBtn').ariaPressed == 'true');
    await alice.click('holdBtn');
    await alice.hears(bob);
    await bob.hears();
    await alice.click('muteBtn');
    await hearEachOther(alice, bob);
    await bob.click('holdBtn');
    await alice.until('told', () => document.querySelector('#progress').textContent.includes('put you on hold'));
    await Promise.all([bob.hears(), alice.hears()]);
    await bob.click('holdBtn');
    await hearEachOther(alice, bob);
  },

  async 'a telephone of SIP calls a browser'(test) {
    const alice = await test.phone(0);
    const desk = await test.telephone(2);
    await desk.call(alice.number);
    await alice.isIncoming();
    await alice.click('answerBtn');
    await Promise.all([alice.isUp(), desk.isUp()]);
    await Promise.all([alice.hears(desk), desk.hears(alice.tone, TONES.filter((tone) => tone != alice.tone))]);
    // Nothing is transcoded.
    await codecIs(alice, 'pcmu');
    await desk.command('hold');
    await Promise.all([alice.hears(), alice.until('told', () => document.querySelector('#progress').textContent.includes('put you on hold'))]);
    await desk.command('resume');
    await alice.hears(desk);
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), desk.isFree()]);
  },

  async 'a browser calls a telephone of SIP, by TCP'(test) {
    const alice = await test.phone(0);
    const desk = await test.telephone(2, { transport: 'tcp', codecs: 'PCMA/8000/1' });
    await alice.call(desk.number);
    await desk.isCalled();
    await desk.command('accept');
    await Promise.all([alice.isUp(), desk.isUp()]);
    await Promise.all([alice.hears(desk), desk.hears(alice.tone, TONES.filter((tone) => tone != alice.tone))]);
    await codecIs(alice, 'pcma');
    await alice.key('5');
    await desk.until('told of the key', () => /received event: '5'/.test(desk.output));
    await desk.command('hangup');
    await Promise.all([alice.isFree(), desk.isFree()]);
    // Who does not want the call says so.
    await alice.call(desk.number);
    await desk.until('called again', () => desk.output.split('Incoming call from').length == 3);
    await desk.command('hangup');
    await alice.says('busy');
  },

  async 'reject, cancel, busy, nobody there'(test) {
    const alice = await test.phone(0);
    const bob = await test.phone(1);
    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.click('hangupBtn');
    await alice.says('declined');
    await alice.isFree();

    await alice.call(bob.number);
    await bob.isIncoming();
    await alice.click('hangupBtn');
    await Promise.all([alice.isFree(), bob.isFree()]);

    await alice.call(bob.number);
    await bob.isIncoming();
    await bob.page.evaluate(() => globalThis.phone.reject([...globalThis.phone.calls.values()][0], 'busy'));
    await alice.says('busy');

    await alice.call('nobody-' + test.tag);
    await alice.until('told', () => /no such number|Nobody is registered/.test(document.querySelector('#alert').textContent));
    await alice.isFree();
  },

  async 'keys of the keypad reach the other side'(test) {
    const [alice, bob] = await talk(test);
    await bob.page.evaluate(() => {
      globalThis.digits = '';
      globalThis.phone.addEventListener('message', ({ detail: { type, payload } }) => type == 'dtmf' && (globalThis.digits += payload.digit));
    });
    for (const digit of '5#') await alice.page.click(`#dialpad button:text-is("${digit}")`);
    await alice.page.click('h1');
    await alice.key('7');
    await bob.until('told of all keys', () => globalThis.digits == '5#7');
  },

  async 'a second call waits, and both are connected'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    await hearEachOther(alice, bob);
    await carol.call(alice.number);
    await alice.until('called', () => document.querySelector('#calls .incoming'));
    await hearEachOther(alice, bob);
    await alice.page.click('#calls .go');
    await hearEachOther(alice, carol);
    await bob.hears();
    // The attended transfer: those two talk, and alice is out of it.
    await alice.page.click('#passOn summary');
    await alice.page.click('.attended');
    await alice.isFree();
    await Promise.all([bob.hears(carol), carol.hears(bob), alice.hears()]);
  },

  async 'three talk together'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    await alice.page.click('#passOn summary');
    await alice.page.fill('#transferTo', carol.number);
    await alice.click('conferenceBtn');
    await carol.isIncoming();
    await carol.click('answerBtn');
    await Promise.all([alice.hears(bob, carol), bob.hears(alice, carol), carol.hears(alice, bob)]);
    await bob.click('hangupBtn');
    await Promise.all([alice.hears(carol), carol.hears(alice), bob.hears()]);
  },

  async 'three browsers and two telephones of other codecs talk together'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    const telephones = [await test.telephone(3), await test.telephone(4, { codecs: 'G722/16000/1' })];
    await alice.page.click('#passOn summary');
    const invite = async (other) => {
      await alice.page.fill('#transferTo', other.number);
      await alice.click('conferenceBtn');
    };
    const are = (count) => alice.until(`${count} in the call`, (count) => [...globalThis.phone.calls.values()][0].participants.length == count, count);
    await invite(carol);
    await carol.isIncoming();
    await carol.click('answerBtn');
    await are(3);
    for (const telephone of telephones) {
      await invite(telephone);
      await telephone.isCalled();
      await telephone.command('accept');
      await telephone.isUp();
      await are(4 + telephones.indexOf(telephone));
    }
    // Each hears all others and not itself: browsers each one by itself, telephones all in one.
    const all = [alice, bob, carol, ...telephones];
    const hear = (...present) => Promise.all(present.map((own) => {
      const others = present.filter((other) => other != own);
      if (!telephones.includes(own)) return own.hears(...others);
      const tones = others.map(({ tone }) => tone);
      return own.hears(tones, ALL_TONES.filter((tone) => !tones.includes(tone)));
    }));
    await hear(...all);
    await bob.click('hangupBtn');
    await hear(alice, carol, ...telephones);
    await carol.click('hangupBtn');
    await alice.click('hangupBtn');
    // Two of no common codec are left.
    await hear(...telephones);
  },

  async 'blind transfer'(test) {
    const [alice, bob] = await talk(test);
    const carol = await test.phone(2);
    await alice.page.click('#passOn summary');
    await alice.page.fill('#transferTo', carol.number);
    await alice.click('transferBtn');
    await carol.isIncoming();
    await carol.click('answerBtn');
    await Promise.all([bob.hears(carol), carol.hears(bob), alice.isFree()]);
  },

  async 'a reload in mid-call comes back into the call'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await alice.page.reload();
    await alice.isUp();
    await bob.hears(alice);
    // Browsers play nothing before a click.
    await alice.page.click('h1');
    await alice.hears(bob);
    await alice.click('hangupBtn');
    await bob.isFree();
  },

  async 'the switch is killed and comes back: so does the call'(test) {
    await test.ownSwitch();
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await test.relay.kill();
    await alice.until('told', () => globalThis.phone.state == 'lost' && document.querySelector('#status').textContent.includes('lost'));
    await test.relay.start();
    await hearEachOther(alice, bob);
  },

  async 'signalling is cut: the call goes on'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    // The page's own sockets are all that it has of signalling.
    await alice.page.evaluate(() => globalThis.sockets.filter(({ url }) => url.endsWith('/ws')).forEach((socket) => socket.close()));
    await alice.until('back', () => globalThis.phone.state == 'ready');
    await hearEachOther(alice, bob);
    await bob.click('hangupBtn');
    await alice.isFree();
  },

  async 'a wrong password, a refused microphone'(test) {
    const refuse = (socket) => socket.onMessage((text) => {
      const { id } = JSON.parse(text);
      socket.send(JSON.stringify({ type: 'registrationFailed', payload: { reason: 'Invalid credentials', code: 403 }, id }));
    });
    const alice = await test.phone(0, { register: false, sockets: refuse });
    await alice.page.fill('#dn', alice.number);
    await alice.page.fill('#password', 'wrong');
    await alice.page.keyboard.press('Enter');
    await alice.says('password is wrong');
    await test.examine(alice, 'wrong password');

    const bob = await test.phone(1, { init: () => (globalThis.isMicrophoneRefused = true) });
    await bob.call(alice.number);
    await bob.says('microphone may not be used');
    await bob.isFree();
  },

  async 'from the keyboard alone'(test) {
    const alice = await test.phone(0, { register: false });
    // The browser gives it the focus when it first draws the page.
    await alice.until('ready to be typed into', () => document.activeElement?.id == 'dn');
    await alice.page.keyboard.type(alice.number);
    await alice.key('Enter');
    await alice.until('registered', () => document.activeElement?.id == 'destination');
    const bob = await test.phone(1);
    await alice.page.keyboard.type(bob.number);
    await alice.key('Enter');
    await bob.isIncoming();
    await bob.page.click('h1');
    await bob.key('Enter');
    await hearEachOther(alice, bob);
    await bob.key('m');
    await alice.hears();
    await bob.key('m');
    await alice.hears(bob);
    await bob.key('h');
    await Promise.all([alice.hears(), bob.hears()]);
    await bob.key('h');
    await hearEachOther(alice, bob);
    await bob.key('Escape');
    await Promise.all([alice.isFree(), bob.isFree()]);
    await bob.call(alice.number);
    await alice.isIncoming();
    await alice.key('Escape');
    await bob.says('declined');
  },

  async 'who calls again, who is there, and a link to call'(test) {
    const bob = await test.phone(1);
    const alice = await test.phone(0, { query: `?call=tel:${bob.number}` });
    if ((await alice.page.inputValue('#destination')) != bob.number) throw new Error('the link is not taken');
    await alice.page.click('#colleagues summary');
    await alice.page.fill('#colleague', bob.number);
    await alice.click('addColleagueBtn');
    await alice.until('told that bob is free', () => document.querySelector('#people .available'));
    await alice.click('callBtn');
    await bob.isIncoming();
    await bob.click('answerBtn');
    await alice.until('told that bob is busy', () => document.querySelector('#people .busy'));
    await hearEachOther(alice, bob);
    await alice.click('hangupBtn');
    await bob.isFree();
    await alice.click('redialBtn');
    await bob.isIncoming();
    await bob.click('hangupBtn');
    await alice.says('declined');
    await alice.page.click('#history summary');
    await alice.until('listing its calls', () => document.querySelectorAll('#past li').length == 2);
  },

  async 'the way of the call is shown, and what is wrong'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    await alice.page.click('#network summary');
    await alice.until('well', () => document.querySelector('#networkLog')?.textContent == 'All is well.' && document.querySelectorAll('.hops li').length == 5);
    await test.examine(alice, 'way of the call');
    await test.shoot(alice, 'way-of-the-call');
    await alice.click('muteBtn');
    await alice.until('muted', () => document.querySelector('#networkLog').textContent.includes('muted'));
  },

  async 'pages are accessible, in light and dark, and on a phone'(test) {
    const bob = await test.phone(1, { colorScheme: 'dark' });
    const shown = { narrow: { width: 320, height: 640 }, wide: { width: 1280, height: 900 } };
    for (const [name, viewport] of Object.entries(shown)) {
      for (const colorScheme of ['light', 'dark']) {
        const alice = await test.phone(0, { viewport, colorScheme, register: false });
        await test.examine(alice, 'form');
        await test.shoot(alice, `form-${name}-${colorScheme}`);
        await alice.register();
        await bob.call(alice.number);
        await alice.isIncoming();
        await test.examine(alice, `incoming, ${colorScheme}`);
        await test.shoot(alice, `incoming-${name}-${colorScheme}`);
        await alice.click('answerBtn');
        await hearEachOther(alice, bob);
        for (const id of ['passOn', 'colleagues', 'history', 'settings', 'network']) await alice.page.click(`#${id} summary`);
        await test.examine(alice, `call, ${colorScheme}`);
        await test.shoot(alice, `call-${name}-${colorScheme}`);
        const overflow = await alice.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (overflow > 0) throw new Error(`${overflow} pixels too wide at ${viewport.width}`);
        await alice.click('hangupBtn');
        await bob.isFree();
        await alice.page.context().close();
        test.phones.splice(test.phones.indexOf(alice), 1);
      }
    }
    const german = await test.phone(0, { query: '?lang=de', register: false });
    await german.until('German', () => document.querySelector('#registerForm button').textContent == 'Anmelden' && document.documentElement.lang == 'de');
  },

  async 'a supervisor listens, whispers, barges in and ends a call'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    const chief = await test.phone(2, { file: 'supervisor.html', register: false, viewport: { width: 1000, height: 800 } });
    await chief.page.fill('#dn', chief.number);
    await chief.page.click('#registerForm button');
    const row = `.tr[data-call]:has-text("${alice.number}")`;
    await chief.page.waitForSelector(row);
    await test.examine(chief, 'supervisor');
    await chief.page.click(`${row} .listen`);
    // Hears both, and nobody hears it: it may not publish.
    await chief.hears(alice, bob);
    await hearEachOther(alice, bob);
    const published = await chief.page.evaluate(() => [...globalThis.phone.calls.values()][0].participants.find(({ own }) => own).track);
    if (published) throw new Error('who listens has a track of its own');
    await test.shoot(chief, 'supervisor');
    // The agent is who answered.
    await chief.click('whisperBtn');
    await Promise.all([bob.hears(alice, chief), alice.hears(bob), chief.hears(alice, bob)]);
    await chief.click('bargeBtn');
    await Promise.all([bob.hears(alice, chief), alice.hears(bob, chief)]);
    await chief.click('listenBtn');
    await Promise.all([hearEachOther(alice, bob), chief.hears(alice, bob)]);
    await chief.page.click(`${row} .disconnect`);
    await Promise.all([alice.isFree(), bob.isFree(), chief.hears()]);
    await test.examine(chief, 'supervisor after a call');
  },

  async 'desk and supervisor are accessible, in light and dark, and on a phone'(test) {
    const [alice, bob] = await talk(test);
    await hearEachOther(alice, bob);
    for (const file of ['agent.html', 'supervisor.html']) {
      for (const [name, viewport] of Object.entries({ narrow: { width: 320, height: 640 }, wide: { width: 1280, height: 900 } })) {
        const page = await test.phone(2, { file, viewport, register: false, number: `${file.slice(0, 5)}-${test.tag}` });
        await page.page.fill('#dn', page.number);
        await page.page.click('#registerForm button');
        if (file == 'agent.html') await page.until('at the desk', () => document.querySelector('#day'));
        else {
          await page.until('told of the quality', () => [...document.querySelectorAll('#scroll .tr')].some((row) => /^[1-4]\.[0-9]$/.test(row.children[4].textContent)));
          await page.until('drawing charts', () => document.querySelectorAll('#charts rect').length > 0);
        }
        for (const colorScheme of ['light', 'dark']) {
          await page.page.emulateMedia({ colorScheme });
          await test.examine(page, `${file}, ${name}, ${colorScheme}`);
          await test.shoot(page, `${file.replace('.html', '')}-${name}-${colorScheme}`);
        }
        const overflow = await page.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (overflow > 0) throw new Error(`${file} is ${overflow} pixels too wide at ${viewport.width}`);
        await page.page.context().close();
        test.phones.splice(test.phones.indexOf(page), 1);
      }
    }
  },

  async 'a thousand calls do not make the supervisor slow'(test) {
    const { sockets, change, end } = manyCalls();
    const chief = await test.phone(2, { file: 'supervisor.html', register: false, viewport: { width: 1000, height: 800 }, sockets });
    await chief.page.fill('#dn', chief.number);
    await chief.page.click('#registerForm button');
    await chief.until('showing a thousand', () => document.querySelector('#table').ariaRowCount == '1001');
    await chief.page.evaluate(() => {
      globalThis.longest = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (globalThis.longest = Math.max(globalThis.longest, duration)))).observe({ type: 'longtask' });
    });
    // Each change waits until the page has drawn the one before: a slow machine takes longer, and heaps up nothing.
    for (let top = 0; top < 40000; top += 1500) {
      change();
      await chief.page.evaluate(async (top) => {
        document.querySelector('#scroll').scrollTop = top;
        await new Promise(requestAnimationFrame);
      }, top);
    }
    end();
    await chief.until('showing one call less', () => document.querySelector('#table').ariaRowCount == '1000');
    const { rows, longest } = await chief.page.evaluate(() => ({ rows: document.querySelectorAll('.tr').length, longest: globalThis.longest }));
    test.note(`${rows} rows in the page; the longest task of the page's thread took ${Math.round(longest)} ms`);
    if (rows > 60) throw new Error(`${rows} rows are in the page`);
    await test.examine(chief, 'a thousand calls');
    await test.shoot(chief, 'supervisor-thousand');
  },

  async "the agent's desk"(test) {
    const alice = await test.phone(0, { file: 'agent.html', viewport: { width: 1000, height: 900 } });
    const bob = await test.phone(1);
    await alice.until('at the desk', () => document.querySelector('#desk'));
    await alice.click('agent-away');
    await bob.page.click('#colleagues summary');
    await bob.page.fill('#colleague', alice.number);
    await bob.click('addColleagueBtn');
    await bob.until('told that alice is away', () => document.querySelector('#people .away'));
    await alice.click('agent-ready');
    await bob.until('told that alice is free', () => document.querySelector('#people .available'));
    await alice.page.fill('#colleague', bob.number);
    await alice.click('addColleagueBtn');
    await alice.page.click('#people button');
    await bob.isIncoming();
    await bob.click('answerBtn');
    await hearEachOther(alice, bob);
    await alice.page.fill('#note', 'wants a copy of the bill');
    await test.examine(alice, 'desk');
    await test.shoot(alice, 'desk');
    await bob.click('hangupBtn');
    await alice.until('writing', () => document.querySelector('#agent-wrap-up').ariaPressed == 'true');
    await alice.page.reload();
    await alice.until('remembering the note', () => document.querySelector('#day button')?.textContent == 'Read the note');
  },

  ...REPORTS,
  ...NETWORK,
  ...AGAIN,
  ...EARLY,
  ...MEASUREMENTS,
};

/** A switch that has a thousand calls, and changes fifty of them when it is told to. */
function manyCalls() {
  const call = (at, state) => ({
    callId: String(at), state, to: String(2000 + at), startMs: Date.now() - at * 1000, answerMs: Date.now() - at * 900, from: { dn: String(5000 + at), displayName: `Caller ${at}` },
    parties: [{ dn: String(2000 + at), displayName: `Agent ${at}`, role: 'callee', state: 'up', party: `${at}/2` }],
  });
  let send;
  let turn = 0;
  const sockets = (socket) => {
    send = (type, payload, id) => socket.send(JSON.stringify({ type, payload, id }));
    socket.onMessage((text) => {
      const { type, id } = JSON.parse(text);
      if (type == 'register') {
        send('registered', { dn: 'chief', session: 'none', expires: 60, calls: [], media: { url: socket.url().replace('ws:', 'https:'), token: 'none' } }, id);
      } else if (type == 'subscribe') {
        // As the switch does: the answer comes first, then some calls at a time.
        send('ok', {}, id);
        for (let at = 0; at < 1000; at += 25) send('callStates', { calls: Array.from({ length: 25 }, (_, of) => call(at + of, 'up')) });
      } else send('ok', {}, id);
    });
  };
  /** Fifty of the calls, the next ones each time, are held or go on. */
  const change = () => {
    for (let at = 0; at < 50; at++) send('callState', call((turn * 50 + at) % 1000, turn % 2 ? 'up' : 'held'));
    turn++;
  };
  const end = () => send('callState', call(0, 'ended'));
  return { sockets, change, end };
}
