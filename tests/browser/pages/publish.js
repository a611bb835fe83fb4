// Publishes the (fake) camera and microphone by the element that @moq/publish documents.
import '@moq/publish/element';
import * as PublishNet from '@moq/publish/net';
import Session from '@moq/qmux';
import { picture } from './picture.js';

// A small picture, and half as many of them: encoder and decoder share the host with the relay.
const CAMERA = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 15 } };
// The drafts in the order of the newer @moq/net, as far as the @moq/net of @moq/publish has them.
const DRAFTS = ['moq-lite-04', 'moq-lite-03'];

const options = new URL(location.href).searchParams;
const relay = new URL(options.get('relay'));

const publisher = document.createElement('moq-publish');
const preview = document.createElement('video');
preview.muted = true;
preview.autoplay = true;
publisher.append(preview);
// Nothing is to stand in for a WebTransport that fails.
publisher.connection.websocket = { enabled: options.get('transport') === 'websocket' };
publisher.setAttribute('name', options.get('name'));
if (options.get('codec')) publisher.broadcast.video.hd.config.set({ codec: options.get('codec') });
publisher.setAttribute('source', 'camera');
document.body.append(publisher);

publisher.signals.run((effect) => {
  effect.get(publisher.video)?.constraints.set(CAMERA);
});

if (options.get('transport') === 'websocket' && options.has('named')) {
  // Left alone, this @moq/net names no draft over WebSocket and asks for moq-lite-02 by SETUP. It takes a transport of its
  // caller's, so it can be given a WebSocket on which drafts are named.
  const transport = new Session(relay, { protocols: DRAFTS, versions: Object.fromEntries(DRAFTS.map((draft) => [draft, null])) });
  await transport.ready;
  publisher.connection.established.set(await PublishNet.Connection.connect(relay, { transport }));
} else {
  publisher.setAttribute('url', relay.href);
}

globalThis.look = () => ({
  draft: publisher.connection.established.peek()?.version,
  camera: publisher.broadcast.video.source.peek()?.getSettings(),
  microphone: publisher.broadcast.audio.source.peek() !== undefined,
});
globalThis.picture = () => picture(preview);
