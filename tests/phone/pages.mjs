// Serves pages of a folder in front of a switch, which answers everything else.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';

const KINDS = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

export async function servePages(folder, port) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname.startsWith('/phone/')) {
      const name = path.basename(pathname.slice(7) || 'index.html');
      const text = await readFile(path.join(folder, name)).catch(() => undefined);
      const status = text ? 200 : 404;
      return response.writeHead(status, { 'content-type': KINDS[path.extname(name)] ?? 'text/plain', 'cache-control': 'no-store' }).end(text);
    }
    const { method, url, headers } = request;
    const onward = http.request({ host: '127.0.0.1', port, method, path: url, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on('error', () => response.writeHead(502).end());
    return request.pipe(onward);
  });
  server.on('upgrade', ({ method, url, rawHeaders }, socket) => {
    const onward = net.connect(port, '127.0.0.1', () => {
      const lines = rawHeaders.map((text, at) => text + (at % 2 ? '\r\n' : ': ')).join('');
      onward.write(`${method} ${url} HTTP/1.1\r\n${lines}\r\n`);
      onward.pipe(socket).pipe(onward);
    });
    for (const [one, other] of [[onward, socket], [socket, onward]]) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  server.unref();
  return server;
}
