"""Tasks of an instance that encrypts, with the keys that the environment names."""

from __future__ import annotations

import os

import dibs
from dibs.codecs import AesGcm, Zlib


def key(number: int) -> bytes:
    return bytes([number]) * 32


#: Such as ``one,two``: the last is written with.
names = os.environ.get("CODEC_KEYS", "one").split(",")
app = dibs.Dibs(codec=[Zlib(), AesGcm({name: key(len(name) + ord(name[0])) for name in names})])


@app.task(name="echo", save_results=60, vis_timeout=30)
def echo(text: str) -> str:
    return text


@app.task(name="aecho", save_results=60, vis_timeout=30)
async def aecho(text: str) -> str:
    return text


@app.task(name="die", vis_timeout=30, use_dead=True)
def die(text: str) -> None:
    raise ValueError("without the text")
