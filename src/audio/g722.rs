//! G.722 at 64 kbit/s: two samples of 16 kHz in a byte. Two bands, each with an adaptive prediction (ADPCM): six bits of the
//! lower one, two of the higher one.
//!
//! Names in the comments are those of the recommendation's blocks. All arithmetic is that of 16 bits which saturate.

/// One stream that is decoded.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    bands: Bands,
    line: Line,
}

/// One stream that is encoded.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    bands: Bands,
    line: Line,
}

impl Decoder {
    /// Two samples for each byte are added to `samples`.
    pub fn decode(&mut self, payload: &[u8], samples: &mut Vec<i16>) {
        for byte in payload {
            let (low, high) = (usize::from(byte & 0x3f), usize::from(byte >> 6));
            let Bands { lower, higher } = &mut self.bands;
            let of_lower = limited(lower.prediction + ((lower.scale * INVERSE_6[low]) >> 15));
            let of_higher = limited(higher.prediction + ((higher.scale * INVERSE_2[high]) >> 15));
            lower.adapt_lower(low);
            higher.adapt_higher(high);
            self.line.push(of_lower + of_higher, of_lower - of_higher);
            let (first, second) = self.line.sums();
            samples.push(sample(second >> 11));
            samples.push(sample(first >> 11));
        }
    }
}

impl Encoder {
    /// A byte for each two samples is added to `payload`. A single last sample is left out.
    pub fn encode(&mut self, samples: &[i16], payload: &mut Vec<u8>) {
        for [first, second] in samples.as_chunks().0 {
            self.line.push(i32::from(*first), i32::from(*second));
            let (odd, even) = self.line.sums();
            let low = self.bands.lower.code_of_lower((even + odd) >> 14);
            let high = self.bands.higher.code_of_higher((even - odd) >> 14);
            self.bands.lower.adapt_lower(low);
            self.bands.higher.adapt_higher(high);
            payload.push(((high << 6 | low) & 0xff).to_le_bytes()[0]);
        }
    }
}

/// What the quadrature mirror filter looks at.
#[derive(Clone, Debug, Default)]
struct Line([i32; 24]);

impl Line {
    fn push(&mut self, first: i32, second: i32) {
        self.0.copy_within(2.., 0);
        [self.0[22], self.0[23]] = [first, second];
    }

    /// The sums of every other one, the first with the taps as they are, the second with them turned round.
    fn sums(&self) -> (i32, i32) {
        let (mut first, mut second) = (0, 0);
        for (index, pair) in self.0.as_chunks::<2>().0.iter().enumerate() {
            first += pair[0] * MIRROR[index];
            second += pair[1] * MIRROR[11 - index];
        }
        (first, second)
    }
}

#[derive(Clone, Debug)]
struct Bands {
    lower: Band,
    higher: Band,
}

impl Default for Bands {
    fn default() -> Self {
        Self {
            lower: Band::new(32),
            higher: Band::new(8),
        }
    }
}

/// One band's predictor and scale.
#[derive(Clone, Debug, Default)]
struct Band {
    /// What the next sample may be (SL, SH), and the part of it that is of the zeros (SZ).
    prediction: i32,
    of_zeros: i32,
    /// The quantizer's scale (DETL, DETH), and its logarithm (NBL, NBH).
    scale: i32,
    logarithm: i32,
    /// The newest first: reconstructed samples (RLT), partly reconstructed ones (PLT), differences (DLT).
    reconstructed: [i32; 2],
    partly: [i32; 2],
    differences: [i32; 6],
    /// Coefficients of the poles (AL) and of the zeros (BL).
    poles: [i32; 2],
    zeros: [i32; 6],
}

impl Band {
    fn new(scale: i32) -> Self {
        Self {
            scale,
            ..Self::default()
        }
    }

    /// QUANTL: six bits.
    fn code_of_lower(&self, value: i32) -> usize {
        let error = limited(value - self.prediction);
        let size = if error >= 0 { error } else { -(error + 1) };
        let level = (1..30)
            .find(|level| size < (QUANTIZER[*level] * self.scale) >> 12)
            .unwrap_or(30);
        if error >= 0 {
            // 61, 60, … 32.
            return 62 - level;
        }
        // 63, 62, then 31, 30, … 4.
        if level <= 2 { 64 - level } else { 34 - level }
    }

    /// QUANTH: two bits.
    fn code_of_higher(&self, value: i32) -> usize {
        let error = limited(value - self.prediction);
        let size = if error >= 0 { error } else { -(error + 1) };
        let is_large = size >= (564 * self.scale) >> 12;
        match (error >= 0, is_large) {
            (true, false) => 3,
            (true, true) => 2,
            (false, false) => 1,
            (false, true) => 0,
        }
    }

    /// INVQAL, LOGSCL, SCALEL: only four of the bits count, so that fewer may be sent.
    fn adapt_lower(&mut self, code: usize) {
        let code = code >> 2;
        let difference = (self.scale * INVERSE_4[code]) >> 15;
        self.rescale(WEIGHTS_LOWER[GROUPS[code]], 18_432, 8);
        self.predict(difference);
    }

    /// INVQAH, LOGSCH, SCALEH.
    fn adapt_higher(&mut self, code: usize) {
        let difference = (self.scale * INVERSE_2[code]) >> 15;
        self.rescale(if code.is_multiple_of(2) { 798 } else { -214 }, 22_528, 10);
        self.predict(difference);
    }

    fn rescale(&mut self, weight: i32, most: i32, shift: i32) {
        self.logarithm = (((self.logarithm * 127) >> 7) + weight).clamp(0, most);
        let base = POWERS[(self.logarithm >> 6 & 31).unsigned_abs() as usize];
        let shift = shift - (self.logarithm >> 11);
        let scale = if shift < 0 { base << -shift } else { base >> shift };
        self.scale = scale << 2;
    }

    /// RECONS to PREDIC, with the difference that both sides know.
    fn predict(&mut self, difference: i32) {
        let reconstructed = limited(self.prediction + difference);
        let partly = limited(self.of_zeros + difference);
        self.adapt_poles(partly);
        self.adapt_zeros(difference);
        self.reconstructed = [reconstructed, self.reconstructed[0]];
        self.partly = [partly, self.partly[0]];
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        let part = |value: i32, coefficient: i32| (coefficient * limited(value + value)) >> 15;
        let of_poles = part(self.reconstructed[0], self.poles[0]) + part(self.reconstructed[1], self.poles[1]);
        let zeros = self.differences.iter().zip(self.zeros);
        self.of_zeros = limited(zeros.map(|(value, zero)| part(*value, zero)).sum());
        self.prediction = limited(limited(of_poles) + self.of_zeros);
    }

    /// UPPOL2, UPPOL1.
    fn adapt_poles(&mut self, partly: i32) {
        let is_alike = |other: i32| partly >> 15 == other >> 15;
        let quadrupled = limited(self.poles[0] << 2);
        let first = if is_alike(self.partly[0]) {
            -quadrupled
        } else {
            quadrupled
        };
        let second = if is_alike(self.partly[1]) { 128 } else { -128 };
        let second = second + (first.min(32_767) >> 7) + ((self.poles[1] * 32_512) >> 15);
        let second = second.clamp(-12_288, 12_288);
        let step = if is_alike(self.partly[0]) { 192 } else { -192 };
        let most = limited(15_360 - second);
        let first = limited(step + ((self.poles[0] * 32_640) >> 15)).clamp(-most, most);
        self.poles = [first, second];
    }

    /// UPZERO.
    fn adapt_zeros(&mut self, difference: i32) {
        let step = if difference == 0 { 0 } else { 128 };
        for (zero, other) in self.zeros.iter_mut().zip(self.differences) {
            let step = if difference >> 15 == other >> 15 { step } else { -step };
            *zero = limited(step + ((*zero * 32_640) >> 15));
        }
    }
}

fn limited(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

#[expect(clippy::cast_possible_truncation, reason = "limited")]
fn sample(value: i32) -> i16 {
    limited(value) as i16
}

/// Tables 11 and 12 of the recommendation, halved: the filter is symmetric.
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];
/// Where each level of the lower band's quantizer begins (Q6).
const QUANTIZER: [i32; 30] = [
    0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// What codes of six, four and two bits stand for (QQ6, QQ4, QQ2).
const INVERSE_6: [i32; 64] = [
    -136, -136, -136, -136, -24_808, -21_904, -19_008, -16_704, -14_984, -13_512, -12_280, -11_192, -10_232, -9360,
    -8576, -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360,
    -1040, -728, 24_808, 21_904, 19_008, 16_704, 14_984, 13_512, 12_280, 11_192, 10_232, 9360, 8576, 7856, 7192, 6576,
    6000, 5456, 4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
const INVERSE_4: [i32; 16] = [
    0, -20_456, -12_896, -8968, -6288, -4240, -2584, -1200, 20_456, 12_896, 8968, 6288, 4240, 2584, 1200, 0,
];
const INVERSE_2: [i32; 4] = [-7408, -1616, 7408, 1616];
/// By how much a code changes the logarithm of the lower band's scale: each is of a group (RIL4, WL).
const GROUPS: [usize; 16] = [0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0];
const WEIGHTS_LOWER: [i32; 8] = [-60, -30, 58, 172, 334, 538, 1198, 3042];
/// Powers of two of fractions (ILB).
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
