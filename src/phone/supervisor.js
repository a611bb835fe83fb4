// @ts-check
/*
 * The supervisor's page: all calls, live, and a way into each. What the switch tells is gathered and shown a few times a
 * second, and of the table only the rows that are seen exist.
 */
import { Phone } from './moqphone.js';

/** An element by its id. @param {string} id @returns {any} */
const $ = (id) => document.getElementById(id);
const phone = new Phone({ role: 'supervisor' });

/* In pixels; more.css has the same. */
const ROW = 48;
const SHOW_MS = 250;
/* Calls are counted for a bar so often, and charts drawn anew. */
const BAR_MS = 10000;
const CHARTS_MS = 2000;
/* Points of a chart. */
const POINTS_MAX = 120;

/** @type {Map<string, any>} calls as the switch tells them */
const calls = new Map();
/** @type {any[]} those that are found, in order */
let listed = [];
let isDue = false;
let listening = '';

/** @param {string} [text] */
const alert = (text = '') => {
  $('alert').textContent = text;
  $('alert').hidden = !text;
};

/** @param {() => any} action */
const attempt = async (action) => {
  alert();
  try {
    await action();
  } catch (/** @type {any} */ error) {
    const isRefused = [401, 403].includes(error.code);
    alert(isRefused ? 'The switch does not take you as a supervisor. Check number and password.'
      : error.name == 'NotAllowedError' ? 'The microphone may not be used. Allow it beside the address of this page.'
      : `That did not work. (${error.message ?? error.reason ?? error.name})`);
  }
};

/** @param {any} party */
const nameOf = (party) => (party?.displayName && party.displayName != party.dn ? `${party.displayName} (${party.dn})` : (party?.dn ?? ''));
/** Who is talked to. @param {any} call */
const others = ({ parties, to }) => parties.filter((/** @type {any} */ one) => !['caller', 'listen', 'whisper'].includes(one.role) && one.state != 'hangup').map(nameOf).join(', ') || to;
const STATES = /** @type {Record<string, string>} */ ({ routing: 'Calling', alerting: 'Ringing', queued: 'Waiting', up: 'Talking', held: 'On hold' });

/** What who hears worst says of it: 1 to 4.5. Undefined: nobody has said anything yet. @param {any} call @returns {number | undefined} */
const worst = ({ parties }) => {
  const said = parties.filter((/** @type {any} */ one) => one.state == 'up' && one.quality?.mos).map((/** @type {any} */ one) => one.quality.mos);
  return said.length ? Math.min(...said) : undefined;
};
/* Below it a call sounds bad; switch and phone warn there, too. */
const MOS_MIN = 3;

/** @param {any} call */
const duration = ({ answerMs, startMs }) => {
  const seconds = Math.max(0, Math.floor((Date.now() - (answerMs ?? startMs)) / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
};

/** Listens in some way, or changes how. @param {string} how @param {string} callId */
const join = (how, callId) => attempt(async () => {
  await phone.audio.start();
  if (how != 'listen' && !phone.audio.stream) await phone.audio.open();
  if (listening && listening != callId) await phone.request('stop', { callId: listening });
  await phone.request(how, { callId });
  listening = callId;
  due();
});

const due = () => (isDue = true);

const list = () => {
  const wanted = $('find').value.trim().toLowerCase();
  listed = [...calls.values()].filter((call) => !wanted || `${nameOf(call.from)} ${others(call)}`.toLowerCase().includes(wanted));
  $('table').ariaRowCount = String(listed.length + 1);
  place();
};

/** Rows that are seen, and a few beyond. */
const place = () => {
  const scroll = $('scroll');
  const first = Math.max(0, Math.floor(scroll.scrollTop / ROW) - 4);
  const count = Math.ceil(scroll.clientHeight / ROW) + 8;
  const space = scroll.querySelector('.space') ?? scroll.appendChild(Object.assign(document.createElement('div'), { className: 'space', role: 'none' }));
  space.style.height = `${listed.length * ROW}px`;
  const rows = [...scroll.querySelectorAll('.tr')];
  const shown = listed.slice(first, first + count);
  shown.forEach((call, at) => fill(rows[at] ?? scroll.appendChild(row()), call, first + at));
  for (const row of rows.slice(shown.length)) row.remove();
};

const row = () => {
  const element = Object.assign(document.createElement('div'), { className: 'tr', role: 'row' });
  for (let cell = 0; cell < 5; cell++) element.append(Object.assign(document.createElement('span'), { role: 'cell' }));
  const act = Object.assign(document.createElement('span'), { role: 'cell' });
  for (const [how, text] of [['listen', 'Listen'], ['disconnect', 'End']]) {
    act.append(Object.assign(document.createElement('button'), {
      textContent: text, className: how,
      onclick: () => {
        const callId = element.dataset.call ?? '';
        if (how == 'listen') join('listen', callId);
        else attempt(() => phone.request('disconnect', { callId }));
      },
    }));
  }
  element.append(act);
  return element;
};

/** @param {any} element @param {any} call @param {number} at */
const fill = (element, call, at) => {
  element.dataset.call = call.callId;
  element.ariaRowIndex = String(at + 2);
  element.style.transform = `translateY(${at * ROW}px)`;
  element.classList.toggle('chosen', call.callId == listening);
  const mos = worst(call);
  const texts = [nameOf(call.from), others(call), STATES[call.state] ?? call.state, duration(call), mos?.toFixed(1) ?? '–'];
  element.children[4].classList.toggle('poor', mos !== undefined && mos < MOS_MIN);
  texts.forEach((text, cell) => {
    if (element.children[cell].textContent != text) element.children[cell].textContent = text;
  });
  const names = `${call.from?.dn} – ${call.to}`;
  element.children[5].children[0].ariaLabel = `Listen to ${names}`;
  element.children[5].children[1].ariaLabel = `End ${names}`;
  element.children[5].children[0].disabled = !['up', 'held'].includes(call.state);
};

const show = () => {
  const isOn = phone.state == 'ready' || phone.state == 'lost';
  $('registerForm').hidden = isOn;
  $('live').hidden = !isOn;
  const status = phone.state == 'ready' ? `${phone.saved.dn} · Ready` : phone.state == 'lost' ? 'Connection lost. Trying again …' : '';
  if ($('status').textContent != status) $('status').textContent = status;
  if (!isOn) return;
  list();
  const all = [...calls.values()];
  const count = (/** @type {string[]} */ ...states) => all.filter(({ state }) => states.includes(state)).length;
  const longest = all.filter(({ answerMs }) => answerMs).reduce((most, call) => (!most || call.answerMs < most.answerMs ? call : most), /** @type {any} */ (undefined));
  const figures = [['Calls', all.length], ['Talking', count('up', 'held')], ['Ringing', count('alerting', 'routing')], ['Waiting', count('queued')], ['Longest', longest ? duration(longest) : '–']];
  if (!$('figures').children.length) $('figures').append(...figures.map(([name]) => Object.assign(document.createElement('li'), { innerHTML: `<strong></strong> ${name}` })));
  figures.forEach(([, value], at) => ($('figures').children[at].firstChild.textContent = value));
  const mine = [...phone.calls.values()][0];
  $('listening').hidden = !mine;
  if (!mine) listening = '';
  const role = mine?.participants.find(({ own }) => own)?.role;
  const call = calls.get(listening);
  const said = mine && call ? `${nameOf(call.from)} – ${others(call)}${mine.quality ? ` · MOS ${mine.quality.mos.toFixed(1)}` : ''}` : '';
  if ($('listeningTo').textContent != said) $('listeningTo').textContent = said;
  for (const how of ['listen', 'whisper', 'barge']) $(`${how}Btn`).ariaPressed = String(role == how);
};

// --- charts

/** @type {number[]} calls, each ten seconds */
const load = [];
let counted = 0;
const SVG = 'http://www.w3.org/2000/svg';

/** @param {string} name @param {number[]} values @param {string} said what it shows, in words */
const chart = (name, values, said) => {
  const figure = document.createElement('figure');
  const picture = document.createElementNS(SVG, 'svg');
  const [width, height] = [240, 64];
  const most = Math.max(1e-9, ...values);
  picture.setAttribute('viewBox', `0 0 ${width} ${height}`);
  picture.setAttribute('role', 'img');
  picture.setAttribute('aria-label', `${name}: ${said}`);
  const step = width / Math.max(1, values.length);
  values.forEach((value, at) => {
    const bar = document.createElementNS(SVG, 'rect');
    const tall = (value / most) * height;
    for (const [attribute, number] of Object.entries({ x: at * step, y: height - tall, width: Math.max(1, step - 1), height: tall })) bar.setAttribute(attribute, String(number));
    picture.append(bar);
  });
  figure.className = 'card';
  figure.append(Object.assign(document.createElement('figcaption'), { textContent: `${name}: ${said}` }), picture);
  return figure;
};

const charts = () => {
  if (phone.state != 'ready') return;
  if (Date.now() - counted < BAR_MS) load.pop();
  else counted = Date.now();
  load.push(calls.size);
  if (load.length > POINTS_MAX) load.shift();
  const answered = [...calls.values()].filter(({ answerMs }) => answerMs).map(({ answerMs, startMs }) => (answerMs - startMs) / 1000);
  const mean = answered.length ? answered.reduce((sum, seconds) => sum + seconds, 0) / answered.length : 0;
  const bins = [1, 2, 3, 5, 8, 13, 21, Infinity].map((most, at, all) => answered.filter((seconds) => seconds < most && seconds >= (all[at - 1] ?? 0)).length);
  const judged = [...calls.values()].map(worst).filter((mos) => mos !== undefined);
  const mos = [1.5, 2, 2.5, 3, 3.5, 4, Infinity].map((most, at, all) => judged.filter((mos) => mos < most && mos >= (all[at - 1] ?? 0)).length);
  const poor = judged.filter((mos) => mos < MOS_MIN).length;
  $('charts').replaceChildren(
    chart('Calls', load, `${calls.size} now`),
    chart('Answered after', bins, answered.length ? `${mean.toFixed(1)} s on average` : 'no call yet'),
    chart('Quality (MOS 1 to 4.5)', mos, judged.length ? `${poor} of ${judged.length} sound bad` : 'nobody has said yet'),
  );
};

// --- what happens

const watch = () => {
  calls.clear();
  return phone.request('subscribe', { calls: true });
};

phone.addEventListener('message', (/** @type {any} */ { detail: { type, payload } }) => {
  const told = type == 'callState' ? [payload] : type == 'callStates' ? payload.calls : [];
  for (const call of told) {
    if (call.state == 'ended') calls.delete(call.callId);
    else calls.set(call.callId, call);
  }
  // The switch tells some of them at a time.
  if (type == 'callStates' && !payload.next) charts();
  if (type == 'callStates' && payload.next) attempt(() => phone.request('subscribe', { calls: true, after: payload.next }));
  if (type == 'registered' || type == 'resumed') attempt(watch);
  due();
});
phone.addEventListener('change', due);
phone.addEventListener('problem', (/** @type {any} */ { detail }) => alert(detail.name == 'elsewhere' ? 'This page is open in another window.' : ''));
setInterval(() => {
  if (!isDue && !calls.size) return;
  isDue = false;
  show();
}, SHOW_MS);
setInterval(charts, CHARTS_MS);

$('registerForm').onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  attempt(async () => {
    phone.audio.start().catch(() => {});
    await phone.register($('dn').value.trim(), $('password').value || undefined, 'Supervisor');
    show();
    charts();
  });
};
$('find').oninput = due;
$('scroll').addEventListener('scroll', place);
for (const how of ['listen', 'whisper', 'barge']) $(`${how}Btn`).onclick = () => join(how, listening);
$('stopBtn').onclick = () => attempt(() => phone.request('stop', { callId: listening }));
$('unregisterBtn').onclick = () => phone.unregister();
addEventListener('pointerdown', () => phone.audio.wake());
Object.assign(globalThis, { phone });
if (phone.restore()) phone.audio.start().catch(() => {});
show();
