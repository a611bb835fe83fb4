// Which way messages go: proxies that stay on it, and translators of addresses.
import { until } from './test.mjs';

export const ROUTES = [
  {
    name: 'proxies stay on the way of a call, on both sides',
    source: 'reports 4, 6, 7: restsend/rsipstack#44, sipsak#7, janus#1389, pyVoIP#297, drachtio#162',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const callee = await test.callee(to, { scenario: 'routed-callee' });
      const caller = await test.caller(from, to, { scenario: 'routed-caller' });
      const call = await test.isUp(to);
      await until('answered again', () => caller.sent('ACK').length === 2);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'a caller behind a translator of addresses',
    source: 'report 8: livekit/sip#597, #208, #141',
    async run(test) {
      const [from, to] = [test.number(), test.number()];
      const [one, other] = [await test.media(), await test.media()];
      const callee = await test.callee(to, { audio: other.port });
      // Its port is another behind the translator.
      const caller = await test.caller(from, to, { scenario: 'translated', audio: one.port - 2000 });
      const call = await test.isUp(to);
      one.speak(440, test.audioOf(caller.received('200')[0]));
      other.speak(660, test.audioOf(callee.received('INVITE')[0]));
      await until('heard both ways', () => one.hears(660, [440]) && other.hears(440, [660]), 5000);
      await test.hangUp(call);
      await Promise.all([caller.done(), callee.done()]);
      await test.record(to, { reason: 'normal_clearing', answered: true });
    },
  },
];
