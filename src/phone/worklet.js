// @ts-nocheck: the scope of an AudioWorklet has types of its own.
/*
 * What runs on the audio thread. `capture` cuts the microphone into frames of 20 ms; `play` is the jitter buffer.
 *
 * The buffer is a ring of samples, contiguous from `pos`, where it is read, to `end`: a frame that is missing is concealed
 * when the next one comes, and replaced if it still comes in time. How much is held follows the 95th percentile of how late
 * frames are. Too much or too little is mended by leaving out or repeating one period of the sound.
 */
const FRAME = 960;
const SIZE = 1 << 17;
const MASK = SIZE - 1;
const BIN = 240;
const BINS = 80;
/* From here on a gap is a pause and no loss. */
const PAUSE = 12 * FRAME;
/* How long a hole is covered when nothing comes. */
const FADE = 3 * FRAME;
const OVERLAP = 192;
const SKIP = 4 * FRAME;
const HELD_MAX = SIZE / 2;

registerProcessor('capture', class extends AudioWorkletProcessor {
  constructor() {
    super();
    const frame = new Float32Array(FRAME);
    let filled = 0;
    this.process = ([[input]]) => {
      // Without a microphone there is silence, so that who listens knows the phone alive.
      for (let at = 0; at < 128; at++) {
        frame[filled++] = input ? input[at] : 0;
        if (filled < FRAME) continue;
        this.port.postMessage(frame);
        filled = 0;
      }
      return true;
    };
  }
});

registerProcessor('play', class extends AudioWorkletProcessor {
  constructor() {
    super();
    const ring = new Float32Array(SIZE);
    /* Of delays above the shortest, in bins of 5 ms; recent ones count more. */
    const bins = new Float64Array(BINS);
    let [frames, lost, late, underruns, edits, jitter] = [0, 0, 0, 0, 0, 0];
    let pos = 0;
    let end = 0;
    /* Where frames that came end; behind it is concealment. */
    let real = 0;
    let isPlaying = false;
    let isStarved = false;
    let isOver = false;
    let weight = 1;
    let shortest = Infinity;
    let last = 0;
    let target = 2 * FRAME;
    /* What is held beside that, for frames that are sent again. 0 is the end. */
    let extra = 1;
    /* What is left when a frame comes, smoothed. */
    let ahead = FRAME;
    let sinceEdit = 0;
    /* Samples of concealment in a row, and the period that is repeated. */
    let faded = 0;
    let lag = FRAME;

    /* A frame: when its first sample was recorded, in samples of the sender, and when it came, in ms. */
    const take = (time, samples, at) => {
      const span = time - real;
      const isPause = span > PAUSE || span < -SIZE / 4;
      const behind = time + samples.length;
      if (isPause) shortest = Infinity;
      measure(at * 48 - time);
      if (isStarved && span >= 0 && span < FRAME) underruns++;
      if (span > 0 && !isPause) lost += Math.round(span / FRAME);
      isStarved = false;
      if (isPause || (!isPlaying && time < pos)) {
        isPlaying = false;
        pos = end = time;
      }
      if (++frames % 50 == 0) report();
      if (behind <= pos) return late++;
      ahead += (end - pos - ahead) / 25;
      // Behind others that were sent after it: what was said to be lost is not.
      if (span < 0 && lost) lost--;
      conceal(time - end);
      // Behind concealment the sound is taken over, not cut over.
      const overlap = faded && isPlaying ? OVERLAP : 0;
      const before = end;
      end = time;
      conceal(overlap);
      for (let at = 0; at < samples.length; at++) {
        const place = (time + at) & MASK;
        // Who was overtaken ends in the concealment that the one behind it begins with.
        const share = Math.min(1, overlap ? at / overlap : 1, span < 0 ? (samples.length - at) / OVERLAP : 1);
        ring[place] = samples[at] * share + ring[place] * (1 - share);
      }
      faded = 0;
      end = Math.max(before, behind);
      real = isPause ? behind : Math.max(real, behind);
      const held = end - pos;
      if (held > HELD_MAX || (!isPlaying && held > target + 2 * FRAME)) pos = end - Math.round(target);
      if (!isPlaying && held >= target) {
        isPlaying = true;
        ahead = held - samples.length;
      }
      if (++sinceEdit > 8 && isPlaying) edit();
    };

    const measure = (delay) => {
      // The shortest grows slowly, as clocks drift apart.
      shortest = Math.min(delay, shortest + 0.5);
      const change = Math.abs(delay - last);
      if (change < SIZE) jitter += (change - jitter) / 16;
      last = delay;
      weight /= 0.9993;
      // Later still is a stall, against which no buffer helps.
      const above = Math.floor((delay - shortest) / BIN);
      if (above < BINS) bins[above] += weight;
      const total = bins.reduce((sum, count) => sum + count);
      let bin = 0;
      for (let sum = bins[0]; sum < total * 0.95; sum += bins[++bin]);
      // Up at once, down by a frame in a second.
      target = Math.max((bin + 1) * BIN + FRAME + extra, target - FRAME / 50);
      if (weight < 1e9) return;
      bins.forEach((count, bin) => (bins[bin] = count / weight));
      weight = 1;
    };

    const report = () => {
      const ms = (samples) => Math.round(samples / 48);
      this.port.postMessage({
        frames, lost, late, underruns, edits, jitter: jitter / 48, buffer: ms(end - pos), target: ms(target), ahead: ms(ahead),
      });
    };

    /* The distance at which the sound before `at` is most like itself: its period, or some of them. */
    const period = (at, least, most) => {
      let best = most;
      let closest = -2;
      for (let lag = least; lag <= most; lag += 2) {
        let product = 0;
        let one = 1e-9;
        let other = 1e-9;
        for (let back = 1; back <= 240; back += 2) {
          const a = ring[(at - back) & MASK];
          const b = ring[(at - back - lag) & MASK];
          product += a * b;
          one += a * a;
          other += b * b;
        }
        const likeness = product / Math.sqrt(one * other);
        if (likeness > closest) [closest, best] = [likeness, lag];
      }
      return best;
    };

    /* Goes on with the last period for so long, and fades. */
    const conceal = (count) => {
      if (count > 0 && !faded) lag = period(end, 120, 720);
      for (; count > 0; count--) {
        // Of what was played a period ago, which has faded by then: it need fade but a little more.
        ring[end & MASK] = ring[(end++ - lag) & MASK] * (faded++ < FRAME ? 1 : 0.9994);
      }
    };

    /* One period fewer or more when there is a frame too much, or half of one or of the reserve too little. */
    const edit = () => {
      const error = ahead - (target - FRAME);
      const sign = error > FRAME ? 1 : error < -Math.min(FRAME, target - FRAME) / 2 ? -1 : 0;
      // What is left out must be there; what is repeated was played.
      const most = Math.min(720, sign > 0 ? end - pos - FRAME : 720);
      if (!sign || most < 240 || end - pos < 480) return;
      // What is far too much, as after a start, is left out at once.
      const lag = error > SKIP ? Math.floor(error) : period(pos + 240, 240, most);
      const to = pos + sign * lag;
      for (let at = 0; at < OVERLAP; at++) {
        const share = at / OVERLAP;
        const place = (to + at) & MASK;
        ring[place] = ring[place] * share + ring[(pos + at) & MASK] * (1 - share);
      }
      pos = to;
      ahead -= sign * lag;
      sinceEdit = 0;
      edits++;
    };

    this.port.onmessage = ({ data }) => (data.samples ? take(data.time, data.samples, data.at) : (isOver = !(extra = data)));
    this.process = (_, [[output]]) => {
      if (isPlaying && end - pos < 128) {
        isStarved = true;
        isPlaying = faded < FADE;
        conceal(128);
      }
      if (isPlaying) {
        for (let at = 0; at < 128; at++) {
          output[at] = ring[pos++ & MASK];
        }
      }
      return !isOver;
    };
  }
});
