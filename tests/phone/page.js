// Runs in each page before the page's own scripts: what it plays can be looked at, and the fake microphone's tone is not taken
// for noise.
(() => {
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = ({ audio }) => {
    globalThis.asked = audio;
    if (globalThis.isMicrophoneRefused) return Promise.reject(new DOMException('refused', 'NotAllowedError'));
    return open({ audio: { ...audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
  };

  globalThis.sockets = [];
  globalThis.WebSocket = class extends WebSocket {
    constructor(url, ...parts) {
      // The switch has nothing there.
      super(globalThis.isCut ? String(url).replace(/\/ws$/, '/nowhere') : url, ...parts);
      globalThis.sockets.push(this);
    }
  };

  // Whatever goes to the loudspeaker goes to an analyser, too; so does what comes from the microphone.
  let analyser;
  let microphone;
  const connect = AudioNode.prototype.connect;
  const tap = (node) => {
    const to = node.context.createAnalyser();
    to.fftSize = 8192;
    connect.call(node, to);
    return to;
  };
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) analyser = tap(this);
    if (this instanceof MediaStreamAudioSourceNode) microphone = tap(this);
    return connect.call(this, to, ...rest);
  };

  /** Levels in dB below full scale: of each frequency, and of all. */
  globalThis.levels = (...frequencies) => {
    if (!analyser) return frequencies.map(() => -200).concat(-200);
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    const count = samples.length;
    const decibels = (amplitude) => Math.round(20 * Math.log10(Math.max(amplitude, 1e-10)));
    const of = (frequency) => {
      // Goertzel's sum, with a window.
      let [real, imaginary] = [0, 0];
      for (let at = 0; at < count; at++) {
        const window = 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / count);
        const angle = (2 * Math.PI * frequency * at) / analyser.context.sampleRate;
        real += window * samples[at] * Math.cos(angle);
        imaginary += window * samples[at] * Math.sin(angle);
      }
      return decibels((Math.hypot(real, imaginary) * 4) / count);
    };
    return [...frequencies.map(of), decibels(Math.max(...samples.map(Math.abs)))];
  };
  /**
   * When clicks pass, in ms since 1970, for so long; and the delay of the device that plays, in ms. A look may be late, so that
   * of all looks at a click the earliest counts.
   */
  globalThis.clicks = async (isMicrophone, ms) => {
    const from = isMicrophone ? microphone : analyser;
    const { context } = from;
    const samples = new Float32Array(from.fftSize);
    const found = [];
    for (const end = performance.now() + ms; performance.now() < end; await new Promise((later) => setTimeout(later, 15))) {
      from.getFloatTimeDomainData(samples);
      const now = performance.timeOrigin + performance.now();
      let quiet = 0;
      samples.forEach((sample, at) => {
        if (Math.abs(sample) < 0.1) return quiet++;
        if (quiet > 2400) {
          const time = now - ((samples.length - at) * 1000) / context.sampleRate;
          const known = found.findIndex((other) => Math.abs(other - time) < 200);
          if (known < 0) found.push(time);
          else found[known] = Math.min(found[known], time);
        }
        quiet = 0;
      });
    }
    return { found, device: (context.baseLatency + context.outputLatency) * 1000 };
  };

  /** Records what is played, for so long: samples at 48 kHz as 32-bit floats, in base64. In pages without a security policy. */
  globalThis.record = async (ms) => {
    const { context } = analyser;
    const source = "registerProcessor('tape', class extends AudioWorkletProcessor { process([[input]]) { if (input) this.port.postMessage(input.slice()); return true; } })";
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([source], { type: 'text/javascript' })));
    const tape = new AudioWorkletNode(context, 'tape', { numberOfOutputs: 0 });
    const parts = [];
    tape.port.onmessage = ({ data }) => parts.push(data);
    connect.call(analyser, tape);
    await new Promise((later) => setTimeout(later, ms));
    analyser.disconnect(tape);
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    let text = '';
    for (let at = 0; at < bytes.length; at += 32768) text += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return btoa(text);
  };
})();
