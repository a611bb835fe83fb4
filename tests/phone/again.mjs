// When frames are heard a second time, and when no more: src/phone/again.js by itself, with a clock of the case's.
import { mend } from '../../src/phone/again.js';

/** A player that reports each second, and what is asked for in its name. */
function listener() {
  const seen = { begun: 0, ended: 0, messages: [], closed: false };
  const player = { node: { port: { postMessage: (data) => seen.messages.push(data) } }, take() {}, close: () => (seen.closed = true) };
  const stats = { frames: 0, lost: 0 };
  let onFrame, refuse;
  const subscribe = (frame, ended) => {
    seen.begun++;
    [onFrame, refuse] = [frame, ended];
    return () => seen.ended++;
  };
  return {
    seen, player,
    /** A second in which so many of 50 are lost. */
    second(clock, lost, { isOfUse = false } = {}) {
      clock.now += 1000;
      stats.frames += 50 - lost;
      stats.lost += lost;
      if (isOfUse) onFrame?.(0, clock.now, new Uint8Array(1));
      mend(player, { ...stats }, subscribe);
    },
    refuse: () => refuse(),
  };
}

function expect(what, found, wanted) {
  if (found !== wanted) throw new Error(`${what}: ${found}, not ${wanted}`);
}

export const AGAIN = {
  async 'frames are heard again by who loses some, and no longer than that helps'() {
    const real = performance.now;
    const clock = { now: 1e6 };
    performance.now = () => clock.now;
    try {
      const helped = listener();
      helped.second(clock, 0);
      helped.second(clock, 12);
      expect('a gap in one second', helped.seen.begun, 0);
      helped.second(clock, 1);
      expect('losses in two', helped.seen.begun, 1);
      for (let second = 0; second < 100; second++) helped.second(clock, 0, { isOfUse: true });
      expect('while it is of use', helped.seen.ended, 0);
      for (let second = 0; second < 31; second++) helped.second(clock, 0);
      expect('of no use for 30 s', helped.seen.ended, 1);
      for (let second = 0; second < 300; second++) helped.second(clock, 1, { isOfUse: second % 5 == 0 });
      expect('lost again a minute later', helped.seen.begun, 2);

      const full = listener();
      for (let second = 0; second < 50; second++) full.second(clock, 10, { isOfUse: true });
      expect('a path that is full', `${full.seen.begun} ${full.seen.ended}`, '1 1');

      const refused = listener();
      for (let second = 0; second < 10; second++) refused.second(clock, 2);
      refused.refuse();
      for (let second = 0; second < 55; second++) refused.second(clock, 2);
      expect('a peer without such a track', `${refused.seen.begun} ${refused.seen.ended}`, '1 1');
      expect('what is held then', refused.seen.messages.at(-1), 1);

      const closed = listener();
      for (let second = 0; second < 5; second++) closed.second(clock, 2);
      closed.player.close();
      for (let second = 0; second < 100; second++) closed.second(clock, 2);
      expect('a player that is closed', `${closed.seen.begun} ${closed.seen.ended} ${closed.seen.closed}`, '1 1 true');
    } finally {
      performance.now = real;
    }
  },
};
