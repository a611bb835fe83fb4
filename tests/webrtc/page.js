// In the page: what a program that speaks WebRTC does, and what of it is heard.

/** Until nothing more is gathered: there are no servers to wait for. */
async function gathered(connection) {
  if (connection.iceGatheringState === 'complete') return;
  await new Promise((done) => connection.addEventListener('icegatheringstatechange', () => connection.iceGatheringState === 'complete' && done()));
}

async function up(connection) {
  while (connection.connectionState !== 'connected') {
    if (connection.connectionState === 'failed') throw new Error('the connection fails');
    await new Promise((changed) => connection.addEventListener('connectionstatechange', changed, { once: true }));
  }
}

/** Posts an offer. The URL of the session. */
async function post(connection, url, token) {
  await connection.setLocalDescription();
  await gathered(connection);
  const headers = { 'Content-Type': 'application/sdp', ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(url, { method: 'POST', headers, body: connection.localDescription.sdp });
  if (answer.status !== 201) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  const location = new URL(answer.headers.get('Location'), url).href;
  const sdp = await answer.text();
  await connection.setRemoteDescription({ type: 'answer', sdp });
  await up(connection);
  return { location, sdp, link: answer.headers.get('Link') };
}

/** Listens to a stream. */
function listen(stream) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 8192;
  // Without an element that plays it Chromium decodes nothing.
  const element = new Audio();
  element.srcObject = stream;
  element.muted = true;
  void element.play();
  context.createMediaStreamSource(stream).connect(analyser);
  void context.resume();
  return { context, analyser };
}

/** The loudest tone that is heard, in Hz, and how loud it is. */
function loudest({ context, analyser }) {
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  let at = 0;
  bins.forEach((level, index) => {
    if (level > bins[at]) at = index;
  });
  return { hz: (at * context.sampleRate) / analyser.fftSize, db: bins[at] };
}

/** Until a tone is heard several times in a row. */
async function hears(ear, hz, seconds = 40) {
  const deadline = performance.now() + seconds * 1000;
  let last = null;
  for (let times = 0; times < 5; ) {
    await new Promise((later) => setTimeout(later, 100));
    last = loudest(ear);
    times = Math.abs(last.hz - hz) < 15 && last.db > -60 ? times + 1 : 0;
    if (performance.now() > deadline) throw new Error(`no ${hz} Hz, but ${last.hz.toFixed(0)} Hz with ${last.db.toFixed(0)} dB`);
  }
  return last;
}

window.rtc = {
  kept: {},

  async publish(url, codec = '', token = '') {
    const connection = new RTCPeerConnection();
    const stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    const sender = connection.addTransceiver(stream.getAudioTracks()[0], { direction: 'sendonly' });
    if (codec) {
      const all = RTCRtpSender.getCapabilities('audio').codecs;
      sender.setCodecPreferences(all.filter(({ mimeType }) => mimeType.toLowerCase() === `audio/${codec}`));
    }
    const posted = await post(connection, url, token);
    this.kept[url] = { connection, ...posted };
    return posted;
  },

  async hear(url, hz, token = '') {
    const connection = new RTCPeerConnection();
    const transceiver = connection.addTransceiver('audio', { direction: 'recvonly' });
    const posted = await post(connection, url, token);
    const ear = listen(new MediaStream([transceiver.receiver.track]));
    this.kept[url] = { connection, ear, ...posted };
    return { ...posted, ...(await hears(ear, hz)), statistics: await this.statistics(url) };
  },

  async statistics(url) {
    const all = [...(await this.kept[url].connection.getStats()).values()];
    const of = (type) => all.find((one) => one.type === type);
    const inbound = of('inbound-rtp');
    const codec = inbound && all.find(({ id }) => id === inbound.codecId);
    return {
      codec: codec?.mimeType,
      received: inbound?.packetsReceived,
      lost: inbound?.packetsLost,
      remote: of('remote-outbound-rtp') !== undefined,
      told: of('remote-inbound-rtp')?.roundTripTime,
    };
  },

  /** Until the connection is over. */
  async over(url) {
    const { connection } = this.kept[url];
    while (!['disconnected', 'failed', 'closed'].includes(connection.connectionState)) {
      await new Promise((changed) => connection.addEventListener('connectionstatechange', changed, { once: true }));
    }
  },

  listen,
  hears,
};

const MICROPHONE = { audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false }, video: false };

/** A telephone of JsSIP in the page. */
window.telephone = {
  /** Registers. */
  begin(url, number) {
    const sockets = [new JsSIP.WebSocketInterface(url)];
    this.agent = new JsSIP.UA({ sockets, uri: `sip:${number}@moqswitch`, password: 'secret', register: true, session_timers: false });
    this.agent.on('newRTCSession', ({ session, originator }) => {
      this.session = session;
      this.ended = new Promise((ended) => {
        session.on('ended', ({ cause }) => ended(cause));
        session.on('failed', ({ cause }) => ended(cause));
      });
      this.isUp = new Promise((up) => session.on('confirmed', () => up(true)));
      this.ear = new Promise((heard) => {
        const watch = (connection) => connection.addEventListener('track', ({ track }) => heard(listen(new MediaStream([track]))));
        if (session.connection) watch(session.connection);
        session.on('peerconnection', ({ peerconnection }) => watch(peerconnection));
      });
      this.keys = '';
      session.on('newDTMF', ({ originator: by, dtmf }) => {
        if (by === 'remote') this.keys += dtmf.tone;
      });
      if (originator === 'remote') this.ring?.();
    });
    return new Promise((done, failed) => {
      this.agent.on('registered', () => done(number));
      this.agent.on('registrationFailed', ({ cause }) => failed(new Error(cause)));
      this.agent.start();
    });
  },

  async unregister() {
    const done = new Promise((done) => this.agent.on('unregistered', done));
    this.agent.unregister();
    await done;
  },

  call(number) {
    this.agent.call(`sip:${number}@moqswitch`, { mediaConstraints: MICROPHONE, pcConfig: { iceServers: [] } });
  },

  async called() {
    if (!this.session) await new Promise((ring) => (this.ring = ring));
  },

  answer() {
    this.session.answer({ mediaConstraints: MICROPHONE, pcConfig: { iceServers: [] } });
  },

  async up() {
    const ended = this.ended.then((cause) => Promise.reject(new Error(`the call is over: ${cause}`)));
    await Promise.race([this.isUp, ended]);
  },

  async hears(hz) {
    return hears(await this.ear, hz);
  },

  /** Until nothing is heard any more. */
  async hearsNobody() {
    const ear = await this.ear;
    for (let times = 0; times < 5; ) {
      await new Promise((later) => setTimeout(later, 100));
      times = loudest(ear).db < -80 ? times + 1 : 0;
    }
  },

  hold() {
    return new Promise((done) => this.session.hold({}, done));
  },

  unhold() {
    return new Promise((done) => this.session.unhold({}, done));
  },

  async codec() {
    const all = [...(await this.session.connection.getStats()).values()];
    const inbound = all.find(({ type }) => type === 'inbound-rtp');
    return all.find(({ id }) => id === inbound?.codecId)?.mimeType;
  },

  async hangUp() {
    this.session.terminate();
    await this.ended;
  },
};

/** A client of the JSON signalling that speaks WebRTC, as the seed's page is one. */
window.client = {
  ids: 0,
  came: [],
  candidates: [],
  waiting: [],

  /** Registers. */
  async begin(url, dn, extra = {}) {
    this.socket = new WebSocket(url);
    await new Promise((open) => (this.socket.onopen = open));
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === 'iceCandidate') {
        this.candidates.push(message.payload.candidate);
        void this.addCandidates();
        return;
      }
      this.came.push(message);
      this.waiting = this.waiting.filter(({ type, got }) => type !== message.type || (got(message.payload), false));
    };
    this.say('register', { dn, password: 'secret', displayName: dn, ...extra });
    return this.hearing('registered');
  },

  say(type, payload) {
    this.socket.send(JSON.stringify({ type, payload, id: `msg-${++this.ids}` }));
  },

  /** A message that came, or comes. */
  hearing(type) {
    const at = this.came.findIndex((message) => message.type === type);
    if (at >= 0) return this.came.splice(at, 1)[0].payload;
    return new Promise((got) => this.waiting.push({ type, got: (payload) => (this.came = this.came.filter((message) => message.payload !== payload), got(payload)) }));
  },

  /** Those of the other side, as soon as it is known what they are of. */
  async addCandidates() {
    while (this.peer?.remoteDescription && this.candidates.length) await this.peer.addIceCandidate(this.candidates.shift());
  },

  async connection() {
    const connection = new RTCPeerConnection();
    const stream = await navigator.mediaDevices.getUserMedia(MICROPHONE);
    connection.addTrack(stream.getAudioTracks()[0], stream);
    this.ear = new Promise((heard) => connection.addEventListener('track', ({ track }) => heard(listen(new MediaStream([track])))));
    // As the seed's page does: trickled.
    connection.addEventListener('icecandidate', ({ candidate }) => candidate && this.callId && this.say('iceCandidate', { callId: this.callId, candidate }));
    this.peer = connection;
    return connection;
  },

  async call(to) {
    const connection = await this.connection();
    this.callId = `call-${Date.now()}`;
    await connection.setLocalDescription();
    this.say('call', { to, callId: this.callId, sdp: connection.localDescription.sdp });
    const { sdp } = await this.hearing('callAccepted');
    if (!sdp) throw new Error('callAccepted has no sdp');
    await connection.setRemoteDescription({ type: 'answer', sdp });
    await this.addCandidates();
    await up(connection);
  },

  async answer() {
    const { callId, sdp } = await this.hearing('incomingCall');
    if (!sdp) throw new Error('incomingCall has no sdp');
    this.callId = callId;
    const connection = await this.connection();
    await connection.setRemoteDescription({ type: 'offer', sdp });
    await connection.setLocalDescription();
    this.say('answer', { callId, sdp: connection.localDescription.sdp });
    await this.addCandidates();
    await up(connection);
  },

  async hears(hz) {
    return hears(await this.ear, hz);
  },

  async hangUp() {
    this.say('hangup', { callId: this.callId, reason: 'user_hangup' });
    await this.hearing('callEnded');
  },
};
