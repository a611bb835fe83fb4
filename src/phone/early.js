// @ts-check
/* What is heard before a call is answered: what a telephone or a trunk plays until then. Its catalog says in which codec. */

/** @typedef {import('./moqphone.js').Phone} Phone */
/** @typedef {import('./moq.js').Session} Session */

/* Another one is asked for as Opus, which the switch makes of it. */
const CODECS = ['opus', 'pcmu', 'pcma'];
/* What is not there, or was lost, is asked for again after so many ms. */
const WAIT_MS = 300;

const text = new TextDecoder();
/** How to leave what is heard, by call. @type {Map<string, () => void>} */
const heard = new Map();

/** @param {Phone} phone @param {() => Session | undefined} sessionOf @param {string} callId @param {string} path */
export const hearEarly = (phone, sessionOf, callId, path) => {
  const call = phone.calls.get(callId);
  if (!call) return;
  // The one before has gone, and another has something to say.
  heard.get(callId)?.();
  /** @type {(() => void)[]} */
  let leaving = [];
  const leave = () => {
    for (const one of leaving) one();
    leaving = [];
  };
  let isOver = false;
  const end = () => {
    isOver = true;
    heard.delete(callId);
    phone.removeEventListener('change', look);
    leave();
  };
  const look = () => (phone.calls.get(callId) != call || !['calling', 'ringing'].includes(call.state)) && end();

  const begin = () => {
    leave();
const session = !isOver && sessionOf();
    if (session) hear(session);
    else if (!isOver) setTimeout(begin, WAIT_MS);
  };
  const hear = (/** @type {Session} */ session) => {
    let isKnown = false;
    const again = () => setTimeout(begin, WAIT_MS);
    const cancel = session.subscribe(path, 'catalog.json', (_, __, payload) => {
      if (isKnown || isOver) return;
      isKnown = true;
      const { codec } = JSON.parse(text.decode(payload)).audio.renditions.audio;
      const isOurs = CODECS.includes(codec);
      const player = phone.audio.player(isOurs ? codec : 'opus', () => {});
      const stop = session.subscribe(path, isOurs ? 'audio' : 'audio.opus', (_, time, payload) => {
        player.take(time, payload);
        if (call.early) return;
        // The phone's own tone is of no use beside it.
        call.early = true;
        phone.emit('change');
      }, again);
      leaving.push(stop, player.close);
    }, () => isKnown || again());
    leaving.push(cancel);
  };
  heard.set(callId, end);
  phone.addEventListener('change', look);
  begin();
};
