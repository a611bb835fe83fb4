// @ts-check
/* The agent's desk: the phone, and beside it the agent's own state, the calls of the day and notes to them. */
import { $, current, nameOf, phone, t } from './phone.js';
import { el } from './more.js';

/** @typedef {import('./moqphone.js').Call} Call */

/* Notes that are kept; the oldest goes. */
const NOTES_MAX = 200;
const NOTE_CHARACTERS_MAX = 2000;
/* Time to write a note before the next call, in ms. */
const WRAP_UP_MS = 30000;

/** @typedef {{id: string, peer: string, name: string, isOut: boolean, at: number, since: number, until: number, note: string}} Entry */

const key = () => `moqphone-desk-${phone.saved.dn}`;
/** @type {Entry[]} */
let entries = [];
const load = () => {
  try {
    entries = JSON.parse(localStorage.getItem(key()) ?? '[]');
  } catch {
    entries = [];
  }
};
const save = () => localStorage.setItem(key(), JSON.stringify((entries = entries.slice(0, NOTES_MAX))));

/** @typedef {'ready' | 'away' | 'wrap-up'} State */
let state = /** @type {State} */ ('ready');
/** @type {any} */
let wrapUp;

/** @param {State} wanted */
const become = async (wanted) => {
  clearTimeout(wrapUp);
  await phone.request('agent', { state: wanted == 'ready' ? 'ready' : 'away' });
  state = wanted;
  if (wanted == 'wrap-up') wrapUp = setTimeout(() => become('ready'), WRAP_UP_MS);
  show();
};

const STATES = /** @type {const} */ ({ ready: 'Ready', away: 'Away', 'wrap-up': 'Wrap-up' });
const choices = Object.entries(STATES).map(([name, text]) =>
  el('button', { type: 'button', id: `agent-${name}`, textContent: t(text), onclick: () => become(/** @type {any} */ (name)) }));
const note = el('textarea', { id: 'note', rows: 4, maxLength: NOTE_CHARACTERS_MAX });
const about = el('p', { id: 'noteAbout' });
const day = el('ul', { id: 'day' });
const sums = el('p', { id: 'sums', className: 'soft' });

note.oninput = () => {
  const entry = entries.find(({ id }) => id == note.dataset.call);
  if (entry) entry.note = note.value;
  save();
};

/** @param {Entry} [entry] */
const edit = (entry) => {
  note.disabled = !entry;
  note.dataset.call = entry?.id ?? '';
  note.value = entry?.note ?? '';
  about.textContent = entry ? `${t('Note to the call with')} ${nameOf(/** @type {any} */ (entry))}` : t('There is no call.');
};

/** @param {number} ms */
const minutes = (ms) => `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, '0')}`;

const show = () => {
  for (const choice of choices) choice.ariaPressed = choice.id == `agent-${state}`;
  const today = entries.filter(({ at }) => new Date(at).toDateString() == new Date().toDateString());
  const talked = today.reduce((sum, { since, until }) => sum + (since && until ? until - since : 0), 0);
  sums.textContent = `${t('Calls today')}: ${today.length} · ${t('answered')}: ${today.filter(({ since }) => since).length} · ${t('talked')}: ${minutes(talked)}`;
  const act = (/** @type {Entry} */ entry) => t(entry.note ? 'Read the note' : 'Write a note');
  day.replaceChildren(...today.map((entry) => el('li', {},
    `${new Date(entry.at).toLocaleTimeString([], { timeStyle: 'short' })} ${entry.isOut ? '↗' : '↙'} ${nameOf(/** @type {any} */ (entry))} ${entry.since ? minutes((entry.until || Date.now()) - entry.since) : t('missed')}`,
    el('button', { type: 'button', textContent: act(entry), ariaLabel: `${act(entry)} (${entry.peer})`, onclick: () => { edit(entry); note.focus(); } }))));
};

const desk = el('aside', { id: 'desk', ariaLabel: t('Desk') },
  el('section', { className: 'card' }, el('h2', {}, t('My state')), el('div', { className: 'row', role: 'group', ariaLabel: t('My state') }, ...choices)),
  el('section', { className: 'card' }, about, el('label', {}, t('Note'), note)),
  el('section', { className: 'card' }, el('h2', {}, t('Calls today')), sums, day));
document.body.classList.add('desk');
document.body.append(desk);
$('colleagues').open = true;

/** @type {string} the call that the note is for as long as it is there */
let shown = '';
const follow = () => {
  for (const call of phone.calls.values()) {
    let entry = entries.find(({ id }) => id == call.id);
    if (!entry) {
      entry = { id: call.id, peer: call.peer, name: call.name, isOut: call.isOut, at: Date.now(), since: 0, until: 0, note: '' };
      entries.unshift(entry);
    }
    if (entry.since != call.since || entry.peer != call.peer) {
      Object.assign(entry, { since: call.since, peer: call.peer, name: call.name });
      save();
      show();
    }
  }
  const call = current();
  if (call && call.id != shown) {
    shown = call.id;
    edit(entries.find(({ id }) => id == call.id));
    show();
  }
};
phone.addEventListener('change', follow);
phone.addEventListener('ended', (/** @type {any} */ { detail: call }) => {
  const entry = entries.find(({ id }) => id == call.id);
  if (!entry) return;
  entry.until = Date.now();
  save();
  show();
  // Time to write: no call is given to this agent meanwhile.
  if (call.since && state == 'ready') become('wrap-up').catch(() => {});
});
phone.addEventListener('message', (/** @type {any} */ { detail: { type } }) => {
  if (type != 'registered' && type != 'resumed') return;
  load();
  become(state).catch(() => {});
});
load();
edit();
become('ready').catch(() => {});
show();
