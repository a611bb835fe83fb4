// @ts-check
/* The way of a call: this device, the transport, the relay, the others; what each hop costs; and what is wrong, if anything is. */
import { phone, t } from './phone.js';
import { el } from './more.js';

/** @typedef {import('./moqphone.js').Call} Call */

/* From here on a figure is said to be bad. Twilio's voice SDK warns at the same round-trip time, jitter and MOS. */
const RTT_MAX = 400;
const JITTER_MAX = 30;
const LOSS_MAX = 0.03;
const MOS_MIN = 3;
const BUFFER_MAX = 250;

/** One sentence: the first that is wrong, with what to do. @param {Call | undefined} call */
export const verdict = (call) => {
  if (phone.state != 'ready') return 'There is no connection to the switch. The phone tries again by itself.';
  if (!phone.transport) return 'There is no connection to the relay, so nothing is heard. The phone tries again by itself.';
  if (phone.audio.context?.state == 'suspended') return 'The browser plays nothing before you click on the page.';
  if (call?.state != 'up') return 'There is no call.';
  if (call.held) return 'You have put the call on hold.';
  if (call.isHeld) return 'The other has put you on hold.';
  if (call.muted) return 'Your microphone is muted.';
  if (!phone.audio.stream && call.participants.some(({ own, track }) => own && track)) return 'The microphone is not open.';
  const { quality } = call;
  if (!quality) return 'Nothing has come from the other side yet.';
  if (quality.loss > LOSS_MAX) return 'Packets are lost on the way. Go closer to the access point, or use a cable.';
  if (quality.rtt > RTT_MAX) return 'The way to the relay is long: you hear each other late.';
  if (quality.jitter > JITTER_MAX) return 'Packets come unevenly. Somebody else may be using your network.';
  if (quality.buffer > BUFFER_MAX) return 'Much is held back to even out the network: you hear each other late.';
  if (quality.mos < MOS_MIN) return 'The call sounds bad.';
  if (phone.transport == 'WebSocket') return 'All is well. UDP is blocked or not supported, so the call goes by WebSocket.';
  return 'All is well.';
};

/** @param {HTMLDetailsElement} place @param {Call | undefined} call */
export const show = (place, call) => {
  if (!place.open) return;
  const { rtt, buffer, underruns } = call?.quality ?? {};
  const ms = (/** @type {number | undefined} */ value) => (value === undefined ? '–' : `${Math.round(value)} ms`);
  const hop = (/** @type {string} */ name, /** @type {boolean} */ isBad, /** @type {string[]} */ ...facts) =>
    el('li', { className: isBad ? 'bad' : '' }, el('strong', {}, name), ...facts.map((fact) => el('div', {}, fact)));
  const link = (/** @type {string} */ text) => el('li', { className: 'link' }, text);
  const own = call?.participants.find((one) => one.own);
  const others = call?.participants.filter((one) => !one.own) ?? [];
  const relay = phone.media ? new URL(phone.media.url).host : '–';
  const hops = [
    hop(t('This device'), phone.audio.context?.state != 'running', `${t('sends')} ${own?.codec ?? '–'}`, `${t('held back')} ${ms(buffer)}`, `${t('gaps')} ${underruns ?? '–'}`),
    link(phone.transport || '✕'),
    hop(t('Relay'), !phone.transport || (rtt ?? 0) > RTT_MAX, relay, `${t('there and back')} ${ms(phone.rtt)}`, `${t('switch')} ${ms(phone.signalRtt)}`),
    ...others.flatMap(({ dn, displayName, codec, hold, muted, quality: { loss, jitter, mos } = /** @type {Partial<import('./moqphone.js').Quality>} */ ({}) }) => [
      link('↔'),
      hop(displayName || dn, (loss ?? 0) > LOSS_MAX || (jitter ?? 0) > JITTER_MAX, `${t('sends')} ${codec ?? '–'}`, `${t('lost')} ${loss === undefined ? '–' : (loss * 100).toFixed(1) + ' %'}`,
        `${t('jitter')} ${ms(jitter)}`, hold ? t('On hold') : muted ? t('muted') : `MOS ${mos?.toFixed(1) ?? '–'}`),
    ]),
  ];
  const said = place.querySelector('#networkLog') ?? el('p', { id: 'networkLog', role: 'status' });
  const text = t(verdict(call));
  if (said.textContent != text) said.textContent = text;
  const list = place.querySelector('.hops') ?? el('ol', { className: 'hops' });
  list.replaceChildren(...hops);
  if (!list.isConnected) place.append(said, list);
};
