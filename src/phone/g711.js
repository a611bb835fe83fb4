// @ts-check
/*
 * G.711 both ways, and the way between 8 and 48 kHz. Loaded when somebody speaks it: who calls a telephone network does.
 */

/* The low-pass of both ways: a windowed sinc, 16 taps for each of 6 phases. */
const PHASES = 6;
const TAPS = 16 * PHASES;
const CUTOFF = 3700 / 48000;
const FILTER = Float32Array.from({ length: TAPS }, (_, tap) => {
  const x = tap - (TAPS - 1) / 2;
  const window = 0.42 - 0.5 * Math.cos((2 * Math.PI * tap) / (TAPS - 1)) + 0.08 * Math.cos((4 * Math.PI * tap) / (TAPS - 1));
  return (window * Math.sin(2 * Math.PI * CUTOFF * x)) / (Math.PI * x);
});

/** @param {number} byte */
const fromUlaw = (byte) => {
  byte ^= 255;
  const value = (((byte & 15) << 3) + 132 << ((byte >> 4) & 7)) - 132;
  return (byte & 128 ? -value : value) / 32768;
};

/** @param {number} byte */
const fromAlaw = (byte) => {
  byte ^= 0x55;
  const exponent = (byte >> 4) & 7;
  const value = ((byte & 15) << 4) + 8;
  return ((byte & 128 ? 1 : -1) * (exponent ? (value + 256) << (exponent - 1) : value)) / 32768;
};

/** The code whose value is nearest, by halving: values grow with the codes of one sign. @param {(byte: number) => number} decode */
const inverse = (decode) => {
  const table = new Uint8Array(65536);
  const codes = Array.from({ length: 256 }, (_, byte) => ({ byte, value: decode(byte) * 32768 })).sort((a, b) => a.value - b.value);
  let code = 0;
  for (let value = -32768; value < 32768; value++) {
    while (code < 255 && codes[code + 1].value - value <= value - codes[code].value) code++;
    table[value & 65535] = codes[code].byte;
  }
  return table;
};

/** Samples at 48 kHz to bytes. @param {string} codec pcmu or pcma */
export const encoder = (codec) => {
  const table = inverse(codec == 'pcma' ? fromAlaw : fromUlaw);
  const past = new Float32Array(TAPS + 960);
  return (/** @type {Float32Array} */ samples) => {
    past.copyWithin(0, samples.length);
    past.set(samples, TAPS);
    return Uint8Array.from({ length: samples.length / PHASES }, (_, at) => {
      let sum = 0;
      for (let tap = 0; tap < TAPS; tap++) sum += FILTER[tap] * past[TAPS + at * PHASES - tap];
      return table[Math.max(-32768, Math.min(32767, Math.round(sum * 32768))) & 65535];
    });
  };
};

/** Bytes to samples at 48 kHz. @param {string} codec pcmu or pcma */
export const decoder = (codec) => {
  const table = Float32Array.from({ length: 256 }, (_, byte) => (codec == 'pcma' ? fromAlaw : fromUlaw)(byte));
  const past = new Float32Array(16);
  return (/** @type {Uint8Array} */ bytes) => {
    const samples = new Float32Array(bytes.length * PHASES);
    for (let at = 0; at < bytes.length; at++) {
      past.copyWithin(1, 0);
      past[0] = table[bytes[at]];
      for (let phase = 0; phase < PHASES; phase++) {
        let sum = 0;
        for (let back = 0; back < 16; back++) sum += FILTER[back * PHASES + phase] * past[back];
        samples[at * PHASES + phase] = sum * PHASES;
      }
    }
    return samples;
  };
};
