// The cases of tests/webrtc.sh.

const equal = (seen, wanted, what) => {
  if (seen !== wanted) throw new Error(`${what}: ${JSON.stringify(seen)}, and not ${JSON.stringify(wanted)}`);
};

/** Of a session of WHIP or WHEP, by its URL. */
const end = async (location) => (await fetch(location, { method: 'DELETE' })).status;

export const CASES = {
  async 'WHIP is heard by WHEP'(test) {
    const [speaker, hearer] = await test.pages(2);
    const whip = `${test.base}/whip/studio/one`;
    const whep = `${test.base}/whep/studio/one`;
    const published = await speaker.evaluate(([url]) => rtc.publish(url), [whip]);
    const heard = await hearer.evaluate(([url, hz]) => rtc.hear(url, hz), [whep, test.tones[0]]);
    equal(heard.statistics.codec, 'audio/opus', 'codec');
    test.note(`${heard.hz.toFixed(0)} Hz at ${heard.db.toFixed(0)} dB, ${heard.statistics.received} packets, ${heard.statistics.lost} lost`);
    equal(await end(heard.location), 200, 'DELETE of WHEP');
    equal(await end(heard.location), 404, 'DELETE a second time');
    await hearer.evaluate(([url]) => rtc.over(url), [whep]);
    equal(await end(published.location), 200, 'DELETE of WHIP');
  },

  async 'G.711 passes as it is'(test) {
    const [speaker, hearer] = await test.pages(2);
    const published = await speaker.evaluate(([url]) => rtc.publish(url, 'pcma'), [`${test.base}/whip/studio/two`]);
    const heard = await hearer.evaluate(([url, hz]) => rtc.hear(url, hz), [`${test.base}/whep/studio/two`, test.tones[0]]);
    equal(heard.statistics.codec, 'audio/PCMA', 'codec');
    equal(await end(published.location), 200, 'DELETE');
  },

  async 'what is refused'(test) {
    const post = async (path, body, type = 'application/sdp') => {
      const answer = await fetch(`${test.base}${path}`, { method: 'POST', headers: { 'Content-Type': type }, body });
      return answer.status;
    };
    equal(await post('/whep/nobody', 'v=0\r\n'), 404, 'a broadcast that is not there');
    equal(await post('/whip/x', 'v=0\r\n'), 406, 'nothing to hear');
    equal(await post('/whip/x', 'v=0\r\n', 'text/plain'), 415, 'another type');
    equal(await post('/whip/x', 'a'.repeat(100_000)), 413, 'too long');
    equal((await fetch(`${test.base}/webrtc/00`, { method: 'DELETE' })).status, 404, 'no such session');
    equal((await fetch(`${test.base}/whip/x`, { method: 'PATCH' })).status, 405, 'PATCH');
    const options = await fetch(`${test.base}/whip/x`, { method: 'OPTIONS' });
    equal(options.status, 204, 'OPTIONS');
    equal(options.headers.get('Accept-Post'), 'application/sdp', 'Accept-Post');
  },
};
