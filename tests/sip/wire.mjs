// Single SIP messages over UDP, where a scenario would be longer than what it tries.
import { createHash } from 'node:crypto';
import dgram from 'node:dgram';

const WAIT_MS = 5000;
let begun = 0;

const md5 = (text) => createHash('md5').update(text).digest('hex');

export class Line {
  static async open(sip, port = 0, address = '127.0.0.1') {
    const line = new Line();
    Object.assign(line, { sip, address });
    line.socket = dgram.createSocket('udp4');
    line.came = [];
    line.all = [];
    // What came and went, for who looks for a fault.
    line.log = [];
    line.note = (sign, text) => line.log.push(`${new Date().toISOString()} ${sign}\n${text}\n`);
    line.socket.on('message', (data, from) => {
      const text = data.toString().replaceAll('\r', '');
      // Its switch has begun after it.
      if (line.follows) line.sip = from.port;
      line.came.push(text);
      line.note('<', text);
      line.all.push({ at: performance.now(), text, from: from.port });
      if (!text.startsWith('SIP/2.0 ')) line.serve?.(text);
    });
    // Who is not there says so by ICMP.
    line.socket.on('error', () => {});
    await new Promise((done, failed) => line.socket.once('error', failed).bind(port, address, done));
    line.port = line.socket.address().port;
    return line;
  }

  /** With the ends of lines of SIP, and the length of the body. */
  send(head, body = '') {
    const text = `${head.trim()}\nContent-Length: ${Buffer.byteLength(body)}\n\n`.replaceAll('\n', '\r\n') + body;
    this.last = text;
    this.note('>', text.replaceAll('\r', ''));
    this.socket.send(text, this.sip, '127.0.0.1');
  }

  /** The next that came. */
  async receive(ms = WAIT_MS) {
    const deadline = Date.now() + ms;
    while (!this.came.length) {
      if (Date.now() > deadline) throw new Error(`nothing came within ${ms} ms`);
      await new Promise((later) => setTimeout(later, 5));
    }
    return this.came.shift();
  }

  /** A request outside of calls, and its final answer. */
  async ask(method, uri, headers, body) {
    this.send(this.request(method, uri, headers), body);
    for (;;) {
      const answer = await this.receive();
      if (answer.startsWith('SIP/2.0') && !answer.startsWith('SIP/2.0 1')) return answer;
    }
  }

  /** The next that is of this kind: `'180'`, `'200 INVITE'`, `'BYE'`. Others are passed over. */
  async next(kind, ms = WAIT_MS) {
    const [first, method = ''] = kind.split(' ');
    const begin = /^\d/.test(first) ? `SIP/2.0 ${first} ` : `${first} `;
    const deadline = performance.now() + ms;
    for (;;) {
      const text = await this.receive(Math.max(deadline - performance.now(), 1)).catch((error) => {
        throw new Error(`no ${kind}: ${error.message}`);
      });
      if (text.startsWith(begin) && new RegExp(`^CSeq: *\\d+ ${method}`, 'im').test(text)) return text;
    }
  }

  /** The final answer to the request with this number. */
  async final(method, number, ms = WAIT_MS) {
    const deadline = performance.now() + ms;
    for (;;) {
      const text = await this.receive(Math.max(deadline - performance.now(), 1)).catch((error) => {
        throw new Error(`no final answer to ${method} ${number}: ${error.message}`);
      });
      if (/^SIP\/2.0 [2-6]/.test(text) && new RegExp(`^CSeq: *${number} ${method}$`, 'im').test(text)) return text;
    }
  }

  /** All that came of a method, in order. */
  requests(method) {
    return this.all.filter(({ text }) => text.startsWith(`${method} `)).map(({ text }) => text);
  }

  /** Answers a request. */
  answer(request, status, { tag = '', body = '', headers = {} } = {}) {
    const vias = request.split('\n').filter((line) => /^(Via|Record-Route):/i.test(line));
    const to = header(request, 'To');
    const lines = { From: header(request, 'From'), To: tag && !/;tag=/.test(to) ? `${to};tag=${tag}` : to, 'Call-ID': header(request, 'Call-ID'), CSeq: header(request, 'CSeq'), ...(body ? { 'Content-Type': 'application/sdp' } : {}), ...headers };
    this.send([`SIP/2.0 ${status} ${status < 300 ? 'OK' : 'No'}`, ...vias, ...Object.entries(lines).map(([name, value]) => `${name}: ${value}`)].join('\n'), body);
  }

  /** How many of them come within so long. */
  async count(kind, ms) {
    let count = 0;
    const deadline = performance.now() + ms;
    while (await this.next(kind, Math.max(deadline - performance.now(), 1)).catch(() => '')) count++;
    return count;
  }

  /** Sends the same once more. */
  again() {
    this.socket.send(this.last, this.sip, '127.0.0.1');
  }

  request(method, uri, headers) {
    const lines = { Via: `SIP/2.0/UDP ${this.address}:${this.port};branch=z9hG4bK-wire-${process.pid}-${++begun};rport`, 'Max-Forwards': 70, ...headers };
    return [`${method} ${uri} SIP/2.0`, ...Object.entries(lines).map(([name, value]) => `${name}: ${value}`)].join('\n');
  }

  close() {
    return new Promise((done) => this.socket.close(done));
  }
}

/** The value of a header, or nothing. */
export const header = (text, name) => new RegExp(`^${name}: *(.*)$`, 'im').exec(text)?.[1] ?? '';

/** An offer of G.711, or an answer. */
export function description(port, { types = '0 8 101', lines = ['a=rtpmap:101 telephone-event/8000'], address = '127.0.0.1' } = {}) {
  return ['v=0', 'o=wire 1 1 IN IP4 127.0.0.1', 's=-', `c=IN IP4 ${address}`, 't=0 0', `m=audio ${port} RTP/AVP ${types}`, ...lines, ''].join('\r\n');
}

const routesOf = (text) => text.split('\n').filter((line) => /^Record-Route:/i.test(line)).flatMap((line) => line.slice(13).split(',').map((route) => route.trim()));

/** A call from a line, of which each request is one that the case makes. */
export class Dialog {
  constructor(line, from, to) {
    const tag = `${process.pid}-${++begun}`;
    Object.assign(this, { line, to: `<sip:${to}@127.0.0.1>`, from: `<sip:${from}@127.0.0.1>;tag=${tag}`, id: `wire-${tag}`, target: `sip:${to}@127.0.0.1:${line.sip}`, number: 0, user: from });
  }

  /** The called side of an INVITE that came. */
  static of(line, invite, user) {
    const dialog = new Dialog(line, user, user);
    Object.assign(dialog, { invite, tag: `called-${process.pid}-${begun}`, to: header(invite, 'From'), id: header(invite, 'Call-ID'), target: /<([^>]*)>/.exec(header(invite, 'Contact'))[1] });
    dialog.from = `${header(invite, 'To')};tag=${dialog.tag}`;
    dialog.routes = routesOf(invite);
    return dialog;
  }

  /** Answers the INVITE of it, or another request in it. */
  answer(status, { request = this.invite, body = '', headers = {} } = {}) {
    this.line.answer(request, status, { tag: this.tag, body, headers: { Contact: `<sip:${this.user}@${this.line.address}:${this.line.port}>`, ...headers } });
  }

  /** The next request, or one with a number of before. */
  send(method, { number = ++this.number, body = '', headers = {} } = {}) {
    const contact = { Contact: `<sip:${this.user}@${this.line.address}:${this.line.port}>` };
    const about = body ? { 'Content-Type': 'application/sdp' } : {};
    const lines = { From: this.from, To: this.to, 'Call-ID': this.id, CSeq: `${number} ${method}`, ...(method === 'INVITE' ? contact : {}), ...(this.routes?.length ? { Route: this.routes.join(', ') } : {}), ...about, ...headers };
    this.line.send(this.line.request(method, this.target, lines), body);
  }

  /** What an answer says of the other side. */
  learn(answer) {
    this.to = header(answer, 'To');
    this.routes = routesOf(answer).reverse();
    this.target = /<([^>]*)>/.exec(header(answer, 'Contact'))?.[1] ?? this.target;
    return answer;
  }
}

/** Registers a contact that is at this port, and lets go of it: sipp has it then. */
export async function register(sip, number, port, { contact = `<sip:${number}@127.0.0.1:${port}>`, expires = 600, headers = {} } = {}) {
  const line = await Line.open(sip, port);
  try {
    const address = `<sip:${number}@127.0.0.1:${sip}>`;
    const answer = await line.ask('REGISTER', `sip:127.0.0.1:${sip}`, {
      From: `${address};tag=${++begun}`, To: address, 'Call-ID': `register-${process.pid}-${begun}`, CSeq: '1 REGISTER', Contact: contact, Expires: expires, ...headers,
    });
    if (!answer.startsWith('SIP/2.0 200 ')) throw new Error(`REGISTER of ${number}: ${answer.split('\n')[0]}`);
    return answer;
  } finally {
    await line.close();
  }
}

/** What an answer asks for, by the algorithm. */
export function challenge(answer, algorithm = 'MD5') {
  const lines = answer.split('\n').filter((line) => /^(WWW|Proxy)-Authenticate:/i.test(line));
  const line = lines.find((line) => (/algorithm="?([\w-]+)/i.exec(line)?.[1] ?? 'MD5').toUpperCase() === algorithm);
  if (!line) return undefined;
  const value = (name) => new RegExp(`[ ,]${name}="?([^",]*)`, 'i').exec(line)?.[1];
  return { realm: value('realm'), nonce: value('nonce'), qop: value('qop'), stale: value('stale') };
}

/** Credentials as RFC 7616 has them, with this number of uses. */
export function credentials({ realm, nonce }, { user, password, method, uri, count }) {
  const [nc, cnonce] = [count.toString(16).padStart(8, '0'), 'f00d'];
  const response = md5(`${md5(`${user}:${realm}:${password}`)}:${nonce}:${nc}:${cnonce}:auth:${md5(`${method}:${uri}`)}`);
  return `Digest username="${user}", realm="${realm}", nonce="${nonce}", uri="${uri}", response="${response}", algorithm=MD5, qop=auth, nc=${nc}, cnonce="${cnonce}"`;
}
