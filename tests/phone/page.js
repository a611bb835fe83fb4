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
    constructor(...parts) {
      super(...parts);
      globalThis.sockets.push(this);
    }
  };

  // Whatever goes to the loudspeaker goes to an analyser, too.
  let analyser;
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
      analyser = this.context.createAnalyser();
      analyser.fftSize = 8192;
      connect.call(this, analyser);
    }
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
  /** What sounds now, from `currentTime` on backwards. */
  globalThis.played = () => {
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return { samples, time: analyser.context.currentTime };
  };
})();
