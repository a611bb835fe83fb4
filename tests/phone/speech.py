#!/usr/bin/env python3
"""How speech that went through a call sounds, by PESQ (ITU-T P.862, packages pesq, numpy and scipy of PyPI).

  speech.py prepare SPEECH.wav MICROPHONE.wav   a microphone: the speech at 48 kHz, between silences
  speech.py score MICROPHONE.wav HEARD.f32 wb   the score of each time that the file was heard, as JSON

What was heard is longer than the file, and begins anywhere in it: each time that the whole file is in it is found by its
likeness. wb compares at 16 kHz, nb at 8 kHz.
"""
import json
import sys

import numpy
from pesq import pesq
from scipy.io import wavfile
from scipy.signal import correlate, resample_poly

RATE = 48000
SILENCE = RATE // 2
LEVEL = 0.08


def prepare(source, target):
    rate, samples = wavfile.read(source)
    speech = resample_poly(samples.astype(float) / 32768, RATE, rate)
    speech *= LEVEL / numpy.sqrt(numpy.mean(speech**2))
    speech = numpy.clip(speech, -0.98, 0.98)
    whole = numpy.concatenate([numpy.zeros(SILENCE), speech, numpy.zeros(SILENCE)])
    wavfile.write(target, RATE, (whole * 32767).astype(numpy.int16))


def score(source, heard, mode):
    to = {"wb": 16000, "nb": 8000}[mode]
    reference = resample_poly(wavfile.read(source)[1].astype(float) / 32768, to, RATE)
    degraded = resample_poly(numpy.fromfile(heard, dtype="<f4").astype(float), to, RATE)
    likeness = numpy.abs(correlate(degraded, reference, "valid", "fft"))
    scores = []
    while likeness.size and likeness.max() > 0.3 * numpy.dot(reference, reference):
        at = int(likeness.argmax())
        part = degraded[at : at + reference.size]
        scores.append({"at": round(at / to, 3), "pesq": round(float(pesq(to, reference, part, mode)), 3)})
        likeness[max(0, at - reference.size // 2) : at + reference.size // 2] = 0
    print(json.dumps(sorted(scores, key=lambda one: one["at"])))


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "prepare":
        prepare(*sys.argv[2:])
    elif len(sys.argv) == 5 and sys.argv[1] == "score" and sys.argv[4] in ("wb", "nb"):
        score(*sys.argv[2:])
    else:
        sys.exit(__doc__)
