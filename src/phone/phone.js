// @ts-check
/* The page of the phone. What is not needed to make a call is in more.js, and loaded when the phone is registered. */
import { Phone } from './moqphone.js';

/** @typedef {import('./moqphone.js').Call} Call */

/** An element by its id. @param {string} id @returns {any} */
export const $ = (id) => document.getElementById(id);
export const phone = new Phone();
/** @type {any} what more.js has */
let more;
/** @type {Record<string, string>} English to another language */
export const words = {};

/** @param {string} english */
export const t = (english) => words[english] ?? english;

/** Says what went wrong, and what to do. @param {string} [text] */
export const alert = (text = '') => {
  $('alert').textContent = text;
  $('alert').hidden = !text;
};

/** @param {string} name a reason of the switch, or of the browser @param {any} [error] */
export const explain = (name, error) => extras().then(({ reason }) => alert(reason(name, error)), () => alert('The switch cannot be reached.'));

/** The call that the buttons are for: what rings first, then what is heard. */
export const current = () => {
  const calls = [...phone.calls.values()];
  const by = (/** @type {(call: Call) => any} */ test) => calls.find(test);
  return by((call) => call.state == 'incoming' && calls.length == 1) ?? by((call) => call.state == 'up' && !call.held) ?? by((call) => call.isOut && call.state != 'up') ?? calls[0];
};

const STATES = {
  calling: 'Calling …', ringing: 'It rings', incoming: 'Incoming call', up: 'Connected', ended: '',
  offline: '', connecting: 'Connecting …', ready: 'Ready', lost: 'Connection lost. Trying again …',
};

/** @param {Call} call */
export const describe = (call) => (call.held ? t('On hold') : call.isHeld ? t('The other has put you on hold') : t(STATES[call.state]));
/** @param {Call} call */
export const nameOf = ({ name, peer }) => (name && name != peer ? `${name} (${peer})` : peer);

/** @param {string} id @param {string} text */
export const put = (id, text) => {
  // A live region that is set again is read again.
  if ($(id).textContent != text) $(id).textContent = text;
};

export const render = () => {
  const isOffline = phone.state == 'offline' || (phone.state == 'connecting' && !phone.saved.session);
  const call = current();
  $('registerForm').hidden = !isOffline;
  $('phone').hidden = isOffline;
  put('status', isOffline ? t(STATES[phone.state]) : `${phone.saved.dn} · ${t(STATES[phone.state])}`);
  $('call').hidden = !call;
  $('call').classList.toggle('incoming', call?.state == 'incoming');
  if (call) {
    const isUp = call.state == 'up';
    put('peer', nameOf(call));
    put('progress', describe(call) + (call.muted ? ` · ${t('muted')}` : ''));
    $('answerBtn').hidden = call.state != 'incoming';
    $('hangupBtn').textContent = t(call.state == 'incoming' ? 'Reject' : 'Hang up');
    $('muteBtn').hidden = $('holdBtn').hidden = !isUp;
    $('muteBtn').ariaPressed = call.muted;
    $('holdBtn').ariaPressed = call.held;
  }
  more?.render(call);
};

/** Does what may fail, and says so. @param {() => any} action */
export const attempt = async (action) => {
  alert();
  try {
    await action();
  } catch (/** @type {any} */ error) {
    explain(error.reason ?? error.details ?? error.name, error);
  }
};

const extras = async () => (more ??= await import('./more.js'));

export const hangup = () => {
  const call = current();
  if (call) attempt(() => (call.state == 'incoming' ? phone.reject(call) : phone.hangup(call)));
};
export const answer = () => attempt(() => phone.answer(current()));
export const mute = () => attempt(() => phone.mute(current(), !current().muted));
export const hold = () => attempt(() => phone.hold(current(), !current().held));

$('registerForm').onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  const [dn, password, name] = ['dn', 'password', 'displayName'].map((id) => $(id).value.trim());
  localStorage.setItem('moqphone', JSON.stringify({ dn, name }));
  attempt(async () => {
    phone.audio.start().catch(() => {});
    await phone.register(dn, password || undefined, name || dn);
    $('destination').focus();
  });
};
$('dialForm').onsubmit = (/** @type {Event} */ event) => {
  event.preventDefault();
  attempt(() => phone.call($('destination').value.trim()));
};
$('answerBtn').onclick = answer;
$('hangupBtn').onclick = hangup;
$('muteBtn').onclick = mute;
$('holdBtn').onclick = hold;
$('unregisterBtn').onclick = () => phone.unregister();

phone.addEventListener('change', render);
phone.addEventListener('problem', (/** @type {any} */ { detail }) => explain(detail.name, detail.error));
phone.addEventListener('change', () => phone.state == 'ready' && extras());
Object.assign(globalThis, { phone });
addEventListener('pointerdown', () => phone.audio.wake());

const remembered = JSON.parse(localStorage.getItem('moqphone') ?? '{}');
$('dn').value = remembered.dn ?? '';
$('displayName').value = remembered.name ?? '';
if (/[?&]lang=de|^de/.test(location.search || navigator.language)) extras().then(({ translate }) => translate('de'));
if (phone.restore()) phone.audio.start().catch(() => {});
render();
