// @ts-check
/*
 * Microphone, codecs and loudspeaker. Everything is mono at 48 kHz, in frames of 20 ms; they are counted by the wall clock,
 * so that the count goes on where it was after a reload.
 */

const FRAME = 960;
const BITRATE = 32000;
/* Frames that a decoder may have; with more it is behind, and another begins. */
const DECODING_MAX = 50;

/* Who has one has a decoder, too. */
export const hasOpus = 'AudioEncoder' in globalThis;
/** Units of the timestamps of a codec in a second. @param {string} codec */
export const clockOf = (codec) => (codec == 'opus' ? 48000 : 8000);

/** Sound in and out. */
export class Audio {
  /** @type {(samples: Float32Array, count: number) => void} what is done with a frame of the microphone */
  onframe = () => {};
  /** @type {() => void} the microphone went away */
  onlost = () => {};
  /** @type {ConstrainDOMString} */
  microphone = '';

  /** Once, best in a click: browsers let no page sound without one. */
  async start() {
    if (!this.started) {
      const context = (this.context = new AudioContext({ sampleRate: 48000 }));
      this.out = context.createGain();
      this.out.connect(context.destination);
      this.started = context.audioWorklet.addModule(new URL('worklet.js', import.meta.url)).then(() => {
        this.capture = new AudioWorkletNode(context, 'capture', { numberOfOutputs: 0 });
        let count = Math.floor(Date.now() / 20);
        this.capture.port.onmessage = ({ data }) => this.onframe(data, count++);
      });
      this.started.catch(() => (this.started = undefined));
    }
    this.wake();
    await this.started;
  }

  wake() {
    this.context?.resume().catch(() => {});
  }

  /** Opens the microphone; again, when it is another one than before. Rejects as getUserMedia does. */
  async open() {
    await this.start();
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, deviceId: this.microphone };
    const stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.close();
    this.stream = stream;
    const [track] = stream.getTracks();
    track.onended = () => {
      this.close();
      this.onlost();
    };
    this.source = this.context?.createMediaStreamSource(stream);
    if (this.capture) this.source?.connect(this.capture);
  }

  close() {
    this.source?.disconnect();
    for (const track of this.stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.stream = this.source = undefined;
  }

  /** Who speaks. @param {string} codec @param {(stats: any) => void} onstats every second of sound */
  player(codec, onstats) {
    const node = new AudioWorkletNode(/** @type {AudioContext} */ (this.context), 'play');
    node.connect(/** @type {GainNode} */ (this.out));
    node.port.onmessage = ({ data }) => onstats(data);
    const decode = decoderOf(codec, (time, samples, at) => node.port.postMessage({ time, samples, at }, [samples.buffer]));
    return {
      node,
      /** @param {number} timestamp @param {Uint8Array} payload @param {number} [at] when it came, in ms */
      take: (timestamp, payload, at = performance.now()) => decode((timestamp * 48000) / clockOf(codec), payload, at),
      close() {
        node.port.postMessage(0);
        node.disconnect();
      },
    };
  }
}

/** @typedef {(time: number, samples: Float32Array, at: number) => void} OnSamples */

/** @param {string} codec @param {OnSamples} onSamples @returns {(time: number, payload: Uint8Array, at: number) => void} */
const decoderOf = (codec, onSamples) => {
  if (codec != 'opus') {
    /** @type {any} */
    let decode;
    import('./g711.js').then((g711) => (decode = g711.decoder(codec)));
    return (time, payload, at) => decode && onSamples(time, decode(payload), at);
  }
  /** @type {{time: number, at: number}[]} frames that the decoder has, the oldest first */
  let queue = [];
  /** @type {AudioDecoder | undefined} */
  let decoder;
  return (time, data, at) => {
    if (decoder?.state != 'configured' || queue.length > DECODING_MAX) {
      // What it has still would be taken for frames of the next one.
      if (decoder?.state == 'configured') decoder.close();
      queue = [];
      decoder = new AudioDecoder({
        output(sound) {
          const samples = new Float32Array(sound.numberOfFrames);
          sound.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
          sound.close();
          const frame = queue.shift();
          if (frame) onSamples(frame.time, samples, frame.at);
        },
        // What cannot be decoded ends this one; the next frame has another.
        error() {},
      });
      decoder.configure({ codec: 'opus', sampleRate: 48000, numberOfChannels: 1 });
    }
    queue.push({ time, at });
    decoder.decode(new EncodedAudioChunk({ type: 'key', timestamp: time * 20, data }));
  };
};

/**
 * @param {string} codec
 * @param {(count: number, payload: Uint8Array) => void} onPayload
 * @returns {(samples: Float32Array, count: number) => void}
 */
export const encoderOf = (codec, onPayload) => {
  if (codec != 'opus') {
    /** @type {any} */
    let encode;
    import('./g711.js').then((g711) => (encode = g711.encoder(codec)));
    return (samples, count) => encode && onPayload(count, encode(samples));
  }
  /** @type {number[]} frames that the encoder has: one packet comes of each. Firefox says of each that it is the first */
  const counts = [];
  const encoder = new AudioEncoder({
    output(chunk) {
      const payload = new Uint8Array(chunk.byteLength);
      chunk.copyTo(payload);
      onPayload(/** @type {number} */ (counts.shift()), payload);
    },
    error() {},
  });
  const opus = { frameDuration: 20000, application: 'voip' };
  encoder.configure(/** @type {any} */ ({ codec: 'opus', sampleRate: 48000, numberOfChannels: 1, bitrate: BITRATE, opus }));
  return (data, count) => {
    if (encoder.state != 'configured') return;
    const timestamp = count * 20000;
    const sound = new AudioData({
      format: 'f32-planar', sampleRate: 48000, numberOfFrames: FRAME, numberOfChannels: 1, timestamp, data: new Float32Array(data),
    });
    encoder.encode(sound);
    counts.push(count);
    sound.close();
  };
};
