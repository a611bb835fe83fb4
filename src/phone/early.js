// @ts-check
/* What is heard before a call is answered: what a telephone or a trunk plays until then, an announcement, or the music of a
   queue. Its catalog says in which codec. */

/** @typedef {import('./moqphone.js').Phone} Phone */
/** @typedef {import('./moq.js').Session} Session */

/* Another one is asked for as Opus, which the switch makes of it. */
const CODECS = ['opus', 'pcmu', 'pcma'];
/* What is not there, or was lost, is asked for again after so many ms. */
const WAIT_MS = 300;

const text = new TextDecoder();
/** What is heard, and how to leave it, by call. @type {Map<string, {path: string, end(): void}>} */
const heard = new Map();

/** Of all calls. @param {Phone} phone @param {() => Session | undefined} sessionOf */
export const hearEarly = (phone, sessionOf) => {
  for (const call of phone.calls.values()) {
    const { id, state, earlyMedia } = call;
    const before = heard.get(id);
    if (state == 'up' || before?.path == earlyMedia) continue;
    // The one before has gone, and another may have something to say.
    before?.end();
    if (earlyMedia) hearOne(phone, sessionOf, call, earlyMedia);
  }
};

/** @param {Phone} phone @param {() => Session | undefined} sessionOf @param {import('./moqphone.js').Call} call @param {string} path */
const hearOne = (phone, sessionOf, call, path) => {
  /** @type {(() => void)[]} */
  let leaving = [];
  const leave = () => {
    for (const one of leaving) one();
    leaving = [];
  };
  let isOver = false;
  const end = () => {
    isOver = true;
    heard.delete(call.id);
    phone.removeEventListener('change', look);
    leave();
    call.early = false;
  };
  const look = () => (phone.calls.get(call.id) != call || !['calling', 'ringing'].includes(call.state)) && end();

  const begin = () => {
    leave();
    const session = !isOver && sessionOf();
    if (session) hear(session);
    else if (!isOver) setTimeout(begin, WAIT_MS);
  };
  const hear = (/** @type {Session} */ session) => {
    let isKnown = false;
    const again = () => {
      // Nothing plays: the phone's own tone is of use again.
      if (call.early) {
        call.early = false;
        phone.emit('change');
      }
      setTimeout(begin, WAIT_MS);
    };
    const cancel = session.subscribe(path, 'catalog.json', (_, __, payload) => {
      if (isKnown || isOver) return;
      const { codec } = JSON.parse(text.decode(payload)).audio.renditions.audio;
      const isOurs = CODECS.includes(codec);
      const player = phone.audio.player(isOurs ? codec : 'opus', () => {});
      isKnown = true;
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
  heard.set(call.id, { path, end });
  phone.addEventListener('change', look);
  begin();
};
