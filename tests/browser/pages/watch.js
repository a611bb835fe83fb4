// Watches by the element that @moq/watch documents.
import '@moq/watch/element';
import { picture } from './picture.js';

const options = new URL(location.href).searchParams;

const watcher = document.createElement('moq-watch');
const canvas = document.createElement('canvas');
watcher.append(canvas);
// Nothing is to stand in for a WebTransport that fails.
watcher.connection.websocket = { enabled: options.get('transport') === 'websocket' };
watcher.setAttribute('name', options.get('name'));
watcher.setAttribute('visible', 'always');
watcher.setAttribute('url', options.get('relay'));
document.body.append(watcher);

// The loudest moment since the page came up: the fake microphone beeps once a second and is silent between.
const sound = { context: undefined, looks: 0, loudest: 0 };
watcher.signals.run((effect) => {
  const root = effect.get(watcher.audio.out.root);
  if (!root) return;
  const analyser = new AnalyserNode(root.context, { fftSize: 2048 });
  root.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  effect.interval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    sound.context = root.context.state;
    sound.looks++;
    sound.loudest = Math.max(sound.loudest, Math.sqrt(power));
  }, 20);
});

globalThis.look = () => ({
  draft: watcher.connection.established.peek()?.version,
  status: watcher.broadcast.out.status.peek(),
  catalog: watcher.broadcast.out.catalog.peek(),
  sound,
});
globalThis.picture = () => picture(canvas);
