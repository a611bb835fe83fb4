// Runs in each page before anything else and notes what passes through the browser's own interfaces: which transports
// are opened and what is agreed on them, how many frames encoders and decoders put out. The packages know nothing of it,
// so the checks do not depend on what the packages say of themselves.
globalThis.observed = {
  webTransports: [],
  webSockets: [],
  encoded: { video: 0, audio: 0, videoCodec: undefined, audioCodec: undefined },
  decoded: { video: 0, audio: 0, width: 0, height: 0 },
};

if (globalThis.WebTransport) {
  globalThis.WebTransport = class extends WebTransport {
    constructor(url, options) {
      super(url, options);
      const note = {
        url: String(url), offered: options?.protocols ?? [], protocol: undefined, state: 'connecting',
        hashes: options?.serverCertificateHashes?.length ?? 0,
      };
      observed.webTransports.push(note);
      this.ready.then(() => { note.state = 'open'; note.protocol = this.protocol; }, () => { note.state = 'failed'; });
      this.closed.catch(() => {}).finally(() => { if (note.state === 'open') note.state = 'closed'; });
    }
  };
}

if (globalThis.WebSocketStream) {
  globalThis.WebSocketStream = class extends WebSocketStream {
    constructor(url, options) {
      super(url, options);
      const note = { url: String(url), offered: options?.protocols ?? [], protocol: undefined, state: 'connecting' };
      observed.webSockets.push(note);
      this.opened.then(({ protocol }) => { note.state = 'open'; note.protocol = protocol; }, () => { note.state = 'failed'; });
      this.closed.catch(() => {}).finally(() => { if (note.state === 'open') note.state = 'closed'; });
    }
  };
}

globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols);
    const note = { url: String(url), offered: [protocols ?? []].flat(), protocol: undefined, state: 'connecting' };
    observed.webSockets.push(note);
    this.addEventListener('open', () => { note.state = 'open'; note.protocol = this.protocol; });
    this.addEventListener('close', () => { note.state = note.state === 'open' ? 'closed' : 'failed'; });
  }
};

globalThis.VideoEncoder = class extends VideoEncoder {
  constructor(init) {
    super({ ...init, output: (chunk, metadata) => { observed.encoded.video++; init.output(chunk, metadata); } });
  }
  configure(config) {
    observed.encoded.videoCodec = config.codec;
    super.configure(config);
  }
};

globalThis.AudioEncoder = class extends AudioEncoder {
  constructor(init) {
    super({ ...init, output: (chunk, metadata) => { observed.encoded.audio++; init.output(chunk, metadata); } });
  }
  configure(config) {
    observed.encoded.audioCodec = config.codec;
    super.configure(config);
  }
};

globalThis.VideoDecoder = class extends VideoDecoder {
  constructor(init) {
    super({
      ...init,
      output: (frame) => {
        observed.decoded.video++;
        observed.decoded.width = frame.displayWidth;
        observed.decoded.height = frame.displayHeight;
        init.output(frame);
      },
    });
  }
};

globalThis.AudioDecoder = class extends AudioDecoder {
  constructor(init) {
    super({ ...init, output: (data) => { observed.decoded.audio++; init.output(data); } });
  }
};
