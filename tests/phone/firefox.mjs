// Firefox as Debian has it, by WebDriver BiDi, as a browser of a case. Its fake microphone has a tone of its own.
//
// Where there is no loudspeaker, the clock of its sound stands still, and with it the microphone. So it gets a PulseAudio whose
// only loudspeaker goes nowhere.
import { spawn } from 'node:child_process';
import { mkdir, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';

const START_MS = 20_000;

/** A server of sound that this Firefox alone knows. */
async function startSound(work) {
  const home = path.join(work, 'sound');
  const socket = path.join(home, 'native');
  await mkdir(home, { recursive: true });
  const child = spawn('pulseaudio', [
    '-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', '--disable-shm=yes',
    '-L', 'module-null-sink', '-L', `module-native-protocol-unix socket=${socket} auth-anonymous=1`,
  ], { stdio: 'ignore', env: { PATH: process.env.PATH, HOME: home, XDG_RUNTIME_DIR: home } });
  let failure = '';
  child.on('error', (error) => (failure = error.message));
  child.on('exit', () => (failure ||= 'it ended'));
  for (const deadline = Date.now() + START_MS; !(await stat(socket).catch(() => false)); await new Promise((later) => setTimeout(later, 50))) {
    if (failure || Date.now() > deadline) {
      child.kill();
      throw new Error(`pulseaudio does not come up: ${failure || 'no socket'}`);
    }
  }
  return { home, address: `unix:${socket}`, end: () => child.kill() };
}

/** A page of Firefox with what cases use of one of Chromium. It ends with its context. */
export async function firefoxPage({ modules, firefox, work, tone, limit }) {
  const require = createRequire(path.join(modules, 'package.json'));
  const { default: puppeteer } = await import(require.resolve('puppeteer-core'));
  const sound = await startSound(work);
  const launched = puppeteer.launch({
    // It refuses a home of another user.
    env: { ...process.env, HOME: sound.home, PULSE_SERVER: sound.address },
    browser: 'firefox', executablePath: firefox, headless: true, timeout: 3 * limit, protocolTimeout: 3 * limit,
    extraPrefsFirefox: {
      'media.navigator.permission.disabled': true,
      'media.navigator.streams.fake': true,
      'media.audio_loopback_dev': '',
      'media.navigator.audio.fake_frequency': tone,
      // It may play without a click; nothing else is asked for by itself.
      'media.autoplay.default': 0,
      'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false,
    },
  });
  let browser, page;
  try {
    browser = await launched;
    page = await browser.newPage();
  } catch (error) {
    await browser?.close().catch(() => {});
    sound.end();
    throw error;
  }
  const wrapped = {
    context: () => ({ close: () => browser.close().finally(sound.end) }),
    on: (name, handler) => {
      if (name == 'pageerror') page.on(name, handler);
      if (name == 'console') page.on(name, handler);
    },
    addInitScript: (source) => page.evaluateOnNewDocument(source),
    goto: (url) => page.goto(url),
    reload: () => page.reload(),
    evaluate: (what, argument) => page.evaluate(what, argument),
    waitForFunction: (what, argument, { timeout, polling }) => page.waitForFunction(what, { timeout, polling }, argument),
    keyboard: page.keyboard,
    click: async (selector) => (await page.waitForSelector(selector, { visible: true, timeout: limit })).click(),
    fill: async (selector, text) => {
      await page.waitForSelector(selector, { timeout: limit });
      await page.$eval(selector, (input, text) => (input.value = text), text);
    },
    setDefaultTimeout: () => {},
    version: () => browser.version(),
  };
  return wrapped;
}
