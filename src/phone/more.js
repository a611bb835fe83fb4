// @ts-check
/*
 * The rest of the page: loaded when the phone is registered, and before anything that needs it. Keypad, keys, other calls,
 * transfer and conference, history, colleagues, devices, tones, words for what goes wrong, other languages.
 */
import { $, alert, answer, attempt, current, describe, hangup, hold, mute, nameOf, phone, put, render as renderPage, t, words } from './phone.js';

/** @typedef {import('./moqphone.js').Call} Call */

/* Calls that are remembered; the oldest goes. */
const HISTORY_MAX = 50;
/* Numbers whose state is shown. The switch takes 256 of a session. */
const COLLEAGUES_MAX = 64;

/**
 * An element. @param {string} tag @param {Record<string, any>} [properties] @param {...(Node | string)} children
 * @returns {any}
 */
export const el = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** @param {string} text @param {() => any} action @param {Record<string, any>} [properties] */
const button = (text, action, properties) => el('button', { type: 'button', textContent: t(text), onclick: () => attempt(action), ...properties });

/** A part that opens. @param {string} id @param {string} title @param {...Node} children */
const fold = (id, title, ...children) => el('details', { id, className: 'card' }, el('summary', {}, t(title)), ...children);

/** What is kept in the browser. @param {string} name @param {any} otherwise @returns {any} */
const stored = (name, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem('moqphone-' + name) ?? 'null') ?? otherwise;
  } catch {
    return otherwise;
  }
};
/** @param {string} name @param {any} value */
const store = (name, value) => localStorage.setItem('moqphone-' + name, JSON.stringify(value));

// --- what goes wrong, and what to do

const NUMBER = 'Check the number, and try again.';
/** @type {Record<string, string>} reasons of the switch and of browsers */
const REASONS = {
  busy: 'The line is busy. Try again later.',
  rejected: 'The call was declined.',
  declined: 'The call was declined.',
  no_answer: 'Nobody answered. Try again later.',
  no_reply: 'The other phone does not ring. Try again later.',
  unallocated: 'There is no such number. ' + NUMBER,
  unknown_number: 'There is no such number. ' + NUMBER,
  unreachable: 'Nobody is registered under this number. Try again later.',
  forbidden: 'This number may not be called from here.',
  congestion: 'The switch is full. Try again in a minute.',
  answered_elsewhere: '',
  normal_clearing: '',
  cancelled: '',
  transferred: '',
  glare: '',
  media_timeout: 'Nothing was heard for too long, so the call has ended. Check the network, and call again.',
  duration_exceeded: 'The call has lasted as long as calls may.',
  shutdown: 'The switch stops. The phone comes back by itself.',
  restarted: 'The switch was started anew. The call is put through again …',
  lost: 'The call ended while there was no connection. Call again.',
  unregistered: '',
  again: 'Connected again.',
  offline: 'The switch cannot be reached. Check the network, then try again.',
  cut: 'The connection for sound is lost. The phone tries again by itself.',
  elsewhere: 'This phone is open in another window. Go on there, or register here again.',
  NotAllowedError: 'The microphone may not be used. Allow it beside the address of this page, then call again.',
  NotFoundError: 'There is no microphone. Connect one, then call again.',
  NotReadableError: 'Another program has the microphone. Close that program, then call again.',
  'Invalid credentials': 'The number or the password is wrong. Check both, then register again.',
};

/**
 * What to say of a reason, in words. @param {string} name @param {any} [error] @returns {string}
 */
export const reason = (name, error) => {
  const known = REASONS[name] ?? REASONS[error?.name];
  if (known !== undefined) return t(known);
  const { code } = error ?? {};
  if (code == 401 || code == 403) return t(REASONS['Invalid credentials']);
  if (code == 429) return t('Too many attempts. Wait a minute, then try again.');
  if (name == 'microphone') return t(REASONS.NotFoundError);
  if (code == 481 || code == 404) return t('That call is over.');
  const detail = error?.message ?? error?.reason ?? name;
  return `${t('That did not work. Try again, or register anew.')} (${detail})`;
};

/* So long something that is well again is said, and a loss waits before it is said, in ms. */
const SAID_MS = 5000;
const CUT_MS = 1500;
/** @type {any} */
let cut;
phone.addEventListener('change', () => {
  const isCut = phone.state == 'ready' && !phone.transport && [...phone.calls.values()].some(({ state }) => state == 'up');
  if (!isCut) cut = clearTimeout(cut);
  else cut ??= setTimeout(() => alert(reason('cut')), CUT_MS);
});
phone.addEventListener('problem', (/** @type {any} */ { detail: { name } }) => {
  if (name == 'again') setTimeout(() => $('alert').textContent == reason('again') && alert(), SAID_MS);
});

phone.addEventListener('ended', (/** @type {any} */ { detail: call }) => {
  ring();
  alert(reason(call.reason, { code: call.code }));
  if (['busy', 'rejected', 'unreachable', 'no_answer', 'congestion'].includes(call.reason)) tone([480, 620], 0.5, 0.5, 3);
  const history = stored('history', []);
  history.unshift({ peer: call.peer, name: call.name, isOut: call.isOut, at: Date.now(), since: call.since, reason: call.reason });
  store('history', history.slice(0, HISTORY_MAX));
  showHistory();
});

// --- tones

/** @type {any} */
let sounding;

/** Stops what sounds. */
const quiet = () => {
  for (const part of sounding ?? []) part.stop();
  sounding = undefined;
};

/** @param {number[]} frequencies in Hz @param {number} on in s @param {number} off @param {number} times */
const tone = (frequencies, on, off, times) => {
  quiet();
  const { context, out } = phone.audio;
  if (!context || !out) return;
  const gain = context.createGain();
  gain.gain.value = 0;
  for (let time = 0; time < times; time++) {
    gain.gain.setTargetAtTime(0.12, context.currentTime + time * (on + off), 0.005);
    gain.gain.setTargetAtTime(0, context.currentTime + time * (on + off) + on, 0.005);
  }
  gain.connect(out);
  sounding = frequencies.map((frequency) => {
    const oscillator = context.createOscillator();
    oscillator.frequency.value = frequency;
    oscillator.connect(gain);
    oscillator.start();
    oscillator.stop(context.currentTime + times * (on + off));
    return oscillator;
  });
};

const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477, 1633];

/** @param {string} digit */
export const beep = (digit) => {
  const at = '123A456B789C*0#D'.indexOf(digit);
  tone([ROWS[at >> 2], COLUMNS[at & 3]], 0.12, 0, 1);
};

let ringing = '';

/** The tone that fits what is going on. */
const ring = () => {
  const calls = [...phone.calls.values()];
  const isTalking = calls.some((call) => call.state == 'up');
  const incoming = calls.find((call) => call.state == 'incoming');
  const wanted = incoming ? (isTalking ? 'waiting' : 'ring') : calls.some((call) => call.state == 'ringing' && !call.early) ? 'back' : '';
  if (wanted == ringing) return;
  ringing = wanted;
  quiet();
  notice?.close();
  if (wanted == 'ring') tone([440, 480], 1, 2, 60);
  if (wanted == 'waiting') tone([440], 0.2, 5, 20);
  if (wanted == 'back') tone([425], 1, 4, 40);
  if (incoming && 'Notification' in globalThis && Notification.permission == 'granted' && document.hidden) {
    notice = new Notification(t('Incoming call'), { body: nameOf(incoming), tag: 'call', requireInteraction: true });
    notice.onclick = () => globalThis.focus();
  }
};

/** @type {Notification | undefined} */
let notice;

// --- keys

/** A key of the keypad: for the call, or for the number to be called. @param {string} digit */
export const sendDTMF = (digit) => {
  const call = current();
  beep(digit);
  if (call?.state == 'up') attempt(() => phone.dtmf(call, digit));
  else $('destination').value += digit;
};

addEventListener('keydown', (event) => {
  phone.audio.wake();
  const { key, ctrlKey, metaKey, altKey, repeat } = event;
  const target = /** @type {Element} */ (event.target);
  const call = current();
  if (!call || ctrlKey || metaKey || altKey || repeat) return;
  if (key == 'Escape') hangup();
  else if (target.matches('input,select,textarea') || (key == 'Enter' && target.matches('button,a,summary'))) return;
  else if (key == 'Enter' && call.state == 'incoming') answer();
  else if (call.state != 'up') return;
  else if (key == 'm' || key == 'M') mute();
  else if (key == 'h' || key == 'H') hold();
  else if (/^[0-9*#]$/.test(key)) sendDTMF(key);
  else return;
  event.preventDefault();
});

// --- parts of the page

const pad = el('div', { id: 'dialpad', role: 'group', ariaLabel: t('Keypad') });
for (const digit of '123456789*0#') pad.append(el('button', { type: 'button', textContent: digit, onclick: () => sendDTMF(digit) }));

const calls = $('calls');
calls.ariaLabel = t('Other calls');

const transferTo = el('input', { id: 'transferTo', autocomplete: 'off' });
const second = el('div', { id: 'second' });
const target = () => {
  const to = transferTo.value.trim();
  if (!to) throw { name: 'unallocated' };
  return to;
};
const passOn = fold(
  'passOn', 'Transfer and conference',
  el('label', {}, t('Number'), transferTo),
  el('div', { className: 'row' },
    button('Transfer', () => phone.transfer(/** @type {Call} */ (current()), target()), { id: 'transferBtn' }),
    button('Ask first', () => phone.call(target()), { id: 'consultBtn' }),
    button('Add to the call', () => phone.conference(/** @type {Call} */ (current()), target()), { id: 'conferenceBtn' }),
  ),
  second,
);

const people = el('ul', { id: 'people' });
const colleague = el('input', { id: 'colleague', autocomplete: 'off' });
/** @type {Map<string, string>} numbers and what they do */
const presence = new Map(stored('colleagues', []).map((/** @type {string} */ dn) => [dn, 'offline']));
const colleagues = fold(
  'colleagues', 'Colleagues', people,
  el('form', {
    onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      const dn = colleague.value.trim();
      if (dn && presence.size < COLLEAGUES_MAX) watch([...presence.keys(), dn]);
      colleague.value = '';
    },
  }, el('label', {}, t('Number'), colleague), el('button', { id: 'addColleagueBtn' }, t('Add'))),
);

/** @type {Record<string, string>} */
const PRESENCE = { offline: 'Offline', available: 'Free', ringing: 'It rings', busy: 'Busy', away: 'Away' };

/** @param {string[]} dns */
const watch = (dns) => {
  for (const dn of dns) if (!presence.has(dn)) presence.set(dn, 'offline');
  for (const dn of presence.keys()) if (!dns.includes(dn)) presence.delete(dn);
  store('colleagues', [...presence.keys()]);
  phone.request('subscribe', { dns: [...presence.keys()] }).catch(() => {});
  showPeople();
};
const showPeople = () =>
  people.replaceChildren(...[...presence].map(([dn, status]) =>
    el('li', {}, el('span', { className: 'dot ' + status }), `${dn}: ${t(PRESENCE[status] ?? status)} `,
      button('Call', () => phone.call(dn), { ariaLabel: `${t('Call')} ${dn}` }),
      button('Remove', () => watch([...presence.keys()].filter((other) => other != dn)), { ariaLabel: `${t('Remove')} ${dn}` }))));

const past = el('ul', { id: 'past' });
const history = fold('history', 'Calls so far', past, button('Forget all', () => (store('history', []), showHistory())));
const showHistory = () => {
  const list = stored('history', []);
  $('redialBtn').hidden = !list.some((/** @type {any} */ call) => call.isOut);
  past.replaceChildren(...list.map((/** @type {any} */ call) => {
    const text = [call.isOut ? '↗' : '↙', nameOf(call), new Date(call.at).toLocaleString([], { dateStyle: 'short', timeStyle: 'short' })];
    if (!call.since) text.push(t(call.isOut ? 'not answered' : 'missed'));
    return el('li', {}, text.join(' ') + ' ', button('Call', () => phone.call(call.peer), { ariaLabel: `${t('Call')} ${call.peer}` }));
  }));
};

/** @param {string} id @param {string} label @param {(id: string) => any} use */
const chooser = (id, label, use) => el('label', {}, t(label), el('select', {
  id,
  onchange: (/** @type {any} */ event) => attempt(() => {
    store(id, event.target.value);
    return use(event.target.value);
  }),
}));
const useMicrophone = async (/** @type {string} */ id) => {
  // Of a mere wish Chromium takes no notice.
  phone.audio.microphone = id && { exact: id };
  if (phone.audio.stream) await phone.audio.open();
};
const { open } = phone.audio;
phone.audio.open = () => open.call(phone.audio).catch((error) => {
  if (error.name != 'OverconstrainedError') throw error;
  // The one that was chosen is not there: until it is, the system's.
  phone.audio.microphone = '';
  return open.call(phone.audio);
});
const useSpeaker = (/** @type {string} */ id) => /** @type {any} */ (phone.audio.context)?.setSinkId?.(id);
const heard = el('p', { className: 'soft' });
const settings = fold(
  'settings', 'Microphone and loudspeaker',
  chooser('microphone', 'Microphone', useMicrophone), chooser('speaker', 'Loudspeaker', useSpeaker), heard,
  el('div', { className: 'row' },
    button('Tell me of calls when this page is hidden', () => Notification.requestPermission()),
    button('Open telephone links here', () => navigator.registerProtocolHandler('tel', new URL('?call=%s', location.href.split('?')[0]).href))),
);
const showDevices = async () => {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  for (const [id, kind] of [['microphone', 'audioinput'], ['speaker', 'audiooutput']]) {
    const of = devices.filter((device) => device.kind == kind && device.deviceId);
    $(id).replaceChildren(...[{ deviceId: '', label: t('As the system has it') }, ...of].map(({ deviceId, label }) => el('option', { value: deviceId, textContent: label || deviceId })));
    $(id).value = of.some(({ deviceId }) => deviceId == stored(id, '')) ? stored(id, '') : '';
  }
  const { echoCancellation } = phone.audio.stream?.getAudioTracks()[0]?.getSettings() ?? {};
  heard.textContent = echoCancellation === false ? t('This browser does not cancel echo: use a headset.') : '';
};
settings.addEventListener('toggle', showDevices);
navigator.mediaDevices?.addEventListener?.('devicechange', async () => {
  showDevices();
  // A headset that was taken away ends its track; one that was put in is used if it had been chosen.
  if (stored('microphone', '')) await useMicrophone(stored('microphone', '')).catch(() => {});
});

const network = fold('network', 'Way of the call');
/** @type {any} */
let path;
network.addEventListener('toggle', async () => {
  path ??= await import('./path.js');
  path.show(network, current());
});

document.head.append(el('link', { rel: 'stylesheet', href: new URL('more.css', import.meta.url).href }));
$('more').append(pad, passOn, history, colleagues, network, settings);
$('dialForm').append(button('Call the last number again', () => {
  const last = stored('history', []).find((/** @type {any} */ call) => call.isOut);
  return phone.call(last.peer);
}, { id: 'redialBtn' }));
const speakHint = button('Click here to hear', () => phone.audio.wake(), { id: 'hearBtn', hidden: true, className: 'go' });
$('alert').before(speakHint);
const asked = new URLSearchParams(location.search).get('call');
if (asked) $('destination').value = asked.replace(/^(web\+)?tel:/, '');
Object.assign(globalThis, { sendDTMF });

// --- what changes

const clock = () => {
  const since = current()?.since;
  const seconds = since ? Math.max(0, Math.floor((Date.now() - since) / 1000)) : 0;
  $('timer').textContent = since ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}` : '';
  speakHint.hidden = phone.audio.context?.state != 'suspended' || !phone.calls.size;
};
setInterval(clock, 1000);

/** @type {any} */
let lock;
const keepAwake = async () => {
  const isTalking = phone.calls.size > 0;
  if (isTalking && !lock && !document.hidden) {
    lock = navigator.wakeLock?.request('screen').catch(() => {});
  } else if (!isTalking && lock) {
    (await lock)?.release();
    lock = undefined;
  }
};
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) lock = undefined;
  keepAwake();
});

const meter = el('meter', { id: 'mos', min: 1, max: 4.5, low: 3, high: 3.8, optimum: 4.4, ariaLabel: t('Quality'), hidden: true });
$('timer').after(' ', meter);

/** @param {Call | undefined} call */
export const render = (call) => {
  const all = [...phone.calls.values()];
  document.title = call ? `${describe(call)} – ${nameOf(call)}` : t('Phone');
  meter.hidden = call?.state != 'up' || !call.quality;
  meter.value = call?.quality?.mos ?? 1;
  const others = all.filter((other) => other != call);
  const shown = others.map((other) => [other.id, other.state, other.held, other.name, call?.state].join()).join();
  if (calls.dataset.shown != shown) {
    calls.dataset.shown = shown;
    calls.replaceChildren(...others.map((other) => {
      const isIncoming = other.state == 'incoming';
      return el('li', { className: isIncoming ? 'card incoming' : 'card', role: isIncoming ? 'alert' : null }, `${nameOf(other)} – ${describe(other)} `,
        button(isIncoming ? 'Answer' : 'Take', () => (isIncoming ? phone.answer(other) : phone.hold(other, false)), { className: 'go', ariaLabel: `${t(isIncoming ? 'Answer' : 'Take')} ${other.peer}` }),
        button(isIncoming ? 'Reject' : 'Hang up', () => (isIncoming ? phone.reject(other) : phone.hangup(other)), { className: 'stop', ariaLabel: `${t(isIncoming ? 'Reject' : 'Hang up')} ${other.peer}` }));
    }));
    const up = others.filter((other) => other.state == 'up');
    second.replaceChildren(...(call?.state == 'up' ? up : []).map((other) =>
      el('div', { className: 'row' },
        button('', () => call && phone.transfer(call, other), { textContent: `${t('Connect both:')} ${call?.peer} + ${other.peer}`, className: 'attended' }),
        button('', () => call && phone.conference(call, other), { textContent: `${t('Talk all together:')} ${call?.peer} + ${other.peer}`, className: 'merge' }))));
  }
  passOn.hidden = call?.state != 'up';
  const members = (call?.participants ?? []).filter(({ own }) => !own);
  if (members.length > 1) put('peer', members.map(({ displayName, dn }) => displayName || dn).join(', '));
  ring();
  clock();
  keepAwake();
  path?.show(network, call);
};

phone.addEventListener('message', (/** @type {any} */ { detail: { type, payload } }) => {
  if (type == 'presence' && presence.has(payload.dn)) {
    presence.set(payload.dn, payload.status);
    showPeople();
  }
  if (type == 'registered' || type == 'resumed') watch([...presence.keys()]);
  if (type == 'callAccepted') alert();
  if (type == 'dtmf') beep(payload.digit[0]);
  if (type == 'transferProgress' && payload.state == 'failed') alert(`${t('The transfer failed, and the call goes on.')} ${reason(payload.reason)}`);
  if (type == 'goaway') alert(t('The switch is restarted. Calls go on if they can.'));
});

// --- languages

/** The page in another language. @param {string} language that of a table */
export const translate = async (language) => {
  const file = `./${language}.js`;
  const { table } = await import(file);
  Object.assign(words, table);
  document.documentElement.lang = language;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = /** @type {Text} */ (walker.currentNode);
    const text = node.data.trim();
    if (text) node.data = node.data.replace(text, t(text));
  }
  for (const element of document.querySelectorAll('[aria-label]')) element.ariaLabel = t(element.ariaLabel ?? '');
  renderPage();
};

watch([...presence.keys()]);
showHistory();
if (stored('microphone', '')) useMicrophone(stored('microphone', '')).catch(() => {});
renderPage();
// The agent's desk is this page under another name.
if (/\/agent\.html$/.test(location.pathname)) import('./agent.js');
