// What cases have in common.

/** Two phones in a call, which they answer. */
export async function talk(test, options = [{}, {}]) {
  const alice = await test.phone(0, options[0]);
  const bob = await test.phone(1, options[1]);
  await alice.call(bob.number);
  await bob.isIncoming();
  await bob.click('answerBtn');
  await Promise.all([alice.isUp(), bob.isUp()]);
  return [alice, bob];
}

export async function hearEachOther(alice, bob) {
  await Promise.all([alice.hears(bob), bob.hears(alice)]);
}

export const noWebTransport = () => delete globalThis.WebTransport;
/** Who waits for UDP for longer than 3 s: where others use the machine a handshake takes its time. */
export const patient = () => {
  const { setTimeout } = globalThis;
  globalThis.setTimeout = (what, ms, ...rest) => setTimeout(what, ms == 3000 ? 60_000 : ms, ...rest);
};
export const noOpus = () => delete globalThis.AudioEncoder;

export async function codecIs(phone, codec) {
  await phone.until(`sending ${codec}`, (codec) => [...globalThis.phone.calls.values()][0]?.participants.find(({ own }) => own)?.codec == codec, codec);
}
