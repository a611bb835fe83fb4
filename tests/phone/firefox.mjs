// Firefox as Debian has it, by WebDriver BiDi, as a browser of a case. Its fake microphone has a tone of its own.
import { createRequire } from 'node:module';
import path from 'node:path';

/** A page of Firefox with what cases use of one of Chromium. It ends with its context. */
export async function firefoxPage({ modules, firefox, tone, limit }) {
  const require = createRequire(path.join(modules, 'package.json'));
  const { default: puppeteer } = await import(require.resolve('puppeteer-core'));
  const browser = await puppeteer.launch({
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
  const page = await browser.newPage();
  const wrapped = {
    context: () => ({ close: () => browser.close() }),
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
