// Real telephones, that call each other by the switch: Debian's baresip.
import path from 'node:path';

import { Linphone } from '../phone/linphone.mjs';
import { Telephone } from '../phone/telephone.mjs';
import { goesWithUs } from './children.mjs';
import { freePorts } from './ports.mjs';
import { kamailio, rtpengine } from './routes.mjs';
import { pause, until } from './test.mjs';

const TONES = [440, 660, 880];

/** Telephones that are registered, each with its tone. */
async function telephones(test, count, { transport = 'udp', sip = test.sip, encryption = '', tones = TONES, makes = [Telephone] } = {}) {
  const all = [];
  // What it hears is in files whose names have to be short.
  const work = path.join(path.dirname(test.work), sip === test.sip ? transport : `by-${transport}`);
  for (const [at, tone] of tones.slice(0, count).entries()) {
    // Its second port is ten above the first.
    const telephone = await makes[at % makes.length].start({ work, number: test.number(), tone, sip, port: freePorts(12)[0], transport, encryption });
    test.close(() => telephone.stop());
    goesWithUs(telephone.child);
    telephone.transport = transport;
    all.push(telephone);
  }
  return all;
}

const others = (tone) => TONES.filter((other) => other !== tone);

async function talkOf(test, one, other) {
  await Promise.all([one.hears(other.tone, others(other.tone)), other.hears(one.tone, others(one.tone))]);
  test.check(true, '');
}

/** Nothing comes any more, or nothing that is heard. */
async function isQuiet(telephone) {
  await telephone.until('hearing nothing', async () => {
    const before = await telephone.last();
    await pause(500);
    const after = await telephone.last();
    return before.count === after.count || Math.max(...after.samples.slice(-4000).map(Math.abs)) < 100;
  });
}

/** One calls the other, which accepts. */
async function connect(one, other) {
  one.output = other.output = '';
  await one.command('dial', `sip:${other.number}@127.0.0.1:${one.sip};transport=${one.transport}`);
  await other.isCalled();
  await other.command('accept');
  await Promise.all([one.isUp(), other.isUp()]);
}

async function course(test, options) {
  const [one, other, third] = await telephones(test, 3, options);
  await connect(one, other);
  await talkOf(test, one, other);
  await one.command('hold');
  await isQuiet(other);
  test.equal((await test.isHeld(other.number)).state, 'held', 'state on hold');
  await one.command('resume');
  if (one.hearsAfterItsHold) await talkOf(test, one, other);
  else await other.hears(one.tone, others(one.tone));
  const before = test.switch.events.length;
  await one.command('sndcode', '42#');
  const keys = () => test.switch.events.slice(before).filter(({ kind }) => kind === 'dtmf').map(({ digits, digit }) => digits ?? digit).join('');
  await until('keys', () => keys() === '42#', 10_000).catch((error) => {
    throw new Error(`${error.message}: '${keys()}' of 42#`);
  });
  await other.until('told of the keys', () => /DTMF|received event: '4'|event: '4'/i.test(other.output)).catch((error) => test.check(false, error.message));
  third.output = '';
  await one.command('transfer', `sip:${third.number}@127.0.0.1:${one.sip}`);
  await third.isCalled();
  await third.command('accept');
  await talkOf(test, other, third);
  await one.isFree();
  await talkOf(test, other, third);
  await third.command('hangup');
  await Promise.all([other.isFree(), third.isFree()]);
  await test.record(third.number, { reason: 'normal_clearing', answered: true });
}

const BY_TRANSPORT = ['udp', 'tcp', 'tls'].map((transport) => ({
  name: `telephones talk, hold, press keys and hand on, over ${transport.toUpperCase()}`,
  source: 'issue 18, what it must show, 1: baresip',
  async run(test) {
    if (transport !== 'tls') return course(test, { transport });
    const [tls] = freePorts();
    await test.ownSwitch({ MOQSWITCH_SIP_TLS: `127.0.0.1:${tls}` });
    return course(test, { transport, sip: tls });
  },
}));

/** A switch of the case's own that listens on TLS, too: at which port. */
async function withTls(test, settings) {
  const [tls] = freePorts();
  await test.ownSwitch({ MOQSWITCH_SIP_TLS: `127.0.0.1:${tls}`, ...settings });
  return tls;
}

/** One that takes SRTP alone calls one that has none, and is called by it; each is heard in either call. */
async function secretAndPlain(test, makes) {
  const sip = await withTls(test, { MOQSWITCH_SIP_SRTP: 'offer' });
  const [secret] = await telephones(test, 1, { transport: 'tls', sip, encryption: 'srtp-mand', makes });
  const [plain] = await telephones(test, 1, { tones: TONES.slice(1) });
  for (const [one, other] of [[secret, plain], [plain, secret]]) {
    await connect(one, other);
    await talkOf(test, one, other);
    await one.command('hangup');
    await Promise.all([one.isFree(), other.isFree()]);
  }
  await test.record(plain.number, { reason: 'normal_clearing', answered: true, count: 2 });
}

export const TELEPHONES = [
  ...BY_TRANSPORT,
  {
    name: 'telephones talk, hold, press keys and hand on, over SRTP and TLS',
    source: 'RFC 4568, RFC 3711: baresip with mediaenc=srtp-mand',
    async run(test) {
      const sip = await withTls(test, { MOQSWITCH_SIP_SRTP: 'require' });
      return course(test, { transport: 'tls', sip, encryption: 'srtp-mand' });
    },
  },
  {
    name: 'a telephone on SRTP and TLS, and a plain one on UDP, call each other',
    source: 'RFC 4568, section 5.1: each leg has what its telephone wants',
    run: (test) => secretAndPlain(test, [Telephone]),
  },
  {
    name: 'linphone on SRTP and TLS, and a plain baresip on UDP, call each other',
    source: 'RFC 4568, section 5.1: each leg has what its telephone wants',
    isLong: true,
    run: (test) => secretAndPlain(test, [Linphone]),
  },
  {
    name: 'a telephone on TLS that has no SRTP is called without it',
    source: 'what users expect of "offer"',
    async run(test) {
      const sip = await withTls(test, { MOQSWITCH_SIP_SRTP: 'offer' });
      const [one, other] = await telephones(test, 2, { transport: 'tls', sip });
      await connect(one, other);
      await talkOf(test, one, other);
      await one.command('hangup');
      await Promise.all([one.isFree(), other.isFree()]);
      await test.record(other.number, { reason: 'normal_clearing', answered: true });
    },
  },
  {
    name: 'telephones behind kamailio talk, hold, press keys and hand on',
    source: 'issue 18, what it must show, 1: kamailio and baresip',
    isLong: true,
    run: async (test) => course(test, { sip: await kamailio(test) }),
  },
  ...['udp', 'tcp'].map((transport) => ({
    name: `linphone and baresip talk, hold, press keys and hand on, over ${transport.toUpperCase()}`,
    source: 'issue 18, what it must show, 1: linphone',
    isLong: true,
    run: (test) => course(test, { transport, makes: [Linphone, Telephone] }),
  })),
  {
    name: 'linphone and baresip talk, hold, press keys and hand on, over SRTP and TLS',
    source: 'issue 18, what it must show, 1: linphone',
    isLong: true,
    async run(test) {
      const sip = await withTls(test, { MOQSWITCH_SIP_SRTP: 'require' });
      return course(test, { transport: 'tls', sip, encryption: 'srtp-mand', makes: [Linphone, Telephone] });
    },
  },
  {
    name: 'telephones whose media goes by rtpengine talk, hold, press keys and hand on',
    source: 'issue 18, what it must show, 1: kamailio and rtpengine between',
    isLong: true,
    async run(test) {
      const media = await rtpengine(test);
      await course(test, { sip: await kamailio(test, media.port) });
      // Some seconds of 50 packets, of two calls, each by it twice and both ways.
      const relayed = await media.relayed();
      test.check(relayed > 400, `rtpengine passed on ${relayed} packets`);
    },
  },
];
