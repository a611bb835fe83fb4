// What is measured. These take minutes, need a machine that has nothing else to do, and are run by name alone.
import { speechThrough } from './speech.mjs';
import { hearEachOther, noOpus, noWebTransport, talk } from './talk.mjs';

/** A click of 10 ms in each second, into silence. */
const CLICK = Float32Array.from({ length: 48000 }, (_, at) => (at >= 24000 && at < 24480 ? 0.6 * Math.sin((2 * Math.PI * 1000 * at) / 48000) : 0));

/** How long clicks were on their way. */
function delaysOf(mouth, ear) {
  const after = (said) => Math.min(...ear.found.filter((heard) => heard > said).map((heard) => heard - said));
  const delays = mouth.found.map(after).filter((delay) => delay < 900).sort((a, b) => a - b);
  return { count: delays.length, at: (share) => Math.round(delays[Math.floor(delays.length * share)]) };
}

/* From mouth to ear on loopback, half of all clicks, in ms. */
const DELAY_MAX = 150;
/* What a long call may change: what is held back, in ms, and what the page keeps in memory. */
const DRIFT_MAX = 20;
const GROWTH_MAX = 1.1;

/** Bytes that a page keeps when what is not needed is gone. */
async function heapOf(devtools) {
  await devtools.send('HeapProfiler.collectGarbage');
  return (await devtools.send('Runtime.getHeapUsage')).usedSize;
}

export const MEASUREMENTS = {
  async 'measure: from mouth to the ear of a telephone of SIP, and back'(test) {
    const alice = await test.phone(0, { browser: await test.browser(CLICK) });
    const desk = await test.telephone(2, { echoes: true });
    await alice.call(desk.number);
    await desk.isCalled();
    await desk.command('accept');
    await alice.isUp();
    await new Promise((later) => setTimeout(later, 2000));
    const [mouth, ear] = await Promise.all([alice.page.evaluate(() => globalThis.clicks(true, 25000)), alice.page.evaluate(() => globalThis.clicks(false, 25000))]);
    const { count, at } = delaysOf(mouth, ear);
    const { buffer } = await alice.quality();
    test.note(`${count} clicks, there and back p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, without the browser's devices, with the telephone's own buffer; half of it ${Math.round(at(0.5) / 2)} ms; the browser's buffer ${buffer} ms`);
    if (count < 10) throw new Error(`${count} clicks of 25 came back`);
  },

  async 'measure: from mouth to ear'(test) {
    for (const [name, options] of [['WebTransport', {}], ['WebSocket', { init: noWebTransport }], ['WebTransport, G.711', { init: noOpus }]]) {
      const [alice, bob] = await talk(test, [{ ...options, browser: await test.browser(CLICK) }, options]);
      await alice.hears(bob);
      const [mouth, ear] = await Promise.all([alice.page.evaluate(() => globalThis.clicks(true, 25000)), bob.page.evaluate(() => globalThis.clicks(false, 25000))]);
      const { count, at } = delaysOf(mouth, ear);
      const { buffer, target, underruns } = await bob.quality();
      test.note(`${name}: ${count} clicks, p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, without devices; the one that plays says ${Math.round(ear.device)} ms; buffer ${buffer} ms, target ${target} ms, ${underruns} gaps`);
      if (count < 10) throw new Error(`${count} clicks of 25 were heard`);
      if (at(0.5) > DELAY_MAX) throw new Error(`${name}: ${at(0.5)} ms from mouth to ear`);
      await alice.click('hangupBtn');
      await bob.isFree();
    }
  },

  async 'measure: speech'(test) {
    await speechThrough(test, 'Opus', 'wb', 3.8, {}, talk);
    // This speech has 3.96 by the codec alone, without a call.
    await speechThrough(test, 'PCMU', 'nb', 3.9, { init: noOpus }, talk);
  },

  async 'measure: speech over a path that loses'(test) {
    await test.impair('loss=3%');
    await speechThrough(test, 'Opus, 3 % lost', 'wb', 3.2, {}, talk);
  },

  async 'measure: loss and jitter'(test) {
    await test.impair('delay=20ms,jitter=20ms,loss=1.5%');
    for (const [name, options] of [['WebTransport', {}], ['WebTransport, G.711', { init: noOpus }]]) {
      const [alice, bob] = await talk(test, [options, options]);
      await hearEachOther(alice, bob);
      await new Promise((later) => setTimeout(later, 20_000));
      for (const phone of [alice, bob]) {
        const { frames, lost, late, underruns, edits, jitter, buffer, target, rtt, mos } = await phone.quality();
        test.note(`${name}, ${phone.number}: ${frames} frames, ${lost} lost, ${late} late, ${underruns} underruns, ${edits} edits, jitter ${jitter.toFixed(1)} ms, buffer ${buffer} of ${target} ms, round trip ${rtt} ms, MOS ${mos.toFixed(2)}`);
      }
      await hearEachOther(alice, bob);
      await alice.click('hangupBtn');
      await bob.isFree();
    }
  },

  async 'measure: long calls'(test) {
    const { impair } = test.options;
    // What is lost on a path without datagrams comes late instead: such a path is for WebTransport.
    if (impair) await test.impair(impair);
    const calls = [];
    for (const [name, options] of [['WebTransport', {}], ['WebSocket', { init: noWebTransport }]].slice(0, impair ? 1 : 2)) {
      const [alice, bob] = await talk(test, [options, options]);
      await hearEachOther(alice, bob);
      calls.push({ name, alice, bob, devtools: await bob.page.context().newCDPSession(bob.page) });
    }
    const minutes = Number(test.options.minutes);
    for (let minute = 0; minute <= minutes; minute++) {
      for (const call of calls) {
        const { name, alice, bob, devtools } = call;
        await hearEachOther(alice, bob);
        await bob.until('told how it sounds', () => [...globalThis.phone.calls.values()][0].quality);
        const { frames, lost, underruns, buffer, target } = await bob.quality();
        const heap = await heapOf(devtools);
        const text = `${name}, minute ${minute}: ${frames} frames, ${lost} lost, ${underruns} underruns, buffer ${buffer} of ${target} ms, heap ${(heap / 1e6).toFixed(1)} MB`;
        if (minute % 5 == 0 || minute == minutes) test.note(text);
        // The first minute is for warming up.
        if (minute == 1) call.first = { heap, target, frames };
        if (minute < 2 || minute < minutes) continue;
        if (heap > call.first.heap * GROWTH_MAX) throw new Error(`${text}, of ${(call.first.heap / 1e6).toFixed(1)} MB`);
        if (Math.abs(target - call.first.target) > DRIFT_MAX) throw new Error(`${text}, of ${call.first.target} ms`);
        const due = (minutes - 1) * 3000;
        if (frames + lost - call.first.frames < 0.98 * due) throw new Error(`${text}: ${due} frames were due`);
      }
      if (minute < minutes) await new Promise((later) => setTimeout(later, 60_000));
    }
  },
};
